"""One span per task: from acceptance to its end, current while the task runs.

A span is never current during another task's step: it is set in the task's own context, not attached to the running
code. Without a tracer provider nothing here calls OpenTelemetry.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from glasspool._foreign.guarded import is_a, log
from glasspool.telemetry import catalog, providers
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.recording.call_names import qualified_name
from glasspool.telemetry.recording.ending import SUCCESS, Ending
from glasspool.telemetry.recording.error_types import error_event, error_text
from glasspool.telemetry.recording.printable_text import SHOWN, TEXT_LENGTH, printable
from glasspool.telemetry.recording.registry import REGISTRY

from .propagation import propagate

__all__ = [
    "ContextMode",
    "Entered",
    "Spans",
    "TaskTracer",
    "attach",
    "capture",
    "context_in",
    "detach",
    "enter",
    "extract",
    "inject",
    "leave",
    "without_span",
]

Spans = Literal["all", "parented", "off"]
"""The tasks that get a span: all, those whose submitter has a recording span, or none."""

ContextMode = Literal["parent", "link"]
"""Child of the submitter's span, or a new root that links to it (fire-and-forget)."""

logger = logging.getLogger("glasspool")

_MAX_NAME = 128  # characters of a task name in a span name
_ERROR_REASONS = frozenset({"sibling_failure", "deadline"})  # cancellations that are failures


class TaskTracer:
    """Makes the spans of one executor. ``spans`` says which tasks get one."""

    __slots__ = ("_attributes", "_name", "spans")

    def __init__(self, name: str, type: str, spans: Spans = "all") -> None:
        self.spans = spans
        self._name = printable(name)
        self._attributes = {Key.EXECUTOR_NAME: self._name, Key.EXECUTOR_TYPE: type}

    def start(
        self,
        *,
        task_name: str,
        label: str,
        function: Callable[..., Any] | str,
        task_id: int,
        runner: str,
        queue_size: int,
        parent: Context | None = None,
        mode: ContextMode = "parent",
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        at: int | None = None,
    ) -> Span | None:
        """The task's span, started now, or None if there is no tracer provider or ``spans`` excludes the task.

        ``function`` is the user's own, or its qualified name; ``at`` the start in wall-clock nanoseconds, when that
        was not now.

        ``parent`` is the submitter's OpenTelemetry context (default: the current one); ``label`` is the capped task
        name, used in the span's name, ``task_name`` the full one.
        """
        tracer = providers.tracer()
        if tracer is None or self.spans == "off":
            return None
        code: Any = function
        try:
            parent_span = trace.get_current_span(parent)
            if self.spans == "parented" and not parent_span.is_recording():
                return None
            links = None
            if mode == "link":
                submitter = parent_span.get_span_context()
                links = [Link(submitter)] if submitter.is_valid else None
                parent = trace.set_span_in_context(trace.INVALID_SPAN, parent)
            shown = SHOWN[task_name]
            return tracer.start_span(
                f"{self._name} {label or shown}"[:_MAX_NAME],
                context=parent,
                kind=kind,
                links=links,
                start_time=time.time_ns() if at is None else at,
                attributes={
                    **self._attributes,
                    Key.RUNNER: runner,
                    Key.TASK_NAME: shown,
                    Key.TASK_ID: task_id,
                    Key.QUEUE_SIZE: queue_size,
                    Key.CODE_FUNCTION: SHOWN[code if is_a(code, str) else qualified_name(function)],
                    **(attributes or {}),
                },
                record_exception=False,
                set_status_on_exception=False,
            )
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - a sampler's or span processor's bug must not reach the task
            _failed("starting a span")
            return None

    @staticmethod
    def begin(span: Span, *, at: int | None = None) -> None:
        """The task starts to run (``at``: wall-clock nanoseconds, default now)."""
        try:
            if span.is_recording():
                span.add_event(catalog.SPAN_EVENT_STARTED, timestamp=at)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - as above
            _failed("adding a span's event")

    @staticmethod
    def end(
        span: Span,
        ending: Ending,
        *,
        wait: float | None = None,
        duration: float | None = None,
        thread: threading.Thread | None = None,
        at: int | None = None,
    ) -> None:
        """The task has ended: status and attributes, then the span's end.

        :param wait: seconds from acceptance to the start, or to the end of a task that never began.
        :param duration: seconds that its function ran.
        :param thread: the thread that ran it, if that is known.
        :param at: the end in wall-clock nanoseconds (default now).
        """
        try:
            if span.is_recording():
                # All in one call: the SDK takes as long for the call as for five attributes.
                span.set_attributes(_attributes_of(ending, wait, duration, thread))
                if ending is not SUCCESS:
                    _set_status(span, ending)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - as above; or the error cannot be turned into text
            _failed("describing a span")
        finally:
            try:
                span.end(end_time=at)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:  # noqa: BLE001 - as above
                _failed("ending a span")


def _attributes_of(
    ending: Ending, wait: float | None, duration: float | None, thread: threading.Thread | None
) -> dict[str, Any]:
    found: dict[str, Any] = {Key.TASK_OUTCOME: ending.outcome}
    if thread is not None:
        found[Key.THREAD_ID] = thread.ident or 0
        found[Key.THREAD_NAME] = SHOWN[thread.name]
    if wait is not None:
        found[Key.QUEUE_WAIT] = wait
    if duration is not None:
        found[Key.TASK_DURATION] = duration
    if ending.error_type:
        found[Key.ERROR_TYPE] = ending.error_type
    if ending.outcome == "cancelled":
        found[Key.CANCEL_REASON] = ending.reason or "unknown"
        if ending.message is not None:
            found[Key.CANCEL_MESSAGE] = printable(ending.message, TEXT_LENGTH)
    return found


def _set_status(span: Span, ending: Ending) -> None:
    error = ending.error
    if ending.outcome == "error":
        span.set_status(Status(StatusCode.ERROR, ending.error_type if error is None else error_text(error)))
        if error is not None:
            span.record_exception(error, error_event(error))
    elif ending.outcome == "timeout":
        span.set_status(Status(StatusCode.ERROR, "timeout"))
    elif ending.outcome == "cancelled" and ending.reason in _ERROR_REASONS:
        span.set_status(Status(StatusCode.ERROR, f"cancelled: {ending.reason}"))


_warned = False


def _failed(what: str) -> None:
    global _warned
    REGISTRY.telemetry_failed("export")
    if not _warned:
        _warned = True
        log(logger.exception, "%s failed; further failures of tracing are only counted", what)


def capture() -> Context:
    """The caller's OpenTelemetry context (span and baggage), to be carried to where its task runs."""
    return otel_context.get_current()


def context_in(context: contextvars.Context) -> Context:
    """The OpenTelemetry context (span and baggage) that is current in ``context``."""
    return context.copy().run(otel_context.get_current)


def attach(context: Context | None, span: Span | None = None) -> contextvars.Token[Context]:
    """Make ``context``, with ``span`` current in it if there is one, the current one here.

    In a context that is the task's own the token can be forgotten; elsewhere hand it to ``detach`` in a ``finally``.
    """
    if context is None:
        context = otel_context.get_current()
    return otel_context.attach(context if span is None else trace.set_span_in_context(span, context))


def detach(token: Any) -> bool:
    """Restore the context from before ``attach``. If that is not known, do nothing, log nothing and return False.

    A coroutine that is destroyed with its loop, or closed by other code, ends in another context than it began in.
    OpenTelemetry's own ``detach`` would log an error with a traceback.
    """
    if type(token) is not contextvars.Token:  # a custom runtime context
        otel_context.detach(token)
        return True
    try:
        token.var.reset(token)
    except (ValueError, RuntimeError):  # another context; detached before
        return False
    return True


class Entered(NamedTuple):
    """A span that was made current in a context of the user's: the data that is needed to leave it."""

    span: Span
    outside: Span
    context: Context
    token: Any


def enter(span: Span) -> Entered:
    """Make a span current in a context that is not its own, until ``leave``."""
    outside = trace.get_current_span()
    token = attach(None, span)
    return Entered(span, outside, otel_context.get_current(), token)


def leave(entered: Entered) -> None:
    """Remove the span again, and nothing else: whatever was attached meanwhile and not detached stays."""
    found = otel_context.get_current()
    if detach(entered.token) and found is not entered.context:
        attach(found, entered.outside if trace.get_current_span(found) is entered.span else None)


def without_span(context: Context | None = None) -> Context:
    """A context without a current span, in which workers and timers start."""
    return trace.set_span_in_context(trace.INVALID_SPAN, context)


def inject(context: Context | None = None) -> dict[str, str]:
    """The context as a carrier of plain strings (the global propagators: W3C traceparent and baggage by default)."""
    carrier: dict[str, str] = {}
    propagate().inject(carrier, context)
    return carrier


def extract(carrier: Mapping[str, str]) -> Context:
    """The context of a carrier only; the current or inherited context is not used."""
    found: Context = propagate().extract(carrier, Context())
    return found
