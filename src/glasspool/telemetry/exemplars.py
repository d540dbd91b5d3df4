"""Which measurements become exemplars: those of sampled traces, as OpenTelemetry's exemplar filter says."""

from __future__ import annotations

import os
import time

from opentelemetry.trace import Span

__all__ = ["of", "reload"]

# OTEL_METRICS_EXEMPLAR_FILTER is read once per process (and again by configure()): it is not on the hot path.
_filter = "trace_based"


def reload() -> None:
    """Read ``OTEL_METRICS_EXEMPLAR_FILTER`` again: ``trace_based`` (default), ``always_on`` or ``always_off``."""
    global _filter
    _filter = os.environ.get("OTEL_METRICS_EXEMPLAR_FILTER", "trace_based").strip().lower()


def of(span: Span | None) -> tuple[int, int, float] | None:
    """Trace id, span id and wall-clock seconds of ``span`` if its measurements may be exemplars, else None.

    ``always_on`` still needs a valid span: an exemplar that leads to no trace helps nobody.
    """
    if span is None or _filter == "always_off":
        return None
    context = span.get_span_context()
    if not (context.trace_flags.sampled or (_filter == "always_on" and context.is_valid)):
        return None
    return context.trace_id, context.span_id, time.time()


reload()
