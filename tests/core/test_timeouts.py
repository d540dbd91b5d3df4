"""Timeouts and deadlines: an outcome of their own, before, while and after waiting."""

from __future__ import annotations

import math

import anyio
import pytest

from glasspool import HybridExecutor, Outcome, TaskState, TaskTimeout
from glasspool.task import task_of
from glasspool.testing import run_out_of_time

from .support import Gate, echo, fail, forever

pytestmark = pytest.mark.anyio


async def test_a_task_that_runs_too_long_times_out():
    async with HybridExecutor("timeout", max_in_flight=2) as executor:
        handle = await executor.submit(forever, timeout=0.01)
        with pytest.raises(TaskTimeout, match=r"ran out of its time of 0.01 s") as caught:
            await handle
        assert isinstance(caught.value, TimeoutError)
        assert handle.state is TaskState.TIMED_OUT
        stats = executor.stats()
        assert (stats.timed_out, stats.cancelled, stats.failed) == (1, 0, 0)


async def test_a_timeout_counts_from_the_start_not_from_submission():
    gate = Gate()
    async with HybridExecutor("running", max_in_flight=1) as executor:
        executor.submit_nowait(gate.hold)
        handle = executor.submit_nowait(echo, 5, timeout=30)
        record = task_of(handle).record
        await anyio.sleep(0.02)
        gate.open()
        assert await handle == 5
        assert record.started - record.accepted >= 0.01  # uvloop's timers count whole milliseconds


@pytest.mark.parametrize("options", [{"timeout": 0}, {"deadline": 0}, {"deadline": -math.inf}])
async def test_out_of_time_at_the_start_means_the_function_is_not_called(options):
    gate = Gate()
    async with HybridExecutor("past", max_in_flight=1) as executor:
        handle = await executor.submit(gate.hold, **options)
        with pytest.raises(TaskTimeout, match="before it started"):
            await handle
        assert gate.started == []
        assert executor.stats().slots_used == 0


async def test_no_limit():
    async with HybridExecutor("none", max_in_flight=1) as executor:
        assert await executor.run(echo, 1, timeout=math.inf, deadline=math.inf) == 1
        assert await executor.run(echo, 1, timeout=None, deadline=None) == 1


async def test_a_deadline_counts_while_queued():
    gate = Gate()
    async with HybridExecutor("queued", max_in_flight=1, max_queued=3) as executor:
        executor.submit_nowait(gate.hold)
        now = anyio.current_time()
        far = executor.submit_nowait(gate.hold, deadline=now + 1000)
        near = executor.submit_nowait(gate.hold, deadline=now + 0.02)
        nearest = executor.submit_nowait(gate.hold, deadline=now + 0.01)
        with pytest.raises(TaskTimeout, match="before it started"):
            await near
        assert nearest.state is TaskState.TIMED_OUT
        assert far.state is TaskState.QUEUED
        assert executor.stats().queued == 1
        gate.open()
    assert len(gate.started) == 2


async def test_a_deadline_counts_while_submit_blocks():
    gate = Gate()
    async with HybridExecutor("blocked", max_in_flight=1, max_queued=0) as executor:
        executor.submit_nowait(gate.hold)
        with pytest.raises(TaskTimeout, match="nothing was accepted"):
            await executor.submit(gate.hold, deadline=anyio.current_time() + 0.01)
        stats = executor.stats()
        assert (stats.submitted, stats.rejected, stats.pending, stats.timed_out) == (1, 1, 0, 0)
        gate.open()


async def test_a_deadline_counts_while_running():
    gate = Gate()
    async with HybridExecutor("running", max_in_flight=1) as executor:
        handle = await executor.submit(gate.hold, deadline=anyio.current_time() + 1000)
        await anyio.wait_all_tasks_blocked()
        assert not handle.done
        run_out_of_time(handle)
        with pytest.raises(TaskTimeout, match=r"ran out of its time \(deadline\)"):
            await handle
        assert gate.ended == [None]


async def test_a_timeout_error_of_the_function_is_an_error():
    async with HybridExecutor("own", max_in_flight=1) as executor:
        completed = await (await executor.submit(fail, TimeoutError("mine"), timeout=30)).outcome()
        assert completed.outcome is Outcome.ERROR
        assert not isinstance(completed.error, TaskTimeout)

        async def fails_after():
            with anyio.fail_after(0):
                await anyio.sleep_forever()

        completed = await (await executor.submit(fails_after, timeout=30)).outcome()
        assert (completed.outcome, executor.stats().timed_out) == (Outcome.ERROR, 0)


async def test_the_first_request_names_the_outcome():
    gate = Gate()
    async with HybridExecutor("first", max_in_flight=1) as executor:

        async def slow_to_leave():
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await gate.hold()

        handle = await executor.submit(slow_to_leave, timeout=0.01)
        while not gate.started:
            await anyio.sleep(0.001)
        assert not handle.cancel("too late")  # its timeout asked first
        gate.open()
        assert (await handle.outcome()).outcome is Outcome.TIMEOUT


async def test_a_cleanup_after_the_timeout_may_fail():
    async with HybridExecutor("cleanup", max_in_flight=1) as executor:

        async def fails_on_the_way_out():
            try:
                await anyio.sleep_forever()
            finally:
                raise ValueError("while cleaning up")

        with pytest.raises(ValueError, match="cleaning up"):
            await executor.run(fails_on_the_way_out, timeout=0.01)


def test_a_timeout_counts_from_one_reading_of_the_clock():
    """A machine that pauses between two readings must not make a task time out that has not had its time yet."""
    trio = pytest.importorskip("trio")
    called = []

    class Rushing(trio.abc.Clock):
        """A second passes at each reading."""

        now = 0.0

        def start_clock(self):
            pass

        def current_time(self):
            self.now += 1
            return self.now

        def deadline_to_sleep_time(self, deadline):
            return max(0, deadline - self.current_time())

    async def called_and_waits():
        called.append(True)
        await trio.sleep_forever()

    async def main():
        async with HybridExecutor("rushing", max_in_flight=1) as executor:
            with pytest.raises(TaskTimeout, match=r"ran out of its time of 0.5 s"):
                await executor.run(called_and_waits, timeout=0.5)

    trio.run(main, clock=Rushing())
    assert called == [True]


def test_durations_on_a_mock_clock_are_exact():
    trio, testing = pytest.importorskip("trio"), pytest.importorskip("trio.testing")
    events = {}

    def observe(event):
        if event.kind == "settled":
            events[event.name] = (event.outcome, event.wait, event.duration)

    async def main():
        async with HybridExecutor("exact", max_in_flight=1, observers=[observe]) as executor:
            now = trio.current_time()
            executor.submit_nowait(trio.sleep, 5, name="a")
            executor.submit_nowait(trio.sleep, 7, name="b", timeout=3)
            executor.submit_nowait(trio.sleep, 1, name="c", deadline=now + 6)
            executor.submit_nowait(trio.sleep, 2, name="d", deadline=now + 9)

    trio.run(main, clock=testing.MockClock(autojump_threshold=0))
    assert events == {
        "a": ("success", 0, 5),
        "b": ("timeout", 5, 3),
        "c": ("timeout", 6, None),
        "d": ("timeout", 8, 1),
    }


async def test_the_function_sees_how_much_time_it_has():
    async def look():
        return anyio.current_effective_deadline() - anyio.current_time()

    async def inside():
        with anyio.CancelScope(shield=True), anyio.CancelScope():
            await anyio.lowlevel.checkpoint()
        return await look()

    async with HybridExecutor("deadlines", max_in_flight=2) as executor:
        assert 0 < await executor.run(look, timeout=100) <= 100
        assert 0 < await executor.run(inside, deadline=anyio.current_time() + 100) <= 100
        assert await executor.run(look) > 100


async def test_many_time_limits_each_end_their_own_task():
    gate = Gate()
    async with HybridExecutor("limits", max_in_flight=50) as executor:
        short = [await executor.submit(forever, timeout=0.001 * (1 + (number * 7) % 25)) for number in range(25)]
        long = [await executor.submit(gate.hold, timeout=1000 + number) for number in range(25)]
        assert {(await handle.outcome()).outcome for handle in short} == {"timeout"}
        assert executor.stats().in_flight == 25
        gate.open()
        assert {(await handle.outcome()).outcome for handle in long} == {"success"}
        assert (await (await executor.submit(forever, timeout=0.001)).outcome()).outcome == "timeout"
