"""Metrics are exact: the SDK, the registry and stats() have the same numbers."""

from __future__ import annotations

import anyio
import pytest

from glasspool import HybridExecutor, QueueFull
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.recording.registry import REGISTRY

from .support import Gate, cancelled_once_blocked, echo, fail, forever, until

pytestmark = pytest.mark.anyio


class Figures:
    """The process's metrics of one executor, as differences from when this was made."""

    def __init__(self, executor: str) -> None:
        self._executor = executor
        self._before = self._read()

    def _read(self):
        snapshot = REGISTRY.collect()
        found = {}
        for name, points in snapshot.points.items():
            for point in points:
                if point.attributes.get(Key.EXECUTOR_NAME) == self._executor:
                    found[name, frozenset(point.attributes.items())] = point.value
        for name, points in snapshot.histograms.items():
            for point in points:
                if point.attributes.get(Key.EXECUTOR_NAME) == self._executor:
                    found[name, frozenset(point.attributes.items())] = point.count
        return found

    def of(self, metric, **attributes):
        """The sum over the series with these attributes (underscores for dots)."""
        wanted = {key.replace("_", "."): value for key, value in attributes.items()}
        total = 0.0
        for (name, labels), value in self._read().items():
            if name == metric.name and wanted.items() <= dict(labels).items():
                total += value - self._before.get((name, labels), 0)
        return total


async def test_every_number_of_a_mixed_run(sdk, anyio_backend, request):
    name = f"numbers {request.node.name}"
    gate = Gate()
    figures = Figures(name)
    async with HybridExecutor(name, max_in_flight=2, max_queued=2) as executor:
        held = [executor.submit_nowait(gate.hold, name="held") for _ in range(4)]
        with pytest.raises(QueueFull):
            executor.submit_nowait(echo, 1)
        assert (figures.of(catalog.TASK_ACTIVE), figures.of(catalog.QUEUE_SIZE)) == (2, 2)
        assert (figures.of(catalog.SLOT_USAGE), figures.of(catalog.SLOT_LIMIT)) == (2, 2)
        assert figures.of(catalog.QUEUE_CAPACITY) == 2
        held[3].cancel()
        gate.open()
        for handle in held[:3]:
            await handle
        await (await executor.submit(fail, ValueError(), name="bad")).outcome()
        await (await executor.submit(forever, timeout=0, name="late")).outcome()
        running = await executor.submit(forever, name="cut")
        await anyio.wait_all_tasks_blocked()
        running.cancel()
        await running.outcome()
        await executor.run(len, "abc", name="thread")
        stats = executor.stats()
    assert (stats.succeeded, stats.failed, stats.timed_out, stats.cancelled, stats.rejected) == (4, 1, 1, 2, 1)
    assert figures.of(catalog.TASK_SUBMITTED) == stats.submitted == 8
    completed = catalog.TASK_COMPLETED
    assert figures.of(completed) == 8
    assert figures.of(completed, glasspool_task_outcome="success", glasspool_runner="thread") == 1
    assert figures.of(completed, glasspool_task_outcome="success") == 4
    assert figures.of(completed, glasspool_task_outcome="error", error_type="ValueError") == 1
    assert figures.of(completed, glasspool_task_outcome="timeout", error_type="timeout") == 1
    assert figures.of(completed, glasspool_task_outcome="cancelled", error_type="cancelled") == 2
    cancellations = catalog.TASK_CANCELLATIONS
    assert figures.of(cancellations) == 2
    for phase in ("queued", "running"):
        assert figures.of(cancellations, glasspool_cancel_reason="explicit", glasspool_task_phase=phase) == 1
    assert figures.of(catalog.TASK_REJECTED, error_type="queue_full") == figures.of(catalog.TASK_REJECTED) == 1
    assert figures.of(catalog.TASK_DURATION) == 6  # one was cancelled and one timed out before starting
    assert figures.of(catalog.QUEUE_WAIT) == 8
    assert figures.of(catalog.QUEUE_WAIT, glasspool_queue_outcome="started") == 6
    assert figures.of(catalog.CANCEL_DURATION) == 2
    assert figures.of(catalog.SUBMIT_WAIT) == 0  # no producer had to wait for room
    for gauge in (catalog.TASK_ACTIVE, catalog.QUEUE_SIZE, catalog.SLOT_USAGE, catalog.SLOT_LIMIT):
        assert figures.of(gauge) == 0  # the executor has closed
    assert (figures.of(catalog.EXECUTOR_OPENED), figures.of(catalog.EXECUTOR_CLOSED)) == (1, 1)
    labels = {"glasspool_executor_name": name}
    assert sum(point.value for point in sdk.points(completed.name, **labels)) == figures_now(name, completed)
    counted = sum(point.count for point in sdk.points(catalog.TASK_DURATION.name, **labels))
    assert counted == 6
    assert len([span for span in sdk.spans() if span.attributes[Key.EXECUTOR_NAME] == name]) == 8


def figures_now(executor: str, metric) -> float:
    points = REGISTRY.collect().points[metric.name]
    return sum(point.value for point in points if point.attributes[Key.EXECUTOR_NAME] == executor)


def test_durations_and_slot_time_on_a_mock_clock():
    trio, testing = pytest.importorskip("trio"), pytest.importorskip("trio.testing")
    name = "clockwork"

    async def main():
        figures = Figures(name)
        async with HybridExecutor(name, max_in_flight=2, max_queued=None) as executor:
            for seconds in (4, 4, 2, 6):
                executor.submit_nowait(trio.sleep, seconds)
            await trio.sleep(5)
            assert figures.of(catalog.SLOT_TIME) == 10  # what still runs is counted
            assert executor.stats().oldest_active_age == 1
        assert figures.of(catalog.SLOT_TIME) == 16
        assert figures.of(catalog.SLOT_LIMIT_TIME) == 2 * figures.of(catalog.EXECUTOR_TIME) == 20
        assert figures.of(catalog.SLOT_SATURATED_TIME) == 6

    trio.run(main, clock=testing.MockClock(autojump_threshold=0))
    durations = [
        point
        for point in REGISTRY.collect().histograms[catalog.TASK_DURATION.name]
        if point.attributes[Key.EXECUTOR_NAME] == name
    ]
    assert sum(point.sum for point in durations) == 16


async def test_a_hundred_executors_between_two_readings_lose_no_count():
    figures = Figures("short-lived")
    for _ in range(100):
        async with HybridExecutor("short-lived", max_in_flight=1) as executor:
            await executor.run(echo, 1)
    assert figures.of(catalog.TASK_COMPLETED) == figures.of(catalog.TASK_SUBMITTED) == 100
    assert figures.of(catalog.EXECUTOR_OPENED) == figures.of(catalog.EXECUTOR_CLOSED) == 100


async def test_submit_wait_is_apart_from_queue_wait():
    name = "backpressure"
    figures, gate = Figures(name), Gate()
    async with HybridExecutor(name, max_in_flight=1, max_queued=0) as executor:
        executor.submit_nowait(gate.hold)
        async with anyio.create_task_group() as group:
            group.start_soon(executor.submit, echo, 1)
            await anyio.wait_all_tasks_blocked()
            assert figures.of(catalog.SUBMIT_PENDING) == executor.stats().pending == 1
            assert figures.of(catalog.QUEUE_SIZE) == 0
            async with cancelled_once_blocked():
                await executor.submit(echo, 2)
            gate.open()
    assert figures.of(catalog.SUBMIT_PENDING) == 0
    assert figures.of(catalog.TASK_REJECTED, error_type="submit_cancelled") == 1
    assert figures.of(catalog.SUBMIT_WAIT) == 2  # one got in, one gave up
    assert figures.of(catalog.QUEUE_WAIT) == 2


@pytest.mark.parametrize("runner", ["thread", "futures"])
async def test_abandoned_threads_count_until_they_end(runner):
    import threading
    from concurrent.futures import ThreadPoolExecutor

    name = f"abandoned-{runner}"
    figures = Figures(name)
    begun, go = threading.Event(), threading.Event()

    def work():
        begun.set()
        assert go.wait(60)

    with ThreadPoolExecutor(1) as pool:
        async with HybridExecutor(name, max_in_flight=1) as executor:
            handle = await executor.submit(work, runner=pool if runner == "futures" else "thread")
            await until(begun.is_set)
            handle.cancel()
            await handle.outcome()
            assert figures.of(catalog.TASK_ABANDONED, glasspool_runner=runner) == 1
            assert figures.of(catalog.SLOT_USAGE) == 1
        assert figures.of(catalog.TASK_ABANDONED) == 1
        go.set()
        await until(lambda: figures.of(catalog.TASK_ABANDONED) == 0)
    assert figures.of(catalog.TASK_COMPLETED, glasspool_runner=runner) == 1
