"""Spans and points that are lost during export: each is counted by kind, each kind is logged once, and force_flush()
reports it.

The collector is a real server, over gRPC and HTTP, in the program's own process, so that the program can tell it how to
answer next.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

import pytest

from .receiver import PROTOCOLS
from .support import run_python
from .test_configure import SETUP

OLD_SDK = tuple(int(part) for part in version("opentelemetry-sdk").split(".")[:2]) < (1, 36)
"""Exporters of older SDKs come again for a minute, whatever OTEL_EXPORTER_OTLP_TIMEOUT says."""

FAILING = ["refuse", pytest.param("busy", marks=pytest.mark.skipif(OLD_SDK, reason="comes again for a minute"))]

COUNTED = """
import json, os, threading
from glasspool.telemetry import catalog
from tests.telemetry.receiver import receiver

def counted():
    points = REGISTRY.collect().points.get(catalog.TELEMETRY_FAILURES.name, ())
    found = {}
    for point in points:
        kind = point.attributes[catalog.Key.FAILURE_KIND]
        found[kind] = found.get(kind, 0) + point.value
    return {kind: count for kind, count in found.items() if count}

def wait_for(condition):
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)

def show(**found):
    print("found", json.dumps(found), file=sys.__stdout__, flush=True)
"""

START = """
with receiver(os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"]) as collector:
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.endpoint
    handle = configure()
"""

END = """
collector.answer = "take"
collector.released.set()
handle.shutdown(60)
"""


def run(protocol: str, code: str, before: str = "", **env: str) -> tuple[dict[str, Any], str]:
    """What the program has shown, and its log. Nothing is exported before it is asked for."""
    indented = "".join(f"    {line}\n" for line in (code.strip() + END).splitlines())
    chosen = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "240",
        "OTEL_BSP_SCHEDULE_DELAY": "3600000",
        "OTEL_METRIC_EXPORT_INTERVAL": "3600000",
        **env,
    }
    done = run_python(SETUP + COUNTED + before + START + indented, **chosen)
    (found,) = done.lines("found")
    return json.loads(found), done.err


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_is_lost_while_the_collector_takes_everything(protocol):
    found, log = run(
        protocol,
        """
work(5)
first = handle.force_flush(60)
work(2)
show(first=first, second=handle.force_flush(60), spans=len(collector.spans), counted=counted(), notes=handle.notes)
""",
    )
    assert found == {"first": True, "second": True, "spans": 7, "counted": {}, "notes": []}
    assert "WARNING" not in log


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_spans_for_which_the_queue_had_no_room_are_counted_and_noted_once(protocol):
    found, log = run(
        protocol,
        """
collector.answer = "silent"
work(10)  # a batch, on its way
wait_for(collector.asked.is_set)
work(50)
waiting = counted()
collector.answer = "take"
collector.released.set()
first = handle.force_flush(60)
work(3)
show(waiting=waiting, first=first, second=handle.force_flush(60), spans=len(collector.spans), counted=counted(),
     notes=handle.notes)
""",
        OTEL_BSP_MAX_QUEUE_SIZE="20",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10",
        OTEL_METRICS_EXPORTER="none",
        OTEL_EXPORTER_OTLP_TIMEOUT="3600",
    )
    assert found["waiting"] == {"span_queue_full": 30}, "counted when they are lost, not at the next export"
    assert found["first"] is False
    assert found["second"] is True, "nothing was lost since"
    assert found["spans"] + sum(n for kind, n in found["counted"].items() if kind.startswith("span_")) == 63
    said = [note for note in found["notes"] if "OTEL_BSP_MAX_QUEUE_SIZE" in note]
    assert len(said) == 1
    assert "because 20 were waiting" in said[0]
    assert log.count("OTEL_BSP_MAX_QUEUE_SIZE") == 1


@pytest.mark.parametrize("answer", FAILING)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_spans_of_a_failed_export_are_lost_and_totals_come_again(protocol, answer):
    found, log = run(
        protocol,
        f"""
work(5)
collector.answer = {answer!r}
first = handle.force_flush(60)
lost = counted()
collector.answer = "take"
second = handle.force_flush(60)
work(2)
show(first=first, lost=lost, second=second, third=handle.force_flush(60), spans=len(collector.spans),
     counted=counted(), notes=handle.notes, submitted=collector.points[catalog.TASK_SUBMITTED.name],
     runs=collector.points[catalog.TASK_DURATION.name])
""",
    )
    assert found["lost"] == {"export": 2, "span_export": 5}, "two exports, the spans of one of them"
    assert found["counted"] == found["lost"]
    assert (found["first"], found["second"], found["third"]) == (False, True, True)
    assert found["spans"] == 2
    assert found["submitted"] == found["runs"] == 7, "a metric export that failed loses nothing"
    for signal in ("traces", "metrics"):
        assert log.count(f"exporting {signal} (otlp_proto_") == 1
        assert sum(f"exporting {signal} (otlp_proto_" in note for note in found["notes"]) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_loss_between_two_flushes_makes_the_next_one_false(protocol):
    found, _ = run(
        protocol,
        """
first = handle.force_flush(60)
collector.answer = "refuse"
work(10)  # a full batch leaves by itself
wait_for(lambda: counted().get("span_export") == 10)
collector.answer = "take"
show(first=first, second=handle.force_flush(60), third=handle.force_flush(60))
""",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10",
        OTEL_METRICS_EXPORTER="none",
    )
    assert found == {"first": True, "second": False, "third": True}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_a_collector_refuses_of_an_export_is_counted_with_its_reason(protocol):
    found, log = run(
        protocol,
        """
work(5)
collector.answer = "partial"
first = handle.force_flush(60)
lost = counted()
second = handle.force_flush(60)  # the metrics again
collector.answer = "take"
show(first=first, lost=lost, second=second, third=handle.force_flush(60), spans=len(collector.spans),
     notes=handle.notes)
""",
    )
    assert found["lost"] == {"span_export": 1, "point_export": 1}
    assert (found["first"], found["second"], found["third"]) == (False, False, True)
    assert found["spans"] == 4
    assert sum("does not take all spans" in note and "too old for us" in note for note in found["notes"]) == 1
    assert sum("does not take all points" in note and "too old for us" in note for note in found["notes"]) == 1
    assert log.count("too old for us") == 2


@pytest.mark.parametrize(("preference", "lost"), [("delta", True), ("cumulative", False)])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_points_that_are_differences_are_lost_with_their_export(protocol, preference, lost):
    found, _ = run(
        protocol,
        """
work(5)
collector.answer = "refuse"
first = handle.force_flush(60)
collector.answer = "take"
show(first=first, second=handle.force_flush(60), counted=counted(),
     runs=collector.points.get(catalog.TASK_DURATION.name, 0))
""",
        OTEL_TRACES_EXPORTER="none",
        OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=preference,
    )
    assert found["first"] is False
    assert found["second"] is True
    assert (found["counted"].get("point_export", 0) > 0) is lost
    assert found["runs"] == (0 if lost else 5)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_spans_that_end_after_the_shutdown_are_counted_and_noted_once(protocol):
    found, _ = run(
        protocol,
        """
work(5)
handle.shutdown()
work(3)
first = handle.force_flush(60)
show(first=first, second=handle.force_flush(60), spans=len(collector.spans), counted=counted(), notes=handle.notes)
""",
    )
    assert found["counted"] == {"span_shutdown": 3}
    assert (found["first"], found["second"], found["spans"]) == (False, True, 5)
    assert len(found["notes"]) == 1
    assert "spans end after telemetry was shut down and are lost" in found["notes"][0]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_spans_that_a_shutdown_leaves_behind_are_counted(protocol):
    found, log = run(
        protocol,
        """
collector.answer = "silent"
work(10)
wait_for(collector.asked.is_set)
work(25)
handle.shutdown(0.1)
show(counted=counted(), flushed=handle.force_flush(1), notes=handle.notes)
collector.released.set()
""",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10",
        OTEL_METRICS_EXPORTER="none",
        OTEL_EXPORTER_OTLP_TIMEOUT="3600",
    )
    assert found["counted"] == {"span_shutdown": 25}, "the ten on their way may yet arrive"
    assert found["flushed"] is False
    assert "the last export did not end within 0.1 s" in log
    assert "35 spans were not sent" in log


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_flush_ends_in_time_whatever_the_collector_does(protocol):
    found, _ = run(
        protocol,
        """
work(5)
collector.answer = "silent"
show(first=handle.force_flush(0.2), second=handle.force_flush(0.2))  # the exporters wait for an hour
""",
        OTEL_EXPORTER_OTLP_TIMEOUT="3600",
    )
    assert found == {"first": False, "second": False}, "the spans are still unsent"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_exporter_that_hangs_keeps_no_other_one_from_its_last_export(protocol):
    found, _ = run(
        protocol,
        """
collector.answer = "silent"
work(5)
threading.Thread(target=handle.shutdown, args=(3600,), daemon=True).start()  # at exit there is no time to wait
wait_for(lambda: shown.getvalue().count('"mail t"') == 5 and catalog.TASK_SUBMITTED.name in shown.getvalue())
show(spans=len(collector.spans))
""",
        "import io\nsys.stdout = shown = io.StringIO()\n",
        OTEL_EXPORTER_OTLP_TIMEOUT="3600",
        OTEL_TRACES_EXPORTER="otlp,console",
        OTEL_METRICS_EXPORTER="otlp,console",
    )
    assert found == {"spans": 0}


def test_spans_that_a_garbage_collection_ends_within_the_end_of_another_one():
    """No lock is waited for that the same thread holds, and each span is sent or counted."""
    found, _ = run(
        "http/protobuf",
        """
import faulthandler, gc, weakref
faulthandler.dump_traceback_later(240, exit=True)
tracer = TaskTracer("mail", "hybrid")

def start():
    return tracer.start(task_name="t", label="t", function=work, task_id=1, runner="inline", queue_size=0)

class Lost:
    def __init__(self):
        self.cycle = self
        weakref.finalize(self, end, start())

ended = []

def end(span):
    span.end()
    ended.append(span)

for index in range(1500):
    gc.set_threshold(1 + index % 50, 1, 1)  # sooner or later one begins at any allocation there is
    Lost()
    start().end()
gc.set_threshold(0)

def collected():
    gc.collect()  # does nothing while another thread is at it
    return len(ended) == 1500

wait_for(collected)
handle.force_flush(240)
show(sent=len(collector.spans), counted=counted())
""",
        OTEL_BSP_MAX_QUEUE_SIZE="20",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10",
        OTEL_METRICS_EXPORTER="none",
    )
    assert found["sent"] > 0
    assert found["sent"] + found["counted"].get("span_queue_full", 0) == 3000


def test_spans_of_many_threads_are_each_sent_or_counted():
    found, _ = run(
        "http/protobuf",
        """
sys.setswitchinterval(1e-5)
threads = [threading.Thread(target=work, args=(500, f"mail-{number}")) for number in range(8)]
for thread in threads:
    thread.start()
time.sleep(0)
handle.shutdown(240)  # somewhere in between
for thread in threads:
    thread.join()
show(sent=len(collector.spans), counted=counted())
""",
        OTEL_BSP_MAX_QUEUE_SIZE="20",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10",
        OTEL_METRICS_EXPORTER="none",
    )
    assert found["sent"] + sum(found["counted"].values()) == 4000
    assert set(found["counted"]) <= {"span_queue_full", "span_shutdown"}


def test_settings_of_the_queue_that_make_no_sense_are_said_and_replaced():
    found, log = run(
        "http/protobuf",
        "work(5)\nshow(first=handle.force_flush(60), spans=len(collector.spans))",
        OTEL_BSP_MAX_QUEUE_SIZE="many",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="0",
        OTEL_METRICS_EXPORTER="none",
    )
    assert found == {"first": True, "spans": 5}
    assert "OTEL_BSP_MAX_QUEUE_SIZE='many' is not a whole number above 0; using 2048" in log
    assert "OTEL_BSP_MAX_EXPORT_BATCH_SIZE='0' is not a whole number above 0; using 512" in log


def test_the_provider_itself_can_be_flushed_and_shut_down():
    found, _ = run(
        "http/protobuf",
        """
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor

class Added(SpanProcessor):
    heard = []
    def on_end(self, span):
        self.heard.append("end")
    def force_flush(self, timeout_millis=30000):
        self.heard.append("flush")
        return True
    def shutdown(self):
        self.heard.append("shutdown")

tracers = trace.get_tracer_provider()
tracers.add_span_processor(Added())
work(2)
flushed = tracers.force_flush()
sent = len(collector.spans)
work(1)
assert handle.force_flush(60)
handle.shutdown(60)
work(1)
show(flushed=flushed, sent=sent, all=len(collector.spans), heard=Added.heard, counted=counted())
""",
        OTEL_METRICS_EXPORTER="none",
    )
    assert (found["flushed"], found["sent"], found["all"]) == (True, 2, 3)
    assert found["heard"][:6] == ["end", "end", "flush", "end", "flush", "shutdown"]
    assert found["counted"] == {"span_shutdown": 1}


def test_what_an_exporter_does_is_not_traced_itself():
    """Instrumented clients look at a key of the context, as they do in OpenTelemetry's own processor."""
    found, _ = run(
        "http/protobuf",
        """
from opentelemetry import context
work(1)
assert handle.force_flush(60)
show(suppressed=suppressed)
""",
        """
import requests
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value
suppressed = []
request = requests.Session.request
def look(self, *args, **kwargs):
    suppressed.append(get_value(_SUPPRESS_INSTRUMENTATION_KEY))
    return request(self, *args, **kwargs)
requests.Session.request = look
""",
    )
    assert found == {"suppressed": [True, True]}, "spans and metrics"
