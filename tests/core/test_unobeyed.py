"""Tasks that were asked to end and do not: they are counted, logged, and named in the report of the shutdown."""

from __future__ import annotations

import logging
import threading

import anyio
import pytest

from glasspool import HybridExecutor, Outcome
from glasspool import stats as stats_module
from glasspool._core import closing
from glasspool._executor_block import block_of
from glasspool.telemetry import catalog
from glasspool.testing import recorded, run_out_of_time

from .support import Gate, turns, until

pytestmark = pytest.mark.anyio


class Stubborn:
    """A coroutine function that goes on whatever it is asked, until it is told that it may end."""

    def __init__(self) -> None:
        self.begun = self.enough = False
        self.asked = 0

    async def __call__(self):
        self.begun = True
        while not self.enough:
            try:
                await anyio.sleep(0.001)
            except BaseException:  # a driver that catches everything
                self.asked += 1


def cancelling(seen, name="stubborn"):
    count = seen.total(catalog.TASK_CANCELLING, executor_name=name)
    return count, seen.total(catalog.TASK_CANCELLING_OLDEST_AGE, executor_name=name) > 0


@pytest.fixture
def seen():
    with recorded() as figures:
        yield figures


async def test_a_request_is_counted_until_the_task_ends(seen):
    async with HybridExecutor("stubborn", max_in_flight=2) as executor:
        task = Stubborn()
        handle = await executor.submit(task)
        await until(lambda: task.begun)
        assert cancelling(seen) == (0, False)
        assert (executor.stats().cancelling, executor.stats().oldest_cancelling_age) == (0, 0)
        handle.cancel()
        await until(lambda: task.asked)
        await turns(3)
        assert cancelling(seen) == (1, True)
        stats = executor.stats()
        assert (stats.cancelling, stats.in_flight) == (1, 1)
        first = stats.oldest_cancelling_age
        assert first > 0
        await until(lambda: executor.stats().oldest_cancelling_age > first)
        task.enough = True
        assert (await handle.outcome()).outcome is Outcome.SUCCESS  # as it ended
        assert cancelling(seen) == (0, False)
        assert executor.stats().cancelling == 0


@pytest.mark.parametrize("how", ["timeout", "deadline"])
async def test_a_time_that_has_run_out_is_a_request(seen, how):
    async with HybridExecutor("stubborn", max_in_flight=2) as executor:
        gate, task = Gate(), Stubborn()
        far = {how: 1000.0 if how == "timeout" else anyio.current_time() + 1000}
        await executor.submit(gate.hold, **far)
        near = {how: 0.02 if how == "timeout" else anyio.current_time() + 0.02}
        handle = await executor.submit(task, **near)
        await until(lambda: task.asked or handle.done)
        if not handle.done:  # on a slow machine its time may be out before it begins
            await until(lambda: cancelling(seen) == (1, True))
            task.enough = True
            await handle.outcome()
        assert cancelling(seen) == (0, False)
        gate.open()


async def test_what_ends_at_once_is_not_seen_as_refusing(seen):
    gate = Gate()
    async with HybridExecutor("stubborn", max_in_flight=1) as executor:
        running = await executor.submit(gate.hold, timeout=1000)
        queued = await executor.submit(gate.hold)
        await anyio.wait_all_tasks_blocked()
        queued.cancel()
        assert cancelling(seen) == (0, False)
        run_out_of_time(running)
        assert (await running.outcome()).outcome is Outcome.TIMEOUT
        assert cancelling(seen) == (0, False)
        assert block_of(executor, "the test").engine.reporter.recorder.record.asked == {}


async def test_a_thread_that_is_waited_for_is_counted_and_one_that_is_left_is_not(seen):
    begun, go = threading.Semaphore(0), threading.Event()

    def work():
        begun.release()
        assert go.wait(60)

    async with HybridExecutor("stubborn", max_in_flight=2) as executor:
        handles = [await executor.submit(work, abandon=abandon) for abandon in (True, False)]
        for _ in handles:
            await until(lambda: begun.acquire(blocking=False))
        for handle in handles:
            handle.cancel()
        await handles[0].outcome()
        assert cancelling(seen) == (1, True)
        assert seen.total(catalog.TASK_ABANDONED, executor_name="stubborn") == 1
        go.set()


async def test_a_scope_around_the_executor_asks_its_tasks(seen):
    task = Stubborn()
    found = []

    async def look():
        with anyio.CancelScope(shield=True):
            # trio wakes the task and the executor, both of which the scope cancels, in any order.
            await until(lambda: task.asked and cancelling(seen) != (0, False))
            found.append(cancelling(seen))
            task.enough = True

    async with anyio.create_task_group() as group:
        group.start_soon(look)
        async with HybridExecutor("stubborn", max_in_flight=2) as executor:
            await executor.submit(task)
            await until(lambda: task.begun)
            group.cancel_scope.cancel()
            await anyio.sleep_forever()
    assert found == [(1, True)]


def test_ages_are_exact_on_a_mock_clock(seen):
    trio, testing = pytest.importorskip("trio"), pytest.importorskip("trio.testing")

    async def refuses():
        with trio.CancelScope(shield=True):
            await trio.sleep(100)

    async def main():
        async with HybridExecutor("stubborn", max_in_flight=3) as executor:
            handle = await executor.submit(refuses)
            await executor.submit(refuses, timeout=10)
            await trio.sleep(5)
            handle.cancel()
            await trio.sleep(3)
            stats = executor.stats()
            assert (stats.cancelling, stats.oldest_cancelling_age) == (1, 3)
            await trio.sleep(4)
            stats = executor.stats()
            assert (stats.cancelling, stats.oldest_cancelling_age) == (2, 7)
            assert seen.total(catalog.TASK_CANCELLING_OLDEST_AGE, executor_name="stubborn") == 7
            assert seen.total(catalog.TASK_CANCELLING, executor_name="stubborn") == 2

    trio.run(main, clock=testing.MockClock(autojump_threshold=0))


@pytest.fixture
def impatient(monkeypatch):
    """What is late is so after a hundredth of a second."""
    monkeypatch.setattr(stats_module, "LATE", 0.01)
    monkeypatch.setattr(closing, "LATE", 0.01)
    monkeypatch.setattr("glasspool._core.reporter.LATE", 0.01)


def lines(caplog):
    return [record.getMessage() for record in caplog.records if "still waits" in record.getMessage()]


HOW = ["grace", "exception", "scope", "escalation"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("how", HOW)
async def test_a_closing_says_for_whom_it_waits_until_they_end(how, caplog):
    caplog.set_level(logging.WARNING, "glasspool")
    task = Stubborn()

    async def look(executor):
        with anyio.CancelScope(shield=True):
            await until(lambda: len(lines(caplog)) >= 3)
            task.enough = True
            reports.append(executor)

    async def fails():
        raise KeyError("escalated")

    reports = []
    executor = HybridExecutor("stubborn", max_in_flight=3, on_error="escalate" if how == "escalation" else "collect")
    left_by = None
    async with anyio.create_task_group() as group:
        group.start_soon(look, executor)
        try:
            async with executor:
                await executor.submit(task, name="driver")
                await until(lambda: task.begun)
                if how == "grace":
                    await executor.shutdown(grace=0)
                elif how == "exception":
                    raise ValueError("of the body")
                elif how == "scope":
                    group.cancel_scope.cancel()
                    await anyio.sleep_forever()
                else:
                    await executor.submit(fails)
                    await anyio.sleep_forever()
        except Exception as error:
            left_by = error
    report = block_of(executor, "the test").engine.finish()
    assert [late.name for late in report.late] == ["driver"]
    assert report.late[0].obeyed_after >= 0.01
    assert report.late[0].phase == "running"
    said = lines(caplog)
    assert all("executor 'stubborn' is closing" in line and "'driver' (asked " in line for line in said)
    assert (left_by is None) is (how in ("grace", "scope"))


def test_how_often_it_says_so_on_a_mock_clock(caplog):
    trio, testing = pytest.importorskip("trio"), pytest.importorskip("trio.testing")
    caplog.set_level(logging.WARNING, "glasspool")

    async def refuses():
        with trio.CancelScope(shield=True):
            await trio.sleep(100)

    async def main():
        async with HybridExecutor("stubborn", max_in_flight=20) as executor:
            for number in range(12):
                executor.submit_nowait(refuses, name=f"driver {number}")
            await trio.sleep(5)
            report = await executor.shutdown(grace=5)
        assert (report.duration, report.drained) == (95, True)  # they have ended by themselves
        assert {(late.name, late.obeyed_after, late.age) for late in report.late} == {
            (f"driver {number}", 90, 100) for number in range(12)
        }

    trio.run(main, clock=testing.MockClock(autojump_threshold=0))
    said = lines(caplog)
    asked = [line.partition("'driver 0' (asked ")[2].partition(" s ago")[0] for line in said]
    assert asked == ["1.0", "3.0", "7.0", "15.0", "31.0", "63.0"]
    assert all(
        line.endswith("'driver 9' (asked " + ago + " s ago), and 2 more") for line, ago in zip(said, asked, strict=True)
    )


def test_a_closing_that_needs_no_patience_says_nothing(caplog):
    trio, testing = pytest.importorskip("trio"), pytest.importorskip("trio.testing")
    caplog.set_level(logging.WARNING, "glasspool")

    async def cleans_up():
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.5)

    async def main():
        async with HybridExecutor("polite", max_in_flight=2) as executor:
            executor.submit_nowait(trio.sleep_forever)
            executor.submit_nowait(cleans_up)
            executor.submit_nowait(trio.sleep_forever)
            await trio.sleep(1)
            report = await executor.shutdown(grace=0)
        assert report.late == ()
        assert sorted((cut.phase, cut.obeyed_after) for cut in report.cut) == [
            ("queued", 0), ("running", 0), ("running", 0.5)
        ]  # fmt: skip

    trio.run(main, clock=testing.MockClock(autojump_threshold=0))
    assert lines(caplog) == []
