"""The telemetry of a measured program, set up as an application does it: with readers that collect, and exporters."""

from __future__ import annotations

import threading
import time

__all__ = ["set_up"]


def set_up(kind: str) -> None:
    """Set it up, once in a process. Exporters get everything and send nothing.

    :param kind: ``""``: no SDK; ``"prometheus"``: a Prometheus collector; ``"exporter"``: an SDK with the Prometheus
        exporter of OpenTelemetry, scraped every second; ``"metrics"``: an SDK that collects every second;
        ``"sampled out"`` and ``"traced"``: the same with spans.
    """
    if kind == "prometheus":
        from prometheus_client import CollectorRegistry

        from glasspool.telemetry.prometheus import register

        register(CollectorRegistry())
    elif kind == "exporter":
        _set_up_exporter()
    elif kind:
        _set_up_sdk(kind)


def _set_up_exporter() -> None:
    from opentelemetry import metrics
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from opentelemetry.sdk.metrics import MeterProvider
    from prometheus_client import REGISTRY, generate_latest

    metrics.set_meter_provider(MeterProvider([PrometheusMetricReader()]))

    def scrape() -> None:
        while True:
            generate_latest(REGISTRY)
            time.sleep(1)

    threading.Thread(target=scrape, daemon=True).start()


def _set_up_sdk(kind: str) -> None:
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, PeriodicExportingMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

    class NoMetrics(MetricExporter):
        def export(self, *_args: object, **_options: object) -> MetricExportResult:
            return MetricExportResult.SUCCESS

        def force_flush(self, *_args: object, **_options: object) -> bool:
            return True

        def shutdown(self, *_args: object, **_options: object) -> None:
            pass

    class NoSpans(SpanExporter):
        def export(self, _spans: object) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    reader = PeriodicExportingMetricReader(NoMetrics(), export_interval_millis=1000)
    metrics.set_meter_provider(MeterProvider([reader]))
    if kind != "metrics":
        tracers = TracerProvider(sampler=ALWAYS_ON if kind == "traced" else ALWAYS_OFF)
        tracers.add_span_processor(BatchSpanProcessor(NoSpans(), max_queue_size=100_000))
        trace.set_tracer_provider(tracers)
