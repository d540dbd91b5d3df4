"""A call submitted to a pool of this process (threads): the function in its place, and its way through the recorder.

    submit() ── accepted ──► the pool's queue ──► a worker thread: started, ended ──► the future's result
        └─ done callback ──► cancelled or broken before it ran: ended

Every move is noted, none takes a lock; see ``noted.py``. A refused call never was a task. What is written out here
and could be a function is so because every call of every pool passes.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, ContextVar
from types import FrameType, FunctionType
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace

from glasspool.telemetry import providers
from glasspool.telemetry.tracing import TaskTracer, attach, error_type_of, function_name, inject
from glasspool.telemetry.within import recognise

from .naming import OTEL_THREADING, look_through, original_of, peel
from .noted import BATCH, NotedCall, NotingRecorder
from .observed import Observed

__all__ = ["Call", "hide_frames", "ours", "submit"]

_clock = time.perf_counter
# OpenTelemetry's get_current() costs four times what its context variable does.
_variable = getattr(getattr(otel_context, "_RUNTIME_CONTEXT", None), "_current_context", None)
_current: Callable[[], Any] = _variable.get if isinstance(_variable, ContextVar) else otel_context.get_current
_ids = itertools.count(1)


class Call(NotedCall):
    """What the pool runs in place of the user's function. Called once, by a worker."""

    __slots__ = ("carried", "context", "fn", "observed", "recorder")

    def __init__(self, observed: Observed, recorder: NotingRecorder, fn: Any, context: Context | None) -> None:
        self.observed = observed
        self.recorder = recorder
        self.fn = fn
        self.context = context  # the contextvars context the user packed the call into, if any
        self.runner = observed.runner
        self.phase = 0
        self.began = False
        self.outcome = ""
        self.span = None  # id and label are set with it, error_type and reason with an outcome that has them
        self.name = fn.__qualname__ if type(fn) is FunctionType else function_name(look_through(fn))
        self.carried = carried = _current()
        if carried or observed.spans_all:
            self._start_span(look_through(fn))
        self.accepted = _clock()

    def _start_span(self, function: Any) -> None:
        recorded = self.observed.spans_all or trace.get_current_span(self.carried).is_recording()
        if recorded and providers.tracer() is not None:
            self.id = next(_ids)
            self.label = self.recorder.label(self.name)
            self.span = self.observed.start_span(self, function, self.carried)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        fn, span, carried = self.fn, self.span, self.carried
        if fn is None:
            raise RuntimeError("an observed call runs once; it was called again")
        self.fn = None
        notes = self.recorder.notes
        token = None
        if span is not None:
            TaskTracer.begin(span)
            token = self._attach(trace.set_span_in_context(span, carried))
        elif self.context is None and (carried or _current()):
            token = otel_context.attach(carried)
        self.began = True
        self.started = _clock()
        notes.append(self)
        try:
            value = fn(*args, **kwargs) if self.context is None else self.context.run(fn, *args, **kwargs)
        except BaseException as error:
            self.ended = _clock()
            if token is not None:
                self._detach(token)
            self.error_type = error_type_of(error)
            self._end("error", error, threading.current_thread())
            hide_frames(error)
            raise
        self.ended = _clock()
        if token is not None:
            self._detach(token)
        self.outcome = "success"
        if span is None and len(notes) < BATCH and providers.sink is None and not self.observed.closing:
            notes.append(self)
        else:
            self._end("success", None, threading.current_thread())
        return value

    def _attach(self, carried: Any) -> Any:
        if self.context is None:
            return otel_context.attach(carried)
        return self.context.run(attach, None, self.span)

    def _detach(self, token: Any) -> None:
        if self.context is None:
            otel_context.detach(token)
        else:
            self.context.run(otel_context.detach, token)

    def _end(self, outcome: str, error: BaseException | None, thread: threading.Thread | None = None) -> None:
        """Note the end (``ended`` is set), end the span, and enter the notes if that is due."""
        self.outcome = outcome
        recorder, observed = self.recorder, self.observed
        recorder.notes.append(self)
        if self.span is not None:
            TaskTracer.end(
                self.span,
                outcome,
                error_type="" if outcome == "success" else self.error_type,
                error=error,
                reason=self.reason if outcome == "cancelled" else "",
                wait=(self.started if self.began else self.ended) - self.accepted,
                duration=self.ended - self.started if self.began else None,
                thread=thread,
            )
        if observed.closing:
            observed.close_when_empty()
        elif len(recorder.notes) >= BATCH or providers.sink is not None:
            recorder.enter_some()

    def done(self, future: Future[Any]) -> None:
        """The future is done; a call that never ran ends here."""
        if self.outcome:
            if _KEEPS_FRAMES and not future.cancelled():
                _cut_frames(future.exception())
            return
        cancelled = future.cancelled()
        error = None if cancelled else future.exception()
        outcome = "cancelled" if cancelled else "error" if error else "success"
        if not self._claim(outcome):
            return
        self.fn = None
        self.ended = _clock()
        if cancelled:
            self.reason = "shutdown" if self.observed.cutting else "explicit"
            self.error_type = "cancelled"
            self._end("cancelled", None)
            return
        if error is None:  # a copy of the call ran elsewhere
            self.began = True
            self.started = self.ended
            self.recorder.notes.append(self)
            self._end("success", None)
        else:
            self.error_type = error_type_of(error)
            self._end("error", error)

    def _claim(self, outcome: str) -> bool:
        # Who cancels and who submits may both come to done(): one of them settles.
        with self.recorder.totals.lock:
            first = not self.outcome
            self.outcome = self.outcome or outcome
            return first

    def __reduce__(self) -> Any:
        """A pool that pickles its calls runs a copy, which attaches the carried context where it arrives."""
        from .worker import Errand  # only such pools need it

        carried = self.carried if self.span is None else trace.set_span_in_context(self.span, self.carried)
        fn: Any = self.fn
        return Errand(fn, "", inject(carried), None, enveloped=False).__reduce__()


def submit(observed: Observed, original: Callable[..., Future[Any]], pool: Any, fn: Any, args: Any, kwargs: Any) -> Any:
    """Hand a call to a thread pool's own ``submit`` (its class's function), observed."""
    context = None
    if type(fn) is not FunctionType or fn.__module__ == OTEL_THREADING:
        if type(original_of(fn)) is Call:  # recorded by the layer that calls us
            return original(pool, fn, *args, **kwargs)
        context, fn, args, more = peel(fn, args)
        if more:
            kwargs = {**more, **kwargs}
    recorder: Any = observed.recorder  # a NotingRecorder, for pools of threads
    if recorder.dormant:
        recorder.open()
    call = Call(observed, recorder, fn, context)
    future: Any
    try:
        future = original(pool, call, *args, **kwargs)
    except BaseException as error:
        observed.refuse(error)
        raise
    recorder.fresh.append(call)
    if type(future) is _PLAIN and (_KEEPS_FRAMES or not call.outcome):
        # What add_done_callback does, without its lock: the callback list is read after the state is set, so either
        # whoever cancels finds us in the list, or we see the state here. Called twice, done() does nothing.
        future._done_callbacks.append(call.done)
        if future._state not in _UNDER_WAY:
            call.done(future)
    elif _KEEPS_FRAMES or not call.outcome:
        future.add_done_callback(call.done)
    return future


_PLAIN: Any = Future  # untyped, for the callback list has no public name
_UNDER_WAY = ("PENDING", "RUNNING")
_KEEPS_FRAMES = sys.version_info < (3, 11)  # a bare raise puts the old traceback back
_OURS: set[Any] = {Call.__call__.__code__}


_inherited: FrameType | None = None  # in a forked child: the parent's call that it was forked in


def _around() -> FrameType | None:
    """The innermost call that this thread is at. Every call would have to say so; who asks looks up the stack."""
    code = Call.__call__.__code__
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return None if frame is _inherited else frame


def _after_fork() -> None:
    global _inherited
    _inherited = None  # in a grandchild: that of its parent
    _inherited = _around()


recognise(lambda: _around() is not None)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def ours(*functions: Any) -> None:
    """Frames of these functions are hidden from tracebacks."""
    _OURS.update(function.__code__ for function in functions)


def hide_frames(error: BaseException) -> None:
    """Take this package's frames off the top of a traceback; follow with a bare ``raise``."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code in _OURS:
        frames = frames.tb_next
    error.__traceback__ = frames


def _cut_frames(error: BaseException | None) -> None:
    # The same on Python 3.10, afterwards: our frame hangs below the worker's.
    frames = error.__traceback__ if error is not None else None
    while frames is not None and frames.tb_next is not None:
        if frames.tb_next.tb_frame.f_code in _OURS:
            frames.tb_next = frames.tb_next.tb_next
        else:
            frames = frames.tb_next
