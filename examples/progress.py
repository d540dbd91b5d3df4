"""Progress of a crawl, of a map and of a pile, with what the program says above the bars.

python examples/progress.py            # in a terminal
python examples/progress.py 2> log     # a line every ten seconds, and one at the end of each
"""

import logging
import random
import sys

import anyio

from glasspool import HybridExecutor, Retry, progress

log = logging.getLogger("crawler")


class ServerBusy(Exception):
    pass


async def fetch(number: int) -> int:
    await anyio.sleep(random.uniform(0.05, 0.4))
    if random.random() < 0.1:
        raise ServerBusy(number)
    return len(str(number))


async def main(pages: int) -> None:
    again = Retry(ServerBusy, attempts=2, base=0.05)
    async with HybridExecutor("crawler", max_in_flight=20, max_queued=None) as executor:
        async for completed in progress(executor.as_completed(fetch, range(pages), retry=again), "crawl"):
            if completed.error is not None:
                log.warning("page %d is not there", completed.item.arguments[0])

        lengths = executor.map(fetch, range(pages // 4), retry=Retry(ServerBusy, attempts=9))
        print(sum([length async for length in progress(lengths, "map")]), "characters")

        async with executor.pile() as pile:
            for number in range(pages // 8):
                await pile.include(fetch, number)
            async for completed in progress(pile, "pile"):
                if completed.error is not None:  # once more, at the end: the total grows
                    await pile.include(fetch, *completed.item.arguments)
    print("done")


logging.basicConfig(level="INFO", format="%(levelname)s %(message)s")
anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 400)
