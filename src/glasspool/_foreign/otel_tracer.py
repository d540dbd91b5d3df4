"""What the OpenTelemetry SDK's tracers keep: all that is needed to make spans as they do."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import Span, Tracer
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import SpanContext

__all__ = ["TracerParts", "decision_of", "parts_of"]

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

    counts: Callable[[Any, Any], Callable[[], None]] | None
    """Counts a span's start for the SDK's own metrics, and returns what counts its end. None: nothing is counted."""


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
    counting: Any = getattr(tracer, "_tracer_metrics", None)
    if type(counting).__name__ == "NoOpTracerMetrics":
        counting = None
    return TracerParts(
        tracer._span_limits,
        tracer._instrumentation_scope,
        getattr(tracer, "_is_enabled", None),
        None if counting is None else counting.start_span,
    )


def decision_of(sampler: Sampler) -> Callable[[SpanContext | None, int], bool] | None:
    """Whether a span is sampled, by its valid parent (or None) and its trace id, as one of the SDK's own samplers says.

    They look at nothing else, hand attributes on as they are, and take over the parent's trace state. None for a
    sampler of any other kind.
    """
    if type(sampler) is not ParentBased:
        root = _bound_of(sampler)
        return None if root is None else lambda parent, trace_id: (trace_id & _LOW) < root
    names = ("_root", "_remote_parent_sampled", "_remote_parent_not_sampled", "_local_parent_sampled",
             "_local_parent_not_sampled")  # fmt: skip
    bounds = [_bound_of(getattr(sampler, name, None)) for name in names]
    if len(vars(sampler)) != len(names) or None in bounds:
        return None
    root_bound, remote_on, remote_off, local_on, local_off = (bound or 0 for bound in bounds)

    def decide(parent: SpanContext | None, trace_id: int) -> bool:
        if parent is None:
            bound = root_bound
        elif parent.is_remote:
            bound = remote_on if parent.trace_flags & 1 else remote_off
        else:
            bound = local_on if parent.trace_flags & 1 else local_off
        return (trace_id & _LOW) < bound

    return decide


_LOW = TraceIdRatioBased.TRACE_ID_LIMIT  # the bits of a trace id that are looked at


def _bound_of(sampler: Any) -> int | None:
    """The sampler samples traces whose id is lower; None for one that does not go by that."""
    if sampler is ALWAYS_ON:
        return _LOW + 1
    if sampler is ALWAYS_OFF:
        return 0
    return sampler.bound if type(sampler) is TraceIdRatioBased else None
