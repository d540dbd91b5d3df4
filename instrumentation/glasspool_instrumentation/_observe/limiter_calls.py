"""Records calls under a capacity limiter: anyio's and trio's ``to_thread.run_sync``, anyio's ``to_process``.

Slots and queue are the limiter's (see ``limiter_tokens.py``); this module counts and measures the calls. A call is
active from the grant of its token, and its wait lasts until its function begins.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from itertools import product
from typing import Any

from opentelemetry.trace import SpanKind

from glasspool._recorded_calls import enter_function, recording_await
from glasspool.telemetry.catalog import RUN_PHASES
from glasspool.telemetry.recording.call_names import function_name, look_through
from glasspool.telemetry.recording.ending import Ending
from glasspool.telemetry.recording.places import Left, Look, Places
from glasspool.telemetry.recording.recorder import TaskRecord
from glasspool.telemetry.tracing.spans import TaskTracer, attach

from . import loops
from .limiter_tokens import Claim, LimiterTokens, is_limiter
from .naming import caller_module, check_name
from .observation import Observed
from .task_name_limit import MAX_TASK_NAMES
from .thread_calls import hide_frames, ours
from .wait_objectives import WaitObjectives
from .whereabouts import begins, places_in

__all__ = ["Limiters", "ObservedLimiter", "limiter_name", "name_limiter", "run_in_thread"]

_HELD: Any = object()

_names: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


def name_limiter(limiter: Any, name: str) -> Any:
    """Set the executor name under which the metrics of a capacity limiter of anyio or trio are shown.

    :param limiter: the limiter.
    :param name: its executor name; default the module that first uses the limiter.
    :returns: ``limiter``.
    :raises TypeError: ``limiter`` is not a capacity limiter, or ``name`` is not a string.
    :raises ValueError: ``name`` is empty.
    """
    if not is_limiter(limiter):
        raise TypeError(f"name_limiter() takes a capacity limiter of anyio or trio; got {limiter!r}")
    _names[limiter] = check_name(name)
    return limiter


def limiter_name(limiter: Any) -> str:
    """The name it was given, else the module that calls."""
    return _names.get(limiter) or caller_module(2)


class ObservedLimiter(Observed):
    """The calls under one limiter. All of them queue, since the limiter decides which call gets a token, and when."""

    def __init__(self, limiter: Any, name: str, type: str, runner: str, **options: Any) -> None:
        self.waiting: OrderedDict[TaskRecord, None] = OrderedDict()  # tasks without a token
        super().__init__(name, type, runner, slots=True, workers=False, failures=("callback",), **options)
        self.tokens = LimiterTokens(limiter, self.record)
        self.left: dict[TaskRecord, None] = {}  # tasks that have ended while their thread goes on; the steps are atomic
        this = weakref.ref(self)
        self.record.places = lambda look: None if (found := this()) is None else found.places(look)

    def places(self, look: Look) -> Places:
        """Where its calls are, with those that were left behind."""
        found, now = look.once(places_in), self.record.clock()
        here = [(task, place) for task in list(self.left) if (place := found.get(task))]  # a fork has left its threads
        return Places(found, [Left(task.id, task.name, now - task.started, place) for task, place in here])

    def admit(self, task: TaskRecord) -> None:
        """See Observed."""
        self.recorder.accept(task, queued=True)
        self.waiting[task] = None

    def granted(self, task: TaskRecord) -> None:
        """The limiter has lent a token for this call."""
        if task in self.waiting:
            self.record.in_turn(self._grant, task)

    def _grant(self, task: TaskRecord) -> None:
        # In a turn: the end of a task that no longer waits is counted after its slot was counted.
        if not self.withdraw(task):
            self.recorder.assign(task, at=self.record.clock(), in_turn=True)

    def withdraw(self, task: TaskRecord) -> bool:
        """See Observed."""
        return self.waiting.pop(task, _HELD) is _HELD


class Limiters:
    """The observed limiters of one library, for calls of one kind. ``reasons``: those for which they are cancelled."""

    def __init__(
        self,
        type: str,
        reasons: Iterable[str],
        runner: str = "thread",
        kind: SpanKind = SpanKind.INTERNAL,
        losses: tuple[str, ...] = (),
    ) -> None:
        self.type = type
        self.objectives = WaitObjectives()
        self.max_task_names = MAX_TASK_NAMES
        self._runner = runner
        self._options: dict[str, Any] = {
            "kind": kind, "cancels": tuple(product(reasons, RUN_PHASES)), "losses": losses,
        }  # fmt: skip
        self._observed: dict[int, tuple[ObservedLimiter, Any, Any]] = {}  # with its limiter and loop, weakly
        loops.at_end(self._ended)

    def find(self, limiter: Any, default_name: str | None) -> ObservedLimiter | None:
        """The observation of ``limiter``, begun if there is none; ``default_name`` is set for the library's own.

        Called on the limiter's own event loop. None for what is no limiter whose figures could be shown.
        """
        known = self._observed.get(id(limiter))
        if known is not None:
            return known[0]
        if not is_limiter(limiter):
            return None
        key = id(limiter)

        def gone(_: object) -> None:
            ended = self._observed.pop(key, None)
            if ended is not None:
                ended[0].close_when_empty()

        try:
            reference = weakref.ref(limiter, gone)
        except TypeError:  # a custom class with slots
            return None
        name = default_name or limiter_name(limiter)
        observed = ObservedLimiter(
            limiter, name, self.type, self._runner, wait_objective=self.objectives(name),
            max_task_names=self.max_task_names, **self._options,
        )  # fmt: skip
        loops.watch()  # where nothing but its thread limiter is used of the library, this is how its loop is found
        loop = loops.current()
        self._observed[key] = observed, reference, loop and weakref.ref(loop)
        return observed

    def forget(self) -> None:
        """Stop observing all of them."""
        for observed, _, _ in list(self._observed.values()):
            observed.close_when_empty()
        self._observed.clear()

    def _ended(self, loop: Any) -> None:
        # A limiter belongs to the loop that used it first; the library's own default ones always do.
        for key, (observed, _, owner) in list(self._observed.items()):
            if owner is not None and owner() is loop:
                del self._observed[key]
                observed.close_when_empty()


class ThreadedCall:
    """The function in its thread. It has the name of the user's function."""

    def __init__(self, observed: ObservedLimiter, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._fn: Any = fn
        self._observed = observed
        named = look_through(fn, args)
        self.task = task = observed.recorder.task(function_name(named), "thread")
        task.span = observed.start_span(task, named, None)
        self._unsettled: list[None] = [None]  # the code that pops it settles the call: popping is atomic
        self._abandoned = False  # its thread goes on
        self._counted = False  # as abandoned
        self._starting = False
        self._late: tuple[BaseException, str] | None = None  # given up by a finalizer while it was starting
        self._thread: threading.Thread | None = None
        observed.admit(task)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fn, name)

    def __call__(self, *args: Any) -> Any:
        task, observed = self.task, self._observed
        recorder = observed.recorder
        enter_function(self)  # in a copy of its caller's context
        with recorder.record.lock:
            self._starting = True
            given_up = not self._unsettled
            if not given_up:
                observed.granted(task)  # if the limiter has not said so
                recorder.begin(task)
            self._starting = False
        if self._late is not None:
            self.given_up(*self._late)
        if given_up:  # in the instant in which the thread was starting, which the library starts all the same
            return self._fn(*args)
        if task.span is not None:
            self._thread = threading.current_thread()
            TaskTracer.begin(task.span)
            attach(None, task.span)
        try:
            value = self._fn(*args)
        except BaseException as error:
            self._settle(error)
            self._fn = None  # see below
            hide_frames(error)
            del self, args, task, observed, recorder  # see Call.__call__
            raise
        self._settle(None)
        self._fn = None  # contexts that were copied in it may live on, and lead here
        return value

    @property
    def over(self) -> bool:
        """See Running. Given up while it runs, it is still the work of its task."""
        return not self._unsettled and not self._abandoned

    def _settle(self, error: BaseException | None) -> None:
        with self._observed.record.lock:
            if not self._claim():
                if self._abandoned:
                    self._abandoned = False
                    if self._counted:
                        self._freed()
                return
        self._observed.settle(self.task, Ending.raised(error), thread=self._thread)

    def _freed(self) -> None:
        self._observed.left.pop(self.task, None)
        self._observed.record.thread_freed("thread")

    def _claim(self) -> bool:
        try:
            self._unsettled.pop()
        except IndexError:
            return False
        return True

    def given_up(self, error: BaseException, reason: str) -> None:
        """The awaiting side ended with ``error``: a cancellation, unless the function has settled already."""
        with self._observed.record.lock:
            if self._starting:  # further up this thread's stack
                self._late = error, reason
                return
            if not self._claim():
                return
            abandoned = self._abandoned = self.task.began
            assigned = self._observed.withdraw(self.task)
        if reason:
            ending = Ending.cancelled(reason, abandoned=abandoned)
            self._observed.settle(self.task, ending, assigned=assigned, thread=self._thread)
            if abandoned:
                with self._observed.record.lock:
                    self._counted = True
                    self._observed.left[self.task] = None
                    if not self._abandoned:  # the thread has ended meanwhile
                        self._freed()
        else:  # the thread could not be started, the limiter refused
            self._observed.settle(self.task, Ending.raised(error), assigned=assigned)


ours(ThreadedCall.__call__)
begins(ThreadedCall.__call__)


async def run_in_thread(
    observed: ObservedLimiter,
    limiter: Any,
    fn: Callable[..., Any],
    run: Callable[[Any, Claim], Awaitable[Any]],
    why: Callable[[BaseException], str],
    args: tuple[Any, ...] = (),
) -> Any:
    """Await ``run(function, claim)``, which calls the function (with ``args``) in a thread under ``limiter``, and tells
    the claim whose it is.

    ``why`` gives the cancel reason of an exception, or "" if it is no cancellation.
    """
    tokens = observed.tokens
    if not tokens.told:
        tokens.look()
    call = ThreadedCall(observed, fn, args)
    claim = Claim(limiter, functools.partial(observed.granted, call.task))
    try:
        with recording_await():
            return await run(call, claim)
    except BaseException as error:
        call.given_up(error, why(error))
        hide_frames(error)
        del call, fn, run, args  # see Call.__call__
        raise
    finally:
        claim.end()
        if not tokens.told:
            tokens.look()


ours(run_in_thread)
