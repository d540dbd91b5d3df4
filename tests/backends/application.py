"""An application that brings an SDK of its own, with OTLP exporters, and does the same work in every run.

``wrapped`` puts the SDK's providers into wrappers, as some vendors do. Then no part of it has the expected class, and
glasspool records measurements one by one and has the tracer make its spans.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import anyio
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from glasspool import HybridExecutor
from glasspool.telemetry.tracing.task_span import TaskSpan

OK, BAD, SLOW, CANCELLED = 10, 3, 2, 2
TASKS = OK + BAD + SLOW + CANCELLED


class Wrapped:
    """Stands for another object, whose ``makers`` return wrapped objects too."""

    def __init__(self, inner: Any, *makers: str) -> None:
        self._inner = inner
        self._makers = makers

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._makers:
            return found
        return lambda *args, **kwargs: Wrapped(found(*args, **kwargs), *self._makers)


class Tracers(Wrapped, trace.TracerProvider):
    """A wrapped provider of tracers."""

    def get_tracer(self, *args: Any, **kwargs: Any) -> Any:
        return Tracer(self._inner.get_tracer(*args, **kwargs))


class Tracer(Wrapped, trace.Tracer):
    """A wrapped tracer, which makes the SDK's spans."""

    def start_span(self, *args: Any, **kwargs: Any) -> Any:
        return self._inner.start_span(*args, **kwargs)

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Any:
        return self._inner.start_as_current_span(*args, **kwargs)


class Meters(Wrapped, metrics.MeterProvider):
    """A wrapped provider of meters."""

    def get_meter(self, *args: Any, **kwargs: Any) -> Any:
        return Wrapped(self._inner.get_meter(*args, **kwargs), "create_histogram")


async def ok() -> str:
    await anyio.lowlevel.checkpoint()
    spans.append(type(trace.get_current_span()))
    trace.get_current_span().add_event("halfway", {"share": 0.5})
    return "ok"


def bad() -> None:
    raise ValueError("bad on purpose")


async def work() -> None:
    async with HybridExecutor("shop", max_in_flight=2) as executor:
        for _ in range(OK):
            await executor.run(ok)
        for _ in range(BAD):
            await (await executor.submit(bad)).outcome()
        for _ in range(SLOW):
            await (await executor.submit(anyio.sleep_forever, timeout=0.01)).outcome()
        for _ in range(CANCELLED):
            handle = await executor.submit(anyio.sleep_forever)
            await anyio.wait_all_tasks_blocked()
            handle.cancel()
            await handle.outcome()


spans: list[type] = []


def main() -> None:
    tracing = TracerProvider()
    tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(os.environ["TRACES"])))
    readers = [
        PeriodicExportingMetricReader(OTLPMetricExporter(os.environ[where]), export_interval_millis=3_600_000)
        for where in ("METRICS", "STORE")
    ]
    metering = MeterProvider(readers)
    wrapped = "wrapped" in sys.argv
    trace.set_tracer_provider(Tracers(tracing) if wrapped else tracing)
    metrics.set_meter_provider(Meters(metering) if wrapped else metering)
    with trace.get_tracer("application").start_as_current_span("request"):
        anyio.run(work, backend=sys.argv[1])
    assert set(spans) == ({type(tracing.get_tracer("t").start_span("s"))} if wrapped else {TaskSpan})
    tracing.shutdown()
    metering.shutdown()


if __name__ == "__main__":
    main()
