"""Measure tasks that wait for tasks of their own executor: how many are suspended at a time, and what a wait costs.

Usage: python benchmarks/nesting.py [--parents N] [--slots N] [--rounds N] [--backend asyncio|trio]

``parents``: each parent waits for one child; all are submitted first. Shown is how many parents have their slot lent
at a time, at most. ``in order of acceptance``: the same if the lent slots went to the oldest queued task.
``µs``: processor time per parent with its child, beside two tasks that do not wait for each other.
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from glasspool import HybridExecutor
from glasspool._core.nested_order import NestedOrder


async def leaf() -> None:
    """A child, or a task that stands alone."""
    await checkpoint()


class Parents:
    """So many parents, and the greatest number of them that have lent their slot at a time."""

    def __init__(self, executor: HybridExecutor) -> None:
        self.executor = executor
        self.most = 0

    async def child(self) -> None:
        """A child of one checkpoint."""
        self.most = max(self.most, self.executor.stats().lent)
        await checkpoint()

    async def parent(self) -> None:
        """Wait for one child."""
        await self.executor.run(self.child)

    async def plain(self) -> None:
        """Wait for one child, without a look at the figures."""
        await self.executor.run(leaf)


async def suspended(parents: int, slots: int) -> int:
    """The greatest number of parents whose slot is lent."""
    async with HybridExecutor("nesting", max_in_flight=slots, max_queued=None) as executor:
        program = Parents(executor)
        async with executor.pile() as pile:
            for _ in range(parents):
                await pile.include(program.parent)
    return program.most


async def cost(parents: int, slots: int, nested: bool) -> float:
    """Microseconds of processor time for a parent with its child, or for two tasks that stand alone."""
    async with HybridExecutor("nesting", max_in_flight=slots, max_queued=None) as executor:
        program = Parents(executor)
        begun = time.process_time()
        async with executor.pile() as pile:
            for _ in range(parents):
                await pile.include(program.plain if nested else leaf)
                if not nested:
                    await pile.include(leaf)
        return (time.process_time() - begun) / parents * 1e6


def oldest_first(order: NestedOrder, lent: int) -> None:
    """The order of acceptance, in place of ``NestedOrder.next``: no task goes out of turn."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parents", type=int, default=1_000)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio")
    chosen = parser.parse_args()

    def run(function: Any, *arguments: Any) -> Any:
        return anyio.run(function, chosen.parents, chosen.slots, *arguments, backend=chosen.backend)

    print(f"{chosen.parents:,} parents on {chosen.slots} slots, {chosen.backend}")
    print(f"suspended at a time: {run(suspended)}")
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(chosen.rounds):
        for nested, found in times.items():
            found.append(run(cost, nested))
    print(f"µs for a parent and its child: {median(times[True]):.1f}; for two tasks: {median(times[False]):.1f}")
    NestedOrder.next = oldest_first  # type: ignore[method-assign]
    print(f"suspended at a time, in order of acceptance: {run(suspended)}")


if __name__ == "__main__":
    main()
