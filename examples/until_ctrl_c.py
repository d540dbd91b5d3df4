"""A service that runs until Ctrl-C, so that its /metrics can be read while it works.

    python examples/until_ctrl_c.py [PORT]     # and in another terminal: curl http://127.0.0.1:9464/metrics

It counts the functions in Python's own modules, over and over, as fast as two threads can: the slots are full, two
calls wait, those that take longer than half a second time out, and those for a missing file fail.
"""

import random
import sys
import sysconfig
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from signal import SIGINT, SIGTERM

import anyio

from glasspool import HybridExecutor
from glasspool.signals import shutdown_on_signals
from glasspool.telemetry import configure


def functions(path: Path) -> int:
    """A plain function: it runs in a thread."""
    with path.open("rb") as file:
        return sum(token.string == "def" for token in tokenize.tokenize(file.readline))


def files() -> Iterator[Path]:
    """Endless."""
    directory = Path(sysconfig.get_paths()["stdlib"])
    found = list(directory.glob("*.py"))
    while True:
        yield random.choice(found) if random.random() < 0.9 else directory / "not there.py"


async def main(port: int | None) -> None:
    outcomes: Counter[str] = Counter()
    async with (
        HybridExecutor("parsers", max_in_flight=2, max_queued=10) as executor,
        shutdown_on_signals(executor, grace=10, signals=(SIGINT, SIGTERM)),
    ):
        print(f"Look at http://127.0.0.1:{port}/metrics; Ctrl-C ends it.", flush=True)
        async for completed in executor.as_completed(functions, files(), timeout=0.5):
            outcomes[completed.outcome.value] += 1
    print("\nDrained:", dict(outcomes))


telemetry = configure(service_name="until-ctrl-c", prometheus_port=int(sys.argv[1]) if len(sys.argv) > 1 else 9464)
anyio.run(main, telemetry.prometheus_port)
