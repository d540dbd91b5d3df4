"""What the OpenTelemetry SDK's tracers keep: all that is needed to make spans as they do."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import Span, Tracer

__all__ = ["TracerParts", "parts_of"]

_OF_A_TRACER = {
    "self", "sampler", "resource", "span_processor", "id_generator", "instrumentation_info", "span_limits",
    "instrumentation_scope", "meter_provider", "_tracer_config",
}  # fmt: skip
_OF_A_SPAN = {
    "self", "name", "context", "parent", "sampler", "trace_config", "resource", "attributes", "events", "links", "kind",
    "span_processor", "instrumentation_info", "record_exception", "set_status_on_exception", "limits",
    "instrumentation_scope", "record_end_metrics",
}  # fmt: skip


class TracerParts(NamedTuple):
    """What the SDK's ``Tracer.start_span`` works with, besides the tracer's public attributes."""

    limits: Any
    scope: Any
    is_enabled: Callable[[], bool] | None
    """None: it always is (SDKs before 1.39)."""

    count: Callable[[Any, Any], Callable[[], None]] | None
    """Counts a span's start for the SDK's own metrics, and returns what counts its end. None: nobody counts."""


def parts_of(tracer: Any) -> TracerParts | None:
    """The parts of this tracer; None if it is not the SDK's, or of an SDK that makes spans in another way."""
    if type(tracer) is not Tracer:
        return None
    known = set(inspect.signature(Tracer.__init__).parameters) <= _OF_A_TRACER
    if not known or not set(inspect.signature(Span.__init__).parameters) <= _OF_A_SPAN:
        return None
    wanted = ("sampler", "resource", "span_processor", "id_generator", "instrumentation_info", "_span_limits",
              "_instrumentation_scope")  # fmt: skip
    if not all(hasattr(tracer, name) for name in wanted):
        return None
    counting = getattr(tracer, "_tracer_metrics", None)
    counts = counting is not None and type(counting).__name__ != "NoOpTracerMetrics"
    return TracerParts(
        tracer._span_limits,
        tracer._instrumentation_scope,
        getattr(tracer, "_is_enabled", None),
        counting.start_span if counts else None,
    )
