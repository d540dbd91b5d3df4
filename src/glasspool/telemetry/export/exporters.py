"""The exporters of ``configure()``: chosen by the standard variables, with counted failures, renewed after forks.

This module is imported only if the OpenTelemetry SDK is used; without it the import fails.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any, Generic, Literal, TypeVar

from opentelemetry import context as otel_context
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from glasspool._foreign.otel_exporters import preferences_of, without_instrumentation
from glasspool.errors import ConfigurationError
from glasspool.telemetry.providers import SCOPE

from . import environment
from .losses import Losses
from .partial_success import Answers, listened_to
from .sdk_warnings import ours

__all__ = ["MetricExports", "PeriodicExports", "Renewed", "SpanExports", "reader_factory", "span_exporter"]

logger = logging.getLogger("glasspool")

Signal = Literal["traces", "metrics"]
_E = TypeVar("_E", bound="SpanExporter | MetricExporter")

_PROTOCOLS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_DEFAULT_INTERVAL = 15_000.0  # milliseconds; the SDK's 60 s hides a queue that fills and drains within a minute


class Renewed(Generic[_E]):
    """An exporter that is made again in every process: a gRPC channel does not survive a fork."""

    def __init__(self, make: Callable[[], _E], name: str, entry: str) -> None:
        self.name = name
        self.answers = Answers()
        self.succeeded = False
        self._entry = entry
        self._make: Callable[..., _E] = make
        self._failing = False
        self._new()

    def _new(self) -> None:
        with environment.usable():
            self._exporter: _E = listened_to(self._entry, self._make, self.answers)
        self._pid = os.getpid()

    @property
    def exporter(self) -> _E:
        """The exporter of this process."""
        if self._pid != os.getpid():
            self._new()
        return self._exporter

    def send(self, export: Callable[[_E], object], success: object, losses: Losses) -> bool:
        """Export. A failure is counted, and reported once until exports work again."""
        error: Exception | None = None
        try:
            with ours:
                worked = export(self.exporter) is success
        except Exception as caught:  # noqa: BLE001 - an exporter's bug must not end the SDK's export thread
            worked, error = False, caught
        if worked:
            self._failing = False
            self.succeeded = True
            return True
        losses.export_failed(self.name, error, again=self._failing)
        self._failing = True
        return False

    def close(self) -> None:
        """Close the connection, if this process has one."""
        if self._pid == os.getpid():
            self._exporter.shutdown()


class SpanExports:
    """A span exporter whose failures are counted, renewed after a fork."""

    def __init__(self, make: Callable[[], SpanExporter], name: str) -> None:
        self.renewed = Renewed(make, f"traces ({name})", name)

    def deliver(self, spans: Sequence[ReadableSpan], losses: Losses) -> bool:
        """Send the spans. True if all of them arrived; the others are lost and counted."""
        # An export belongs to no trace: instrumented HTTP and gRPC clients check this.
        token = otel_context.attach(without_instrumentation())
        try:
            worked = self.renewed.send(lambda exporter: exporter.export(spans), SpanExportResult.SUCCESS, losses)
        finally:
            otel_context.detach(token)
        rejected, why = self.renewed.answers.take()
        if not worked:
            losses.count("span_export", len(spans))
            return False
        if rejected:
            losses.count("span_export", rejected)
            losses.explain("span_export", f"the collector does not take all spans ({self.renewed.name}): {why}")
        return not rejected


class MetricExports(MetricExporter):
    """A metric exporter whose failures are counted, renewed after a fork.

    Points that did not arrive are lost if they are deltas; totals are sent again with the next export.

    In a forked child the SDK keeps the parent's histograms for ever. There our metrics come from a new provider of the
    child, and metrics of our scope are removed from exports of the inherited one.
    """

    def __init__(self, make: Callable[[], MetricExporter], name: str, losses: Losses) -> None:
        self.renewed = Renewed(make, f"metrics ({name})", name)
        self.unsent = False
        exporter = self.renewed.exporter
        super().__init__(*preferences_of(exporter))
        self._losses = losses
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
            self._losses,
        )
        self.unsent = not worked
        rejected, why = self.renewed.answers.take()
        if rejected:
            self._losses.explain("point_export", f"the collector does not take all points ({self.renewed.name}): {why}")
        lost = rejected if worked else _differences(metrics_data)
        if lost:
            self._losses.count("point_export", lost)
        return MetricExportResult.SUCCESS if worked else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Flush data that the exporter itself may hold."""
        return self.renewed.exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Close the connection."""
        self.renewed.close()


class PeriodicExports(PeriodicExportingMetricReader):
    """Exports every ``OTEL_METRIC_EXPORT_INTERVAL`` milliseconds, 15,000 by default."""

    def __init__(self, exports: MetricExports) -> None:
        self.exports = exports
        given = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", "").strip()
        try:
            interval = float(given) if given else _DEFAULT_INTERVAL
        except ValueError:
            interval = 0.0
        if not 0 < interval <= environment.LONGEST_MILLISECONDS:
            logger.warning("OTEL_METRIC_EXPORT_INTERVAL=%r is not a number of milliseconds above 0; using 15000", given)
            interval = _DEFAULT_INTERVAL
        with environment.usable():
            super().__init__(exports, export_interval_millis=interval)
        self._over = False

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Export once more and stop. Idempotent: the provider does it again."""
        if not self._over:
            self._over = True
            super().shutdown(timeout_millis, **kwargs)


def span_exporter(name: str) -> SpanExports:
    """The exporter of this name in ``OTEL_TRACES_EXPORTER``. Raises ``ConfigurationError``."""
    entry, make = _load(name, "traces")
    return SpanExports(make, entry)


def reader_factory(name: str) -> Callable[[Losses], MetricReader]:
    """A function that makes the reader with this name in ``OTEL_METRICS_EXPORTER``. Raises ``ConfigurationError``."""
    entry, make = _load(name, "metrics")
    if isinstance(make, type) and issubclass(make, MetricReader):
        return lambda _: make()
    return lambda losses: PeriodicExports(MetricExports(make, entry, losses))


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


def _differences(data: MetricsData) -> int:
    """The number of delta points among these; no later export sends them again."""
    return sum(
        len(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if getattr(metric.data, "aggregation_temporality", None) is AggregationTemporality.DELTA
    )


def _without_our_scope(data: MetricsData) -> MetricsData:
    kept: list[Any] = []
    for resource in data.resource_metrics:
        scopes = [found for found in resource.scope_metrics if found.scope.name != SCOPE]
        if scopes:
            kept.append(dataclasses.replace(resource, scope_metrics=scopes))
    return MetricsData(resource_metrics=kept)
