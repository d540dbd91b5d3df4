"""A meter provider that is set late: its readers get every histogram from process start on."""

from __future__ import annotations

import json
import os
import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from glasspool._foreign.locks import is_owned
from glasspool.telemetry import catalog
from glasspool.telemetry.export.whole_histograms import spread
from glasspool.telemetry.recording.ending import SUCCESS
from glasspool.telemetry.recording.histograms import Histogram, Holder
from glasspool.telemetry.recording.registry import Registry

from .receiver import PROTOCOLS
from .support import full_recorder, run_python
from .test_losses import run

SHOW = """
import json, sys
from glasspool.telemetry import catalog
from glasspool.telemetry.recording.registry import REGISTRY

def compare(reader):
    '''Every histogram of the recorder beside the reader's, by name and labels; the SDK knows no empty ones.'''
    ours = {}
    for name, points in REGISTRY.collect().histograms.items():
        for point in points:
            if point.count:
                ours[(name, *sorted(point.attributes.items()))] = [list(point.counts), f"{point.sum:.10g}"]
    theirs = {}
    (scope,) = [s for s in reader.get_metrics_data().resource_metrics[0].scope_metrics if s.scope.name == "glasspool"]
    for metric in scope.metrics:
        if catalog.BY_NAME[metric.name].kind == "histogram":
            for point in metric.data.data_points:
                found = [list(point.bucket_counts), f"{point.sum:.10g}"]
                assert point.count == sum(point.bucket_counts)
                lower = [0.0, *point.explicit_bounds]
                first = next(i for i, n in enumerate(point.bucket_counts) if n)
                assert point.min >= lower[first]
                last = max(i for i, n in enumerate(point.bucket_counts) if n)
                assert point.max >= lower[last]
                theirs[(metric.name, *sorted(point.attributes.items()))] = found
    assert ours == theirs, (ours, theirs)
    return {name: sum(sum(found[0]) for key, found in ours.items() if key[0] == name) for name, *_ in ours}

def late(*more, **options):
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader, *more], **options))
    return reader

def show(**found):
    print("found", json.dumps(found), flush=True)
"""

TASKS = """
from tests.telemetry.support import Clock, full_recorder, run_task, sampled_span
clock = Clock()
mail = full_recorder(REGISTRY, clock=clock)

def tasks(count=400, **options):
    for index in range(count):
        run_task(mail, clock=clock, wait=index % 7 * 0.003, run=index ** 2 * 0.05, **options)  # up to two hours
"""


def shown(code: str, *arguments: str, **env: str) -> dict[str, Any]:
    (found,) = run_python(SHOW + code, *arguments, **env).lines("found")
    return json.loads(found)


HYBRID = """
import anyio
from glasspool import HybridExecutor
from glasspool.telemetry import monitor_event_loop

async def work(fail=False):
    await anyio.lowlevel.checkpoint()
    if fail:
        raise ValueError

async def hold(started):
    started.set()
    await anyio.sleep_forever()

async def everything(executor):
    for fail in (False, True):
        for _ in range(20):
            await (await executor.submit(work, fail)).outcome()
    await (await executor.submit(anyio.sleep_forever, timeout=0)).outcome()
    running = await executor.submit(hold, started := anyio.Event())
    await started.wait()
    waiting = [await executor.submit(anyio.sleep_forever) for _ in range(3)]
    async with anyio.create_task_group() as producers:
        producers.start_soon(executor.submit, work)
        await anyio.wait_all_tasks_blocked()  # there is no room
        for handle in (*waiting, running):
            handle.cancel()
            await handle.outcome()

async def main():
    global reader
    async with monitor_event_loop(interval=0.001):
        await anyio.sleep(0.01)
        async with HybridExecutor("closed", max_in_flight=1, max_queued=3) as executor:
            await everything(executor)
        async with HybridExecutor("open", max_in_flight=1, max_queued=3, spans=sys.argv[2]) as executor:
            await everything(executor)
            waiting = [await executor.submit(work) for _ in range(3)]
            reader = late()
            for handle in waiting:
                await handle
            await everything(executor)
            await anyio.to_thread.run_sync(reader.get_metrics_data)
            await everything(executor)
            async with HybridExecutor("later", max_in_flight=1, max_queued=3, spans=sys.argv[2]) as later:
                await everything(later)
                await (await later.submit(anyio.sleep, 0.01)).outcome()

anyio.run(main, backend=sys.argv[1])
show(**compare(reader))
"""


@pytest.mark.parametrize("spans", ["all", "off"])  # without spans providers are not looked up while tasks run
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_executors_and_loops_that_were_there_before_it(backend, spans):
    found = shown(HYBRID, backend, spans)
    tasks = 5 * 46 + 3 + 1
    assert found[catalog.SUBMIT_WAIT.name] == 5
    assert found[catalog.QUEUE_WAIT.name] == tasks
    assert found[catalog.TASK_DURATION.name] == tasks - 5 * 4  # three never left the queue, one was out of time
    assert found[catalog.SHUTDOWN_DURATION.name] == 3
    assert found[catalog.CANCEL_DURATION.name] == 5 * 4
    assert found[catalog.EVENTLOOP_DELAY.name] > 0


def test_a_pool_that_was_there_before_it():
    found = shown(
        """
from concurrent.futures import ThreadPoolExecutor
from glasspool_instrumentation import wrap_executor
with wrap_executor(ThreadPoolExecutor(4), "etl") as pool:
    list(pool.map(abs, range(1000)))
    reader = late()
    list(pool.map(abs, range(1000)))
    reader.get_metrics_data()
    list(pool.map(abs, range(1000)))
show(**compare(reader))
"""
    )
    assert found[catalog.TASK_DURATION.name] == found[catalog.QUEUE_WAIT.name] == 3000


def test_every_reader_of_it_and_the_prometheus_exporter():
    pytest.importorskip("opentelemetry.exporter.prometheus", reason="pip install opentelemetry-exporter-prometheus")
    found = shown(
        TASKS
        + """
import prometheus_client
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
tasks()
second, prometheus = InMemoryMetricReader(), PrometheusMetricReader()
first = late(second, prometheus)
name = catalog.TASK_DURATION.prometheus_name

def scraped():
    lines = prometheus_client.generate_latest().decode().splitlines()
    return [float(line.split()[-1]) for line in lines if line.startswith((name + "_count", name + "_sum"))]

before = scraped()
compare(second)
tasks(100)
compare(first)
compare(second)
show(before=before, after=scraped(), clock=clock.now)
"""
    )
    runs = [index**2 * 0.05 for index in range(400)]
    assert found["before"] == [400, pytest.approx(sum(runs))]
    assert found["after"] == [500, pytest.approx(sum(runs) + sum(runs[:100]))]


VIEWS = {
    "attributes": "View(instrument_name=name, attribute_keys={catalog.Key.TASK_OUTCOME})",
    "bounds": "View(instrument_name=name, aggregation=ExplicitBucketHistogramAggregation((1.0, 100.0)))",
    "exponential": "View(instrument_name=name, aggregation=ExponentialBucketHistogramAggregation())",
    "dropped": "View(instrument_name=name, aggregation=DropAggregation())",
    "twice": "View(instrument_name=name), View(instrument_name=name, name='again')",
}


@pytest.mark.parametrize("view", VIEWS)
def test_what_the_applications_views_make_of_it(view):
    found = shown(
        TASKS
        + f"""
from opentelemetry.sdk.metrics.view import (
    DropAggregation, ExplicitBucketHistogramAggregation, ExponentialBucketHistogramAggregation, View,
)
name = catalog.TASK_DURATION.name
tasks(300)
tasks(100, outcome="error", error_type="ValueError")
reader = late(views=[{VIEWS[view]}])
reader.get_metrics_data()
tasks(100)
metrics = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
points = [point for metric in metrics if metric.name in (name, "again") for point in metric.data.data_points]
show(points=[[len(point.attributes), point.count, point.sum] for point in points],
     waits=sum(p.count for m in metrics if m.name == catalog.QUEUE_WAIT.name for p in m.data.data_points))
"""
    )
    runs = [index**2 * 0.05 for index in range(300)]
    good, bad = [400, pytest.approx(sum(runs) + sum(runs[:100]))], [100, pytest.approx(sum(runs[:100]))]
    keys = 1 if view == "attributes" else 5
    assert found["points"] == ([] if view == "dropped" else [[keys, *good], [keys, *bad]] * (1 + (view == "twice")))
    assert found["waits"] == 500, "the other histograms are as they were"


def test_another_vendors_instruments_get_every_single_measurement():
    """What is not OpenTelemetry's own SDK is asked in the one way there is."""
    found = shown(
        """
from glasspool.telemetry.export.whole_histograms import Changes
from glasspool.telemetry.recording.histograms import Histogram

class Instrument:
    def __init__(self):
        self.values = []
    def record(self, value, attributes, context):
        self.values.append(value)

series = Histogram(catalog.TASK_DURATION, {})
for index in range(1000):
    series.observe(index * 0.37)
instrument = Instrument()
changes = Changes()
changes.hand_over(changes.take(None, series), instrument)
again = Histogram(catalog.TASK_DURATION, {})
for value in instrument.values:
    again.observe(value)
show(same=again.counts == series.counts, sums=[again.sum, series.sum])
"""
    )
    assert found["same"] is True
    assert found["sums"][0] == pytest.approx(found["sums"][1])


def test_what_a_week_has_counted_is_handed_over_at_once():
    """One by one it would take days."""
    found = shown(
        TASKS
        + """
tasks(10)
for series in mail.record.totals.histograms():
    series.counts = [10 ** 9] * len(series.counts)
    series.sum = 4e14
    series.least, series.most = 0.0, 1e6
show(**compare(late()))
"""
    )
    assert found[catalog.TASK_DURATION.name] == 20 * 10**9


def test_exemplars_lead_to_the_traces_of_before():
    found = shown(
        TASKS
        + """
run_task(mail, clock=clock, run=2.0, span=sampled_span(0xAB, 0xCD))
run_task(mail, clock=clock, run=2.25)
run_task(mail, clock=clock, run=40.0, span=sampled_span(0x12, 0x34, sampled=False))
reader = late()
metrics = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
(point,) = [p for m in metrics if m.name == catalog.TASK_DURATION.name for p in m.data.data_points]
compare(reader)
show(exemplars=[[e.value, e.trace_id, e.span_id] for e in point.exemplars])
"""
    )
    assert found["exemplars"] == [[2.0, 0xAB, 0xCD]]


def test_a_forked_child_hands_over_what_it_measured_itself():
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    done = run_python(
        SHOW
        + TASKS
        + """
tasks(7)

def child():
    pid = os.fork()
    if pid == 0:
        tasks(3)
        show(**compare(late()))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0

import os
child()
reader = late()  # and not read yet: what waits to be handed over is the parent's
from glasspool.telemetry import providers
providers.refresh()
pid = os.fork()
if pid == 0:
    data = reader.get_metrics_data()
    metrics = data.resource_metrics[0].scope_metrics[0].metrics if data else []
    show(inherited=[m.name for m in metrics if catalog.BY_NAME[m.name].kind == "histogram"])
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
show(**compare(reader))
"""
    )
    first, second, third = (json.loads(line) for line in done.lines("found"))
    assert first[catalog.TASK_DURATION.name] == 3
    assert second == {"inherited": []}
    assert third[catalog.TASK_DURATION.name] == 7


def test_none_is_lost_and_none_doubled_while_threads_measure():
    found = shown(
        """
import sys, threading
from tests.telemetry.support import full_recorder, run_task
from glasspool.telemetry import providers
sys.setswitchinterval(1e-5)
recorders = [full_recorder(REGISTRY, name, limit=None) for name in ("one", "one", "two")]
ready, reader = threading.Event(), None

def measure(recorder):
    for index in range(3000):
        run_task(recorder)
        if index == 500:
            ready.set()

threads = [threading.Thread(target=measure, args=(recorder,)) for recorder in recorders]
for thread in threads:
    thread.start()
ready.wait()
reader = late()
other = threading.Thread(target=lambda: [providers.refresh() for _ in range(100)])
other.start()
while any(thread.is_alive() for thread in threads):
    reader.get_metrics_data()
other.join()
show(**compare(reader))
"""
    )
    assert found[catalog.TASK_DURATION.name] == 9000


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_collector_gets_it_too_when_configure_comes_late(protocol):
    code = """
show(first=handle.force_flush(60), runs=collector.points[catalog.TASK_DURATION.name],
     submitted=collector.points[catalog.TASK_SUBMITTED.name])
"""
    found, _ = run(protocol, code, "work(100)\n")
    assert found == {"first": True, "runs": 100, "submitted": 100}


def test_values_are_spread_so_that_buckets_and_sum_are_right():
    chance = random.Random(7)
    for _ in range(500):
        bounds = sorted(chance.sample([0.001, 0.01, 0.1, 0.5, 1.0, 10.0, 60.0, 1800.0], chance.randint(1, 8)))
        values = [
            chance.choice([0.0, bounds[0], bounds[-1], chance.expovariate(1), chance.expovariate(0.001)])
            for _ in range(chance.randint(1, 50))
        ]
        counts = [0] * (len(bounds) + 1)
        for value in values:
            counts[index_of(value, bounds)] += 1
        found = spread(counts, sum(values), bounds)
        assert [index_of(value, bounds) for value, count in zip(found, counts, strict=True) if count] == [
            index for index, count in enumerate(counts) if count
        ]
        assert sum(v * n for v, n in zip(found, counts, strict=True)) == pytest.approx(sum(values), abs=1e-9)


def index_of(value: float, bounds: list[float]) -> int:
    return next((index for index, bound in enumerate(bounds) if value <= bound), len(bounds))


class Telling(deque[Any]):
    """Says when it was given something, and holds its thread up there until ``go_on``."""

    def __init__(self) -> None:
        super().__init__()
        self.given, self.go_on = threading.Event(), threading.Event()

    def append(self, item: Any) -> None:
        super().append(item)
        self.given.set()
        assert self.go_on.wait(10)


class LetsGo:
    """A lock that runs something once, just after it was let go of for the first time."""

    def __init__(self, lock: Any, then: Callable[[], object]) -> None:
        self.lock, self.then = lock, [then]

    def __enter__(self) -> None:
        self.lock.__enter__()

    def __exit__(self, *found: Any) -> None:
        self.lock.__exit__(*found)
        if self.then and not is_owned(self.lock):  # it is re-entrant
            self.then.pop()()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.lock, name)


class Kept:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def record(self, holder: Holder, series: Histogram, value: float, span: Any) -> None:
        self.values.append(value)


@pytest.mark.parametrize("change", ["accept", "change"])
def test_what_one_thread_measures_is_not_told_by_another_that_measured_nothing(change):
    recorder = full_recorder(Registry())
    totals, sink = recorder.record.totals, Kept()
    totals.sink = sink
    for series in totals.histograms():
        series.one_by_one = True
    mine, ended = (recorder.task("send", "inline") for _ in range(2))
    recorder.accept(ended, queued=False)
    recorder.begin(ended)
    sink.values.clear()
    totals.measured = measured = Telling()
    other = threading.Thread(target=recorder.settle, args=(ended, SUCCESS))

    def meanwhile() -> None:
        other.start()
        assert measured.given.wait(10)

    totals.lock = LetsGo(totals.lock, meanwhile)
    if change == "accept":
        recorder.accept(mine, queued=False)
    else:
        totals.change(lambda: None)
    measured.go_on.set()
    other.join()
    assert len(sink.values) == 1
