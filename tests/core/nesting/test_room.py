"""Places in the queue for the children of tasks: one over and above ``max_queued``, further ones as room comes."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from glasspool import HybridExecutor, Limit, NestedWait, QueueFull, Rate, Retry, TaskHandle
from tests.core.policies.support import both, in_virtual_time
from tests.core.support import Gate, echo

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("places", [0, 2])
async def test_a_running_task_has_one_queued_child_over_and_above(places):
    async with HybridExecutor("over", max_in_flight=1, max_queued=places) as executor:

        async def parent() -> Any:
            outer = [executor.submit_nowait(echo, "own") for _ in range(places)]
            child = executor.submit_nowait(echo, "child")
            assert executor.stats().queued == places + 1
            with pytest.raises(QueueFull, match=f"holds {places + 1} of {places} queued tasks"):
                executor.submit_nowait(echo, "second")
            found = await child
            again = executor.submit_nowait(echo, "again")  # the place is free again, whatever else is queued
            return [found, await again, *[await handle for handle in outer]]

        assert await executor.run(parent) == ["child", "again", *["own"] * places]
        assert executor.stats().rejected == 1


async def test_each_running_task_has_its_own_place():
    async with HybridExecutor("each", max_in_flight=3, max_queued=0) as executor:
        gate = Gate()

        async def parent(number: int) -> Any:
            await gate.hold()
            return await executor.submit_nowait(echo, number)

        handles = [await executor.submit(parent, number) for number in range(3)]
        gate.open()
        assert [await handle for handle in handles] == [0, 1, 2]


@pytest.mark.parametrize("places", [0, 1, 5])
@pytest.mark.parametrize("keyed", [False, True])
async def test_a_loop_of_nested_submits_feels_backpressure(places, keyed):
    if keyed and not places:
        pytest.skip("what a limit holds needs a place")
    limits = {"k": Limit(in_flight=1, max_queued=1)} if keyed else None
    async with HybridExecutor("loop", max_in_flight=1, max_queued=places, limits=limits) as executor:
        most = 0

        async def parent() -> int:
            nonlocal most
            handles = []
            for number in range(50):
                handles.append(await executor.submit(echo, number, key="k" if keyed else None))
                most = max(most, executor.stats().queued)
            return sum([await handle for handle in handles])

        assert await executor.run(parent, key="k" if keyed else None) == sum(range(50))
        assert most <= (1 if keyed else places) + 1


async def test_those_within_tasks_go_before_outer_producers():
    async with HybridExecutor("before", max_in_flight=1, max_queued=0) as executor:
        order: list[str] = []
        ready, go = anyio.Event(), anyio.Event()

        async def note(name: str) -> None:
            order.append(name)

        async def parent() -> None:
            ready.set()
            await go.wait()
            for number in range(4):
                await executor.submit(note, f"child {number}")

        async def outer(number: int) -> None:
            await executor.submit(note, f"outer {number}")

        async with anyio.create_task_group() as group:
            await executor.submit(parent)
            await ready.wait()
            for number in range(2):
                group.start_soon(outer, number)
                await anyio.wait_all_tasks_blocked()
            assert executor.stats().pending == 2
            go.set()
    assert order == ["child 0", "child 1", "child 2", "child 3", "outer 0", "outer 1"]


async def test_several_branches_of_a_task_that_wait_for_room():
    async with HybridExecutor("branches", max_in_flight=1, max_queued=0) as executor:
        found = []

        async def parent() -> None:
            async def branch(number: int) -> None:
                found.append(await (await executor.submit(echo, number)))

            async with anyio.create_task_group() as group:
                for number in range(20):
                    group.start_soon(branch, number)

        await executor.run(parent)
    assert sorted(found) == list(range(20))


async def test_a_child_gets_its_place_though_the_queue_is_full_of_tasks_that_depend_on_its_parent():
    async with HybridExecutor("full", max_in_flight=1, max_queued=2) as executor:
        ready = anyio.Event()

        async def parent() -> int:
            await ready.wait()
            total = 0
            for number in range(3):
                handles = [await executor.submit(echo, number) for _ in range(3)]
                total += sum([await handle for handle in handles])
            return total

        handle = await executor.submit(parent)
        dependents = [await executor.submit(echo, "after", after=[handle]) for _ in range(2)]
        ready.set()
        assert await handle == 9
        assert [await dependent for dependent in dependents] == ["after", "after"]


async def test_room_for_a_child_may_have_a_deadline():
    async with HybridExecutor("deadline", max_in_flight=2, max_queued=1) as executor:

        async def parent() -> Any:
            for _ in range(2):  # one has the place in the queue, one that of a child
                handles.append(await executor.submit(echo, 1, after=[held]))
            with pytest.raises(TimeoutError):
                await executor.submit(echo, 3, after=[held], deadline=anyio.current_time() + 0.01)
            gate.open()
            return [await handle for handle in handles]

        gate, handles = Gate(), []
        held = await executor.submit(gate.hold)
        assert await executor.run(parent) == [1, 1]
        assert executor.stats().rejected == 1


@both
@pytest.mark.parametrize("places", [1, 3])
def test_room_behind_a_permit_of_the_waiting_task_is_refused(backend, places):
    """The queue of another executor that shares the limit is full of what only this task lets go on."""

    async def main():
        limits = {"a": Limit(in_flight=1)}
        first = HybridExecutor("first", max_in_flight=4, limits=limits)
        second = HybridExecutor("second", max_in_flight=4, max_queued=places, limits=limits)

        async def parent() -> str:
            for _ in range(places):
                await second.submit(echo, 1, key="a")
            assert await second.run(echo, 2) == 2  # a free slot needs no place
            with pytest.raises(NestedWait, match="would hang for ever"):
                await second.submit(echo, 1, key="a")
            return "refused"

        async with first, second:
            return await first.run(parent, key="a")

    assert in_virtual_time(backend, main) == "refused"


@both
@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("bound", ["queue", "key"])
def test_room_behind_what_depends_on_the_waiting_task_is_refused(backend, bound, slots):
    async def main():
        handles: list[TaskHandle[str]] = []

        async def parent() -> str:
            await anyio.sleep(1)
            options = {"after": handles[:1], "key": "a" if bound == "key" else None}
            for _ in range(2):  # a place, and the one that it has for a child of its own
                await executor.submit(echo, 1, **options)
            with pytest.raises(NestedWait, match="would hang for ever"):
                await executor.submit(echo, 1, **options)
            return "refused"

        limits = {"a": Limit(in_flight=4, max_queued=1)} if bound == "key" else None
        places = 100 if bound == "key" else 1
        async with HybridExecutor("only", max_in_flight=slots, max_queued=places, limits=limits) as executor:
            handles.append(await executor.submit(parent))
            return await handles[0]

    assert in_virtual_time(backend, main) == "refused"


@both
@pytest.mark.parametrize("held", ["rate", "pause", "limit", "dependency", "retry"])
def test_room_behind_what_time_or_others_let_go_on_is_waited_for(backend, held):
    async def main():
        limits = {"a": Limit(in_flight=1), "slow": Limit(rate=Rate(1, per=10.0))}
        executor = HybridExecutor("waits", max_in_flight=4, max_queued=1, limits=limits)

        async def parent(other: TaskHandle[None]) -> int:
            if held == "pause":
                executor.pause(30)
            if held == "retry":
                flaky = iter([ConnectionError()])

                async def fails() -> None:
                    for error in flaky:
                        raise error

                await executor.submit(fails, retry=Retry(on=lambda error: 30))
                await anyio.sleep(1)
            options = {
                "key": {"limit": "a", "rate": "slow"}.get(held),
                "after": [other] if held == "dependency" else (),
            }
            handles = [await executor.submit(echo, number, **options) for number in range(4)]
            return sum([await handle for handle in handles])

        async with executor:
            other = await executor.submit(anyio.sleep, 50, key="a")
            return await executor.run(parent, other)

    assert in_virtual_time(backend, main) == 6
