"""Counters never decrease, at whatever time they are read: Prometheus would take that for a restart."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import anyio
import anyio.to_thread
import prometheus_client
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import glasspool_instrumentation as gi
from glasspool import HybridExecutor
from glasspool.telemetry import catalog, prometheus
from glasspool.telemetry.export.otel_instruments import Instruments
from glasspool.telemetry.recording.ending import SUCCESS
from glasspool.telemetry.recording.recorder import Recorder
from glasspool.telemetry.recording.registry import REGISTRY, Registry
from glasspool.telemetry.recording.shape import Shape
from glasspool_instrumentation._observe.batched_recorder import BatchedRecorder, NotedCall

from . import work
from .work import LIMIT

TIMES = (catalog.EXECUTOR_TIME, catalog.SLOT_TIME, catalog.SLOT_LIMIT_TIME, catalog.SLOT_SATURATED_TIME)
Seen = dict[tuple[str, frozenset[tuple[str, Any]]], float]


def plain() -> Seen:
    """Every counter of the registry, sums and buckets of histograms included."""
    found, seen = REGISTRY.collect(), Seen()
    for metric in catalog.ALL_METRICS:
        if metric.kind == "counter":
            for point in found.points.get(metric.name, ()):
                seen[metric.name, frozenset(point.attributes.items())] = point.value
        for series in found.histograms.get(metric.name, ()):
            labels = frozenset(series.attributes.items())
            seen[f"{metric.name} sum", labels] = series.sum
            for index, count in enumerate(series.counts):
                seen[f"{metric.name} {index}", labels] = count
    return seen


class Scrapes:
    def __init__(self) -> None:
        self.client = prometheus_client.CollectorRegistry()
        prometheus.register(self.client, source=REGISTRY)

    def __call__(self) -> Seen:
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.client.collect()
            if family.type in ("counter", "histogram")
            for sample in family.samples
        }


class Exports:
    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader])
        self.instruments = Instruments(REGISTRY, self.provider.get_meter("tests"))

    def __call__(self) -> Seen:
        data: Any = self.reader.get_metrics_data()
        seen = Seen()
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        labels = frozenset(point.attributes.items())
                        if getattr(metric.data, "is_monotonic", False):
                            seen[metric.name, labels] = point.value
                        elif hasattr(point, "bucket_counts"):
                            seen[f"{metric.name} sum", labels] = point.sum
                            seen[f"{metric.name} count", labels] = point.count
        return seen


def use() -> None:
    """Executors of several kinds and names that open, work and close."""

    async def own() -> None:
        async with HybridExecutor("own", max_in_flight=2) as executor:
            async for _ in executor.as_completed(work.add, range(20)):
                pass
        limiter = gi.name_limiter(anyio.CapacityLimiter(1), "tokens")
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(lambda: anyio.to_thread.run_sync(work.add, 1, limiter=limiter))

    with gi.wrap_executor(ThreadPoolExecutor(2), "pool") as pool:
        wait([pool.submit(work.add, number) for number in range(40)], LIMIT)
    anyio.run(own)


@pytest.mark.parametrize("read", [lambda: plain, Scrapes, Exports], ids=["registry", "Prometheus", "OpenTelemetry"])
def test_no_counter_falls_while_somebody_reads_all_the_time(read: Any) -> None:
    gi.AnyioInstrumentor().instrument(monitor=False)
    reader, done, fallen, readings = read(), threading.Event(), [], []

    def watch() -> None:
        before: Seen = {}
        while not done.is_set() or len(readings) < 3:
            now = reader()
            readings.append(len(now))
            fallen.extend((key, value, now.get(key)) for key, value in before.items() if now.get(key, -1.0) < value)
            before = now

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        for _ in range(15):
            use()
    finally:
        done.set()
        thread.join(LIMIT)
    assert fallen == []
    assert readings[-1] > 20


SHAPE = Shape(runners=("thread",), workers=("thread",), queue=True, slots=True)


class Ticking:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def times(registry: Registry) -> list[float]:
    found = registry.collect().points
    return [sum(point.value for point in found[metric.name]) for metric in TIMES]


def test_a_call_whose_end_is_noted_after_a_reading() -> None:
    """Its thread has looked at the clock, and was interrupted before it noted what it saw."""
    clock, registry = Ticking(), Registry()
    recorder = BatchedRecorder("pool", "thread_pool", SHAPE, limit=1, clock=clock, registry=registry)
    recorder.record.open()
    call = NotedCall("work", "thread", "work")
    call.ending, call.phase, call.accepted, call.began, call.started = None, 0, 100.0, True, 100.0
    recorder.fresh.append(call)
    recorder.notes.append(call)
    clock.now = 110.0
    before = times(registry)
    assert before == [10.0, 10.0, 10.0, 10.0]
    call.ended, call.ending = 109.0, SUCCESS
    recorder.notes.append(call)
    assert times(registry) == before
    clock.now = 120.0
    assert times(registry) == [20.0, 10.0, 20.0, 10.0]
    recorder.record.close()
    assert times(registry) == [20.0, 10.0, 20.0, 10.0]


def test_a_reading_in_the_middle_of_an_update_and_an_end_that_is_put_off_until_after_it() -> None:
    clock, registry = Ticking(), Registry()
    recorder = Recorder("pool", "thread_pool", SHAPE, limit=1, clock=clock, registry=registry).open()
    task = recorder.task("work", "thread")
    recorder.accept(task, queued=False)
    recorder.begin(task)
    clock.now = 104.0
    found = [times(registry)]

    def update() -> None:
        clock.now = 105.0
        recorder.settle(task, SUCCESS)  # later, with this instant
        clock.now = 110.0
        found.append(times(registry))

    recorder.record.in_turn(update)
    found.append(times(registry))
    assert found == [[4.0, 4.0, 4.0, 4.0], [4.0, 4.0, 4.0, 4.0], [10.0, 5.0, 10.0, 5.0]]


def test_a_reading_within_a_reading_shows_no_more_than_that() -> None:
    registry, inside = Registry(), []

    class Reentered(Ticking):
        def __call__(self) -> float:
            if self.now == 105.0 and not inside:
                inside.append([0.0])
                self.now = 110.0
                inside.append(times(registry))
                self.now = 105.0  # what the outer reading has asked for before
            return self.now

    clock = Reentered()
    Recorder("pool", "thread_pool", SHAPE, limit=1, clock=clock, registry=registry).open()
    clock.now = 105.0
    outer = times(registry)
    assert inside[1] == [0.0, 0.0, 0.0, 0.0]
    assert outer == [5.0, 0.0, 5.0, 0.0]
