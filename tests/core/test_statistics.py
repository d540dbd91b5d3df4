"""Statistics are consistent inside observers and from other threads, and agree with metrics and spans."""

from __future__ import annotations

import sys
import threading

import anyio
import pytest
import trio
from trio import testing

from glasspool import HybridExecutor, Outcome, TaskState

from .support import Gate, echo, fail, forever, turns

pytestmark = pytest.mark.anyio


async def mixed(executor: HybridExecutor, rounds: int) -> list:
    """Tasks of every outcome, by the dozen."""
    handles = []
    for number in range(rounds):
        handles.append(await executor.submit(turns, number % 4))
        handles.append(await executor.submit(fail, ValueError()))
        handles.append(await executor.submit(echo, number, timeout=0))
        cancelled = await executor.submit(forever)
        handles.append(cancelled)
        if number % 3:
            await turns(2)
        cancelled.cancel()
    return handles


async def test_figures_add_up_inside_every_observer():
    seen = {"submitted": 0, "started": 0, "settled": 0, "rejected": 0}
    ended = dict.fromkeys(("success", "error", "timeout", "cancelled"), 0)
    wrong = []

    def observe(event):
        seen[event.kind] += 1
        if event.kind == "settled":
            ended[event.outcome] += 1
        stats = executor.stats()
        figures = (stats.succeeded, stats.failed, stats.timed_out, stats.cancelled)
        # Nested events (one task's end starts another) may be told before the outer one has been.
        if stats.submitted < seen["submitted"] or any(a < b for a, b in zip(figures, ended.values(), strict=True)):
            wrong.append((event, stats))
        if stats.submitted != stats.queued + stats.in_flight + sum(figures) or min(figures) < 0 or stats.queued < 0:
            wrong.append((event, stats))

    executor = HybridExecutor("observed", max_in_flight=3, max_queued=4, observers=[observe])
    async with executor:
        handles = await mixed(executor, 50)
    assert wrong == []
    assert seen["submitted"] == seen["settled"] == len(handles) == 200
    stats = executor.stats()
    assert tuple(ended.values()) == (stats.succeeded, stats.failed, stats.timed_out, stats.cancelled)
    assert (stats.failed, stats.timed_out, stats.cancelled) == (50, 50, 50)


async def test_observers_may_call_back():
    events = []

    def observe(event):
        events.append(event.kind)
        if event.kind == "settled" and event.name == "first":
            executor.submit_nowait(echo, 2, name="second")
        if event.kind == "submitted" and event.name == "unwanted":
            handles["latest"].cancel() if "latest" in handles else None

    handles = {}
    executor = HybridExecutor("back", max_in_flight=2, observers=[observe])
    async with executor:
        await executor.run(echo, 1, name="first")
        while executor.stats().succeeded < 2:
            await anyio.lowlevel.checkpoint()
        handles["latest"] = await executor.submit(forever)
        await executor.submit(echo, 1, name="unwanted")
        assert handles["latest"].state in (TaskState.CANCELLED, TaskState.ACTIVE)
    assert executor.stats().submitted == 4
    assert events.count("settled") == 4


@pytest.mark.parametrize("options", [{}, {"timeout": 1000.0}, {"runner": "inline"}, {"runner": "thread"}], ids=str)
async def test_an_observer_may_cancel_the_task_that_begins(options):
    handles, answers = {}, []

    def observe(event):
        if event.kind == "started" and event.task_id in handles:
            answers.append(handles[event.task_id].cancel("by an observer"))

    def plain():
        return forever() if options["runner"] == "inline" else None

    async with HybridExecutor("begin", max_in_flight=1, observers=[observe]) as executor:
        handle = executor.submit_nowait(plain if "runner" in options else forever, **options)
        handles[handle.id] = handle
        completed = await handle.outcome()
        assert (completed.outcome, answers) == (Outcome.CANCELLED, [True])
        assert (completed.error.reason, completed.error.message) == ("explicit", "by an observer")
        assert await executor.run(echo, 1) == 1
    assert executor.stats().abandoned == 0


async def test_an_observer_may_cancel_other_tasks_whose_deadline_passes_in_the_same_turn():
    handles = []

    def observe(event):
        if event.kind == "settled":
            for handle in handles:
                handle.cancel()

    gate = Gate()
    executor = HybridExecutor("deadlines", max_in_flight=1, observers=[observe])
    async with executor:
        executor.submit_nowait(gate.hold)
        deadline = anyio.current_time() + 0.01
        handles.extend([executor.submit_nowait(forever, deadline=deadline) for _ in range(5)])
        for handle in handles:
            await handle.outcome()
        gate.open()
    stats = executor.stats()
    assert stats.timed_out + stats.cancelled == 5
    assert stats.timed_out >= 1


async def test_a_failing_observer_is_dropped_and_the_work_goes_on(caplog):
    told = []

    def broken(event):
        told.append(event)
        raise LookupError("observer")

    async with HybridExecutor("broken", max_in_flight=1, observers=[broken]) as executor:
        assert [value async for value in executor.map(echo, range(10))] == list(range(10))
    assert len(told) == 1
    assert len(caplog.records) == 1


async def test_an_interrupt_in_an_observer_closes_the_executor():
    def interrupted(event):
        if event.kind == "settled":
            raise KeyboardInterrupt("in an observer")

    with pytest.raises(KeyboardInterrupt, match="in an observer"):
        async with HybridExecutor("interrupt", max_in_flight=1, observers=[interrupted]) as executor:
            await executor.submit(echo, 1)
            await anyio.sleep_forever()


async def test_figures_add_up_from_another_thread_in_a_tight_loop():
    executor = HybridExecutor("tight", max_in_flight=3, max_queued=5)
    stop, wrong = threading.Event(), []
    submitted = readings = 0

    def read():
        nonlocal readings
        last = 0
        while not stop.is_set():
            stats = executor.stats()
            readings += 1
            if stats.submitted < last or not 0 <= stats.in_flight <= 3 or not 0 <= stats.queued <= 5:
                wrong.append((last, stats))
            last = stats.submitted

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=read)
    try:
        sys.setswitchinterval(1e-6)
        async with executor:
            thread.start()
            # A busy machine may let the other thread wait.
            while submitted < 1600 or (readings <= 100 and thread.is_alive()):
                submitted += len(await mixed(executor, 100))
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        thread.join()
    assert wrong == []
    assert readings > 100
    assert executor.stats().submitted == submitted


async def test_figures_after_every_loop_turn():
    gate = Gate()
    async with HybridExecutor("turns", max_in_flight=2, max_queued=3) as executor:
        async with anyio.create_task_group() as group:
            group.start_soon(mixed, executor, 20)
            for _ in range(200):
                stats = executor.stats()
                assert stats.slots_used == stats.in_flight <= 2
                assert stats.queued <= 3
                await anyio.lowlevel.checkpoint()
        gate.open()


async def test_ages_are_those_of_the_oldest():
    gate = Gate()
    async with HybridExecutor("ages", max_in_flight=1, max_queued=1) as executor:
        assert executor.stats().oldest_active_age == executor.stats().oldest_queued_age == 0
        executor.submit_nowait(gate.hold)
        executor.submit_nowait(gate.hold)
        async with anyio.create_task_group() as group:
            group.start_soon(executor.submit, gate.hold)
            await anyio.wait_all_tasks_blocked()
            await anyio.sleep(0.02)
            stats = executor.stats()
            assert min(stats.oldest_active_age, stats.oldest_queued_age, stats.oldest_pending_age) >= 0.01
            gate.open()


def test_ages_rise_in_a_straight_line_while_a_burst_is_served():
    """So such a line does not say that nothing starts: completions beside it do."""
    seen = []

    async def main():
        async with HybridExecutor("burst", max_in_flight=1, max_queued=10) as executor, trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(executor.submit, trio.sleep, 1)
            await trio.sleep(0.5)
            for _ in range(8):
                await trio.sleep(1)
                stats = executor.stats()
                seen.append((stats.oldest_queued_age, stats.oldest_pending_age, stats.succeeded))

    trio.run(main, clock=testing.MockClock(autojump_threshold=0))
    assert seen == [(pytest.approx(n + 0.5), pytest.approx(n + 0.5), n) for n in range(1, 9)]
