"""An OpenTelemetry SDK for the tests that examine spans and metrics, set only while they run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from glasspool.telemetry import providers
from glasspool.telemetry.export.otel_instruments import Instruments
from glasspool.telemetry.recording.registry import REGISTRY


class Sdk:
    """What an application's SDK was told."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracing = TracerProvider(shutdown_on_exit=False)
        self.tracing.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.metering = MeterProvider([self.reader], shutdown_on_exit=False)
        self.tracer = self.tracing.get_tracer("application")

    def spans(self, *names: str) -> list[ReadableSpan]:
        """The finished spans with one of these names (all without names), in order of ending."""
        return [span for span in self.exporter.get_finished_spans() if not names or span.name in names]

    def span(self, name: str) -> ReadableSpan:
        """The only finished span of this name."""
        (found,) = self.spans(name)
        return found

    def points(self, metric: str, **labels: str) -> list[Any]:
        """The data points of a metric now that carry these attributes (underscores for dots)."""
        data = self.reader.get_metrics_data()
        assert data is not None
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for found in scope.metrics
            if found.name == metric
            for point in found.data.data_points
            if labels.items() <= {key.replace(".", "_"): value for key, value in point.attributes.items()}.items()
        ]


@pytest.fixture(autouse=True)
def fresh_registry() -> None:
    """Each test starts with no identities: together these tests open more executors than the process's name cap."""
    REGISTRY.reset()


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sdk]:
    """A real SDK as the process's global one; providers can be set once only, so the API's globals are lent."""
    made = Sdk()
    providers.bind(REGISTRY)  # so that no other instruments are made while the test runs
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", made.tracing)
    monkeypatch.setattr(providers, "sink", Instruments(REGISTRY, made.metering.get_meter("glasspool")))
    yield made
    made.metering.shutdown()
    made.tracing.shutdown()
