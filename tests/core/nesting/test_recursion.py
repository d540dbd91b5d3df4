"""Tasks that submit to their own executor and wait: however few slots there are, they end, each once."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import anyio
import pytest
from anyio import from_thread

from glasspool import HybridExecutor
from tests.core.support import conserved, echo

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("isolate", [True, False])
@pytest.mark.parametrize("places", [0, 1, 1024])
@pytest.mark.parametrize("slots", [1, 4])
async def test_recursion_a_hundred_deep(slots, places, isolate):
    async with HybridExecutor("deep", max_in_flight=slots, max_queued=places, isolate=isolate) as executor:

        async def down(left: int) -> int:
            assert executor.stats().slots_used <= slots
            return 0 if left == 0 else 1 + await executor.run(down, left - 1)

        assert await executor.run(down, 100) == 100
        stats = executor.stats()
    assert (stats.succeeded, stats.submitted, stats.lent, stats.slots_used) == (101, 101, 0, 0)


@pytest.mark.parametrize("places", [0, 1024])
async def test_recursion_in_threads(places):
    async with HybridExecutor("threads", max_in_flight=1, max_queued=places) as executor:

        def down(left: int) -> int:
            return 0 if left == 0 else 1 + from_thread.run(executor.run, down, left - 1)

        assert await executor.run(down, 100) == 100


async def test_the_slot_of_a_waiting_task_is_lent():
    async with HybridExecutor("lent", max_in_flight=1) as executor:
        seen = []

        async def child() -> None:
            seen.append(executor.stats())

        async def parent() -> None:
            await executor.run(child)
            seen.append(executor.stats())

        await executor.run(parent)
    during, after = seen
    assert (during.in_flight, during.lent, during.slots_used) == (2, 1, 1)
    assert (after.in_flight, after.lent, after.slots_used) == (1, 0, 1)


@pytest.mark.parametrize("slots", [1, 3])
async def test_a_parallel_quicksort(slots):
    async with HybridExecutor("quicksort", max_in_flight=slots, max_queued=2) as executor:

        async def quicksort(values: list[int]) -> list[int]:
            if len(values) <= 1:
                return values
            pivot, *others = values
            async with executor.pile() as pile:
                below = await pile.include(quicksort, [value for value in others if value < pivot])
                above = await pile.include(quicksort, [value for value in others if value >= pivot])
            return [*await below, pivot, *await above]

        values = random.Random(4).sample(range(300), 300)
        assert await executor.run(quicksort, values) == sorted(values)
        assert executor.stats().slots_used == 0


async def test_fan_out_and_gather_in_a_task_group():
    async with HybridExecutor("fan", max_in_flight=2, max_queued=3) as executor:

        async def tree(depth: int) -> int:
            if depth == 0:
                return 1
            found: list[int] = []

            async def branch() -> None:
                found.append(await executor.run(tree, depth - 1))

            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(branch)
            return sum(found)

        handles = [await executor.submit(tree, 4) for _ in range(2)]
        assert [await handle for handle in handles] == [81, 81]
        assert executor.stats().lent == 0


@pytest.mark.parametrize("way", ["map", "as_completed", "pile", "drain", "async source"])
async def test_iterations_and_piles_inside_tasks(way):
    async with HybridExecutor("inside", max_in_flight=1, max_queued=1) as executor:

        async def source(number: int) -> Any:
            for item in range(number):
                yield item

        async def sums(depth: int) -> int:
            if depth == 0:
                return 1
            call = partial(lambda _, below: sums(below), below=depth - 1)
            if way == "map":
                return sum([value async for value in executor.map(call, range(3), runner="inline")])
            if way == "as_completed":
                return sum([done.unwrap() async for done in executor.as_completed(call, range(3), runner="inline")])
            if way == "async source":
                return sum([value async for value in executor.map(call, source(3), runner="inline")])
            async with executor.pile() as pile:
                for _ in range(3):
                    await pile.include(sums, depth - 1)
                if way == "drain":
                    return sum((await pile.drain()).values())
                return sum([done.unwrap() async for done in pile])

        assert await executor.run(sums, 4) == 81


async def test_handles_of_others_may_be_awaited():
    async with HybridExecutor("siblings", max_in_flight=1) as executor:

        async def gathers(handles: list[Any]) -> list[Any]:
            return [await handle for handle in handles]

        handles = [await executor.submit(echo, number) for number in range(5)]
        gathering = await executor.submit(gathers, handles)
        early = await executor.submit(gathers, [gathering])
        assert await early == [[0, 1, 2, 3, 4]]
        conserved(executor, [*handles, gathering, early])
