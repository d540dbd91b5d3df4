"""Calls into an event loop from threads: anyio's ``from_thread.run`` and ``run_sync``, and its blocking portals.

A call waits from its submission by the thread until the loop begins to run it, so its queue wait is the loop's delay.
anyio carries the thread's context to the loop. A call of a portal is a task of the portal's task group; its future
gives the outcome, since the portal stores every error there.
"""

from __future__ import annotations

import threading
from asyncio import CancelledError
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from types import MethodType
from typing import Any

from glasspool._foreign.frames import locals_of
from glasspool._foreign.guarded import attribute, is_a
from glasspool._recorded_calls import enter_function, from_executor, recording_await
from glasspool.telemetry.recording.call_names import function_name, look_through
from glasspool.telemetry.recording.ending import SUCCESS, Ending
from glasspool.telemetry.recording.task_record import TaskRecord
from glasspool.telemetry.tracing.spans import TaskTracer, attach, detach
from glasspool_instrumentation._patch.patching import Patch

from .coroutines import ObservedCoroutine, cancellation_in
from .observation import Observed
from .thread_calls import hide_frames, ours
from .whereabouts import OfTask, begins

__all__ = ["PortalCoroutine", "calling", "is_portals_own", "portal_call"]


class _Entering(OfTask):
    """A function on its way from a thread to the loop; called there, once."""

    def __init__(self, observed: Observed, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._fn: Any = fn
        self._observed = observed
        self._lock = threading.RLock()  # a finalizer within it may give up another's call
        self._given_up = False
        self._over = False
        named = look_through(fn, args)
        self.task: TaskRecord = observed.recorder.task(function_name(named), "inline")
        self.task.span = observed.start_span(self.task, named, None)
        observed.recorder.accept(self.task, queued=True)

    @property
    def over(self) -> bool:
        """See Running."""
        return self._over

    def of_task(self) -> TaskRecord:
        """See OfTask."""
        return self.task

    def _begin(self) -> bool:
        """The loop begins to run it; False if its thread no longer waits, and the call has been counted."""
        task, recorder = self.task, self._observed.recorder
        with self._lock:
            if self._given_up:
                return False
            recorder.assign(task)
            recorder.begin(task)
        if task.span is not None:
            TaskTracer.begin(task.span)
        enter_function(self)  # in a copy of its thread's context
        return True

    def end(self, error: BaseException | None) -> None:
        """The function has ended, by this error or none."""
        self._over = True
        self._fn = None  # contexts that were copied in it may live on, and lead here
        if error is None:
            self._observed.settle(self.task, SUCCESS)
        else:
            self._observed.settle(self.task, Ending.raised(error))

    def give_up(self, error: BaseException) -> None:
        """The thread's call ended by ``error``. If the loop has not begun to run it, it never will: the loop is
        gone."""
        with self._lock:
            if self._given_up or self.task.began:
                return
            self._given_up = True
        self._observed.settle(self.task, Ending.raised(error), assigned=False)


class _Sync(_Entering):
    def __call__(self, *args: Any) -> Any:
        if not self._begin():
            return self._fn(*args)
        token = None if self.task.span is None else attach(None, self.task.span)
        try:
            value = self._fn(*args)
        except BaseException as error:
            self.end(error)
            hide_frames(error)
            del self, args  # see Call.__call__
            raise
        finally:
            if token is not None:
                detach(token)
            del token
        self.end(None)
        return value


class _Async(_Entering):
    _made: ObservedCoroutine | None = None

    @property
    def over(self) -> bool:
        return self._over or (self._made is not None and self._made.ended)

    def __call__(self, *args: Any) -> Any:
        if not self._begin():
            return self._fn(*args)
        try:
            made = self._fn(*args)
        except BaseException as error:
            self.end(error)
            hide_frames(error)
            del self, args  # see Call.__call__
            raise
        if not issubclass(type(made), Coroutine):
            self.end(TypeError("no coroutine function"))  # which anyio says better
            return made
        self._fn = None
        self._made = ObservedCoroutine(made, self._observed, self.task, self._ending)
        return self._made

    def _ending(self, error: BaseException) -> Ending:
        if cancellation_in(error) is None:
            return Ending.raised(error)
        return Ending.cancelled("parent_scope")


ours(_Sync.__call__, _Async.__call__)
begins(_Sync.__call__)


def calling(find: Callable[[], Observed | None], *, sync: bool) -> Callable[[Patch, Any], Any]:
    """Make the replacement of a back end's ``run_sync_from_thread``, or else ``run_async_from_thread``."""
    enter = _Sync if sync else _Async

    def make(patch: Patch, original: Any) -> Any:
        def from_thread(cls: Any, func: Any, args: Any, *more: Any, **options: Any) -> Any:
            observed = find() if patch.active and not _is_portals(args) and not from_executor() else None
            if observed is None:
                return original(cls, func, args, *more, **options)
            call = enter(observed, func, args)
            try:
                with recording_await():  # for the task that runs it, which asyncio makes in a copy of this context
                    return original(cls, call, args, *more, **options)
            except BaseException as error:
                call.give_up(error)
                hide_frames(error)
                del call, cls, func, args, more, options  # see Call.__call__
                raise

        ours(from_thread)
        return from_thread

    return make


# -- portals -----------------------------------------------------------------------------------------------------------


def _is_portals(args: Any) -> bool:
    """Whether this is a portal's own call into its loop, to start a task there."""
    method = args[0] if args else None
    if type(method) is not MethodType or attribute(method.__func__, "__name__") != "_call_func":
        return False
    return hasattr(type(method.__self__), "start_task")


def portal_call(coro: Any) -> tuple[Any, Future[Any]] | None:
    """The function that a portal was asked to call, and its future, if this coroutine is a portal's that calls one."""
    code, frame = getattr(coro, "cr_code", None), getattr(coro, "cr_frame", None)
    if code is None or frame is None or code.co_name not in ("_call_func", "run_call"):
        return None
    if frame.f_globals.get("__name__") != "anyio.from_thread":
        return None
    found = locals_of(frame, "func", "future")
    return (found["func"], found["future"]) if len(found) == 2 else None


def is_portals_own(function: Any) -> bool:
    """Whether it is a method of a portal, such as the ``stop`` that ends it."""
    return type(function) is MethodType and hasattr(type(function.__self__), "start_task_soon")


class PortalCoroutine(ObservedCoroutine):
    """A portal's task: ends as its future does."""

    __slots__ = ("_future", "_scope")

    def __init__(self, coro: Any, observed: Observed, task: Any, ending: Any, future: Future[Any], scope: Any) -> None:
        super().__init__(coro, observed, task, ending)
        self._future: Future[Any] | None = future
        self._scope: Any = scope

    def _end(self, error: BaseException) -> None:
        future, scope = self._future, self._scope
        self._future = self._scope = None  # see ObservedCoroutine._settle
        if future is None or not is_a(error, StopIteration) or not future.done():
            super()._end(error)
        elif future.cancelled():
            # By the holder of the future, unless the group is being cancelled.
            ending = self._ending if scope.cancel_called else None
            self._settle(Ending.cancelled("explicit") if ending is None else ending(CancelledError()))
        else:
            failure = future.exception()
            self._settle(Ending.raised(failure))
