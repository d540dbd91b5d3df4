"""Closing: draining, cancelling, reports, escalation, and leaving a block by an exception."""

from __future__ import annotations

import sys

import anyio
import pytest

from glasspool import ExecutorClosed, HybridExecutor, TaskCancelled, TaskState

from .support import Gate, cancelled_once_blocked, conserved, echo, fail, forever

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

pytestmark = pytest.mark.anyio


async def test_a_normal_exit_drains_and_refuses_the_blocked_and_the_new():
    gate = Gate()
    refused = []
    async with anyio.create_task_group() as group:
        async with HybridExecutor("drain", max_in_flight=1, max_queued=1) as executor:

            async def submits():
                await gate.hold("own")
                with pytest.raises(ExecutorClosed, match="'drain' is closing"):
                    await executor.submit(echo, 1)
                return "told"

            async def blocked():
                with pytest.raises(ExecutorClosed, match="closed while submit of 'late' waited"):
                    await executor.submit(echo, 1, name="late")
                refused.append(executor.stats().pending)

            async def opens():
                await anyio.wait_all_tasks_blocked()
                gate.open()

            own = await executor.submit(submits)
            queued = await executor.submit(echo, "queued")
            group.start_soon(blocked)
            group.start_soon(blocked)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(opens)
    assert (await own, await queued) == ("told", "queued")
    assert refused == [1, 0]
    stats = conserved(executor, [own, queued])
    assert (stats.succeeded, stats.rejected, stats.pending) == (2, 3, 0)


async def test_an_exception_cancels_and_leaves_as_itself():
    executor = HybridExecutor("exception", max_in_flight=1)
    error = ValueError("of the body")
    with pytest.raises(ValueError, match="of the body") as caught:
        async with executor:
            running, queued = await executor.submit(forever), await executor.submit(forever)
            await anyio.wait_all_tasks_blocked()
            raise error
    assert caught.value is error
    assert error.__context__ is None
    for handle in (running, queued):
        with pytest.raises(TaskCancelled) as cancelled:
            await handle
        assert cancelled.value.reason == "shutdown"
    conserved(executor, [running, queued])


async def test_a_group_of_the_body_leaves_as_itself():
    group = ExceptionGroup("of the body", [ValueError(), KeyError()])
    with pytest.raises(ExceptionGroup) as caught:
        async with HybridExecutor("group", max_in_flight=1):
            raise group
    assert caught.value is group


async def test_shutdown_drains_and_reports():
    gate = Gate()
    async with HybridExecutor("report", max_in_flight=2) as executor:
        await (await executor.submit(echo, "before")).outcome()
        await executor.submit(fail, ValueError())
        await executor.submit(echo, 1, timeout=0)
        await executor.submit(gate.hold)
        queued = await executor.submit(gate.hold)
        queued.cancel()
        await anyio.wait_all_tasks_blocked()
        gate.open()
        report = await executor.shutdown(grace=30)
        assert report.drained
        assert (report.succeeded, report.cut, report.abandoned) == (1, (), 0)
        assert report.duration >= 0
        assert await executor.shutdown() is report
        with pytest.raises(ExecutorClosed, match="'report' is closed"):
            await executor.submit(echo, 1)
        assert repr(executor) == "<HybridExecutor 'report' closed · 0 in flight · 0 queued>"


@pytest.mark.parametrize("grace", [0, 0.01])
async def test_shutdown_cuts_what_is_left_after_the_grace(grace):
    async with HybridExecutor("cut", max_in_flight=1) as executor:
        running = await executor.submit(forever, name="running")
        queued = await executor.submit(forever, name="queued")
        await anyio.wait_all_tasks_blocked()
        report = await executor.shutdown(grace=grace)
        assert not report.drained
        assert {(cut.id, cut.name, cut.phase) for cut in report.cut} == {
            (running.id, "running", "running"),
            (queued.id, "queued", "queued"),
        }
        assert (report.cancelled, report.succeeded) == (2, 0)
        for handle in (running, queued):
            with pytest.raises(TaskCancelled) as caught:
                await handle
            assert caught.value.reason == "shutdown"


def test_the_grace_and_the_ages_of_what_was_cut_are_exact_on_a_mock_clock():
    trio, testing = pytest.importorskip("trio"), pytest.importorskip("trio.testing")

    async def main():
        async with HybridExecutor("exact", max_in_flight=1) as executor:
            executor.submit_nowait(trio.sleep_forever)
            await trio.sleep(2)
            executor.submit_nowait(trio.sleep_forever)
            await trio.sleep(1)
            report = await executor.shutdown(grace=5)
        assert report.duration == 5
        assert sorted((cut.phase, cut.age) for cut in report.cut) == [("queued", 6), ("running", 8)]

    trio.run(main, clock=testing.MockClock(autojump_threshold=0))


async def test_a_second_shutdown_joins_the_first():
    gate = Gate()
    reports = []
    async with HybridExecutor("join", max_in_flight=1) as executor:
        await executor.submit(gate.hold)
        async with anyio.create_task_group() as group:

            async def closes():
                reports.append(await executor.shutdown())

            group.start_soon(closes)
            group.start_soon(closes)
            await anyio.wait_all_tasks_blocked()
            assert repr(executor) == "<HybridExecutor 'join' closing · 1 in flight · 0 queued>"
            assert reports == []
            gate.open()
    assert reports[0] is reports[1]
    assert reports[0].succeeded == 1


async def test_a_shutdown_that_is_cancelled_leaves_the_rest_to_the_exit():
    gate = Gate()
    async with HybridExecutor("interrupted", max_in_flight=1) as executor:
        handle = await executor.submit(gate.hold, 4)
        async with cancelled_once_blocked() as scope:
            await executor.shutdown()
        assert scope.cancelled_caught
        assert not handle.done
        gate.open()
    assert await handle == 4


async def test_an_exit_cancelled_while_draining_cuts():
    executor = HybridExecutor("draining", max_in_flight=1)
    async with cancelled_once_blocked() as scope:
        async with executor:
            handle = await executor.submit(forever)
    assert scope.cancelled_caught
    assert handle.state is TaskState.CANCELLED


async def test_escalation_cancels_everything_and_raises_a_group():
    executor = HybridExecutor("escalate", max_in_flight=4, on_error="escalate")
    first, second = ValueError("first"), KeyError("second")
    reached = []
    with pytest.raises(ExceptionGroup, match="tasks of executor 'escalate' failed") as caught:
        async with executor:

            async def fails_while_leaving():
                try:
                    await anyio.sleep_forever()
                finally:
                    raise second

            others = [await executor.submit(forever), await executor.submit(fails_while_leaving)]
            await anyio.wait_all_tasks_blocked()
            await executor.submit(fail, first)
            await anyio.sleep_forever()
            reached.append("the body went on")
    assert reached == []
    assert list(caught.value.exceptions) == [first, second]
    with pytest.raises(TaskCancelled) as cancelled:
        await others[0]
    assert cancelled.value.reason == "sibling_failure"


async def test_escalation_while_draining():
    with pytest.raises(ExceptionGroup) as caught:
        async with HybridExecutor("late", max_in_flight=4, on_error="escalate") as executor:
            await executor.submit(forever)
            await executor.submit(fail, ValueError("late"))
    assert [str(error) for error in caught.value.exceptions] == ["late"]


async def test_collecting_is_the_default():
    async with HybridExecutor("collect", max_in_flight=4) as executor:
        await executor.submit(fail, ValueError())
        assert await executor.run(echo, 3) == 3


async def test_a_hundred_executors_one_after_the_other():
    for number in range(100):
        async with HybridExecutor("sequence", max_in_flight=2) as executor:
            assert await executor.run(echo, number) == number


async def test_executors_nest():
    async with HybridExecutor("a", max_in_flight=1) as first, HybridExecutor("b", max_in_flight=1) as second:
        assert (await first.run(echo, 1), await second.run(echo, 2)) == (1, 2)
