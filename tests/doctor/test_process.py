"""What ``glasspool.doctor()`` finds in a program: providers, exporters, samplers, pools, loops, forks."""

from __future__ import annotations

import os

import pytest

from glasspool import Finding, doctor

from .support import QUIET, in_program, none, one

SDK = """
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
"""
CONFIGURE = "import glasspool.telemetry; glasspool.telemetry.configure({})\n"
POOLS = "from concurrent.futures import Executor, Future, ThreadPoolExecutor\n"
OTLP = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


def test_arguments():
    for wrong in (0, -1, float("inf"), float("nan"), "3", True):
        with pytest.raises(ValueError, match="timeout="):
            doctor(timeout=wrong)  # type: ignore[arg-type]


def test_nothing_is_set_up():
    findings = in_program("")
    assert one(findings, "providers", "traces: no OpenTelemetry provider").level == "warning"
    assert one(findings, "providers", "metrics: no OpenTelemetry provider").level == "warning"
    assert [each.level for each in findings] == sorted((each.level for each in findings), reverse=True)


def test_configure_and_an_endpoint_that_refuses():
    findings = in_program(CONFIGURE.format(""), send=True, **OTLP)
    for signal in ("traces", "metrics"):
        assert "glasspool.telemetry.configure(); it exports by OTLP (grpc)" in one(findings, "providers", signal).found
        assert one(findings, "otlp", signal).level == "problem"
        assert "OTEL_EXPORTER_OTLP_ENDPOINT" in one(findings, "otlp", signal).found


def test_configure_serves_its_port_and_says_so():
    findings = in_program(CONFIGURE.format("prometheus_port=0"), send=True, **QUIET)
    assert "are served on 127.0.0.1:" in one(findings, "port", "").found
    none(findings, "providers")
    assert "Prometheus endpoint" in one(findings, "duplicates", "one path").found


def test_what_configure_noted():
    findings = in_program(CONFIGURE.format(""), OTEL_TRACES_EXPORTER="otlq", OTEL_METRICS_EXPORTER="none")
    assert "no exporter 'otlq'" in one(findings, "configure", "configure() noted").found


def test_a_provider_of_the_application_without_an_exporter():
    findings = in_program(SDK + "trace.set_tracer_provider(TracerProvider())")
    finding = one(findings, "providers", "traces: the provider was set by the application")
    assert finding.level == "warning"
    assert "no exporter" in finding.found


def test_metrics_by_otlp_and_by_a_port():
    findings = in_program(CONFIGURE.format("prometheus_port=0"), **OTLP)
    assert one(findings, "duplicates", "by OTLP and by a Prometheus endpoint").level == "warning"


def test_two_collectors_on_one_registry():
    code = SDK + (
        "from opentelemetry.exporter.prometheus import PrometheusMetricReader\n"
        "metrics.set_meter_provider(MeterProvider([PrometheusMetricReader()]))\n"
        "from glasspool.telemetry import prometheus; prometheus.register()\n"
    )
    findings = in_program(code)
    assert one(findings, "duplicates", "are on one registry").level == "warning"
    assert "by one path" not in str(findings)
    code = code.replace("[PrometheusMetricReader()]", "[PrometheusMetricReader(), PrometheusMetricReader()]")
    assert one(in_program(code), "duplicates", "2 PrometheusMetricReaders").level == "problem"


def test_two_exporters_to_one_address():
    findings = in_program(
        SDK
        + "from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader as Reader\n"
        + "from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as Out\n"
        + "metrics.set_meter_provider(MeterProvider([Reader(Out()), Reader(Out())], shutdown_on_exit=False))\n"
        + "import os, atexit; atexit.register(os._exit, 0)"
    )
    assert one(findings, "duplicates", "2 exporters send all metrics to http://localhost:4318").level == "problem"


def test_deltas_by_the_variable_and_by_a_reader():
    name = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
    asked = in_program(CONFIGURE.format(""), **{name: "delta"}, **OTLP)
    assert one(asked, "temporality", f"{name}=delta").level == "problem"
    assert f"Unset {name}" in one(asked, "temporality", "").fix
    none(asked, "configure")  # which has noted the same
    findings = in_program(
        SDK
        + "from opentelemetry.sdk.metrics import Counter\n"
        + "from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader\n"
        + "reader = InMemoryMetricReader(preferred_temporality={Counter: AggregationTemporality.DELTA})\n"
        + "metrics.set_meter_provider(MeterProvider([reader]))"
    )
    finding = one(findings, "temporality", "A reader of the program (Counter")
    assert finding.level == "problem"
    assert "preferred_temporality=" in finding.fix
    assert name not in finding.fix  # it is not set
    none(in_program(CONFIGURE.format(""), **OTLP), "temporality")


def test_multiprocess_mode(tmp_path):
    findings = in_program("", PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert one(findings, "multiprocess", "PROMETHEUS_MULTIPROC_DIR is set").level == "problem"


def test_exemplars_that_are_off():
    assert one(in_program("", OTEL_METRICS_EXEMPLAR_FILTER="always_off"), "exemplars", "always_off").level == "warning"
    code = "from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter as Off\n"
    code += "metrics.set_meter_provider(MeterProvider(exemplar_filter=Off()))"
    by_code = one(in_program(SDK + code), "exemplars", "the meter provider says so")
    assert (by_code.level, "exemplar_filter=" in by_code.fix) == ("warning", True)


@pytest.mark.parametrize(
    ("chosen", "argument"), [("always_off", ""), ("parentbased_always_off", ""), ("parentbased_traceidratio", "0.0")]
)
def test_a_sampler_that_drops_everything(chosen, argument):
    variables = {"OTEL_TRACES_SAMPLER": chosen, "OTEL_TRACES_SAMPLER_ARG": argument}
    assert one(in_program("", **variables), "sampler", chosen).level == "problem"
    configured = in_program(CONFIGURE.format(""), **variables, **OTLP)
    finding = one(configured, "sampler", "The tracer provider's sampler is")
    assert (finding.level, "Set OTEL_TRACES_SAMPLER=" in finding.fix) == ("problem", True)


def test_a_sampler_of_the_program_that_drops_everything():
    code = SDK + "from opentelemetry.sdk.trace.sampling import ALWAYS_OFF\n"
    code += "trace.set_tracer_provider(TracerProvider(sampler=ALWAYS_OFF))"
    finding = one(in_program(code), "sampler", "The tracer provider's sampler is AlwaysOff")
    assert (finding.level, "sampler=" in finding.fix) == ("problem", True)
    assert "OTEL_TRACES_SAMPLER" not in finding.fix  # the argument wins


def test_samplers_that_keep_something():
    code = "from opentelemetry.sdk.trace.sampling import TraceIdRatioBased\n"
    code += "trace.set_tracer_provider(TracerProvider(sampler=TraceIdRatioBased(0.01)))"
    none(in_program(SDK + code, OTEL_TRACES_SAMPLER="always_off"), "sampler")


def test_pools_before_and_without_instrument():
    before = POOLS + "early = ThreadPoolExecutor(1, 'early')\n"
    assert one(in_program(before), "pools", "The pool 'early' (ThreadPoolExecutor) is not observed").level == "warning"
    wrapped = before + "import glasspool_instrumentation as i; i.wrap_executor(early, 'etl')\n"
    none(in_program(wrapped), "pools")  # and no instrument()
    none(in_program(wrapped + "early.submit(int).result()\n"), "pools")
    beside = in_program(wrapped + "early.submit(int).result(); other = ThreadPoolExecutor(1, 'other')\n")
    assert "'other'" in one(beside, "pools", "is not observed").found
    on = "import glasspool_instrumentation as i; i.instrument()\n"
    assert "made before instrument()" in one(in_program(before + on), "pools", "'early'").found
    used = before + on + "early.submit(int).result(); late = ThreadPoolExecutor(1, 'late')\n"
    none(in_program(used), "pools")
    own = "class Own(Executor):\n    def submit(self, fn): return Future()\nown = Own()\n"
    assert "is not observed" in one(in_program(POOLS + own + on), "pools", "Own").found
    wrapped = "i.wrap_executor(own, 'own')\n"
    none(in_program(POOLS + own + on + wrapped), "pools")


@pytest.mark.parametrize(("name", "cls"), [("threading", "ThreadingInstrumentor"), ("asyncio", "AsyncioInstrumentor")])
def test_instrumentations_of_opentelemetry_beside_ours(name, cls):
    code = f"from opentelemetry.instrumentation.{name} import {cls}\n{cls}().instrument()\n"
    assert one(in_program(code), "rivals", f"{name} instrumentation is on").level == "warning"
    none(in_program(code + f"{cls}().uninstrument()"), "rivals")


@pytest.mark.filterwarnings("ignore")
def test_event_loops():
    own = """
import asyncio, warnings
warnings.simplefilter("ignore")
class Policy(asyncio.DefaultEventLoopPolicy): ...
asyncio.set_event_loop_policy(Policy())
"""
    assert one(in_program(own), "event-loop", "__main__.Policy").level == "warning"
    loop = (
        "import asyncio, atexit\nclass Loop(asyncio.SelectorEventLoop): ...\nloop = Loop(); atexit.register(loop.close)"
    )
    assert one(in_program(loop), "event-loop", "__main__.Loop").level == "warning"
    uvloop = "import uvloop; loop = uvloop.new_event_loop(); import atexit; atexit.register(loop.close)"
    assert "uvloop" in one(in_program(uvloop), "event-loop", "tested").found


FORKED = """
import os
pid = os.fork()
if pid:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_that_was_forked_after_the_set_up():
    ours = "import glasspool.telemetry.providers\n"
    theirs = in_program(ours + SDK + "metrics.set_meter_provider(MeterProvider())\n" + FORKED)
    assert one(theirs, "forks", "had set its provider of metrics").level == "problem"
    own = in_program(CONFIGURE.format("") + FORKED, **OTLP)
    assert one(own, "forks", "forked after configure()").level == "ok"
    none(in_program(ours + FORKED), "forks")


def test_a_check_that_fails_does_not_end_the_examination():
    code = "import glasspool._doctor.servers as s; s.instances = None\n"
    assert one(in_program(code), "doctor", "The check of servers has failed (TypeError)").level == "warning"


def test_a_finding_is_frozen():
    finding = Finding("otlp", "ok", "fine")
    with pytest.raises(AttributeError):
        finding.level = "problem"  # type: ignore[misc]
