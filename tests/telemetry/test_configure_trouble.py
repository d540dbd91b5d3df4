"""configure() when something is missing: clear messages, and the program goes on."""

from __future__ import annotations

import socket
import time
from importlib.metadata import version

import pytest

from glasspool.telemetry import catalog, configure

from .support import run_python
from .test_configure import CONSOLE, SERVE_AND_SCRAPE, SETUP, WORK_AND_SHOW, last_metrics
from .test_prometheus import BLOCK


def test_a_taken_port_is_a_note_and_the_work_goes_on():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_python(SETUP + f"handle = configure(prometheus_port={port})" + WORK_AND_SHOW)
    (notes,) = done.lines("notes")
    assert f"the Prometheus endpoint cannot listen on 127.0.0.1:{port}" in notes
    assert "prometheus_port=0 for any free one" in done.err
    assert done.err.count("LOG WARNING") == 1


def test_multiprocess_mode_is_said_and_the_workers_own_endpoint_shows_its_series(tmp_path):
    done = run_python(SETUP + SERVE_AND_SCRAPE, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert list(done.lines("submitted")) == ["['3.0']"]
    assert done.err.count("multiprocess mode cannot carry glasspool's series") == 1


@pytest.mark.parametrize(
    ("package", "call", "hint"),
    [
        ("opentelemetry.sdk", "configure()", "pip install 'glasspool[otlp]'"),
        ("opentelemetry.exporter", "configure()", "pip install 'glasspool[otlp]'"),
        ("prometheus_client", "configure(prometheus_port=0)", "pip install 'glasspool[prometheus]'"),
    ],
)
def test_a_missing_extra_is_a_note_that_says_what_to_install(package, call, hint):
    done = run_python(BLOCK.format(package=package) + SETUP + f"handle = {call}" + WORK_AND_SHOW)
    assert all(hint in line for line in done.err.splitlines() if line.startswith("LOG WARNING"))
    assert hint in done.err
    assert list(done.lines("flushed")) == ["True"]


def test_an_unknown_exporter_or_protocol_is_a_note():
    done = run_python(SETUP + "handle = configure()" + WORK_AND_SHOW, OTEL_EXPORTER_OTLP_PROTOCOL="carrier-pigeon")
    assert "OTLP protocol 'carrier-pigeon' (OTEL_EXPORTER_OTLP_PROTOCOL) is none of grpc, http/protobuf" in done.err
    done = run_python(
        SETUP + "handle = configure()" + WORK_AND_SHOW, OTEL_TRACES_EXPORTER="nosuch", OTEL_METRICS_EXPORTER="console"
    )
    assert "no exporter 'nosuch' is installed; check OTEL_TRACES_EXPORTER" in done.err
    assert last_metrics(done)[1][catalog.TASK_SUBMITTED.name][0]["value"] == 3, "the other signal is exported"


OLD_SDK = tuple(int(part) for part in version("opentelemetry-sdk").split(".")[:2]) < (1, 36)


@pytest.mark.parametrize(
    "protocol",
    [
        pytest.param("grpc", marks=pytest.mark.skipif(OLD_SDK, reason="older exporters go on trying for a minute")),
        "http/protobuf",
    ],
)
def test_an_unreachable_collector_is_said_counted_and_holds_up_nothing(protocol):
    code = (
        SETUP
        + """
from glasspool.telemetry import catalog
from tests.telemetry.support import value
handle = configure()

def failures():
    return value(REGISTRY.collect(), catalog.TELEMETRY_FAILURES, glasspool_telemetry_failure_kind="export")

work()
print("meanwhile", failures())
print("flushed", handle.force_flush(60))
print("failures", failures())
print("left", time.monotonic())
"""
    )
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        done = run_python(
            code,
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{closed.getsockname()[1]}",
            OTEL_EXPORTER_OTLP_TIMEOUT="1",
            # Nothing is exported before it is asked for, however long the work takes.
            OTEL_BSP_SCHEDULE_DELAY="3600000",
            OTEL_METRIC_EXPORT_INTERVAL="3600000",
        )
    (left,) = done.lines("left")
    assert time.monotonic() - float(left) < 60
    assert list(done.lines("meanwhile")) == ["0"], "the work has waited for no export"
    assert list(done.lines("flushed")) == ["False"], "the SDK's own force_flush says True here"
    assert list(done.lines("failures")) == ["2"]
    for signal in ("traces", "metrics"):
        assert done.err.count(f"exporting {signal} (otlp_proto_") == 1
    assert "is the collector reachable? The work goes on" in done.err


@pytest.mark.parametrize("preference", ["delta", "LowMemory", "cumulative"])
def test_a_preference_for_deltas_names_the_way_out(preference):
    done = run_python(
        SETUP + "handle = configure()", OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=preference, **CONSOLE
    )
    assert ("deltatocumulative" in done.err) is (preference != "cumulative")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"service_name": 3}, TypeError, "service_name=3: a string"),
        ({"service_name": " "}, ValueError, "service_name=' ' is empty"),
        ({"prometheus_port": "9464"}, TypeError, "prometheus_port='9464': an integer"),
        ({"prometheus_port": True}, TypeError, "prometheus_port=True: an integer"),
        ({"prometheus_port": 70000}, ValueError, "prometheus_port=70000 is no port"),
        ({"prometheus_port": -1}, ValueError, "prometheus_port=-1 is no port"),
        ({"otlp": "yes"}, TypeError, "otlp='yes': True, False"),
        ({"resource_attributes": ["a"]}, TypeError, r"resource_attributes=\['a'\]: a mapping"),
        ({"resource_attributes": {1: "a"}}, TypeError, r"resource_attributes=\{1: 'a'\}: a mapping"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_set_up(arguments, error, message):
    with pytest.raises(error, match=message):
        configure(**arguments)
