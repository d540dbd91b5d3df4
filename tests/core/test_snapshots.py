"""Snapshots of a working HybridExecutor are consistent and correct, on every backend."""

from __future__ import annotations

import re
import sys
import threading

import anyio
import pytest

from glasspool import HybridExecutor
from glasspool._executor_block import block_of
from glasspool.telemetry import catalog
from glasspool.telemetry.recording.registry import REGISTRY
from glasspool.telemetry.recording.snapshot import Snapshot
from tests.telemetry.support import LIMIT, run_python
from tests.telemetry.test_golden import compare


def of(name: str, snapshot: Snapshot) -> Snapshot:
    """The series of one executor: the process's registry remembers those of the other tests."""
    key = catalog.Key.EXECUTOR_NAME
    return Snapshot(
        {metric: [p for p in points if p.attributes.get(key) == name] for metric, points in snapshot.points.items()},
        {metric: [h for h in each if h.attributes.get(key) == name] for metric, each in snapshot.histograms.items()},
    )


def sum_of(snapshot: Snapshot, metric: catalog.Metric, **attributes: str) -> float:
    wanted = {getattr(catalog.Key, key): text for key, text in attributes.items()}
    return sum(p.value for p in snapshot.points[metric.name] if wanted.items() <= p.attributes.items())


def count_of(snapshot: Snapshot, metric: catalog.Metric) -> int:
    return sum(h.count for h in snapshot.histograms.get(metric.name, ()))


@pytest.mark.anyio
async def test_every_snapshot_from_another_thread_adds_up(request):
    name = f"conserved-{request.node.callspec.id}"
    problems: list[str] = []
    done = threading.Event()
    snapshots = 0

    def read() -> None:
        nonlocal snapshots
        while not done.is_set():
            found = of(name, REGISTRY.collect())
            stats = executor.stats()
            snapshots += 1
            submitted = sum_of(found, catalog.TASK_SUBMITTED)
            completed = sum_of(found, catalog.TASK_COMPLETED)
            queued, active = sum_of(found, catalog.QUEUE_SIZE), sum_of(found, catalog.TASK_ACTIVE)
            if submitted != completed + queued + active:
                problems.append(f"{submitted} submitted, {completed} completed, {queued} queued, {active} active")
            ended = stats.succeeded + stats.failed + stats.timed_out + stats.cancelled
            if stats.submitted != stats.queued + stats.in_flight + ended:
                problems.append(str(stats))
            if not 0 <= active <= 8 or not 0 <= queued <= 16:
                problems.append(f"{active} active, {queued} queued")

    async def work(index: int) -> None:
        await anyio.sleep(0)
        if index % 5 == 0:
            raise ValueError(index)

    interval = sys.getswitchinterval()
    submitted = waited = 0
    async with HybridExecutor(name, max_in_flight=8, max_queued=16) as executor:
        line = block_of(executor, "the test").engine.line
        block = line.block

        def counted(handle: object) -> object:
            nonlocal waited
            waited += 1
            return block(handle)

        line.block = counted
        sys.setswitchinterval(1e-6)
        reader = threading.Thread(target=read)
        reader.start()
        try:
            while submitted < 1500 or (snapshots <= 5 and reader.is_alive()):  # a busy machine may let the reader wait
                for index in range(5):
                    await executor.submit(work, index)
                submitted += 5
        finally:
            sys.setswitchinterval(interval)
            done.set()
            reader.join(LIMIT)
    assert problems == []
    assert snapshots > 5
    found = of(name, REGISTRY.collect())
    assert sum_of(found, catalog.TASK_COMPLETED, TASK_OUTCOME="success") == submitted * 4 / 5
    assert sum_of(found, catalog.TASK_COMPLETED, ERROR_TYPE="ValueError") == submitted / 5
    assert count_of(found, catalog.TASK_DURATION) == count_of(found, catalog.QUEUE_WAIT) == submitted
    assert count_of(found, catalog.SUBMIT_WAIT) == waited > 0


@pytest.mark.anyio
async def test_an_executor_opened_and_closed_a_hundred_times_loses_no_count(request):
    name = f"brief-{request.node.callspec.id}"
    for _ in range(100):
        async with HybridExecutor(name, max_in_flight=2) as executor:
            await executor.run(anyio.sleep, 0)
    found = of(name, REGISTRY.collect())
    for metric in (catalog.TASK_SUBMITTED, catalog.TASK_COMPLETED, catalog.EXECUTOR_OPENED, catalog.EXECUTOR_CLOSED):
        assert sum_of(found, metric) == 100
    assert count_of(found, catalog.TASK_DURATION) == count_of(found, catalog.SHUTDOWN_DURATION) == 100
    for gauge in (catalog.TASK_ACTIVE, catalog.QUEUE_SIZE, catalog.SLOT_LIMIT, catalog.SLOT_USAGE):
        assert sum_of(found, gauge) == 0


@pytest.mark.anyio
async def test_executors_of_one_name_are_summed_while_both_are_open(request):
    name = f"summed-{request.node.callspec.id}"
    release = anyio.Event()
    async with HybridExecutor(name, max_in_flight=2) as first, HybridExecutor(name, max_in_flight=3) as second:
        for executor in (first, second):
            await executor.submit(release.wait)
        found = of(name, REGISTRY.collect())
        assert sum_of(found, catalog.TASK_ACTIVE) == sum_of(found, catalog.SLOT_USAGE) == 2
        assert sum_of(found, catalog.SLOT_LIMIT) == 5
        assert len(found.points[catalog.SLOT_LIMIT.name]) == 1
        release.set()


MOCK = """
import re, sys
import anyio, prometheus_client, trio, trio.testing
from glasspool import HybridExecutor, QueueFull
from glasspool.telemetry import prometheus

async def work(seconds, error=None):
    await trio.sleep(seconds)
    if error is not None:
        raise error

async def main():
    prometheus.register()
    async with HybridExecutor("golden", max_in_flight=2, max_queued=2) as executor:
        first = await executor.submit(work, 2.0, name="first")
        await executor.submit(work, 4.0, ValueError("bad"), name="bad")
        slow = await executor.submit(work, 100.0, name="slow", timeout=8.0)
        queued = await executor.submit(work, 1.0, name="queued")
        try:
            executor.submit_nowait(work, 1.0)
        except QueueFull:
            pass
        await executor.submit(work, 16.0, name="blocked for two seconds")
        queued.cancel()
        await slow.outcome()
        running = await executor.submit(work, 100.0, name="cancelled")
        await trio.sleep(0.5)
        running.cancel()
        await executor.shutdown()
    text = prometheus_client.generate_latest().decode()
    sys.stdout.write("".join(line + chr(10) for line in text.splitlines() if "glasspool" in line))

trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
"""


def test_golden_scrape_of_a_recorded_run():
    """Every instant is the mock clock's, so the whole text is known."""
    pytest.importorskip("trio")
    compare("hybrid.txt", run_python(MOCK).out)


def test_the_golden_scrape_says_what_the_run_was():
    """By hand from the script above, so that a wrong golden file cannot be written by accident."""
    text = run_python(MOCK).out

    def series(metric: catalog.Metric, suffix: str = "", **labels: str) -> float:
        found = 0.0
        for line in text.splitlines():
            match = re.match(rf"{metric.prometheus_name}{suffix}{{(.*)}} (.*)", line)
            if match and all(f'{key}="{value}"' in match[1] for key, value in labels.items()):
                found += float(match[2])
        return found

    assert series(catalog.TASK_SUBMITTED) == 6
    assert series(catalog.TASK_REJECTED) == 1
    assert series(catalog.TASK_DURATION, "_sum", glasspool_task_name="first") == 2.0
    assert series(catalog.TASK_DURATION, "_sum", glasspool_task_name="bad") == 4.0
    assert series(catalog.TASK_DURATION, "_sum", glasspool_task_name="slow") == 8.0
    assert series(catalog.TASK_DURATION, "_sum", glasspool_task_name="blocked for two seconds") == 16.0
    assert series(catalog.TASK_DURATION, "_sum", glasspool_task_name="cancelled") == 0.5
    assert series(catalog.SUBMIT_WAIT, "_sum") == 2.0
    assert series(catalog.SUBMIT_WAIT, "_count") == 1
    assert series(catalog.TASK_COMPLETED, error_type="timeout", glasspool_task_outcome="timeout") == 1
    assert series(catalog.TASK_CANCELLATIONS, glasspool_task_phase="queued") == 1
    assert series(catalog.TASK_CANCELLATIONS, glasspool_task_phase="running") == 1
    assert series(catalog.SLOT_TIME) == 2.0 + 4.0 + 8.0 + 16.0 + 0.5
