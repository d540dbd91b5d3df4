"""Which measurements become exemplars: those of sampled traces, as OpenTelemetry's exemplar filter says."""

from __future__ import annotations

import os
import time

from opentelemetry.trace import Span, TraceFlags

from .histograms import Exemplar

__all__ = ["of", "reload"]

# OTEL_METRICS_EXEMPLAR_FILTER is read once per process (and again by configure()): it is not on the hot path.
_filter = "trace_based"


def reload() -> None:
    """Read ``OTEL_METRICS_EXEMPLAR_FILTER`` again: ``trace_based`` (default), ``always_on`` or ``always_off``."""
    global _filter
    _filter = os.environ.get("OTEL_METRICS_EXEMPLAR_FILTER", "trace_based").strip().lower()


def of(span: Span, value: float) -> Exemplar | None:
    """``value`` as an exemplar that leads to the trace of ``span``, if its measurements may be exemplars.

    ``always_on`` still needs a valid span: an exemplar without a trace is of no use.
    """
    if _filter == "always_off":
        return None
    try:
        context = span.get_span_context()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - a span of a foreign provider
        return None
    if not (context.trace_flags & TraceFlags.SAMPLED or (_filter == "always_on" and context.is_valid)):
        return None
    return value, context.trace_id, context.span_id, time.time()


reload()
