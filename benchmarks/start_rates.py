"""How many tasks a ``Rate`` starts per second: timers of event loops are late, and a burst makes up for it.

    python benchmarks/start_rates.py --seconds 4 --rounds 3

Each line is one rate with one burst on one event loop: starts per second (median of the rounds), and the most starts
in any window of one second, which may be ``count + burst - 1``. The tasks do nothing, so that nothing but the rate
holds them.
"""

from __future__ import annotations

import argparse
import statistics
from bisect import bisect_left
from itertools import count

import anyio

from glasspool import HybridExecutor, Rate

LOOPS = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}
"""Name, and what ``anyio.run`` is told."""


async def starts(rate: Rate, seconds: float) -> list[float]:
    """The instants at which tasks of an executor with this rate started."""
    found: list[float] = []
    begun = anyio.current_time()

    async def note(number: int) -> None:
        found.append(anyio.current_time())

    async with HybridExecutor("rate", max_in_flight=64, rate=rate) as executor:
        async for _ in executor.as_completed(note, count()):
            if anyio.current_time() - begun > seconds and len(found) > rate.burst + 1:
                break  # which cancels those that are held
    return found


def most(instants: list[float]) -> int:
    """The most in any window of one second."""
    return max(bisect_left(instants, instant + 1) - place for place, instant in enumerate(instants))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each case runs")
    parser.add_argument("--rounds", type=int, default=3, help="how often")
    parser.add_argument("--counts", type=int, nargs="*", default=[50, 200, 1000], help="starts per second")
    parser.add_argument("--bursts", type=int, nargs="*", default=[1, 2, 5])
    options = parser.parse_args()
    for loop, (backend, backend_options) in LOOPS.items():
        for number in options.counts:
            for burst in options.bursts:
                rates, windows = [], []
                for _ in range(options.rounds):
                    found = anyio.run(
                        starts, Rate(number, burst=burst), options.seconds,
                        backend=backend, backend_options=backend_options,
                    )  # fmt: skip
                    rates.append((len(found) - burst) / (found[-1] - found[0]))  # the burst comes at once
                    windows.append(most(found))
                print(
                    f"{loop:8} {number:5} a second, burst {burst}: {statistics.median(rates):7.1f} started a second, "
                    f"at most {max(windows)} in a second of {number + burst - 1}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
