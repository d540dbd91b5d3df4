"""OpenTelemetry's current context, by the context variable that keeps it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from opentelemetry import context as otel_context
from opentelemetry.context import Context

__all__ = ["current_context"]

_variable = getattr(getattr(otel_context, "_RUNTIME_CONTEXT", None), "_current_context", None)

current_context: Callable[[], Context] = (
    _variable.get if isinstance(_variable, ContextVar) else otel_context.get_current
)
"""``opentelemetry.context.get_current``, which costs four times what its context variable does."""
