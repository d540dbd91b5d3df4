"""The OpenTelemetry instruments: figures, buckets, exemplars, one snapshot per collection, providers set late."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View

from glasspool.telemetry import catalog, providers
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.export.otel_instruments import Instruments
from glasspool.telemetry.recording import exemplars
from glasspool.telemetry.recording.ending import Ending
from glasspool.telemetry.recording.overdue import ENOUGH_RUNS
from glasspool.telemetry.recording.registry import Registry
from glasspool.telemetry.recording.service_record import ServiceRecord
from glasspool.telemetry.recording.snapshot import Snapshot

from .support import Clock, full_recorder, retried_task, run_python, run_task, sampled_span

KINDS = {"counter": "Sum", "updowncounter": "Sum", "gauge": "Gauge", "histogram": "Histogram"}


class CountingRegistry(Registry):
    """Counts its snapshots, and can be broken."""

    snapshots = 0
    broken = False

    def collect(self) -> Snapshot:
        self.snapshots += 1
        if self.broken:
            raise RuntimeError("broken on purpose")
        return super().collect()


class Sdk:
    """A real SDK meter provider on a registry of its own, with ``readers`` in-memory readers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, readers: int = 1, **options: Any) -> None:
        self.registry = CountingRegistry()
        self.readers = [InMemoryMetricReader() for _ in range(readers)]
        self.provider = MeterProvider(self.readers, shutdown_on_exit=False, **options)
        providers.bind(self.registry)  # so that no other instruments are made while the test runs
        monkeypatch.setattr(providers, "sink", Instruments(self.registry, self.provider.get_meter("glasspool")))

    def metrics(self, reader: int = 0) -> dict[str, Any]:
        data = self.readers[reader].get_metrics_data()
        assert data is not None
        return {
            metric.name: metric.data
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def sdk(monkeypatch) -> Iterator[Sdk]:
    made = Sdk(monkeypatch)
    yield made
    made.provider.shutdown()


class Held:
    """What holds tasks: one limit and a rate."""

    names = ("api",)

    def held(self) -> dict[str, int]:
        return {"rate": 1}

    def limits(self) -> list[tuple[int, str, int, int | None, float]]:
        return [(1, "api", 2, 3, 1.0)]


def test_every_metric_arrives_with_kind_and_labels_of_the_catalog(sdk):
    clock = Clock()
    mail = full_recorder(sdk.registry, clock=clock)
    run_task(mail, outcome="cancelled", error_type="cancelled", reason="explicit", requested=mail.record.clock())
    for _ in range(ENOUGH_RUNS):
        run_task(mail, clock=clock, run=0.25)
    overdue = mail.task("send", "inline")
    mail.accept(overdue, queued=False)
    mail.begin(overdue)
    clock.pass_(100.0)
    mail.record.shutdown_took(0.1, cut=False)
    mail.record.producer_blocked("producer")
    mail.record.reject("submit_cancelled", blocked=mail.record.producer_released("producer"))
    abandoned = mail.task("slow", "thread")
    mail.accept(abandoned, queued=False)
    mail.begin(abandoned)
    mail.settle(abandoned, Ending.timed_out(abandoned=True))
    mail.record.gated(Held())
    mail.record.was_held(abandoned, "rate", 2.0)
    mail.record.lend(1)
    services = ServiceRecord(mail.record)
    services.starts("feed")
    services.ready("feed", 0.1)
    services.restarts("feed", "OSError")
    retried_task(mail, clock)
    found = sdk.metrics()
    missing = set(catalog.BY_NAME) - set(found)
    others = (catalog.EVENTLOOP_DELAY, catalog.EVENTLOOP_STALL, catalog.TASK_UNRETRIEVED)
    assert missing == {metric.name for metric in others}
    for name, data in found.items():
        metric = catalog.BY_NAME[name]
        assert type(data).__name__ == KINDS[metric.kind]
        assert getattr(data, "is_monotonic", True) is (metric.kind != "updowncounter")
        for point in data.data_points:
            assert set(point.attributes) <= set(metric.labels)


def test_histograms_have_the_catalogs_buckets_and_the_recorders_figures(sdk):
    mail = full_recorder(sdk.registry)
    for outcome in ("success", "error"):
        run_task(mail, outcome=outcome, error_type="ValueError" if outcome == "error" else "", wait=1e-6, blocked=1.0)
    found = sdk.metrics()
    ours = sdk.registry.collect().histograms
    compared = 0
    for name, points in ours.items():
        recorded = {frozenset(point.attributes.items()): point for point in points if point.count}
        if not recorded:  # the SDK knows no series before its first measurement
            continue
        compared += 1
        exported = {frozenset(point.attributes.items()): point for point in found[name].data_points}
        assert recorded.keys() == exported.keys()
        for labels, point in recorded.items():
            assert exported[labels].explicit_bounds == catalog.BY_NAME[name].buckets
            assert tuple(exported[labels].bucket_counts) == point.counts
            assert exported[labels].sum == pytest.approx(point.sum)
    assert compared == 3


def test_a_view_of_the_application_leaves_the_buckets_alone(monkeypatch):
    view = View(instrument_name=catalog.TASK_DURATION.name, attribute_keys={Key.TASK_OUTCOME})
    sdk = Sdk(monkeypatch, views=[view])
    run_task(full_recorder(sdk.registry))
    (point,) = sdk.metrics()[catalog.TASK_DURATION.name].data_points
    assert point.explicit_bounds == catalog.TASK_DURATION.buckets
    assert dict(point.attributes) == {Key.TASK_OUTCOME: "success"}
    sdk.provider.shutdown()


def test_one_snapshot_per_collection_whichever_reader_collects(monkeypatch):
    sdk = Sdk(monkeypatch, readers=2)
    mail = full_recorder(sdk.registry)
    for expected, reader in enumerate((0, 1, 1, 0), start=1):
        run_task(mail)
        found = sdk.metrics(reader)
        assert sdk.registry.snapshots == expected
        assert found[catalog.TASK_SUBMITTED.name].data_points[0].value == expected, "never a stale one"
    sdk.provider.shutdown()


def test_a_snapshot_that_fails_is_counted_and_logged_once(sdk, caplog):
    full_recorder(sdk.registry)
    sdk.registry.broken = True
    with caplog.at_level(logging.ERROR, "glasspool"):
        sdk.readers[0].get_metrics_data()
        sdk.readers[0].get_metrics_data()
    sdk.registry.broken = False
    assert len([record for record in caplog.records if record.name == "glasspool"]) == 1
    counted = [
        point.value
        for point in sdk.metrics()[catalog.TELEMETRY_FAILURES.name].data_points
        if point.attributes[Key.FAILURE_KIND] == "callback"
    ]
    assert max(counted) > 0


def test_an_instrument_that_raises_is_counted_and_the_task_goes_on(sdk, monkeypatch, caplog):
    mail = full_recorder(sdk.registry)
    instrument = providers.sink.histograms[catalog.TASK_DURATION.name]
    monkeypatch.setattr(type(instrument), "record", lambda *_: 1 / 0)
    with caplog.at_level(logging.ERROR, "glasspool"):
        run_task(mail)
        sdk.metrics()
    assert mail.record.counts().succeeded == 1
    assert len(caplog.records) == 1
    failures = {
        point.attributes[Key.FAILURE_KIND]: point.value
        for point in sdk.registry.collect().points[catalog.TELEMETRY_FAILURES.name]
        if point.attributes[Key.EXECUTOR_NAME] == catalog.PROCESS
    }
    assert failures["export"] == 2


@pytest.mark.parametrize(
    ("chosen", "sampled", "expected"),
    [
        ("trace_based", True, True),
        ("trace_based", False, False),
        ("always_off", True, False),
        ("always_on", False, True),
    ],
)
def test_the_exemplar_filter_is_honoured_by_both_exporters(monkeypatch, chosen, sampled, expected):
    monkeypatch.setenv("OTEL_METRICS_EXEMPLAR_FILTER", chosen)
    exemplars.reload()
    try:
        sdk = Sdk(monkeypatch)
        run_task(full_recorder(sdk.registry), span=sampled_span(0xAB, 0xCD, sampled=sampled), run=0.0)
        exported = [
            found
            for metric in (catalog.TASK_DURATION, catalog.QUEUE_WAIT)
            for point in sdk.metrics()[metric.name].data_points
            for found in point.exemplars
        ]
        kept = [
            found
            for points in sdk.registry.collect().histograms.values()
            for point in points
            for found in point.exemplars
            if found
        ]
        assert bool(kept) is expected
        assert bool(exported) is expected
        if expected:
            assert {(found[1], found[2]) for found in kept} == {(0xAB, 0xCD)}
            assert {(found.trace_id, found.span_id) for found in exported} == {(0xAB, 0xCD)}
        sdk.provider.shutdown()
    finally:
        monkeypatch.undo()
        exemplars.reload()


def test_a_task_settled_by_the_garbage_collector_inside_the_sdk_waits_for_nobody():
    """Lost executors are finalized wherever the collector runs: in the SDK's collect too, under its locks."""
    code = """
import faulthandler, gc, weakref
faulthandler.dump_traceback_later(240, exit=True)
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from glasspool.telemetry import catalog
from glasspool.telemetry.recording.ending import Ending
from glasspool.telemetry.recording.registry import REGISTRY
from tests.telemetry.support import full_recorder, run_task
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
recorder = full_recorder(REGISTRY, limit=None)

class Lost:
    def __init__(self):
        self.cycle = self
        task = recorder.task("t", "inline")
        recorder.accept(task, queued=False)
        recorder.begin(task)
        weakref.finalize(self, recorder.settle, task, Ending("error", "ValueError"))

for index in range(1500):
    gc.set_threshold(1 + index % 50, 1, 1)  # sooner or later one begins at any allocation there is
    Lost()
    run_task(recorder, "t", "error", "ValueError")
    reader.get_metrics_data()
gc.set_threshold(0)
gc.collect()
(scope,) = reader.get_metrics_data().resource_metrics[0].scope_metrics
found = {metric.name: metric.data.data_points for metric in scope.metrics}
print("recorded", found[catalog.TASK_DURATION.name][0].count, recorder.record.counts().failed)
print("failures", sum(point.value for point in found[catalog.TELEMETRY_FAILURES.name]))
"""
    done = run_python(code)
    assert list(done.lines("recorded")) == ["3000 3000"]
    assert list(done.lines("failures")) == ["0"]


def test_ctrl_c_at_a_garbage_collection_is_not_lost():
    """What a callback of the collector raises is dropped, so no Python code of glasspool may run as one."""
    code = """
import ctypes, gc, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from glasspool.telemetry.recording.registry import REGISTRY
from tests.telemetry.support import full_recorder, run_task
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
run_task(full_recorder(REGISTRY))
reader.get_metrics_data()
gc.collect()

# As Ctrl-C does it: noted in C, raised by whichever Python code runs next.
interrupt = ctypes.pythonapi["PyErr_SetInterrupt"]
interrupt.argtypes, interrupt.restype = [ctypes.py_object, ctypes.py_object], None
gc.callbacks.insert(0, interrupt)
for _ in range(10):
    try:
        gc.collect()
    except KeyboardInterrupt:
        print("interrupted")
gc.callbacks.remove(interrupt)
print("callbacks", len(gc.callbacks))
"""
    done = run_python(code)
    assert done.out.count("interrupted") == 10
    assert list(done.lines("callbacks")) == ["1"]


def test_a_provider_set_late_sees_everything_since_process_start():
    code = """
from glasspool.telemetry import catalog, providers
from glasspool.telemetry.recording.registry import REGISTRY
from tests.telemetry.support import full_recorder, run_task
mail = full_recorder(REGISTRY)
for _ in range(5):
    run_task(mail)
assert providers.sink is None
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
providers.refresh()
run_task(mail)
(scope,) = reader.get_metrics_data().resource_metrics[0].scope_metrics
print("scope", scope.scope.name)
for metric in scope.metrics:
    if metric.name in (catalog.TASK_SUBMITTED.name, catalog.TASK_DURATION.name):
        point = metric.data.data_points[0]
        print(metric.name, getattr(point, "value", None) or point.count)
"""
    done = run_python(code)
    assert list(done.lines("scope")) == ["glasspool"]
    assert list(done.lines(catalog.TASK_SUBMITTED.name)) == ["6"]
    assert list(done.lines(catalog.TASK_DURATION.name)) == ["6"]


def test_without_a_provider_a_task_makes_no_opentelemetry_call():
    code = """
import sys, anyio
from glasspool import HybridExecutor

async def work():
    await anyio.sleep(0)

async def main():
    async with HybridExecutor("quiet", max_in_flight=4) as executor:
        await executor.run(work)
        calls = []

        def profile(frame, event, argument):
            module = frame.f_globals.get("__name__", "")
            if event == "call" and module.startswith(("opentelemetry", "prometheus_client")):
                calls.append(f"{module}.{frame.f_code.co_name}")

        sys.setprofile(profile)
        for _ in range(20):
            await executor.run(work)
        sys.setprofile(None)
        print("calls", sorted(set(calls)))
        print("imported", [name for name in sys.modules if name.startswith(("opentelemetry.sdk", "prometheus_client"))])

anyio.run(main)
"""
    done = run_python(code)
    assert list(done.lines("calls")) == ["[]"]
    assert list(done.lines("imported")) == ["[]"]
