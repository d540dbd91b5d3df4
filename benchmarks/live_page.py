"""What the live page costs: ``python benchmarks/live_page.py``. Nothing of it is on a task's path.

Processor time of the thread that does it, in milliseconds, the best and the median of some rounds: a sample of the
history (taken every two seconds while somebody looks), and the answers to the page's requests. First with 50 executors,
then with 10,000 tasks queued in one of them. The reference is a loop that says how fast the machine is at that moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack

import anyio

from glasspool import HybridExecutor
from glasspool.telemetry.live.answers import Live
from glasspool.telemetry.live.processes import Processes

ROUNDS = 60


async def work() -> None:
    """A short task."""
    await anyio.sleep(0.001)


async def main() -> None:
    """Fill 50 executors with figures, and measure."""
    async with AsyncExitStack() as stack:
        executors = [
            await stack.enter_async_context(HybridExecutor(f"executor {number}", max_in_flight=8, max_queued=20_000))
            for number in range(50)
        ]
        for executor in executors:
            for _ in range(20):
                await executor.submit(work)
        await anyio.sleep(1)
        measure("50 executors")
        for _ in range(10_000):
            await executors[0].submit(anyio.sleep, 1000)
        await anyio.sleep(0.1)
        measure("50 executors, 10,000 tasks queued in one of them")
        await executors[0].shutdown(grace=0)


def measure(title: str) -> None:
    """Print one table."""
    live, processes = Live(), Processes()
    print(f"\n{title}")
    show("reference: 100,000 squares", lambda: sum(number * number for number in range(100_000)))
    show("a sample of the figures", processes.figures)
    show("/live.json, the overview", lambda: live.answer("GET", "/live.json", ""))
    show("/live.json, with one executor's history", lambda: live.answer("GET", "/live.json", "name=executor+0"))
    show("/tasks.json", lambda: live.answer("GET", "/tasks.json", ""))
    live.close()


def show(name: str, what: Callable[[], object]) -> None:
    """Measure this and print it."""
    took: list[float] = []
    for _ in range(ROUNDS):
        before = time.thread_time()
        what()
        took.append(time.thread_time() - before)
    took.sort()
    print(f"  {name:<42} best {took[0] * 1e3:6.2f} ms   median {took[ROUNDS // 2] * 1e3:6.2f} ms")


if __name__ == "__main__":
    anyio.run(main)
