"""Piles: each outcome once, in order of ending; independence of several piles; fail-fast; producers."""

from __future__ import annotations

import sys

import anyio
import pytest

from glasspool import ExecutorClosed, HybridExecutor, Outcome, PileEmpty, TaskCancelled, TaskTimeout

from .support import Gate, cancelled_once_blocked, echo, fail, forever, turns

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

pytestmark = pytest.mark.anyio


async def test_outcomes_come_once_in_order_of_ending():
    gates = [Gate() for _ in range(4)]
    async with HybridExecutor("order", max_in_flight=4) as executor, executor.pile() as pile:
        for number, gate in enumerate(gates):
            await pile.include(gate.hold, number)
        order = []
        for number in (2, 0, 3, 1):
            gates[number].open()
            completed = await pile.next_completed()
            order.append((completed.value, completed.item.arguments))
        assert order == [(2, (2,)), (0, (0,)), (3, (3,)), (1, (1,))]
        with pytest.raises(PileEmpty, match="include something first"):
            await pile.next_completed()
        assert [completed async for completed in pile] == []
        assert await pile.drain() == []


async def test_include_all_then_drain():
    async with HybridExecutor("drain", max_in_flight=2, max_queued=3) as executor, executor.pile() as pile:
        for number in range(500):  # far more than slots and queue places: untaken outcomes block nothing
            await pile.include(echo, number)
        drained = await pile.drain()
        assert sorted(drained.values()) == list(range(500))
        drained.raise_errors()
        assert pile.stats().untaken == 0
        assert pile.stats().succeeded == 500


async def test_drained_errors_are_raised_together_on_demand():
    async with HybridExecutor("together", max_in_flight=4) as executor:
        async with executor.pile() as pile:
            await pile.include(echo, 1)
            await pile.include(fail, ValueError("bad"))
            await pile.include(forever, timeout=0)
            (await pile.include(forever)).cancel()
        drained = await pile.drain()
        assert drained.values() == [1]
        with pytest.raises(ExceptionGroup, match="3 of 4 tasks did not succeed") as caught:
            drained.raise_errors()
        assert sorted(type(error).__name__ for error in caught.value.exceptions) == [
            "TaskCancelled",
            "TaskTimeout",
            "ValueError",
        ]


async def test_errors_beyond_exception_make_a_base_group():
    async with HybridExecutor("base", max_in_flight=1) as executor, executor.pile() as pile:
        await pile.include(fail, BaseException("odd"))
        with pytest.raises(BaseExceptionGroup):
            (await pile.drain()).raise_errors()


async def test_leaving_raises_no_untaken_error():
    async with HybridExecutor("untaken", max_in_flight=1) as executor:
        async with executor.pile() as pile:
            await pile.include(fail, ValueError("untaken"))
        stats = pile.stats()
        assert (stats.failed, stats.untaken, stats.submitted) == (1, 1, 1)
        assert repr(pile) == "<Pile 0 in flight · 0 queued · 1 untaken>"


async def test_piles_do_not_see_each_other():
    gate = Gate()
    async with HybridExecutor("several", max_in_flight=8) as executor:
        other = await executor.submit(gate.hold, "not in a pile")
        async with executor.pile() as first, executor.pile() as second:
            for number in range(3):
                await first.include(echo, ("first", number))
                await second.include(echo, ("second", number))
            assert {completed.value[0] async for completed in first} == {"first"}
            assert {completed.value[0] async for completed in second} == {"second"}
            await second.include(gate.hold)
            with pytest.raises(LookupError):
                async with executor.pile() as third:
                    cut = await third.include(forever)
                    raise LookupError
            with pytest.raises(TaskCancelled) as caught:
                await cut
            assert caught.value.reason == "shutdown"
            assert (second.stats().in_flight, other.done) == (1, False)
            gate.open()


async def test_leaving_normally_waits_for_the_piles_tasks_only():
    gate, other = Gate(), Gate()
    async with HybridExecutor("waits", max_in_flight=4) as executor:
        foreign = await executor.submit(other.hold)
        async with anyio.create_task_group() as group:
            async with executor.pile() as pile:
                handle = await pile.include(gate.hold, 1)

                async def opens():
                    await anyio.wait_all_tasks_blocked()
                    gate.open()

                group.start_soon(opens)
            assert handle.done
            assert not foreign.done
        with pytest.raises(ExecutorClosed, match="the pile is closed"):
            await pile.include(echo, 1)
        other.open()


async def test_aclose_cancels_and_waits():
    async with HybridExecutor("aclose", max_in_flight=2) as executor:
        pile = executor.pile()
        handles = [await pile.include(forever) for _ in range(4)]
        await anyio.wait_all_tasks_blocked()
        await pile.aclose()
        await pile.aclose()
        assert all(handle.done for handle in handles)
        assert pile.stats().cancelled == 4
        assert executor.stats().in_flight == 0


async def test_pile_cancel_says_explicit_and_the_pile_goes_on():
    async with HybridExecutor("cancel", max_in_flight=2) as executor, executor.pile() as pile:
        for _ in range(4):
            await pile.include(forever)
        assert pile.cancel("enough") == 4
        drained = await pile.drain()
        assert {(completed.error.reason, completed.error.message) for completed in drained} == {("explicit", "enough")}
        await pile.include(echo, 1)
        assert (await pile.next_completed()).value == 1


async def test_a_cancelled_scope_around_a_pile_cancels_its_tasks():
    async with HybridExecutor("scope", max_in_flight=2) as executor:
        async with cancelled_once_blocked() as scope:
            async with executor.pile() as pile:
                handle = await pile.include(forever)
        assert scope.cancelled_caught
        with pytest.raises(TaskCancelled) as caught:
            await handle
        assert caught.value.reason == "parent_scope"


@pytest.mark.parametrize("kind", ["error", "timeout"])
async def test_fail_fast_cancels_the_piles_other_tasks(kind):
    async with HybridExecutor("fast", max_in_flight=8) as executor:
        outside = await executor.submit(forever)
        async with executor.pile(fail_fast=True) as pile:
            others = [await pile.include(forever) for _ in range(4)]
            outside.cancel()
            if kind == "error":
                others[0].cancel()  # a cancellation is no failure
                await anyio.wait_all_tasks_blocked()
                assert not others[1].done
                await pile.include(fail, ValueError("first"))
            else:
                await pile.include(forever, deadline=anyio.current_time())
        drained = await pile.drain()
        reasons = [completed.error.reason for completed in drained if completed.outcome is Outcome.CANCELLED]
        assert reasons.count("sibling_failure") == (3 if kind == "error" else 4)
        with pytest.raises(ExceptionGroup):
            drained.raise_errors()
        assert await executor.run(echo, 1) == 1


async def test_two_consumers_share_the_outcomes():
    taken: dict[str, list[int]] = {"a": [], "b": []}
    async with HybridExecutor("two", max_in_flight=4) as executor, executor.pile() as pile:

        async def consume(name):
            async for completed in pile:
                taken[name].append(completed.value)
                await anyio.lowlevel.checkpoint()

        for number in range(60):
            await pile.include(echo, number)
        async with anyio.create_task_group() as group:
            group.start_soon(consume, "a")
            group.start_soon(consume, "b")
    assert sorted(taken["a"] + taken["b"]) == list(range(60))
    assert taken["a"]
    assert taken["b"]


async def test_producers_keep_the_iteration_open():
    async with HybridExecutor("producers", max_in_flight=2, max_queued=1) as executor, executor.pile() as pile:
        begin = anyio.Event()

        async def produce(base):
            with pile.producer() as include:
                begin.set()
                for number in range(10):
                    await turns(number % 3)
                    await include(echo, base + number)

        async with anyio.create_task_group() as group:
            for base in (0, 100, 200):
                group.start_soon(produce, base)
            await begin.wait()
            values = [completed.value async for completed in pile]
    assert sorted(values) == [base + number for base in (0, 100, 200) for number in range(10)]


async def test_a_producer_that_fails_ends_the_iteration_too():
    async with HybridExecutor("failing", max_in_flight=2) as executor, executor.pile() as pile:
        ready = anyio.Event()

        async def produce():
            with pytest.raises(LookupError), pile.producer() as include:
                await include(echo, 1)
                ready.set()
                await anyio.wait_all_tasks_blocked()
                raise LookupError

        async with anyio.create_task_group() as group:
            group.start_soon(produce)
            await ready.wait()
            assert [completed.value async for completed in pile] == [1]


async def test_a_consumer_that_is_cancelled_takes_nothing():
    gate = Gate()
    async with HybridExecutor("cancelled", max_in_flight=1) as executor, executor.pile() as pile:
        await pile.include(gate.hold, 3)
        with anyio.move_on_after(0):
            await pile.next_completed()
        gate.open()
        assert (await pile.next_completed()).value == 3


async def test_a_pile_closed_while_include_was_blocked_cancels_what_came_late():
    gate = Gate()
    async with HybridExecutor("late", max_in_flight=1, max_queued=0) as executor:
        blocker = await executor.submit(gate.hold)
        pile = executor.pile()
        late = []

        async def includes():
            late.append(await pile.include(forever))

        async with anyio.create_task_group() as group:
            group.start_soon(includes)
            await anyio.wait_all_tasks_blocked()
            await pile.aclose()
            gate.open()
        await blocker
        with pytest.raises(TaskCancelled):
            await late[0]


async def test_a_timeout_is_an_error_of_its_own_kind():
    async with HybridExecutor("kinds", max_in_flight=1) as executor, executor.pile() as pile:
        await pile.include(forever, timeout=0.01)
        completed = await pile.next_completed()
        assert completed.outcome is Outcome.TIMEOUT
        with pytest.raises(TaskTimeout):
            completed.unwrap()
