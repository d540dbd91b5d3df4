"""A task's span for the OpenTelemetry SDK, put together when it is read.

An SDK span of a task costs five times an empty one: its attributes are checked and copied and its event is made on the
path of the task. This span is an SDK ``Span`` by class, made with the tracer's own sampler, id generator and span
processor. It keeps what it was given, and attributes, events and links are made by the SDK's own span when they are
asked for: by an exporter in its thread, or by code that changes the span, which works on them from then on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from time import time_ns
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, Tracer
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from glasspool._foreign.otel_context import span_in
from glasspool._foreign.otel_tracer import TracerParts, decision_of, parts_of
from glasspool.telemetry import catalog

from .start_attributes import StartAttributes

__all__ = ["SpanMaker", "TaskSpan", "maker_of"]

_FLAGS = tuple(TraceFlags(flags) for flags in range(4))
_RANDOM = 2  # the trace flag that says that ids are random, which SDKs set since 1.39
_SAMPLED, _DROP = Decision.RECORD_AND_SAMPLE, Decision.DROP
_RLock: Any = type(threading.RLock())  # without the function around it
_UNSET = Status(StatusCode.UNSET)


class _SdkSpan(Span):
    """The SDK's span by another name, because the SDK refuses to make one by its own."""


def _of_maker(name: str) -> Any:
    return property(lambda span: getattr(span.maker, name))


def _of_parts(name: str) -> Any:
    return property(lambda span: getattr(span.made(), name), lambda span, value: setattr(span.made(), name, value))


class TaskSpan(Span):
    """See the module. Its state has the names that the methods of the SDK's span use."""

    _attributes = _of_parts("_attributes")
    _events = _of_parts("_events")
    _links = _of_parts("_links")
    _resource = _of_maker("resource")
    _limits = _of_maker("limits")
    _sampler = _of_maker("sampler")
    _span_processor = _of_maker("processor")
    _instrumentation_info = _of_maker("info")
    _instrumentation_scope = _of_maker("scope")
    _record_exception = _set_status_on_exception = False
    _trace_config = None

    def __init__(
        self, maker: SpanMaker, name: str, context: SpanContext, parent: SpanContext | None, kind: SpanKind,
        attributes: StartAttributes | Mapping[str, Any], links: list[Link] | None, started: int,
        counted: Callable[[], None] | None,
    ) -> None:  # fmt: skip
        # Not the SDK's constructor, which makes all that is made later here.
        self._lock: Any = _RLock()
        self.maker = maker
        self._name = name
        self._context: SpanContext = context
        self._parent = parent
        self._kind = kind
        self._start_time: int | None = started
        self._end_time: int | None = None
        self._status = _UNSET
        self._counted = counted
        self._given = attributes
        self._given_links = links
        self._begun: int | None = None
        self._last: Mapping[str, Any] | None = None
        self._parts: Span | None = None

    def made(self) -> Span:
        """The SDK's span of the same attributes, events and links, which it is once it has been asked for."""
        with self._lock:
            made = self._parts
            if made is None:
                given: Any = self._given
                made = self._parts = _SdkSpan(
                    name=self._name, context=self._context, parent=self._parent, resource=self._resource,
                    attributes=given.made() if type(given) is StartAttributes else given,
                    links=self._given_links or (), limits=self._limits,
                )  # fmt: skip
                if self._begun is not None:
                    made.add_event(catalog.SPAN_EVENT_STARTED, timestamp=self._begun)
                if self._last is not None:
                    made.set_attributes(self._last)
            return made

    def begin(self, at: int | None = None) -> None:
        """The task's function is called.

        :param at: the instant in wall-clock nanoseconds, if that is not now.
        """
        with self._lock:
            if self._parts is None and self._end_time is None:
                self._begun = time_ns() if at is None else at
                return
        self.add_event(catalog.SPAN_EVENT_STARTED, timestamp=at)

    def finish(self, attributes: Mapping[str, Any], at: int | None = None) -> None:
        """The task has ended: set these attributes, and end the span.

        :param at: the instant in wall-clock nanoseconds, if that is not now.
        """
        with self._lock:
            if self._end_time is None:
                if self._parts is None:
                    self._last = attributes
                else:
                    self._parts.set_attributes(attributes)
        self.end(at)

    def end(self, end_time: int | None = None) -> None:
        """See the SDK's."""
        with self._lock:
            ended = self._end_time is not None
            if not ended:
                self._end_time = time_ns() if end_time is None else end_time
        if ended:
            super().end(end_time)  # which warns
            return
        if self._counted is not None:
            self._counted()
        maker = self.maker
        if maker.on_ending is not None:
            maker.on_ending(self)
        maker.processor.on_end(self)

    def _readable_span(self) -> ReadableSpan:
        return self  # ended, it is never changed


class SpanMaker:
    """Makes spans as one tracer of the SDK does."""

    def __init__(self, tracer: Tracer, parts: TracerParts) -> None:
        self.limits, self.scope, self._is_enabled, self._count = parts
        self.sampler = tracer.sampler
        self.processor = tracer.span_processor
        self.info = tracer.instrumentation_info
        self.on_ending: Callable[[Span], None] | None = getattr(tracer.span_processor, "_on_ending", None)
        self._tracer = tracer
        self._trace_id = tracer.id_generator.generate_trace_id
        self._span_id = tracer.id_generator.generate_span_id
        self._is_random: Callable[[], bool] | None = None
        if hasattr(IdGenerator, "is_trace_id_random"):  # else the SDK does not set the flag
            self._is_random = tracer.id_generator.is_trace_id_random
        self._decide = decision_of(tracer.sampler)

    @property
    def resource(self) -> Resource:
        """The tracer's: what is found out about the process later may be put into it."""
        return self._tracer.resource

    def start(
        self, name: str, context: Context | None, kind: SpanKind, attributes: StartAttributes,
        links: list[Link] | None, at: int | None,
    ) -> trace.Span:  # fmt: skip
        """As the tracer's ``start_span``, but for exceptions, which tasks record themselves.

        :param at: the start in wall-clock nanoseconds (None: now).
        """
        found: Any = span_in(context).get_span_context()
        parent: SpanContext | None = found
        if self._is_enabled is not None and not self._is_enabled():
            return NonRecordingSpan(parent)  # type: ignore[arg-type]  # as the SDK does
        if parent is None or not parent.is_valid:
            parent = None
            trace_id = self._trace_id()
            random = _RANDOM if self._is_random is not None and self._is_random() else 0
        else:
            trace_id = parent.trace_id
            random = 0 if self._is_random is None else parent.trace_flags & _RANDOM
        given: StartAttributes | Mapping[str, Any] = attributes
        if self._decide is not None:
            decision = _SAMPLED if self._decide(parent, trace_id) else _DROP
            state = None if parent is None else parent.trace_state
        else:
            result = self.sampler.should_sample(context, trace_id, name, kind, attributes.made(), links)
            given = dict(result.attributes)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
            decision, state = result.decision, result.trace_state
        flags = _FLAGS[random + 1 if decision is _SAMPLED else random]
        own = SpanContext(trace_id, self._span_id(), False, flags, state)
        counted = None if self._count is None else self._count(parent, decision)
        if decision is _DROP:
            return NonRecordingSpan(own)
        span = TaskSpan(self, name, own, parent, kind, given, links, time_ns() if at is None else at, counted)
        self.processor.on_start(span, parent_context=context)
        return span


def maker_of(tracer: Any) -> SpanMaker | None:
    """What makes spans in place of this tracer; None where its own ``start_span`` must do."""
    parts = parts_of(tracer)
    return None if parts is None else SpanMaker(tracer, parts)
