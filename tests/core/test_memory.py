"""Limits on what a task takes of memory, by counting allocations: the same on every machine."""

from __future__ import annotations

import gc
import sys
import tracemalloc

import anyio
import pytest

from glasspool import HybridExecutor
from tests.core.support import echo

pytestmark = pytest.mark.anyio

TASKS = 1_000


def allocated() -> tuple[int, int]:
    """Bytes and blocks that are allocated now, since tracemalloc was started."""
    gc.collect()
    statistics = tracemalloc.take_snapshot().statistics("filename")
    return sum(each.size for each in statistics), sum(each.count for each in statistics)


@pytest.mark.parametrize(
    ("held", "most_bytes", "most_blocks"), [("a handle", 1024, 13), ("nothing", 1024, 12), ("a pile", 1024, 13)]
)
async def test_a_queued_task_takes_less_than_a_kibibyte(held, most_bytes, most_blocks):
    async with HybridExecutor("queued", max_in_flight=1, max_queued=None) as executor, executor.pile() as pile:
        go_on = anyio.Event()
        await executor.submit(go_on.wait)
        handles = []

        async def put(count: int) -> None:
            for number in range(count):
                if held == "a pile":
                    handles.append(await pile.include(echo, number))
                elif held == "a handle":
                    handles.append(executor.submit_nowait(echo, number))
                else:
                    executor.submit_nowait(echo, number)

        await put(100)  # what is made once is made
        tracemalloc.start()
        try:
            size, blocks = allocated()
            await put(TASKS)
            size, blocks = (now - before for now, before in zip(allocated(), (size, blocks), strict=True))
        finally:
            tracemalloc.stop()
        assert size / TASKS <= most_bytes
        assert blocks / TASKS <= most_blocks
        go_on.set()


@pytest.mark.parametrize("isolate", [True, False])
@pytest.mark.parametrize("way", ["as_completed", "submit", "pile"])
async def test_tasks_that_have_ended_and_were_taken_leave_nothing(way, isolate):
    async with HybridExecutor("left", max_in_flight=8, max_queued=None, isolate=isolate) as executor:

        async def run(count: int) -> None:
            if way == "as_completed":
                async for _ in executor.as_completed(echo, range(count)):
                    pass
            elif way == "submit":
                handles = [await executor.submit(echo, number) for number in range(count)]
                for handle in handles:
                    await handle
            else:
                async with executor.pile() as pile:
                    for number in range(count):
                        await pile.include(echo, number)
                    async for _ in pile:
                        pass

        await run(TASKS)
        gc.collect()
        before = sys.getallocatedblocks()
        await run(2 * TASKS)
        gc.collect()
        assert sys.getallocatedblocks() - before < TASKS / 10
