"""A call submitted to a pool of this process (threads): the function in its place, and its way through the recorder.

    submit() ── accept ──► the pool's queue ──► a worker thread: begin, run, settle ──► the future's result
        └─ add_done_callback ──► cancelled or broken before it ran: settle

Who comes first, the submitter back from ``submit`` or the worker, accepts the task: a refused call never was one.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace

from glasspool.telemetry.tracing import TaskTracer, attach, capture, function_name, inject

from .layers import submitting
from .naming import look_through, peel
from .observed import Observed

__all__ = ["Call", "hide_frames", "ours", "submit"]


class Call:
    """What the pool runs in place of the user's function. Called once, by a worker."""

    __slots__ = ("accepted", "carried", "context", "fn", "observed", "settled", "task")

    def __init__(self, observed: Observed, fn: Callable[..., Any], context: Context | None) -> None:
        self.observed = observed
        self.fn: Callable[..., Any] | None = fn
        self.context = context  # the contextvars context the user packed the call into, if any
        self.accepted = False
        self.settled = False
        self.carried = capture()
        named = look_through(fn)
        self.task = task = observed.recorder.task(function_name(named), observed.runner)
        task.span = observed.start_span(task, named, self.carried)

    def accept(self) -> None:
        """The pool has it. The first to know, submitter or worker, counts it."""
        recorder = self.observed.recorder
        with recorder.totals.lock:
            if not self.accepted:
                recorder.accept(self.task, queued=True)
                self.accepted = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        observed, task, context, fn = self.observed, self.task, self.context, self.fn
        self.fn = None
        if fn is None:
            raise RuntimeError("an observed call runs once; it was called again")
        inside = submitting.inside
        submitting.inside = False  # an executor that runs its calls within submit() is not a layer of what they do
        if not self.accepted:
            self.accept()
        recorder = observed.recorder
        recorder.assign(task)
        recorder.begin(task)
        span = task.span
        if span is not None:
            TaskTracer.begin(span, threading.current_thread())
        try:
            if context is None:
                carried = self.carried if span is None else trace.set_span_in_context(span, self.carried)
                token = otel_context.attach(carried)
                try:
                    value = fn(*args, **kwargs)
                finally:
                    otel_context.detach(token)
            elif span is None:
                value = context.run(fn, *args, **kwargs)
            else:
                token = context.run(attach, None, span)
                try:
                    value = context.run(fn, *args, **kwargs)
                finally:
                    context.run(otel_context.detach, token)
        except BaseException as error:
            self.settled = True
            observed.settle(task, "error", error)
            hide_frames(error)
            raise
        finally:
            submitting.inside = inside
        self.settled = True
        observed.settle(task, "success")
        return value

    def done(self, future: Future[Any]) -> None:
        """The future is done; a call that never ran settles here."""
        if self.settled:
            if _KEEPS_FRAMES and not future.cancelled():
                _cut_frames(future.exception())
            return
        self.settled = True
        self.fn = None
        observed = self.observed
        if future.cancelled():
            reason = "shutdown" if observed.cutting else "explicit"
            observed.settle(self.task, "cancelled", assigned=False, reason=reason)
        else:
            error = future.exception()
            if error is None:  # a copy of the call ran elsewhere
                observed.recorder.assign(self.task)
                observed.recorder.begin(self.task)
            observed.settle(self.task, "error" if error else "success", error, assigned=error is None)

    def __reduce__(self) -> Any:
        """A pool that pickles its calls runs a copy, which attaches the carried context where it arrives."""
        from .worker import Errand  # only such pools need it

        span = self.task.span
        carried = self.carried if span is None else trace.set_span_in_context(span, self.carried)
        fn: Any = self.fn
        return Errand(fn, "", inject(carried), None, enveloped=False).__reduce__()


def submit(observed: Observed, original: Callable[..., Future[Any]], fn: Any, args: Any, kwargs: Any) -> Future[Any]:
    """Hand a call to a thread pool's own ``submit``, observed."""
    context, fn, args, more = peel(fn, args)
    if more:
        kwargs = {**more, **kwargs}
    call = Call(observed, fn, context)
    submitting.inside = True
    try:
        future = original(call, *args, **kwargs)
    except BaseException as error:
        if not call.accepted:
            observed.refuse(error)
        raise
    finally:
        submitting.inside = False
    if not call.accepted:
        call.accept()
    future.add_done_callback(call.done)
    return future


_KEEPS_FRAMES = sys.version_info < (3, 11)  # a bare raise puts the old traceback back
_OURS: set[Any] = {Call.__call__.__code__}


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
