"""A call submitted to a pool of this process (threads): the function in its place, and its way through the recorder.

    submit() ── accepted ──► the pool's queue ──► a worker thread: started, ended ──► the future's result
        └─ done callback ──► cancelled or broken before it ran: ended

Every event is queued without a lock; see ``batched_recorder.py``. A refused call never was a task. Some code is inlined
here instead of being a function, because every call of every pool runs it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context
from functools import partial
from types import FunctionType
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace

from glasspool._foreign.frames import queued_by
from glasspool._foreign.guarded import is_a, set_traceback, traceback_of
from glasspool._foreign.otel_context import current_context
from glasspool._foreign.pool_parts import call_when_done
from glasspool._recorded_calls import CALLERS, own_calls, stand_in, stands_in, submitting
from glasspool.telemetry.recording.call_names import function_name, links, look_through
from glasspool.telemetry.recording.ending import SUCCESS, Ending
from glasspool.telemetry.tracing.propagation import inject
from glasspool.telemetry.tracing.spans import (
    TaskTracer,
    attach,
    detach,
    enter,
    leave,
)

from .batched_recorder import BATCH, BatchedRecorder, NotedCall
from .naming import peel
from .observation import Observed
from .whereabouts import begins

__all__ = ["Call", "Handed", "hide_frames", "ours", "submit"]

_clock = time.perf_counter


@stand_in
class Call(NotedCall):
    """One call of a user's function, which a worker runs by calling it.

    It is kept until it has been counted, and by its future: so it keeps nothing of the user's. See ``Handed``.
    """

    __slots__ = ("observed", "packed", "recorder")

    def __init__(self, observed: Observed, recorder: BatchedRecorder, named: Any, carried: Any, packed: bool) -> None:
        self.observed = observed
        self.recorder = recorder
        self.packed = packed  # the user packed the call into a context, in which it runs
        self.runner = observed.runner
        self.phase = 0
        self.began = False
        self.ending = None
        self.span = None  # id and label are set with it
        self.name = named.__qualname__ if type(named) is FunctionType else function_name(named)
        if carried or observed.spans_all:
            observed.trace(self, named, carried)
        self.accepted = _clock()

    def __call__(self, carried: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        if self.began or self.ending is not None:
            return self.again(carried, fn, args, kwargs)
        span = self.span
        notes = self.recorder.notes
        token: Any = None
        if span is not None:
            TaskTracer.begin(span)
            token = enter(span) if self.packed else attach(carried, span)
        elif not self.packed and (carried or current_context()):
            token = otel_context.attach(carried)
        own = own_calls().enter() if submitting.inside else None  # its pool runs it within submit()
        self.began = True
        self.started = _clock()
        notes.append(self)
        try:
            value = fn(*args, **kwargs)
        except BaseException as error:
            self.ended = _clock()
            if own is not None:
                own.leave()
            if token is not None:
                leave(token) if self.packed else detach(token)
            if not (self.observed.reruns and is_a(error, Exception)):  # else its future tells: see done
                self.end(Ending.raised(error), threading.current_thread())
            hide_frames(error)
            # The error's traceback keeps this frame (Python 3.11 to 3.13 at least): it must keep nothing.
            del self, carried, fn, args, kwargs, span, token, notes, own
            raise
        self.ended = _clock()
        if own is not None:
            own.leave()
        if token is not None:
            leave(token) if self.packed else detach(token)
        self.ending = SUCCESS
        if span is None and not self.observed.closing and (len(notes) < BATCH or self.recorder.record.totals.busy):
            notes.append(self)
        else:
            self.end(SUCCESS, threading.current_thread())
        return value

    def again(self, carried: Any, fn: Any, args: Any, kwargs: Any) -> Any:
        """Run once more by the pool, or given up before: counted once."""
        span = self.span if self.ending is None else None
        token: Any = None
        undo: Callable[[Any], object] = leave if self.packed else detach
        if span is not None:
            token = enter(span) if self.packed else attach(carried, span)
        elif not self.packed and (carried or current_context()):
            token = otel_context.attach(carried)
        try:
            return fn(*args, **kwargs)
        except BaseException as error:
            hide_frames(error)
            del self, carried, fn, args, kwargs, span  # see __call__
            raise
        finally:
            if token is not None:
                undo(token)
            del token

    def within(self, context: Context, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run it in the context that the user bound it to, which is entered once, as without observation."""
        try:
            return context.run(self, None, fn, *args, **kwargs)
        except BaseException as error:
            hide_frames(error)
            del self, context, fn, args, kwargs  # see __call__
            raise

    def end(self, ending: Ending, thread: threading.Thread | None = None) -> None:
        """Note the end (``ended`` is set), end the span, and enter the notes if that is due."""
        self.ending = ending.without_error()  # it keeps nothing of the user's
        recorder, observed = self.recorder, self.observed
        recorder.notes.append(self)
        if self.span is not None:
            wait = (self.started if self.began else self.ended) - self.accepted
            duration = self.ended - self.started if self.began else None
            TaskTracer.end(self.span, ending.timed(wait, duration), thread=thread)
        if observed.closing:
            observed.close_when_empty()
        elif len(recorder.notes) >= BATCH and not recorder.record.totals.busy:  # else another thread is at it
            recorder.enter_some()

    def done(self, future: Future[Any]) -> None:
        """The future is done; a call ends here that never ran, or whose error the pool may have made good."""
        if self.ending is not None:
            if _KEEPS_FRAMES and self.ending is not SUCCESS and not future.cancelled():
                _cut_frames(future.exception())
            return
        cancelled = future.cancelled()
        error = None if cancelled else future.exception()
        if cancelled:
            ending = Ending.cancelled("shutdown" if self.observed.cutting else "explicit")
        else:
            ending = Ending.raised(error)
        if not self._claim(ending):
            return
        self.ended = _clock()
        if error is None and not cancelled and not self.began:  # a copy of the call ran elsewhere
            self.began = True
            self.started = self.ended
            self.recorder.notes.append(self)
        self.end(ending)

    def _claim(self, ending: Ending) -> bool:
        # Who cancels and who submits may both come to done(), also one within the other: one of them settles.
        mine, claims = object(), self.recorder.claims
        if claims.setdefault(self, mine) is not mine:
            return False
        first = self.ending is None
        self.ending = ending.without_error() if first else self.ending
        del claims[self]
        return first


@stand_in
class Handed(partial[Any]):
    """What the pool gets in place of the user's function: a call, where it is to run, and the function.

    The pool alone keeps it, and lets go of it when it would have let go of the function.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.args[1], name)  # __name__, __qualname__, __doc__: of the user's function

    def __reduce__(self) -> Any:
        """A pool that pickles its calls runs a copy, which attaches the carried context where it arrives."""
        call: Any = self.func
        if type(call) is not Call:
            return super().__reduce__()  # a context, which cannot be pickled
        from glasspool_instrumentation._process.worker import Errand  # only such pools need it

        carried, fn = self.args
        carried = carried if call.span is None else trace.set_span_in_context(call.span, carried)
        return Errand(fn, "", inject(carried), None, enveloped=False).__reduce__()


def submit(observed: Observed, original: Callable[..., Future[Any]], pool: Any, fn: Any, args: Any, kwargs: Any) -> Any:
    """Hand a call to a thread pool's own ``submit`` (its class's function), observed."""
    context, inner = None, fn
    named = look_through(fn, args, kwargs)
    if named is not fn or type(fn) is not FunctionType:
        if any(map(stands_in, links(fn, args, kwargs))):  # by the layer that calls us
            return original(pool, fn, *args, **kwargs)
        context, inner, args, more = peel(fn, args)
        if more:
            kwargs = {**more, **kwargs}
    recorder: Any = observed.recorder  # a BatchedRecorder, for pools of threads
    if observed.record.dormant:
        observed.record.open()
    carried = current_context()
    call = Call(observed, recorder, named, carried, context is not None)
    handed = Handed(call, carried, inner) if context is None else Handed(call.within, context, inner)
    future: Any
    try:
        future = original(pool, handed, *args, **kwargs)
    except BaseException as error:
        queued = queued_by(error)
        if call.began and call.ending is None:  # it ran within submit(), by whose error it ends
            call.ended = _clock()
            call.end(Ending.raised(error))
        elif queued is None:
            observed.refuse(error)
        else:
            recorder.fresh.append(call)
            queued.add_done_callback(call.done)
        raise
    recorder.fresh.append(call)
    if _KEEPS_FRAMES or call.ending is None:
        call_when_done(future, call.done)  # which does nothing when it is called twice
    return future


_KEEPS_FRAMES = sys.version_info < (3, 11)  # a bare raise puts the old traceback back
_OURS: set[Any] = {Call.__call__.__code__, Call.again.__code__, Call.within.__code__}
CALLERS.add(Call.__call__.__code__)
begins(Call.__call__)


def ours(*functions: Any) -> None:
    """Frames of these functions are hidden from tracebacks."""
    _OURS.update(function.__code__ for function in functions)


def hide_frames(error: BaseException) -> None:
    """Remove this package's frames from the top of a traceback; follow with a bare ``raise``."""
    frames = traceback_of(error)
    while frames is not None and frames.tb_frame.f_code in _OURS:
        frames = frames.tb_next
    set_traceback(error, frames)


def _cut_frames(error: BaseException | None) -> None:
    # The same on Python 3.10, afterwards: our frame hangs below the worker's.
    frames = traceback_of(error) if error is not None else None
    while frames is not None and frames.tb_next is not None:
        if frames.tb_next.tb_frame.f_code in _OURS:
            frames.tb_next = frames.tb_next.tb_next
        else:
            frames = frames.tb_next
