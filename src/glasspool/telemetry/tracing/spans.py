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
from glasspool._foreign.otel_context import attach as otel_attach
from glasspool._foreign.otel_context import current_context, span_in, with_span
from glasspool.telemetry import catalog, providers
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.recording.call_names import qualified_name
from glasspool.telemetry.recording.ending import Ending
from glasspool.telemetry.recording.error_types import error_event, error_text
from glasspool.telemetry.recording.printable_text import SHOWN, TEXT_LENGTH, printable
from glasspool.telemetry.recording.registry import REGISTRY

from .start_attributes import StartAttributes

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
    "failed",
    "leave",
    "without_span",
]

Spans = Literal["all", "parented", "off"]
"""The tasks that get a span: all, those whose submitter has a recording span, or none."""

ContextMode = Literal["parent", "link"]
"""Child of the submitter's span, or a new root that links to it (fire-and-forget)."""

logger = logging.getLogger("glasspool")

_KEPT_NAMES = 64  # of spans; labels are capped
_MAX_NAME = 128  # characters of a task name in a span name
_ERROR_REASONS = frozenset({"sibling_failure", "dependency", "deadline"})  # cancellations that are failures


class TaskTracer:
    """Makes the spans of one executor. ``spans`` says which tasks get one."""

    __slots__ = ("_attributes", "_name", "_names", "spans")

    def __init__(self, name: str, type: str, spans: Spans = "all") -> None:
        self.spans = spans
        self._name = printable(name)
        self._attributes = {Key.EXECUTOR_NAME: self._name, Key.EXECUTOR_TYPE: type}
        self._names: dict[str, str] = {}  # of spans, by label: those are capped

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
            parent_span = span_in(parent)
            if self.spans == "parented" and not parent_span.is_recording():
                return None
            links = None
            if mode == "link":
                submitter = parent_span.get_span_context()
                links = [Link(submitter)] if submitter.is_valid else None
                parent = trace.set_span_in_context(trace.INVALID_SPAN, parent)
            shown = SHOWN[task_name]
            given = StartAttributes(
                self._attributes, runner, shown, task_id, queue_size,
                SHOWN[code if is_a(code, str) else qualified_name(function)], attributes,
            )  # fmt: skip
            name = (self._names.get(label) or self._name_of(label)) if label else self._name_of(shown)
            maker = _maker_of(tracer)
            if maker is not None:
                started: Span = maker.start(name, parent, kind, given, links, at)
                return started
            return tracer.start_span(
                name,
                context=parent,
                kind=kind,
                links=links,
                start_time=time.time_ns() if at is None else at,
                attributes=given.made(),
                record_exception=False,
                set_status_on_exception=False,
            )
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - a sampler's or span processor's bug must not reach the task
            failed("starting a span")
            return None

    def _name_of(self, label: str) -> str:
        name = f"{self._name} {label}"[:_MAX_NAME]
        if len(self._names) < _KEPT_NAMES:
            self._names[label] = name
        return name

    @staticmethod
    def begin(span: Span, *, at: int | None = None) -> None:
        """The task starts to run (``at``: wall-clock nanoseconds, default now)."""
        try:
            if type(span) is _task_span:
                own: Any = span
                own.begin(at)
            elif span.is_recording():
                span.add_event(catalog.SPAN_EVENT_STARTED, timestamp=at)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - as above
            failed("adding a span's event")

    @staticmethod
    def held(span: Span, reason: str, limit: str | None, seconds: float) -> None:
        """The task was held for so long in the queue, until now."""
        try:
            if span.is_recording():
                now, attributes = time.time_ns(), {Key.HOLD_REASON: reason}
                if limit is not None:
                    attributes[Key.LIMIT_NAME] = printable(limit)
                begun = max(now - int(seconds * 1e9), getattr(span, "start_time", None) or 0)  # they are two clocks
                span.add_event(catalog.SPAN_EVENT_HELD, attributes, begun)
                span.add_event(catalog.SPAN_EVENT_RELEASED, {**attributes, Key.HOLD_DURATION: seconds}, now)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - as above
            failed("adding a span's events")

    @staticmethod
    def end(
        span: Span,
        ending: Ending,
        *,
        thread: threading.Thread | None = None,
        at: int | None = None,
    ) -> None:
        """The task has ended: status and attributes, then the span's end.

        :param ending: how it ended, with its times.
        :param thread: the thread that ran it, if that is known.
        :param at: the end in wall-clock nanoseconds (default now).
        """
        if type(span) is _task_span and ending.error is None:
            try:
                status = None if ending.outcome == "success" else _status_of(ending)
                if status is not None:
                    span.set_status(status)
                own: Any = span
                own.finish(_attributes_of(ending, thread), at)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:  # noqa: BLE001 - as above
                failed("ending a span")
            return
        try:
            if span.is_recording():
                # All in one call: the SDK takes as long for the call as for five attributes.
                span.set_attributes(_attributes_of(ending, thread))
                if ending.outcome != "success":
                    _set_status(span, ending)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - as above; or the error cannot be turned into text
            failed("describing a span")
        finally:
            try:
                span.end(end_time=at)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:  # noqa: BLE001 - as above
                failed("ending a span")


def _attributes_of(ending: Ending, thread: threading.Thread | None) -> dict[str, Any]:
    found: dict[str, Any] = {Key.TASK_OUTCOME: ending.outcome}
    if thread is not None:
        found[Key.THREAD_ID] = thread.ident or 0
        found[Key.THREAD_NAME] = SHOWN[thread.name]
    if ending.waited is not None:
        found[Key.QUEUE_WAIT] = ending.waited
    if ending.ran is not None:
        found[Key.TASK_DURATION] = ending.ran
    if ending.error_type:
        found[Key.ERROR_TYPE] = ending.error_type
    if ending.outcome == "cancelled":
        found[Key.CANCEL_REASON] = ending.reason or "unknown"
        if ending.message is not None:
            found[Key.CANCEL_MESSAGE] = printable(ending.message, TEXT_LENGTH)
    return found


def _set_status(span: Span, ending: Ending) -> None:
    status, error = _status_of(ending), ending.error
    if status is not None:
        span.set_status(status)
    if error is not None and ending.outcome == "error":
        span.record_exception(error, error_event(error))


def _status_of(ending: Ending) -> Status | None:
    error = ending.error
    if ending.outcome == "error":
        return Status(StatusCode.ERROR, ending.error_type if error is None else error_text(error))
    if ending.outcome == "timeout":
        return Status(StatusCode.ERROR, "timeout")
    if ending.outcome == "cancelled" and ending.reason in _ERROR_REASONS:
        return Status(StatusCode.ERROR, f"cancelled: {ending.reason}")
    return None


# What makes the spans of the tracer that was used last: of the SDK's own, spans of ours; None: it makes them itself.
_task_span: Any = None
_known_tracer: Any = None
_known_maker: Any = None


def _maker_of(tracer: Any) -> Any:
    global _known_maker, _known_tracer, _task_span
    if tracer is not _known_tracer:
        maker = None
        if type(tracer).__module__.startswith("opentelemetry.sdk."):
            from .task_span import TaskSpan, maker_of  # here, because it imports the SDK

            maker, _task_span = maker_of(tracer), TaskSpan
        if maker is None:
            logger.debug(
                "spans of tasks are made by %s itself, which takes longer: it is not the OpenTelemetry SDK's tracer as "
                "glasspool knows it", type(tracer).__qualname__,
            )  # fmt: skip
        _known_maker, _known_tracer = maker, tracer
    return _known_maker


_warned = False


def failed(what: str) -> None:
    """Making, describing or ending a span has raised: log that once, and count it."""
    global _warned
    REGISTRY.telemetry_failed("export")
    if not _warned:
        _warned = True
        log(logger.exception, "%s failed; further failures of tracing are only counted", what)


def capture() -> Context:
    """The caller's OpenTelemetry context (span and baggage), to be carried to where its task runs."""
    return current_context()


def context_in(context: contextvars.Context) -> Context:
    """The OpenTelemetry context (span and baggage) that is current in ``context``, which other code may be in."""
    return context.copy().run(current_context)


def attach(context: Context | None, span: Span | None = None) -> contextvars.Token[Context]:
    """Make ``context``, with ``span`` current in it if there is one, the current one here.

    In a context that is the task's own the token can be forgotten; elsewhere hand it to ``detach`` in a ``finally``.
    """
    if context is None:
        context = current_context()
    token: contextvars.Token[Context] = otel_attach(context if span is None else with_span(span, context))
    return token


def detach(token: Any) -> bool:
    """Restore the context from before ``attach``. If that is not known, do nothing, log nothing and return False.

    A coroutine that is destroyed with its loop, or closed by other code, ends in another context than it began in.
    OpenTelemetry's own ``detach`` would log an error with a traceback.
    """
    if type(token) is not contextvars.Token:  # a custom runtime context
        otel_context.detach(token)
        return True
    try:
        token.var.reset(token)  # pyright: ignore[reportUnknownMemberType]  # of any variable
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
    before = current_context()
    context = with_span(span, before)
    return Entered(span, span_in(before), context, otel_attach(context))


def leave(entered: Entered) -> None:
    """Take the span away again, and nothing else: what was attached meanwhile and not detached stays."""
    found = current_context()
    if detach(entered.token) and found is not entered.context:
        attach(found, entered.outside if span_in(found) is entered.span else None)


def without_span(context: Context | None = None) -> Context:
    """A context without a current span, in which workers and timers start."""
    return trace.set_span_in_context(trace.INVALID_SPAN, context)
