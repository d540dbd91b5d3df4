"""To whom a lent slot is given, and who has it back: by virtual time, on asyncio and trio."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from glasspool import HybridExecutor, Limit
from tests.core.policies.support import Starts, both, in_virtual_time
from tests.core.support import Gate, echo


@both
def test_rejoining_while_others_are_queued(backend):
    """Dask's case "busy": the parent goes on with the next free slot, before the ten that were queued before."""

    async def main():
        async with HybridExecutor("busy", max_in_flight=2) as executor:
            starts = Starts()
            ended = []

            async def parent() -> None:
                await executor.run(anyio.sleep, 0.1)
                ended.append(starts.now)

            handle = await executor.submit(parent)
            others = [await executor.submit(anyio.sleep, 0.2) for _ in range(10)]
            await handle
            assert executor.stats().slots_used == 2
            for other in others:
                await other
            return ended

    assert in_virtual_time(backend, main) == [pytest.approx(0.1)]


@both
def test_rejoining_when_nothing_else_is_to_be_done(backend):
    """Dask's case "quiet": whoever goes on finds its slot free, and the executor has as many slots as before."""

    async def main():
        async with HybridExecutor("quiet", max_in_flight=2) as executor:

            async def parent() -> Any:
                found = await executor.run(echo, 1)
                return found, executor.stats().slots_used, executor.stats().lent

            assert await executor.run(parent) == (1, 1, 0)
            starts = Starts()
            handles = [await executor.submit(starts.note, None, 1.0) for _ in range(4)]
            for handle in handles:
                await handle
            return starts.at

    assert in_virtual_time(backend, main) == [0, 0, 1, 1]


@both
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("wait", ["handle", "pile", "map"])
def test_the_awaited_child_goes_first(backend, gated, wait):
    async def main():
        limits = {"k": Limit(in_flight=9)} if gated else None
        async with HybridExecutor("first", max_in_flight=1, limits=limits) as executor:
            order: list[str] = []

            async def note(name: str) -> None:
                order.append(name)

            async def parent() -> None:
                for number in range(3):
                    await executor.submit(note, f"outer {number}")
                if wait == "handle":
                    await executor.submit(note, "child")
                    await (await executor.submit(note, "awaited"))
                elif wait == "pile":
                    async with executor.pile() as pile:
                        for number in range(2):
                            await pile.include(note, f"awaited {number}")
                else:
                    async for _ in executor.map(note, ["awaited 0", "awaited 1"]):
                        pass
                order.append("parent")

            await executor.run(parent)
        return order

    found = in_virtual_time(backend, main)
    if wait == "handle":
        assert found == ["awaited", "parent", "outer 0", "outer 1", "outer 2", "child"]
    else:
        assert found[:3] == ["awaited 0", "awaited 1", "parent"]


@both
def test_the_awaited_child_goes_first_when_the_lent_slot_was_given_to_another_before(backend):
    """At first the awaited one is held by its limit; then it comes before all that are queued."""

    async def main():
        async with HybridExecutor("later", max_in_flight=2, limits={"k": Limit(in_flight=1)}) as executor:
            starts, order = Starts(), []

            async def note(name: str) -> None:
                order.append((name, round(starts.now, 6)))
                await anyio.sleep(1)

            async def parent() -> None:
                outer = [await executor.submit(note, f"outer {number}") for number in range(5)]
                await (await executor.submit(note, "awaited", key="k"))
                order.append(("parent", round(starts.now, 6)))
                for handle in outer:
                    await handle

            holder = await executor.submit(anyio.sleep, 1.5, key="k")
            await executor.run(parent)
            await holder
        return order

    found = in_virtual_time(backend, main)
    assert [at for name, at in found if name == "awaited"] == [1.5]
    assert [at for name, at in found if name == "parent"] == [2.5]


@both
def test_what_nobody_waits_for_goes_by_depth_on_lent_slots_and_in_order_on_others(backend):
    async def main():
        async with HybridExecutor("deepest", max_in_flight=2) as executor:
            order: list[str] = []
            gate, ready = Gate(), anyio.Event()

            async def note(name: str) -> None:
                order.append(name)
                await anyio.sleep(1)

            async def middle() -> None:
                await executor.submit(note, "depth 2")
                await ready.wait()

            async def parent() -> None:
                running = await executor.submit(middle)  # on the other slot
                await executor.submit(note, "depth 1")
                await anyio.sleep(1)
                await running  # which runs: the lent slot is for the deepest

            handle = await executor.submit(parent)
            await anyio.sleep(0.5)
            outer = [await executor.submit(note, f"outer {number}") for number in range(2)]
            await anyio.sleep(2)
            ready.set()
            gate.open()
            await handle
            for each in outer:
                await each
        return order

    assert in_virtual_time(backend, main) == ["depth 2", "depth 1", "outer 0", "outer 1"]


@both
def test_a_parent_with_endless_children_leaves_slots_to_others(backend):
    """One of its children at a time goes before the tasks that were queued earlier, not all."""

    async def main():
        async with HybridExecutor("fair", max_in_flight=2) as executor:
            starts = Starts()

            def forever() -> Any:
                while True:
                    yield 1

            async def parent() -> None:
                async for _ in executor.as_completed(anyio.sleep, forever()):
                    pass

            handle = await executor.submit(parent)
            await anyio.sleep(0.5)
            for _ in range(10):
                await executor.submit(starts.note, None, 0.1)
            await anyio.sleep(30)
            handle.cancel()
            await handle.outcome()
            return len(starts.at)

    assert in_virtual_time(backend, main) == 10


@both
def test_few_parents_are_suspended_at_a_time(backend):
    """A thousand parents, each of which waits for one child: the slot goes to the child, and then to the parent."""

    async def main():
        async with HybridExecutor("parents", max_in_flight=4, max_queued=None) as executor:
            most = 0

            async def child() -> None:
                nonlocal most
                most = max(most, executor.stats().lent)
                await anyio.sleep(1)

            async def parent() -> None:
                await executor.run(child)

            for handle in [await executor.submit(parent) for _ in range(1000)]:
                await handle
            assert executor.stats().succeeded == 2000
            return most

    assert in_virtual_time(backend, main) <= 4


@both
def test_those_who_go_on_do_so_in_order_and_before_who_is_queued(backend):
    async def main():
        async with HybridExecutor("order", max_in_flight=9) as executor:
            order: list[Any] = []
            waiting: list[Any] = []
            gate = Gate()

            async def note(name: Any) -> None:
                order.append(name)
                await anyio.sleep(1)

            async def parent(number: int) -> None:
                waiting.append(number)
                await awaited
                await note(number)

            awaited = await executor.submit(gate.hold)
            blocker = await executor.submit(anyio.sleep, 10)
            handles = [await executor.submit(parent, number) for number in range(3)]
            await anyio.sleep(0.1)
            assert (executor.stats().lent, executor.stats().slots_used) == (3, 2)
            executor.resize(2)
            handles += [await executor.submit(note, "outer") for _ in range(2)]
            gate.open()
            for handle in [*handles, blocker]:
                await handle
            return order, waiting

    order, waiting = in_virtual_time(backend, main)
    assert order == [*waiting, "outer", "outer"]
