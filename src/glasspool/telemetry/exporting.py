"""Exporters as ``configure()`` uses them: chosen by the standard variables, counted when they fail, renewed by forks.

Imported only when the OpenTelemetry SDK is wanted; without it the import fails.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any, Generic, Literal, TypeVar

from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from glasspool.errors import ConfigurationError

from .providers import SCOPE
from .registry import REGISTRY

__all__ = ["MetricExports", "PeriodicExports", "Renewed", "SpanExports", "reader_factory", "span_exporter"]

logger = logging.getLogger("glasspool")

Signal = Literal["traces", "metrics"]
_E = TypeVar("_E", bound="SpanExporter | MetricExporter")

_PROTOCOLS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_DEFAULT_INTERVAL = 15_000.0  # milliseconds; the SDK's 60 s hides a queue that fills and drains within a minute


class Renewed(Generic[_E]):
    """An exporter that is made again in every process: a gRPC channel does not survive a fork."""

    def __init__(self, make: Callable[[], _E], name: str) -> None:
        self.name = name
        self.failures = 0
        self._make: Callable[[], _E] = make
        self._pid = os.getpid()
        self._exporter: _E = make()
        self._failing = False

    @property
    def exporter(self) -> _E:
        """The exporter of this process."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._exporter = self._make()
        return self._exporter

    def send(self, export: Callable[[_E], object], success: object) -> bool:
        """Export. A failure is counted, and spoken of once until exports work again."""
        error: Exception | None = None
        try:
            worked = export(self.exporter) is success
        except Exception as caught:  # noqa: BLE001 - an exporter's bug must not end the SDK's export thread
            worked, error = False, caught
        if worked:
            self._failing = False
            return True
        self.failures += 1
        REGISTRY.telemetry_failed("export")
        if not self._failing:
            self._failing = True
            logger.warning(
                "exporting %s failed: is the collector reachable? The work goes on; until an export succeeds again, "
                "failures are only counted (glasspool.telemetry.failures)",
                self.name,
                exc_info=error,
            )
        return False


class SpanExports(SpanExporter):
    """A span exporter whose failures are counted, renewed after a fork."""

    def __init__(self, make: Callable[[], SpanExporter], name: str) -> None:
        self.renewed = Renewed(make, f"traces ({name})")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send the spans."""
        worked = self.renewed.send(lambda exporter: exporter.export(spans), SpanExportResult.SUCCESS)
        return SpanExportResult.SUCCESS if worked else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Close the connection."""
        self.renewed.exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush what the exporter itself may keep."""
        return self.renewed.exporter.force_flush(timeout_millis)


class MetricExports(MetricExporter):
    """A metric exporter whose failures are counted, renewed after a fork.

    In a forked child the SDK keeps the parent's histograms for ever. Our metrics come from a provider of the child's
    own there, and from the inherited one those of our scope are left out.
    """

    def __init__(self, make: Callable[[], MetricExporter], name: str) -> None:
        self.renewed = Renewed(make, f"metrics ({name})")
        exporter = self.renewed.exporter
        # What the reader asks its exporter for has no public name, in the base class neither.
        super().__init__(exporter._preferred_temporality, exporter._preferred_aggregation)
        self._pid = os.getpid()

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        """Send the metrics."""
        if self._pid != os.getpid():
            metrics_data = _without_our_scope(metrics_data)
            if not metrics_data.resource_metrics:
                return MetricExportResult.SUCCESS
        worked = self.renewed.send(
            lambda exporter: exporter.export(metrics_data, timeout_millis=timeout_millis, **kwargs),
            MetricExportResult.SUCCESS,
        )
        return MetricExportResult.SUCCESS if worked else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Flush what the exporter itself may keep."""
        return self.renewed.exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Close the connection."""
        self.renewed.exporter.shutdown(timeout_millis, **kwargs)


class PeriodicExports(PeriodicExportingMetricReader):
    """Exports every ``OTEL_METRIC_EXPORT_INTERVAL`` milliseconds, 15,000 by default."""

    def __init__(self, exports: MetricExports) -> None:
        self.exports = exports
        given = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", "").strip()
        try:
            interval = float(given) if given else _DEFAULT_INTERVAL
        except ValueError:
            interval = 0.0
        if not interval > 0:
            logger.warning("OTEL_METRIC_EXPORT_INTERVAL=%r is not a number of milliseconds above 0; using 15000", given)
            interval = _DEFAULT_INTERVAL
        super().__init__(exports, export_interval_millis=interval)


def span_exporter(name: str) -> SpanExports:
    """The exporter of this name in ``OTEL_TRACES_EXPORTER``. Raises ``ConfigurationError``."""
    entry, make = _load(name, "traces")
    return SpanExports(make, entry)


def reader_factory(name: str) -> Callable[[], MetricReader]:
    """What makes the reader of this name in ``OTEL_METRICS_EXPORTER``. Raises ``ConfigurationError``."""
    entry, make = _load(name, "metrics")
    if isinstance(make, type) and issubclass(make, MetricReader):
        return make
    return lambda: PeriodicExports(MetricExports(make, entry))


def _load(name: str, signal: Signal) -> tuple[str, Any]:
    entry = name
    if name == "otlp":
        protocol = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL") or os.environ.get(
            "OTEL_EXPORTER_OTLP_PROTOCOL"
        )
        protocol = (protocol or "grpc").strip()
        if protocol not in _PROTOCOLS:
            raise ConfigurationError(
                f"{signal} are not exported: OTLP protocol {protocol!r} (OTEL_EXPORTER_OTLP_PROTOCOL) is none of "
                f"{', '.join(_PROTOCOLS)}"
            )
        entry = _PROTOCOLS[protocol]
    hint = "pip install 'glasspool[otlp]'" if entry.startswith("otlp") else f"check OTEL_{signal.upper()}_EXPORTER"
    for found in entry_points(group=f"opentelemetry_{signal}_exporter", name=entry):
        try:
            return entry, found.load()
        except ImportError as error:
            raise ConfigurationError(
                f"{signal} are not exported: the exporter {entry!r} cannot be imported ({error}); {hint}"
            ) from error
    raise ConfigurationError(f"{signal} are not exported: no exporter {entry!r} is installed; {hint}")


def _without_our_scope(data: MetricsData) -> MetricsData:
    kept = []
    for resource in data.resource_metrics:
        scopes = [found for found in resource.scope_metrics if found.scope.name != SCOPE]
        if scopes:
            kept.append(dataclasses.replace(resource, scope_metrics=scopes))
    return MetricsData(resource_metrics=kept)
