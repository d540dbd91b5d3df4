"""What other libraries keep private and ``_foreign`` uses is there in the installed versions, or is done without."""

from __future__ import annotations

import contextvars
import threading
from types import SimpleNamespace
from typing import Any

import prometheus_client
import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, StaticSampler, TraceIdRatioBased

from glasspool._foreign import otel_context as contexts
from glasspool._foreign import otel_globals
from glasspool._foreign.locks import is_owned
from glasspool._foreign.otel_aggregations import aggregations_of
from glasspool._foreign.otel_exporters import preferences_of, put_around_stubs, set_resource, without_instrumentation
from glasspool._foreign.otel_tracer import decision_of, parts_of
from glasspool._foreign.prometheus_registry import collectors_of

BOUNDS = (0.1, 1.0)
ATTRIBUTES = {"name": "a"}


def test_the_apis_providers_and_contexts_are_found_without_a_call() -> None:
    assert otel_globals.KNOWN
    assert isinstance(getattr(contexts.current_context, "__self__", None), contextvars.ContextVar)
    span = trace.NonRecordingSpan(trace.SpanContext(1, 2, False))
    made = contexts.with_span(span, otel_context.get_current())
    assert trace.get_current_span(made) is contexts.span_in(made) is span
    assert contexts.span_in(None) is trace.get_current_span() is trace.INVALID_SPAN


def test_the_sdks_tracer_has_the_parts_that_spans_are_made_with() -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    tracer = provider.get_tracer("a")
    parts = parts_of(tracer)
    assert parts is not None
    span: Any = tracer.start_span("b")
    assert parts.scope is span.instrumentation_scope
    assert parts_of(trace.NoOpTracerProvider().get_tracer("a")) is None
    set_resource(provider, Resource({"a": "b"}))
    assert provider.get_tracer("c").resource.attributes == {"a": "b"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "sampler", [ALWAYS_ON, ALWAYS_OFF, TraceIdRatioBased(0.5), ParentBased(TraceIdRatioBased(0.5))]
)
def test_the_sdks_samplers_are_asked_for_a_decision_only(sampler: Any) -> None:
    decide = decision_of(sampler)
    assert decide is not None
    for trace_id in (1, 1 << 63, (1 << 64) - 1, (1 << 128) - 1):
        assert decide(None, trace_id) is sampler.should_sample(None, trace_id, "a").decision.is_sampled()


def test_samplers_of_the_applications_own_are_asked_themselves() -> None:
    class Own(StaticSampler):
        pass

    own = Own(ALWAYS_ON.should_sample(None, 1, "a").decision)
    assert decision_of(own) is decision_of(ParentBased(own)) is None


def test_the_sdks_histograms_take_many_measurements_at_once() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    instrument = provider.get_meter("m").create_histogram("h", explicit_bucket_boundaries_advisory=list(BOUNDS))
    instrument.record(0.5, ATTRIBUTES)
    found = aggregations_of(instrument, ATTRIBUTES, BOUNDS)
    assert found is not None
    assert found.are_all(instrument)
    for times in (1, 2):  # a collection takes what the SDK has kept
        found.add([1, 2, 3], 7.5, 0.05, 5.0)
        data: Any = reader.get_metrics_data()
        (point,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
        assert tuple(point.bucket_counts) == (times, 1 + 2 * times, 3 * times)
        assert (point.sum, point.min, point.max) == (0.5 + 7.5 * times, 0.05, 5.0)
    assert aggregations_of(instrument, ATTRIBUTES, (1.0, 2.0)) is None, "other bounds"
    assert aggregations_of(instrument, {"name": "b"}, BOUNDS) is None, "nothing was recorded"
    assert aggregations_of(SimpleNamespace(), ATTRIBUTES, BOUNDS) is None, "another SDK"
    provider.shutdown()


def test_exporters_registries_and_locks() -> None:
    wanted: Any = {"preferred_temporality": {int: "a"}, "preferred_aggregation": {str: "b"}}
    assert preferences_of(ConsoleMetricExporter(**wanted)) == ({int: "a"}, {str: "b"})
    (key,) = without_instrumentation()
    assert key.startswith("suppress_instrumentation")
    registry = prometheus_client.CollectorRegistry()
    gauge = prometheus_client.Gauge("a", "b", registry=registry)
    assert collectors_of(registry) == [gauge]
    assert collectors_of(SimpleNamespace()) == []
    lock = threading.RLock()
    assert not is_owned(lock)
    with lock:
        assert is_owned(lock)


def test_the_grpc_exporters_client_is_wrapped_now_and_when_it_connects_anew() -> None:
    grpc = pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")
    exporter: Any = grpc.OTLPSpanExporter(endpoint="http://127.0.0.1:1", insecure=True)
    seen: list[Any] = []
    put_around_stubs(exporter, lambda stub: seen.append(stub) or stub)
    assert len(seen) == 1, "this version keeps its client elsewhere: answers of collectors are not seen"
    exporter.shutdown()
    put_around_stubs(SimpleNamespace(), lambda stub: pytest.fail("there is none"))
