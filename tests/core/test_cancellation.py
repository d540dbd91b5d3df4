"""Cancellation: its reasons, the phase of the task, and that it is passed on."""

from __future__ import annotations

import sys

import anyio
import pytest

from glasspool import HybridExecutor, Outcome, TaskCancelled, TaskState

from .support import Gate, conserved, echo, forever, turns

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

pytestmark = pytest.mark.anyio


async def reason_of(handle):
    completed = await handle.outcome()
    assert completed.outcome is Outcome.CANCELLED
    return completed.error.reason


async def test_cancelling_a_queued_task_ends_it_at_once():
    gate = Gate()
    async with HybridExecutor("queued", max_in_flight=1) as executor:
        executor.submit_nowait(gate.hold)
        queued = executor.submit_nowait(gate.hold)
        assert queued.cancel("changed my mind")
        assert queued.state is TaskState.CANCELLED
        assert executor.stats().queued == 0
        with pytest.raises(TaskCancelled, match=r"cancelled \(explicit\): changed my mind") as caught:
            await queued
        assert (caught.value.reason, caught.value.message) == ("explicit", "changed my mind")
        assert not queued.cancel()
        gate.open()
    assert len(gate.started) == 1


async def test_cancelling_a_task_before_its_first_step_never_calls_it():
    gate = Gate()
    async with HybridExecutor("unstarted", max_in_flight=1) as executor:
        handle = executor.submit_nowait(gate.hold)
        assert handle.state is TaskState.ACTIVE
        assert handle.cancel()
        assert handle.state is TaskState.CANCELLED
        assert executor.stats().slots_used == 0
        await anyio.wait_all_tasks_blocked()
    assert gate.started == []


async def test_cancelling_a_running_task_goes_through_its_scope():
    gate = Gate()
    async with HybridExecutor("running", max_in_flight=2) as executor:
        handle, other = await executor.submit(gate.hold, 1), await executor.submit(gate.hold, 2)
        await anyio.wait_all_tasks_blocked()
        assert handle.cancel()
        assert not handle.cancel("again")  # the first request wins
        assert await reason_of(handle) == "explicit"
        assert gate.ended == [1]
        assert not other.done
        gate.open()
        assert await other == 2
        assert not other.cancel()


async def test_a_task_may_cancel_itself():
    async with HybridExecutor("self", max_in_flight=1) as executor:
        handles = []

        async def cancels_itself():
            assert handles[0].cancel("enough")
            await anyio.sleep_forever()

        handles.append(executor.submit_nowait(cancels_itself))
        assert await reason_of(handles[0]) == "explicit"


async def test_a_cancelled_task_with_scopes_and_groups_of_its_own_unwinds_in_order():
    events = []
    async with HybridExecutor("nested", max_in_flight=4) as executor:

        async def child(name):
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await turns(2)
                    events.append(name)

        async def parent():
            with anyio.fail_after(1000), anyio.CancelScope():
                async with anyio.create_task_group() as group:
                    group.start_soon(child, "child")
                    try:
                        await child("parent")
                    finally:
                        events.append("left")

        handles = [await executor.submit(parent) for _ in range(4)]
        await anyio.wait_all_tasks_blocked()
        assert handles[2].cancel()
        assert await reason_of(handles[2]) == "explicit"
        assert sorted(events) == ["child", "left", "parent"]
        assert [handle.done for handle in handles] == [False, False, True, False]
        for handle in handles:
            handle.cancel()
    assert executor.stats().cancelled == 4


async def test_a_shielded_section_is_finished_first():
    gate = Gate()
    async with HybridExecutor("shield", max_in_flight=1) as executor:

        async def shielded():
            with anyio.CancelScope(shield=True):
                await gate.hold()
            await anyio.lowlevel.checkpoint()
            raise AssertionError("the cancellation was lost")

        handle = await executor.submit(shielded)
        await anyio.wait_all_tasks_blocked()
        handle.cancel()
        await turns(5)
        assert not handle.done
        gate.open()
        assert await reason_of(handle) == "explicit"


async def test_scopes_inside_a_task_keep_working_after_a_request():
    async with HybridExecutor("inner", max_in_flight=1) as executor:
        seen = []

        async def works():
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.move_on_after(0.01, shield=True) as scope:
                    await anyio.sleep_forever()
                seen.append(scope.cancelled_caught)

        handle = await executor.submit(works)
        await anyio.wait_all_tasks_blocked()
        handle.cancel()
        assert await reason_of(handle) == "explicit"
        assert seen == [True]
        assert await executor.run(echo, 1) == 1


async def test_an_outer_scope_cancels_queued_running_and_finishing_tasks():
    gate = Gate()
    executor = HybridExecutor("outer", max_in_flight=3, max_queued=4)
    handles, submitters = [], []
    with anyio.CancelScope() as scope:
        async with executor, anyio.create_task_group() as group:

            async def submitter():
                try:
                    await executor.submit(gate.hold)
                finally:
                    submitters.append(executor.stats().pending)

            done = await executor.submit(echo, "done")
            assert await done == "done"
            handles += [await executor.submit(gate.hold, number) for number in range(2)]
            just_finishing = await executor.submit(echo, "finishing")
            handles += [await executor.submit(gate.hold, number) for number in range(4)]
            for _ in range(3):
                group.start_soon(submitter)
            await anyio.wait_all_tasks_blocked()
            gate.open()  # the running ones are about to end: their wake-up and the cancellation come together
            scope.cancel()
    assert scope.cancelled_caught
    stats = conserved(executor, [done, just_finishing, *handles]) if executor.stats().submitted == 8 else None
    total = executor.stats()
    assert total.queued == total.in_flight == total.pending == 0
    assert total.succeeded >= 2
    assert total.submitted + total.rejected == 11
    assert len(submitters) == 3
    for handle in handles:
        completed = await handle.outcome()
        if completed.outcome is Outcome.CANCELLED:
            assert completed.error.reason in ("parent_scope", "deadline")
    assert stats is None or stats.cancelled <= 6


async def test_an_outer_scope_is_named_as_the_reason():
    executor = HybridExecutor("named", max_in_flight=2)
    with anyio.CancelScope() as scope:
        async with executor:
            running = [await executor.submit(forever) for _ in range(2)]
            queued = [await executor.submit(forever) for _ in range(2)]
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            await anyio.sleep_forever()
    assert [await reason_of(handle) for handle in (*running, *queued)] == ["parent_scope"] * 4
    assert executor.stats().cancelled == 4


async def test_an_outer_scope_stays_the_reason_when_a_task_answers_it_with_an_error():
    async def answers():
        try:
            await anyio.sleep_forever()
        finally:
            raise OSError("the connection was closed")

    executor = HybridExecutor("answered", max_in_flight=8, on_error="escalate")
    with pytest.raises(BaseExceptionGroup) as caught, anyio.CancelScope() as scope:
        async with executor:
            failing = [await executor.submit(answers) for _ in range(4)]
            others = [await executor.submit(forever) for _ in range(6)]
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            await anyio.sleep_forever()
    errors = [(await handle.outcome()).error for handle in failing]
    assert list(map(type, errors)) == [OSError] * 4
    assert sorted(map(id, caught.value.exceptions)) == sorted(map(id, errors))
    assert [await reason_of(handle) for handle in others] == ["parent_scope"] * 6


def test_trio_tells_an_outer_deadline_from_a_cancellation():
    trio, testing = pytest.importorskip("trio"), pytest.importorskip("trio.testing")

    async def main():
        executor = HybridExecutor("deadline", max_in_flight=2)
        with trio.move_on_after(10):
            async with executor:
                handles = [executor.submit_nowait(trio.sleep_forever) for _ in range(6)]
                await trio.sleep_forever()
        return [(await handle.outcome()).error.reason for handle in handles]

    for _ in range(4):  # trio wakes tasks in random order: whichever is first, the reason is the same
        assert trio.run(main, clock=testing.MockClock(autojump_threshold=0)) == ["deadline"] * 6


async def test_a_cancelled_scope_is_noticed_within_64_submits():
    async with HybridExecutor("noticed", max_in_flight=1, max_queued=None) as executor:
        with anyio.CancelScope() as scope:
            scope.cancel()
            for _ in range(64):
                await executor.submit(echo, 1)
            raise AssertionError("no submit was a checkpoint")
        assert executor.stats().submitted <= 64


async def test_cancelling_an_executor_again_and_again_loses_nothing():
    total = 0
    for turn in range(40):
        executor = HybridExecutor("again", max_in_flight=4, max_queued=2)
        with anyio.CancelScope() as scope:
            async with executor, anyio.create_task_group() as group:

                async def producer(executor=executor):
                    for number in range(50):
                        await executor.submit(turns, number % 5)

                for _ in range(4):
                    group.start_soon(producer)
                await turns(turn)
                scope.cancel()
        stats = executor.stats()
        assert stats.queued == stats.in_flight == stats.pending == stats.slots_used == 0
        assert stats.submitted == stats.succeeded + stats.cancelled
        total += stats.succeeded
    assert total > 0
