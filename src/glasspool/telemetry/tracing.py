"""One span per task: from acceptance to its end, current while the task runs.

A span is never held current across another task's step: it is put into the task's own context, not attached to
whoever happens to run. With no tracer provider set nothing here calls OpenTelemetry.
"""

from __future__ import annotations

import contextvars
import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, Literal

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from . import catalog, providers
from .catalog import Key
from .registry import REGISTRY

__all__ = [
    "ContextMode",
    "Spans",
    "TaskTracer",
    "attach",
    "capture",
    "error_type_of",
    "extract",
    "function_name",
    "inject",
    "qualified_name",
    "without_span",
]

Spans = Literal["all", "parented", "off"]
"""Which tasks get a span: every one, those whose submitter has a recording span, or none."""

ContextMode = Literal["parent", "link"]
"""Child of the submitter's span, or a new root that links to it (fire-and-forget)."""

logger = logging.getLogger("glasspool")

_MAX_NAME = 128  # characters of a task name in a span name
_ERROR_REASONS = frozenset({"sibling_failure", "deadline"})  # cancellations that are failures


def unwrap(function: Callable[..., Any]) -> Any:
    """The user's function behind partials and bound ``__call__``s."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def qualified_name(function: Callable[..., Any]) -> str:
    """``module.qualname`` of the user's function (``code.function.name``)."""
    if type(function) is FunctionType:
        return f"{function.__module__}.{function.__qualname__}"
    function = unwrap(function)
    named = function if hasattr(function, "__qualname__") else type(function)
    module = getattr(named, "__module__", None)
    return f"{module}.{named.__qualname__}" if module and module != "builtins" else str(named.__qualname__)


def function_name(function: Callable[..., Any]) -> str:
    """The qualified name without module: what a task is called unless ``name=`` says otherwise."""
    if type(function) is FunctionType:
        return function.__qualname__
    function = unwrap(function)
    named = function if hasattr(function, "__qualname__") else type(function)
    return str(named.__qualname__)


def error_type_of(error: BaseException) -> str:
    """``error.type`` of an exception: ``module.qualname``, builtins bare (OpenTelemetry's recording-errors rule)."""
    cls = type(error)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


class TaskTracer:
    """Makes the spans of one executor. ``spans`` says which tasks get one."""

    __slots__ = ("_attributes", "_name", "spans")

    def __init__(self, name: str, type: str, spans: Spans = "all") -> None:
        self.spans = spans
        self._name = name
        self._attributes = {Key.EXECUTOR_NAME: name, Key.EXECUTOR_TYPE: type}

    def start(
        self,
        *,
        task_name: str,
        label: str,
        function: Callable[..., Any],
        task_id: int,
        runner: str,
        queue_size: int,
        parent: Context | None = None,
        mode: ContextMode = "parent",
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        at: int | None = None,
    ) -> Span | None:
        """The task's span, started now, or None when nobody listens or ``spans`` says no.

        ``at``: its start in wall-clock nanoseconds, when that was not now.

        ``parent`` is the submitter's OpenTelemetry context (default: the current one); ``label`` is the capped task
        name, used in the span's name, ``task_name`` the full one.
        """
        tracer = providers.tracer()
        if tracer is None or self.spans == "off":
            return None
        parent_span = trace.get_current_span(parent)
        if self.spans == "parented" and not parent_span.is_recording():
            return None
        links = None
        if mode == "link":
            submitter = parent_span.get_span_context()
            links = [Link(submitter)] if submitter.is_valid else None
            parent = trace.set_span_in_context(trace.INVALID_SPAN, parent)
        try:
            return tracer.start_span(
                f"{self._name} {label or task_name}"[:_MAX_NAME],
                context=parent,
                kind=kind,
                links=links,
                start_time=time.time_ns() if at is None else at,
                attributes={
                    **self._attributes,
                    Key.RUNNER: runner,
                    Key.TASK_NAME: task_name,
                    Key.TASK_ID: task_id,
                    Key.QUEUE_SIZE: queue_size,
                    Key.CODE_FUNCTION: qualified_name(function),
                    **(attributes or {}),
                },
                record_exception=False,
                set_status_on_exception=False,
            )
        except Exception:  # noqa: BLE001 - a sampler's or span processor's bug must not reach the task
            _failed("starting a span")
            return None

    @staticmethod
    def begin(span: Span, *, at: int | None = None) -> None:
        """The task starts to run (``at``: wall-clock nanoseconds, default now)."""
        try:
            if span.is_recording():
                span.add_event(catalog.SPAN_EVENT_STARTED, timestamp=at)
        except Exception:  # noqa: BLE001 - as above
            _failed("adding a span's event")

    @staticmethod
    def end(
        span: Span,
        outcome: str,
        *,
        error_type: str = "",
        error: BaseException | None = None,
        reason: str = "",
        message: str | None = None,
        wait: float | None = None,
        duration: float | None = None,
        thread: threading.Thread | None = None,
        at: int | None = None,
    ) -> None:
        """The task has ended: status and attributes by the contract's table, then the span's end.

        ``wait`` and ``duration`` are seconds; ``thread`` is the one that ran it, if that is known; ``at`` is the end
        in wall-clock nanoseconds (default now).
        """
        try:
            if span.is_recording():
                # All in one call: the SDK takes as long for the call as for five attributes.
                found: dict[str, Any] = {Key.TASK_OUTCOME: outcome}
                if thread is not None:
                    found[Key.THREAD_ID] = thread.ident or 0
                    found[Key.THREAD_NAME] = thread.name
                if wait is not None:
                    found[Key.QUEUE_WAIT] = wait
                if duration is not None:
                    found[Key.TASK_DURATION] = duration
                if error_type:
                    found[Key.ERROR_TYPE] = error_type
                if outcome == "cancelled":
                    found[Key.CANCEL_REASON] = reason or "unknown"
                    if message is not None:
                        found[Key.CANCEL_MESSAGE] = message
                span.set_attributes(found)
                if outcome == "error" and error is not None:
                    span.record_exception(error)
                if outcome == "error":
                    span.set_status(
                        Status(StatusCode.ERROR, f"{error_type}: {error}"[:1024] if error is not None else error_type)
                    )
                elif outcome == "timeout":
                    span.set_status(Status(StatusCode.ERROR, "timeout"))
                elif outcome == "cancelled" and reason in _ERROR_REASONS:
                    span.set_status(Status(StatusCode.ERROR, f"cancelled: {reason}"))
        except Exception:  # noqa: BLE001 - as above; or the error cannot be turned into text
            _failed("describing a span")
        try:
            span.end(end_time=at)
        except Exception:  # noqa: BLE001 - as above
            _failed("ending a span")


_warned = False


def _failed(what: str) -> None:
    global _warned
    REGISTRY.telemetry_failed("export")
    if not _warned:
        _warned = True
        logger.exception("%s failed; further failures of tracing are only counted", what)


def capture() -> Context:
    """The caller's OpenTelemetry context (span and baggage), to be carried to where its task runs."""
    return otel_context.get_current()


def attach(context: Context | None, span: Span | None = None) -> contextvars.Token[Context]:
    """Make ``context``, with ``span`` current in it if there is one, the current one here.

    In a context that is the task's own the token can be forgotten; elsewhere hand it to
    ``opentelemetry.context.detach`` in a ``finally``.
    """
    if context is None:
        context = otel_context.get_current()
    return otel_context.attach(context if span is None else trace.set_span_in_context(span, context))


def without_span(context: Context | None = None) -> Context:
    """The context with no current span: what workers and timers start from."""
    return trace.set_span_in_context(trace.INVALID_SPAN, context)


def inject(context: Context | None = None) -> dict[str, str]:
    """The context as a carrier of plain strings (the global propagators: W3C traceparent and baggage by default)."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context)
    return carrier


def extract(carrier: Mapping[str, str]) -> Context:
    """The context of a carrier, and nothing else: whatever was current or inherited here is left out."""
    return propagate.extract(carrier, Context())
