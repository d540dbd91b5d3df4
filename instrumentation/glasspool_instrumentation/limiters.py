"""Calls in threads that a capacity limiter lets through (anyio's and trio's ``to_thread.run_sync``).

The limiter's figures are kept by what passes here, so reading them never touches an event loop. A call that finds a
free token holds it at once; else it waits, from the call to the thread's start.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterable
from itertools import product
from typing import Any

from glasspool.telemetry.catalog import CANCEL_PHASES
from glasspool.telemetry.tracing import TaskTracer, attach, function_name
from glasspool.telemetry.within import running

from . import loops
from .calls import hide_frames, ours
from .layers import awaiting, submitting
from .naming import caller_module, check_name, look_through
from .observed import Observed

__all__ = ["Limiters", "limiter_name", "name_limiter", "run_in_thread"]

_names: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


def name_limiter(limiter: Any, name: str) -> Any:
    """Name a capacity limiter of anyio or trio for its metrics, and return it."""
    if not all(hasattr(limiter, wanted) for wanted in ("total_tokens", "borrowed_tokens")):
        raise TypeError(f"name_limiter() takes a capacity limiter of anyio or trio; got {limiter!r}")
    _names[limiter] = check_name(name)
    return limiter


def limiter_name(limiter: Any) -> str:
    """The name it was given, else the module that calls."""
    return _names.get(limiter) or caller_module(2)


class Limiters:
    """The observed limiters of one library. ``reasons``: those for which its calls are cancelled."""

    def __init__(self, type: str, reasons: Iterable[str]) -> None:
        self.type = type
        self._cancels = tuple(product(reasons, CANCEL_PHASES))
        self._observed: dict[int, tuple[Observed, Any, Any]] = {}  # with its limiter and loop, weakly
        loops.at_end(self._ended)

    def find(self, limiter: Any, default_name: str | None) -> Observed:
        """The observation of ``limiter``, begun if there is none; ``default_name`` is set for the library's own."""
        known = self._observed.get(id(limiter))
        limit = _tokens(limiter)
        if known is not None:
            observed = known[0]
            if limit is not None and limit != observed.recorder.limit and observed.recorder.limit is not None:
                observed.recorder.set_limit(limit)
            return observed
        name = default_name or limiter_name(limiter)
        observed = Observed(name, self.type, "thread", limit=limit, workers=False, cancels=self._cancels)
        key = id(limiter)

        def gone(_: object) -> None:
            self._observed.pop(key, None)
            observed.close_when_empty()

        loop = loops.current()
        self._observed[key] = observed, weakref.ref(limiter, gone), loop and weakref.ref(loop)
        return observed

    def forget(self) -> None:
        """Observe none of them any longer."""
        for observed, _, _ in list(self._observed.values()):
            observed.close_when_empty()
        self._observed.clear()

    def _ended(self, loop: Any) -> None:
        # A limiter belongs to the loop that used it first; the library's own default ones always do.
        for key, (observed, _, owner) in list(self._observed.items()):
            if owner is not None and owner() is loop:
                del self._observed[key]
                observed.close_when_empty()


def _tokens(limiter: Any) -> int | None:
    tokens = limiter.total_tokens
    return None if tokens == math.inf else int(tokens)


class _Threaded:
    """The function in its thread. Looks like the user's to whoever asks for its name."""

    def __init__(self, observed: Observed, fn: Callable[..., Any], free: bool) -> None:
        self._fn: Any = fn
        self._observed = observed
        named = look_through(fn)
        self._task = task = observed.recorder.task(function_name(named), "thread")
        task.span = observed.start_span(task, named, None)
        self._queued = not free
        self._settled = False
        self._abandoned = False
        self._thread: threading.Thread | None = None
        observed.recorder.accept(task, queued=self._queued)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fn, name)

    def __call__(self, *args: Any) -> Any:
        task, recorder = self._task, self._observed.recorder
        awaiting.set(False)  # what the function calls is its own; this context is the thread's copy
        running.set(self)
        submitting.inside = False
        with recorder.totals.lock:
            given_up = self._settled
            if not given_up:
                if self._queued:
                    recorder.assign(task)
                    self._queued = False
                recorder.begin(task)
        if given_up:  # in the instant in which the thread was starting, which the library starts all the same
            return self._fn(*args)
        if task.span is not None:
            self._thread = threading.current_thread()
            TaskTracer.begin(task.span)
            attach(None, task.span)
        try:
            value = self._fn(*args)
        except BaseException as error:
            self._settle("error", error)
            self._fn = None  # see below
            hide_frames(error)
            raise
        self._settle("success", None)
        self._fn = None  # contexts that were copied in it may live on, and lead here
        return value

    @property
    def over(self) -> bool:
        """See Running. Given up while it runs, it is still the work of its task."""
        return self._settled and not self._abandoned

    def _settle(self, outcome: str, error: BaseException | None) -> None:
        with self._observed.recorder.totals.lock:
            if self._settled:
                if self._abandoned:
                    self._abandoned = False
                    self._observed.recorder.thread_freed("thread")
                return
            self._settled = True
        self._observed.settle(self._task, outcome, error, thread=self._thread)

    def given_up(self, error: BaseException, reason: str) -> None:
        """The awaiting side ended with ``error``: a cancellation, unless the function has settled already."""
        with self._observed.recorder.totals.lock:
            if self._settled:
                return
            self._settled = True
            self._abandoned = self._task.began
        if reason:
            self._observed.settle(
                self._task,
                "cancelled",
                assigned=not self._queued,
                reason=reason,
                abandoned=self._abandoned,
                thread=self._thread,
            )
        else:  # the thread could not be started, the limiter refused
            self._observed.settle(self._task, "error", error, assigned=not self._queued)


ours(_Threaded.__call__)


async def run_in_thread(
    observed: Observed,
    limiter: Any,
    fn: Callable[..., Any],
    run: Callable[[Any], Awaitable[Any]],
    why: Callable[[BaseException], str],
) -> Any:
    """Await ``run(function)``, which runs the function in a thread under ``limiter``.

    ``why`` gives the cancel reason of an exception, or "" if it is no cancellation.
    """
    recorder = observed.recorder
    # Not the limiter's figure alone: calls that were let through take their tokens only after a checkpoint.
    free = not recorder.queued and recorder.in_flight < recorder.full_at and limiter.available_tokens > 0
    call = _Threaded(observed, fn, free)
    token = awaiting.set(True)
    try:
        return await run(call)
    except BaseException as error:
        call.given_up(error, why(error))
        hide_frames(error)
        raise
    finally:
        awaiting.reset(token)


ours(run_in_thread)
