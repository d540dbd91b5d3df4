"""Measure what rates, limits and retries add to a task, in processor time, and what many keys take of memory.

Usage: python benchmarks/policies.py [--tasks N] [--rounds N] [--backend asyncio|trio]

Tasks of one checkpoint, 64 in flight, by ``as_completed``, without an SDK: without a policy; one key whose limit is
never reached, or holds half of them; 1,000 keys with a limit of two; a rate, or one for each of 1,000 keys, that are
never reached; a retry that never happens. Cases are interleaved; printed are medians of the rounds, and the process's
most memory after each case.
"""

from __future__ import annotations

import argparse
import platform
import random
import resource
import statistics
import time
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from glasspool import HybridExecutor, Limit, Rate, Retry

IN_FLIGHT = 64
KEYS = 1_000
PLENTY = Rate(1e6, burst=1e5)


async def work(number: int) -> int:
    """One checkpoint, the smallest possible task."""
    await checkpoint()
    return number


def spread(number: int) -> int:
    """One of a thousand keys."""
    return number % KEYS


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no policy": ({}, {}),
    "one key, limit not reached": ({"limits": {"api": Limit(in_flight=1000)}}, {"key": "api"}),
    "one key, limit of 32": ({"limits": {"api": Limit(in_flight=32)}}, {"key": "api"}),
    "1,000 keys, limit of 2": ({"limits": {"*": Limit(in_flight=2)}}, {"key": spread}),
    "a rate": ({"rate": PLENTY}, {}),
    "1,000 keys, each with a rate": ({"limits": {"*": Limit(rate=PLENTY)}}, {"key": spread}),
    "a retry, nothing fails": ({"retry": Retry(on=OSError)}, {}),
}
"""Options of the executor and of the call."""


async def measured(case: str, tasks: int) -> float:
    """Microseconds of processor time a task."""
    options, call = CASES[case]
    async with HybridExecutor("measured", max_in_flight=IN_FLIGHT, **options) as executor:
        began = time.process_time()
        async for _ in executor.as_completed(work, range(tasks), **call):
            pass
        return (time.process_time() - began) / tasks * 1e6


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--backend", default="asyncio")
    options = parser.parse_args()
    found: dict[str, list[float]] = {case: [] for case in CASES}
    memory: dict[str, int] = {}
    for _ in range(options.rounds):
        for case in random.sample(list(CASES), len(CASES)):
            found[case].append(anyio.run(measured, case, options.tasks, backend=options.backend))
            memory[case] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{platform.python_implementation()} {platform.python_version()}, {options.backend}, {options.tasks} tasks")
    base = statistics.median(found["no policy"])
    for case, times in found.items():
        median = statistics.median(times)
        print(f"{case:32}{median:7.1f} µs{median - base:+7.1f}   {memory[case]} MiB")


if __name__ == "__main__":
    main()
