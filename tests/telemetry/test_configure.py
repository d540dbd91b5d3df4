"""configure(): what it sets up, what it does not change, and its messages when something is missing.

Providers can be set once per process, so each case runs in an interpreter of its own.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from glasspool.telemetry import catalog

from .support import Finished, run_python

SETUP = """
import logging, sys, time
logging.basicConfig(format="LOG %(levelname)s %(name)s %(message)s", level=logging.INFO)
from glasspool.telemetry import configure
from glasspool.telemetry.recording.registry import REGISTRY
from glasspool.telemetry.tracing.spans import TaskTracer
from tests.telemetry.support import full_recorder, run_task

def work(count=3, name="mail"):
    recorder, tracer = full_recorder(REGISTRY, name), TaskTracer(name, "hybrid")
    for _ in range(count):
        span = tracer.start(task_name="t", label="t", function=work, task_id=1, runner="inline", queue_size=0)
        run_task(recorder, "t", span=span)
        if span is not None:
            span.end()
"""

WORK_AND_SHOW = """
work()
print("flushed", handle.force_flush(20))
print("notes", handle.notes)
"""

SERVE_AND_SCRAPE = """
import urllib.request
handle = configure(prometheus_port=0)
work()
text = urllib.request.urlopen(f"http://127.0.0.1:{handle.prometheus_port}/metrics").read().decode()
lines = [line for line in text.splitlines() if line.startswith("glasspool_task_submitted_total{")]
print("submitted", [line.split()[-1] for line in lines])
"""

CONSOLE = {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "console"}


def documents(done: Finished) -> list[dict[str, Any]]:
    """The JSON documents that the console exporters wrote between the other lines."""
    found, decoder, position = [], json.JSONDecoder(), 0
    while (position := done.out.find("{", position)) >= 0:
        document, position = decoder.raw_decode(done.out, position)
        found.append(document)
    return found


def spans(done: Finished) -> list[dict[str, Any]]:
    return [document for document in documents(done) if "trace_id" in document.get("context", {})]


def last_metrics(done: Finished) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Resource attributes and points by name of the last metrics document."""
    (resource,) = [document for document in documents(done) if "resource_metrics" in document][-1]["resource_metrics"]
    points = {
        metric["name"]: metric["data"]["data_points"]
        for scope in resource["scope_metrics"]
        for metric in scope["metrics"]
    }
    return resource["resource"]["attributes"], points


def test_spans_metrics_resource_and_flush_at_exit():
    done = run_python(
        SETUP
        + 'handle = configure(service_name="shop", resource_attributes={"deployment.environment": "test"})\nwork()',
        **CONSOLE,
    )
    resource, points = last_metrics(done)
    assert points[catalog.TASK_SUBMITTED.name][0]["value"] == 3
    assert points[catalog.TASK_DURATION.name][0]["count"] == 3
    assert points[catalog.TASK_DURATION.name][0]["explicit_bounds"] == list(catalog.TASK_DURATION.buckets)
    assert resource["service.name"] == "shop"
    assert resource["deployment.environment"] == "test"
    assert len(resource["service.instance.id"]) == 36
    assert len(spans(done)) == 3
    assert spans(done)[0]["resource"]["attributes"] == resource
    assert spans(done)[0]["name"] == "mail t"


def test_the_environment_decides_over_name_and_attributes():
    done = run_python(
        SETUP + 'configure(service_name="shop", resource_attributes={"team": "a", "zone": "1"})\nwork()',
        OTEL_SERVICE_NAME="from-env",
        OTEL_RESOURCE_ATTRIBUTES="team=b",
        **CONSOLE,
    )
    resource, _ = last_metrics(done)
    assert (resource["service.name"], resource["team"], resource["zone"]) == ("from-env", "b", "1")


def test_the_default_service_name_is_the_program(tmp_path):
    program = tmp_path / "mailer.py"
    program.write_text(SETUP + "configure()\nwork()")
    done = run_python(f"import runpy, sys; sys.argv = [{str(program)!r}]; runpy.run_path({str(program)!r})", **CONSOLE)
    assert last_metrics(done)[0]["service.name"] == "mailer"


def test_metrics_leave_every_fifteen_seconds_unless_the_variable_says_otherwise():
    code = (
        SETUP
        + """
import opentelemetry.sdk.metrics.export as export
seen = []
original = export.PeriodicExportingMetricReader.__init__
def spy(self, exporter, export_interval_millis=None, export_timeout_millis=None):
    seen.append(export_interval_millis)
    original(self, exporter, export_interval_millis, export_timeout_millis)
export.PeriodicExportingMetricReader.__init__ = spy
configure()
print("interval", seen)
"""
    )
    for given, expected in (("", 15000.0), ("200", 200.0), ("soon", 15000.0), ("-5", 15000.0)):
        done = run_python(code, OTEL_METRIC_EXPORT_INTERVAL=given, **CONSOLE)
        assert list(done.lines("interval")) == [f"[{expected}]"]
        assert ("is not a number of milliseconds above 0; using 15000" in done.err) is (given in ("soon", "-5"))


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "console"}, (False, True)),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "none"}, (True, False)),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}, (False, False)),
        ({"OTEL_SDK_DISABLED": "true", **CONSOLE}, (False, False)),
    ],
)
def test_signals_can_be_switched_off(env, expected):
    done = run_python(SETUP + "handle = configure()" + WORK_AND_SHOW, **env)
    found = documents(done)
    assert (any("context" in each for each in found), any("resource_metrics" in each for each in found)) == expected
    assert list(done.lines("flushed")) == ["True"]
    assert ("OTEL_SDK_DISABLED is set" in done.err) is ("OTEL_SDK_DISABLED" in env)


def test_a_prometheus_endpoint_alone_needs_no_sdk():
    code = (
        SETUP
        + SERVE_AND_SCRAPE
        + """
print("sdk", "opentelemetry.sdk" in sys.modules, handle.notes)
handle.shutdown()
handle.shutdown()
print("port", handle.prometheus_port)
"""
    )
    done = run_python(code)
    assert list(done.lines("submitted")) == ["['3.0']"]
    assert list(done.lines("sdk")) == ["False []"]
    assert list(done.lines("port")) == ["None"]


def test_the_standard_variables_can_ask_for_the_endpoint():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = run_python(
        SETUP + "handle = configure()\nprint('port', handle.prometheus_port)",
        OTEL_METRICS_EXPORTER="prometheus",
        OTEL_TRACES_EXPORTER="none",
        OTEL_EXPORTER_PROMETHEUS_PORT=str(port),
    )
    assert list(done.lines("port")) == [str(port)]


def test_a_second_call_returns_the_first_handle_and_warns():
    done = run_python(
        SETUP
        + "first = configure(prometheus_port=0)\nport = first.prometheus_port\n"
        + "second = configure(prometheus_port=0, service_name='other')\n"
        + "print('same', first is second, port == second.prometheus_port)"
    )
    assert list(done.lines("same")) == ["True True"]
    assert done.err.count("telemetry is configured already; this call changes nothing") == 1


def test_a_second_call_adds_the_endpoint_that_the_first_did_not_ask_for():
    done = run_python(
        SETUP + "configure()\nhandle = configure(prometheus_port=0)\nprint('port', handle.prometheus_port > 0)",
        **CONSOLE,
    )
    assert list(done.lines("port")) == ["True"]
    assert "WARNING" not in done.err


def test_the_applications_own_sdk_is_used_and_nothing_is_added():
    code = (
        SETUP
        + """
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from glasspool.telemetry import catalog
exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
tracers, meters = TracerProvider(), MeterProvider([reader])
tracers.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(tracers)
metrics.set_meter_provider(meters)
handle = configure()
work()
print("kept", trace.get_tracer_provider() is tracers, metrics.get_meter_provider() is meters)
print("spans", [span.name for span in exporter.get_finished_spans()])
(scope,) = reader.get_metrics_data().resource_metrics[0].scope_metrics
for metric in scope.metrics:
    if metric.name == catalog.TASK_DURATION.name:
        print("runs", metric.data.data_points[0].count)
"""
    )
    done = run_python(code)
    assert list(done.lines("kept")) == ["True True"]
    assert list(done.lines("spans")) == ["['mail t', 'mail t', 'mail t']"]
    assert list(done.lines("runs")) == ["3"]
    for signal in ("traces", "metrics"):
        assert f"{signal}: the application has set an OpenTelemetry provider already" in done.err
    assert "WARNING" not in done.err


@pytest.mark.parametrize("call", ["", "configure()"])
def test_under_opentelemetry_instrument_its_sdk_is_used(call):
    launcher = Path(sys.executable).with_name("opentelemetry-instrument")
    if not launcher.exists():
        pytest.skip("opentelemetry-instrument is missing: pip install opentelemetry-distro")
    done = run_python(
        SETUP + call + "\nwork()",
        launcher=(str(launcher),),
        OTEL_SERVICE_NAME="auto",
        OTEL_LOGS_EXPORTER="none",
        **CONSOLE,
    )
    resource, points = last_metrics(done)
    assert resource["service.name"] == "auto"
    # Where glasspool is installed, its own instrumentors are on and show what else the program runs.
    own = [point for point in points[catalog.TASK_SUBMITTED.name] if "mail" in point["attributes"].values()]
    assert [point["value"] for point in own] == [3]
    assert points[catalog.TASK_DURATION.name][0]["count"] == 3
    assert [span["name"] for span in spans(done)] == ["mail t"] * 3
    assert ("the application has set an OpenTelemetry provider already" in done.err) is bool(call)


def test_a_port_of_its_own_shows_nothing_of_other_processes():
    done = run_python(SETUP + SERVE_AND_SCRAPE + "print('processes', text.count('glasspool_processes'))")
    assert list(done.lines("processes")) == ["0"]
