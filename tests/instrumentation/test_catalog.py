"""Every entry of the catalog is produced.

Real executors get into every situation; each metric with each of its attributes, each value of a fixed set, each span
attribute and span event must then have been seen. What only processes that share a port produce is looked for in
tests/telemetry/test_shared_port.py.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import anyio
import pytest
from anyio.abc import TaskStatus
from opentelemetry import propagate
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.sdk.metrics import MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer

import glasspool_instrumentation as gi
from glasspool import ExecutorClosed, HybridExecutor, Limit, QueueFull, Rate, Retry, RetryBudget, TaskTimeout
from glasspool.task import task_of
from glasspool.telemetry import catalog, monitor_event_loop, providers
from glasspool.telemetry.catalog import ALL_METRICS, Key
from glasspool.telemetry.export.exporters import MetricExports, SpanExports
from glasspool.telemetry.export.losses import Losses
from glasspool.telemetry.export.otel_instruments import Instruments
from glasspool.telemetry.export.span_batches import SpanBatches
from glasspool.telemetry.recording import overdue
from glasspool.telemetry.recording.registry import REGISTRY, Source
from glasspool.testing import run_out_of_time
from glasspool_instrumentation import wrap_executor

from . import work

trio = pytest.importorskip("trio")

SETS: dict[str, tuple[str, ...]] = {
    Key.TASK_OUTCOME: catalog.OUTCOMES,
    Key.QUEUE_OUTCOME: catalog.QUEUE_OUTCOMES,
    Key.CANCEL_REASON: catalog.CANCEL_REASONS,
    Key.HOLD_REASON: catalog.HOLD_REASONS,
    Key.RETRY_STOP: catalog.RETRY_STOPS,
    Key.TASK_PHASE: catalog.CANCEL_PHASES,
    Key.LOSS_KIND: catalog.CONTEXT_LOSS_KINDS,
    Key.FAILURE_KIND: tuple(kind for kind in catalog.FAILURE_KINDS if kind not in catalog.PORT_KINDS),
    Key.SHUTDOWN_OUTCOME: catalog.SHUTDOWN_OUTCOMES,
    Key.WORKER_STATE: catalog.WORKER_STATES,
    Key.SERVICE_STATE: catalog.SERVICE_STATES,
    Key.ERROR_TYPE: catalog.REJECT_REASONS,
    Key.EXECUTOR_TYPE: (*catalog.LOOP_TYPES, *catalog.LIMITER_TYPES),
}
SPAN_EVENTS = {value for name, value in vars(catalog).items() if name.startswith("SPAN_EVENT_")}
assert set(catalog.SPAN_EVENTS) == SPAN_EVENTS

pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


class Seen:
    """What was seen to have a value other than 0."""

    def __init__(self) -> None:
        self.metrics: set[str] = set()
        self.labels: set[tuple[str, str]] = set()
        self.values: set[tuple[str, str]] = set()

    def look(self) -> None:
        found = REGISTRY.collect()
        measured = [(name, point.attributes, point.value) for name, each in found.points.items() for point in each]
        measured += [(name, point.attributes, point.count) for name, each in found.histograms.items() for point in each]
        for name, attributes, value in measured:
            if value:
                self.metrics.add(name)
                self.labels.update((name, key) for key in attributes)
                self.values.update(attributes.items())


async def forever() -> None:
    await anyio.sleep_forever()


async def fail(error: BaseException, when: anyio.Event | None = None) -> None:
    if when is not None:
        await when.wait()
    raise error


def nothing() -> None:
    pass


async def hold(begun: anyio.Event, let_go: anyio.Event) -> None:
    begun.set()
    with anyio.CancelScope(shield=True):
        await let_go.wait()


async def held(seen: Seen) -> None:
    """What holds queued tasks: a rate, a limit, a pause, and a task that then fails; and one that lends its slot."""
    limits = {"rated": Limit(rate=Rate(1, per=0.05)), "limited": Limit(in_flight=1)}
    async with HybridExecutor("held", max_in_flight=9, limits=limits) as executor:
        for key in ("rated", "rated", "limited", "limited"):
            await executor.submit(anyio.sleep, 0.05, key=key)
        await executor.submit(executor.run, anyio.sleep, 0.1)  # lends its slot
        executor.pause(0.05)
        needed = await executor.submit(fail, ValueError())
        dependent = await executor.submit(nothing, after=[needed])
        await anyio.sleep(0.01)
        seen.look()
        await dependent.outcome()
    async with HybridExecutor("available", max_in_flight=9, limits=limits):
        seen.look()


async def services(seen: Seen) -> None:
    """Every state of a service; a service that crashes, is started again, and crashes for good."""

    async def serve(*, task_status: TaskStatus[None]) -> None:
        await anyio.sleep(0.01)
        seen.look()
        task_status.started()
        seen.look()
        await crash.wait()
        raise ValueError("crash")

    crash = anyio.Event()
    with pytest.raises(Exception, match="services of executor 'served' failed"):
        async with HybridExecutor("served", max_in_flight=1) as executor:
            stopped = await executor.start_service(serve)
            await stopped.stop()
            await executor.start_service(serve, restart="on_failure", max_restarts=1)
            crash.set()
            await anyio.sleep(0.02)
            seen.look()
            await anyio.sleep_forever()
    seen.look()


async def retried(seen: Seen) -> None:
    """Tasks that fail and are to run again: all of their attempts, cancelled meanwhile, or ended for each reason."""
    error, later = OSError(), Retry(on=lambda error: 60)
    budget = RetryBudget(ratio=0, floor=4, window=60)
    async with HybridExecutor("retried", max_in_flight=9, retry_budget=budget) as executor:
        at_once = await executor.submit(fail, error, retry=Retry(on=lambda error: 0, attempts=2))
        near = await executor.submit(fail, error, retry=later, deadline=anyio.current_time() + 30)
        waits, closed = [await executor.submit(fail, error, retry=later) for _ in range(2)]
        for ended in (at_once, near):
            await ended.outcome()
        while executor.stats().held != {"retry": 2}:
            await anyio.sleep(0.001)
        seen.look()
        waits.cancel()
        allowed = await executor.submit(fail, error, retry=Retry(on=lambda error: 0, attempts=2))
        refused = await executor.submit(fail, error, retry=later)
        for ended in (allowed, refused):
            await ended.outcome()
        await executor.shutdown(grace=0)
        await closed.outcome()


async def executors(seen: Seen) -> None:
    """What a HybridExecutor produces."""
    release, begun = threading.Event(), threading.Event()

    def stuck() -> None:
        begun.set()
        assert release.wait(work.LIMIT)

    def broken(_event: object) -> None:
        raise RuntimeError("an observer that fails, on purpose")

    async with (
        monitor_event_loop("catalog", interval=0.001),
        HybridExecutor(
            "mail", max_in_flight=2, max_queued=1, max_task_names=2, observers=[broken], wait_objective=1.0
        ) as executor,
    ):
        await executor.run(nothing, name="first")
        for number in range(25):
            error = type(f"Error{number}", (Exception,), {})()
            await (await executor.submit(fail, error, name="second")).outcome()
        await executor.run(nothing, name="third")
        late = await executor.submit(stuck, timeout=1000)
        await anyio.to_thread.run_sync(begun.wait)
        run_out_of_time(late)
        await late.outcome()
        seen.look()  # an abandoned thread
        queued = [
            await executor.submit(forever, name="second"),
            await executor.submit(forever, deadline=anyio.current_time() + 0.01),
        ]
        await queued[1].outcome()
        await executor.submit(forever)
        while catalog.TASK_OVERDUE_AGE.name not in seen.metrics:
            await anyio.sleep(0.001)
            seen.look()
        async with anyio.create_task_group() as group:
            group.start_soon(executor.submit, nothing)
            while not executor.stats().pending:
                await anyio.sleep(0.001)
            await anyio.sleep(0.01)
            seen.look()  # a blocked producer
            with pytest.raises(QueueFull):
                executor.submit_nowait(nothing)
            with pytest.raises(TaskTimeout):
                await executor.submit(nothing, deadline=anyio.current_time() + 0.01)
            with anyio.move_on_after(0.01):
                await executor.submit(nothing)
            queued[0].cancel("enough")
        release.set()
        while executor.stats().abandoned:
            await anyio.sleep(0.001)
        begun_to_hold, let_go = anyio.Event(), anyio.Event()
        holding = await executor.submit(hold, begun_to_hold, let_go)
        await begun_to_hold.wait()
        holding.cancel()
        seen.look()  # a request that is not obeyed
        let_go.set()
        await holding.outcome()
        async with executor.pile(fail_fast=True) as pile:
            go = anyio.Event()
            await pile.include(fail, ValueError(), go)  # the other slot is taken
            await pile.include(forever)
            go.set()
        await executor.shutdown(grace=0)
        with pytest.raises(ExecutorClosed):
            await executor.submit(nothing)
        seen.look()
    async with HybridExecutor("drained", max_in_flight=1) as executor:
        native = await executor.submit(forever)
        await anyio.sleep(0.01)
        if isinstance(task_of(native).native, asyncio.Task):
            task_of(native).native.cancel()
        else:
            native.cancel()
    for by_deadline in (False, True):
        with anyio.CancelScope() as scope:
            async with HybridExecutor("cut off", max_in_flight=1) as executor:
                await executor.submit(forever)
                await anyio.sleep(0.01)
                if by_deadline:
                    scope.deadline = anyio.current_time()
                else:
                    scope.cancel()
                await anyio.sleep_forever()
    with pytest.raises(KeyboardInterrupt):
        async with HybridExecutor("interrupted", max_in_flight=2) as executor:
            await executor.submit(forever)
            await executor.submit(fail, KeyboardInterrupt())
            await anyio.sleep_forever()
    async with HybridExecutor("blocked", max_in_flight=1):
        await anyio.sleep(0.005)
        looking = threading.Thread(target=lambda: (work.until(stalled, "a stalled loop"), seen.look()))
        async with monitor_event_loop("stalled", interval=0.001):
            await anyio.sleep(0.01)
            looking.start()
            looking.join(work.LIMIT)  # blocks the loop


def stalled() -> bool:
    return any(point.value for point in REGISTRY.collect().points.get(catalog.EVENTLOOP_STALL.name, ()))


def pools(seen: Seen, tracer: Tracer) -> None:
    """What only observed pools produce: idle workers, and contexts that cannot be carried."""
    with ThreadPoolExecutor(2) as made:
        wrap_executor(made, "threads").submit(nothing).result(work.LIMIT)
        work.until(lambda: work.value(catalog.WORKER_COUNT, "threads", worker_state="idle") == 1, "an idle worker")
        seen.look()
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, mp_context=fork) as plain:
        with tracer.start_as_current_span("stranger"):
            plain.submit(nothing).result(work.LIMIT)  # forked here, unobserved
        wrap_executor(plain, "stale").submit(nothing).result(work.LIMIT)
        work.until(lambda: work.value(catalog.CONTEXT_LOSSES, "stale") > 0, "a stale context")
    carries, pool = propagate.get_global_textmap(), wrap_executor(ProcessPoolExecutor(1, mp_context=fork), "processes")
    try:
        with tracer.start_as_current_span("request"):
            assert pool.submit(lambda: 1).exception(work.LIMIT) is not None
            propagate.set_global_textmap(W3CBaggagePropagator())
            pool.submit(nothing).result(work.LIMIT)
        work.until(lambda: work.value(catalog.CONTEXT_LOSSES, "processes") == 2, "both losses")
    finally:
        propagate.set_global_textmap(carries)
        pool.shutdown()
    with ProcessPoolExecutor(1, mp_context=fork) as dying:
        pool = wrap_executor(dying, "broken")
        with pytest.raises(BrokenProcessPool):
            pool.submit(os._exit, 1).result(work.LIMIT)
        with pytest.raises(BrokenProcessPool):
            pool.submit(nothing)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as made:
        with tracer.start_as_current_span("request"):  # the worker has no SDK: the span of its run is made here
            wrap_executor(made, "spawned").submit(work.seen).result(work.LIMIT)


def asyncio_tasks() -> None:
    """An error that is never retrieved."""
    gi.AsyncioInstrumentor().instrument(monitor=False)

    async def main() -> None:
        task = asyncio.create_task(fail(ValueError()))
        await asyncio.wait([task])
        del task
        gc.collect()

    asyncio.run(main())


def loops() -> None:
    """Tasks and tokens of anyio and trio, which are executors of their own types."""
    gi.AnyioInstrumentor().instrument(monitor=False)
    gi.TrioInstrumentor().instrument(monitor=False)

    async def with_anyio() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, nothing)

    async def with_trio() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, nothing)

    anyio.run(with_anyio)
    trio.run(with_trio)


class Refusing(SpanExporter):
    """A collector that refuses, after a while."""

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()

    def export(self, spans: Any) -> SpanExportResult:
        self.asked.set()
        assert self.go.wait(work.LIMIT)
        return SpanExportResult.FAILURE


class RefusingMetrics(MetricExporter):
    """The same for metrics."""

    def export(self, metrics_data: Any, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        return MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Nothing is open."""


class Broken(Source):
    """A source of series that cannot be read."""

    def histograms(self) -> list[Any]:
        return []

    def collect(self, add: Any, histogram: Any) -> None:
        raise RuntimeError("broken on purpose")


def exports(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong on the way out."""
    losses = Losses(lambda text, error=None: None)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")
    refusing = Refusing()
    spans = TracerProvider(shutdown_on_exit=False)
    spans.add_span_processor(SpanBatches(SpanExports(lambda: refusing, "refusing"), losses))
    tracer = spans.get_tracer("catalog")
    tracer.start_span("sent").end()
    assert refusing.asked.wait(work.LIMIT)
    for _ in range(2):
        tracer.start_span("one too many").end()
    refusing.go.set()
    spans.shutdown()
    tracer.start_span("late").end()
    reader = InMemoryMetricReader(preferred_temporality={ObservableCounter: AggregationTemporality.DELTA})
    provider = MeterProvider([reader], shutdown_on_exit=False)
    Instruments(REGISTRY, provider.get_meter("catalog"))
    REGISTRY.sources[Broken] = Broken()
    reader.get_metrics_data()
    del REGISTRY.sources[Broken]
    data = reader.get_metrics_data()
    provider.shutdown()
    assert data is not None
    MetricExports(RefusingMetrics, "refusing", losses).export(data)


def test_every_entry_of_the_catalog_is_produced_by_something(
    tracer: Tracer, spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert providers.tracer() is not None
    seen = Seen()
    monkeypatch.setattr(overdue, "WATCHED_AFTER", 0.0)
    for backend in ("asyncio", "trio"):
        anyio.run(executors, seen, backend=backend)
        anyio.run(held, seen, backend=backend)
        anyio.run(services, seen, backend=backend)
        anyio.run(retried, seen, backend=backend)
    pools(seen, tracer)
    asyncio_tasks()
    loops()
    exports(monkeypatch)
    seen.look()
    assert {metric.name for metric in ALL_METRICS} - seen.metrics == set()
    assert {(metric.name, key) for metric in ALL_METRICS for key in metric.labels} - seen.labels == set()
    for key, values in SETS.items():
        assert {value for value in values if (key, value) not in seen.values} == set(), key
    ended: tuple[ReadableSpan, ...] = spans.get_finished_spans()
    made = {key for span in ended for key in (span.attributes or {})}
    assert {attribute.key for attribute in catalog.SPAN_ATTRIBUTES} - made == set()
    events = {(event.name, key) for span in ended for event in span.events for key in ("", *(event.attributes or {}))}
    assert {(name, key) for name, keys in catalog.SPAN_EVENTS.items() for key in ("", *keys)} - events == set()


def test_every_fixed_set_of_the_catalog_is_looked_for() -> None:
    """So that a set, or a value of one, cannot be added without something that produces it."""
    fixed = {
        name: value
        for name, value in vars(catalog).items()
        if name[0] != "_" and isinstance(value, tuple) and all(isinstance(each, str) for each in value)
    }
    looked_for = {value for values in SETS.values() for value in values} | set(catalog.PORT_KINDS)
    assert {name: set(values) - looked_for for name, values in fixed.items() if set(values) - looked_for} == {}
    assert {"OUTCOMES", "REJECT_REASONS", "CANCEL_PHASES", "CAP_KINDS", "LOOP_TYPES"} <= set(fixed)
    assert catalog.SPAN_EVENT_STARTED in SPAN_EVENTS


def test_every_key_is_on_a_metric_or_on_a_span() -> None:
    keys = {value for name, value in vars(Key).items() if name.isupper()}
    assert keys - {Key.PROCESS_NUMBER} == {key for metric in ALL_METRICS for key in metric.labels} | {
        a.key for a in catalog.SPAN_ATTRIBUTES
    } | {key for keys in catalog.SPAN_EVENTS.values() for key in keys}
    assert keys >= set(SETS)
