"""Parents that are cancelled, out of time, or cut off, in each state of their wait; and what limits must keep to."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest
from anyio import from_thread

from glasspool import ExecutorClosed, HybridExecutor, Limit, NestedWait, Outcome, TaskHandle
from glasspool._core import lending
from glasspool.testing import run_out_of_time
from tests.core.policies.support import both, in_virtual_time
from tests.core.support import PATIENCE, Gate, conserved, echo, until

WAYS = ["handle", "scope", "timeout"]


class Parent:
    """A parent in one state of its wait that notes its end: another task has the only other slot."""

    def __init__(self, executor: HybridExecutor, state: str) -> None:
        self.executor = executor
        self.state = state
        self.gate, self.child_gate = Gate(), Gate()
        self.scope = anyio.CancelScope()
        self.events: list[str] = []
        self.handles: list[TaskHandle[Any]] = []

    async def run(self) -> None:
        try:
            with self.scope:
                await self.wait()
        finally:
            self.events.append("cleanup")
            stats = self.executor.stats()
            self.events.append(f"{stats.slots_used} used, {stats.lent} lent")

    async def wait(self) -> None:
        executor = self.executor
        if self.state == "room":  # one of these has the place in the queue, one that of a child
            after = self.handles[:1]
            self.handles += [await executor.submit(echo, 1, after=after) for _ in range(2)]
            await executor.submit(echo, 1, after=after)
            raise AssertionError
        child = await executor.submit(self.child_gate.hold)
        self.handles.append(child)
        await child

    async def start(self, **options: Any) -> TaskHandle[Any]:
        """Start the other task and the parent, until it is in its state."""
        executor = self.executor
        self.handles.append(await executor.submit(self.gate.hold, name="other"))
        handle = await executor.submit(self.run, **options)
        await anyio.wait_all_tasks_blocked()
        assert executor.stats().lent == 1
        if self.state != "room":
            executor.resize(1)
        if self.state == "slot":  # the slot that the child leaves is one too many
            self.child_gate.open()
            await anyio.wait_all_tasks_blocked()
        stats = executor.stats()
        assert (stats.lent, stats.slots_used) == (1, 2 if self.state == "child" else 1)
        assert not self.events
        return handle

    def end(self, way: str, handle: TaskHandle[Any]) -> None:
        """End the parent."""
        if way == "handle":
            handle.cancel()
        elif way == "scope":
            self.scope.cancel()
        else:
            run_out_of_time(handle)


@pytest.mark.anyio
@pytest.mark.parametrize("isolate", [True, False])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("state", ["room", "child", "slot"])
async def test_a_parent_that_is_cancelled_goes_on_at_once(state, way, isolate):
    async with HybridExecutor("cancelled", max_in_flight=2, max_queued=1, isolate=isolate) as executor:
        parent = Parent(executor, state)
        handle = await parent.start(timeout=3600 if way == "timeout" else None)
        parent.end(way, handle)
        outcome = await handle.outcome()
        assert outcome.outcome is {"handle": Outcome.CANCELLED, "scope": Outcome.SUCCESS}.get(way, Outcome.TIMEOUT)
        # Over the limit of 1 where there is one of 1, and not behind another task.
        assert parent.events == ["cleanup", f"{3 if state == 'child' else 2} used, 0 lent"]
        parent.gate.open()
        parent.child_gate.open()
        for child in parent.handles:
            await child
        await anyio.wait_all_tasks_blocked()
        stats = executor.stats()
        assert (stats.slots_used, stats.lent, stats.pending) == (0, 0, 0)
        assert stats.rejected == (1 if state == "room" else 0)


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["error", "shutdown", "grace", "nursery"])
@pytest.mark.parametrize("state", ["room", "child", "slot"])
async def test_an_executor_that_closes_lets_parents_end(state, how):
    executor = HybridExecutor("closes", max_in_flight=2, max_queued=1)
    parent = Parent(executor, state)
    with anyio.CancelScope() as scope:
        try:
            async with executor:
                handle = await parent.start()
                if how == "error":
                    raise LookupError
                if how == "nursery":
                    scope.cancel()
                    await anyio.sleep_forever()
                await executor.shutdown(grace=0.01 if how == "grace" else 0)
        except LookupError:
            pass
    assert handle.done
    assert len(parent.events) == 2
    conserved(executor, [handle, *parent.handles])
    assert (executor.stats().lent, executor.stats().slots_used) == (0, 0)


@pytest.mark.anyio
@pytest.mark.parametrize("state", ["child", "slot"])
async def test_a_drain_lets_parents_go_on(state):
    async with HybridExecutor("drains", max_in_flight=2, max_queued=1) as executor:
        parent = Parent(executor, state)
        handle = await parent.start()
        async with anyio.create_task_group() as group:
            group.start_soon(executor.shutdown)
            await anyio.wait_all_tasks_blocked()
            assert not handle.done
            parent.child_gate.open()
            parent.gate.open()
        assert parent.events == ["cleanup", "1 used, 0 lent"]


@pytest.mark.anyio
async def test_nested_submits_to_an_executor_that_closes_are_refused():
    async with HybridExecutor("refuses", max_in_flight=1) as executor:
        ready = anyio.Event()

        async def parent() -> None:
            await ready.wait()
            await executor.run(echo, 1)

        handle = await executor.submit(parent)
        async with anyio.create_task_group() as group:
            group.start_soon(executor.shutdown)
            await anyio.wait_all_tasks_blocked()
            ready.set()
        with pytest.raises(ExecutorClosed):
            await handle


@pytest.mark.anyio
async def test_a_branch_goes_on_without_a_slot_while_another_one_waits():
    async with HybridExecutor("branches", max_in_flight=1) as executor:
        gate, events = Gate(), []

        async def parent() -> None:
            async def short() -> None:
                await executor.run(echo, 1)
                events.append(("short", executor.stats().lent))

            async def long() -> None:
                await executor.run(gate.hold)
                events.append(("long", executor.stats().lent))

            async with anyio.create_task_group() as group:
                group.start_soon(long)
                await anyio.wait_all_tasks_blocked()
                group.start_soon(short)

        async with anyio.create_task_group() as group:
            group.start_soon(executor.run, parent)
            await until(lambda: executor.stats().queued == 1)
            assert (executor.stats().lent, executor.stats().slots_used) == (1, 1)
            executor.resize(2)
            await anyio.wait_all_tasks_blocked()
            assert events == [("short", 1)]
            gate.open()
        assert events == [("short", 1), ("long", 0)]


@pytest.mark.anyio
async def test_a_task_that_ends_while_a_branch_of_it_waits_has_its_slot_freed_once():
    async with HybridExecutor("outlived", max_in_flight=1) as executor:
        gate, found = Gate(), []
        async with anyio.create_task_group() as group:

            async def branch() -> None:
                found.append(await executor.run(gate.hold, "child"))

            async def parent() -> None:
                group.start_soon(branch)
                await anyio.wait_all_tasks_blocked()
                assert executor.stats().lent == 1

            await executor.run(parent)
            stats = executor.stats()
            assert (stats.lent, stats.slots_used, stats.in_flight) == (0, 1, 1)
            gate.open()
        assert found == ["child"]
        assert executor.stats().slots_used == 0


@pytest.mark.anyio
@pytest.mark.parametrize("abandon", [True, False])
async def test_a_thread_that_waits_is_cancelled(abandon):
    async with HybridExecutor("thread", max_in_flight=1) as executor:
        gate, ended = Gate(), threading.Event()

        def parent() -> Any:
            try:
                return from_thread.run(executor.run, gate.hold, "child")
            finally:
                ended.set()

        handle = await executor.submit(parent, abandon=abandon)
        await until(lambda: executor.stats().lent == 1 and executor.stats().in_flight == 2)
        handle.cancel()
        await anyio.wait_all_tasks_blocked()
        gate.open()
        await handle.outcome()
        await anyio.to_thread.run_sync(ended.wait, PATIENCE)
        await until(lambda: executor.stats().slots_used == 0)
        assert executor.stats().lent == 0


@both
def test_permits_are_lent_and_rate_tokens_are_not(backend):
    async def main():
        limits = {"k": Limit(in_flight=1)}
        async with HybridExecutor("permits", max_in_flight=2, limits=limits) as executor:
            running, most = 0, 0

            async def down(left: int) -> int:
                nonlocal running, most
                running += 1
                most = max(most, running)
                await anyio.sleep(1)
                running -= 1
                found = 0 if left == 0 else await executor.run(down, left - 1, key="k")
                running += 1
                most = max(most, running)
                await anyio.sleep(1)
                running -= 1
                return found + 1

            handles = [await executor.submit(down, 5, key="k") for _ in range(3)]
            assert [await handle for handle in handles] == [6, 6, 6]
            return most, limits["k"].in_flight, executor.stats().lent

    assert in_virtual_time(backend, main) == (1, 1, 0)


@both
def test_the_permit_of_a_shared_limit_comes_back(backend):
    """The child's permit goes to a task of another executor; the parent waits for it, and is told when it is free."""

    async def main():
        shared = Limit(in_flight=1)
        async with (
            HybridExecutor("one", max_in_flight=3, limits={"k": shared}) as one,
            HybridExecutor("two", max_in_flight=3, limits={"k": shared}) as two,
        ):
            begun = anyio.current_time()
            running = 0

            async def alone(seconds: float) -> None:
                nonlocal running
                running += 1
                assert running == 1
                await anyio.sleep(seconds)
                running -= 1

            async def parent() -> float:
                await one.run(anyio.sleep, 1)
                await alone(1)
                return anyio.current_time() - begun

            handle = await one.submit(parent, key="k")
            await anyio.sleep(0.5)
            other = await two.submit(alone, 5, key="k")
            at = await handle
            await other
            return at

    assert in_virtual_time(backend, main) == pytest.approx(6.5)


@pytest.mark.anyio
async def test_waits_may_be_nested_a_thousand_deep(monkeypatch):
    monkeypatch.setattr(lending, "MOST", 20)
    async with HybridExecutor("deep", max_in_flight=2) as executor:

        async def down(depth: int) -> int:
            return 0 if depth == 0 else 1 + await executor.run(down, depth - 1, name=f"at {depth}")

        assert await executor.run(down, 20) == 20
        with pytest.raises(NestedWait, match=r"run inside task 'at 2' .*would be a wait nested 21 deep: 20 tasks of "):
            await executor.run(down, 21, name="at 21")
        assert executor.stats().submitted == 42  # `run` submits nothing that it may not wait for

        async def endless() -> None:
            await (await executor.submit(endless))

        with pytest.raises(NestedWait, match="await handle inside task"):
            await executor.run(endless)


@pytest.mark.anyio
async def test_a_recursion_without_end_is_told_and_one_of_a_thousand_is_not():
    assert lending.MOST == 1_000
    async with HybridExecutor("thousand", max_in_flight=1, spans="off") as executor:

        async def down(depth: int) -> int:
            return 0 if depth == 0 else 1 + await executor.run(down, depth - 1)

        assert await executor.run(down, 1000) == 1000
        with pytest.raises(NestedWait, match="1,001 deep"):
            await executor.run(down, 1001)


@pytest.mark.anyio
async def test_tasks_that_submit_their_successor_and_do_not_wait_may_be_followed_for_ever():
    async with HybridExecutor("chain", max_in_flight=1) as executor:
        order: list[Any] = []

        async def again(left: int) -> None:
            order.append(left)
            if left:
                await executor.submit(again, left - 1)
            else:
                done.set()

        done = anyio.Event()
        await executor.submit(again, 2000)
        await executor.run(echo, "outer")
        assert len(order) < 10  # it was not starved
        await done.wait()
    assert len(order) == 2001


@pytest.mark.anyio
async def test_after_shrinking_parents_have_their_slots_again():
    async with HybridExecutor("shrunk", max_in_flight=8) as executor:
        gate, over = Gate(), []

        async def parent() -> None:
            await executor.run(gate.hold)
            over.append(executor.stats().slots_used)

        handles = [await executor.submit(parent) for _ in range(4)]
        await anyio.wait_all_tasks_blocked()
        assert (executor.stats().lent, executor.stats().slots_used) == (4, 4)
        executor.resize(1)
        gate.open()
        for handle in handles:
            await handle
        assert max(over) <= 1
        assert executor.stats().slots_used == 0


@both
@pytest.mark.parametrize("how", ["pile", "iteration"])
def test_who_closes_goes_on_in_the_slot_that_its_child_leaves(backend, how):
    """Not over the limit, though others are queued."""

    async def main():
        used: list[int] = []

        def observe(_: object) -> None:
            used.append(executor.stats().slots_used)

        executor = HybridExecutor("closes", max_in_flight=2, observers=[observe])

        async def parent() -> None:
            if how == "pile":
                async with executor.pile() as pile:
                    await pile.include(anyio.sleep, 100)
                    await anyio.sleep(1)
                    await pile.aclose()
            else:
                async with executor.as_completed(anyio.sleep, [1, 100]) as outcomes:
                    async for _ in outcomes:
                        break
            used.append(executor.stats().slots_used)
            await anyio.sleep(5)

        async with executor:
            handle = await executor.submit(parent)
            await anyio.sleep(0.5)
            others = [await executor.submit(anyio.sleep, 3) for _ in range(4)]
            await handle
            assert not others[-1].done
        return used

    assert max(in_virtual_time(backend, main)) == 2


@pytest.mark.anyio
async def test_closing_a_pile_inside_a_task():
    async with HybridExecutor("closing", max_in_flight=1) as executor:

        async def cleans_up() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    assert await executor.run(echo, 3) == 3  # it needs a slot

        async def parent() -> str:
            async with executor.pile() as pile:
                handle = await pile.include(cleans_up)
                with anyio.move_on_after(0.01):
                    await handle
                await pile.aclose()
            return "closed"

        assert await executor.run(parent) == "closed"
        assert executor.stats().slots_used == 0
