"""The instrumentor of anyio: task groups, ``to_thread`` with its 40-token default limiter, ``from_thread``,
``to_process``.

It works on asyncio and on trio. It patches the methods of anyio's back ends, not anyio's functions, so calls by code
that imported a function by name are observed too.
"""

from __future__ import annotations

import functools
import importlib
import logging
import weakref
from collections.abc import Awaitable, Coroutine, Mapping
from contextvars import Context
from itertools import product
from typing import Any

from opentelemetry.trace import SpanKind

from glasspool._foreign.anyio_ import has_failed, nursery_of, scope_around
from glasspool._foreign.guarded import attribute, is_a, text
from glasspool._foreign.trio_ import is_being_cancelled
from glasspool._recorded_calls import from_executor, recorded_above, recording, recording_await, submitting
from glasspool.telemetry.catalog import CONTEXT_LOSS_KINDS
from glasspool.telemetry.recording.call_names import coroutine_names, function_name, look_through, qualified_name
from glasspool.telemetry.recording.ending import Ending
from glasspool.telemetry.tracing.spans import capture, context_in

from ._observe import loops
from ._observe.coroutines import ObservedCoroutine, cancellation_in, failure_text
from ._observe.from_thread import PortalCoroutine, calling, is_portals_own, portal_call
from ._observe.limiter_calls import Limiters, run_in_thread
from ._observe.limiter_tokens import Claim
from ._observe.limiter_tokens import patches as token_patches
from ._observe.loop_tasks import LoopTasks
from ._observe.naming import Selection
from ._observe.observation import Observed
from ._observe.shared_observations import SharedObservations
from ._observe.task_name_limit import MAX_TASK_NAMES
from ._observe.wait_objectives import WaitObjectives
from ._patch.patching import Patch, Patches
from ._process.remote_calls import Away
from .instrumentor import Instrumentor

__all__ = ["AnyioInstrumentor"]

logger = logging.getLogger("glasspool")

_TRIO = "anyio._backends._trio"
_REASONS = ("explicit", "sibling_failure", "parent_scope", "deadline", "shutdown")

DEFAULT_LIMITER = "anyio.to_thread"
"""The executor name of the default thread limiter: 40 tokens, on which FastAPI and Starlette run sync endpoints."""


_tasks = LoopTasks("anyio", _REASONS, requests=True)
thread_limiters = Limiters("anyio_limiter", ("parent_scope",))
_processes = Limiters("anyio_process", ("explicit",), "process", SpanKind.PRODUCER, losses=CONTEXT_LOSS_KINDS)
_entering = SharedObservations()  # calls from threads


class AnyioInstrumentor(Instrumentor):
    """Observes anyio's task groups, thread limiters, calls from threads, and worker processes.

    These are the options of ``instrument()``:

    * ``include``: patterns of the tasks of task groups to count; default all. They match the function's qualified
        name, with and without its module.
    * ``exclude``: patterns of tasks that are not counted; default none.
    * ``spans``: patterns of the tasks that get a span; default None, no task.
    * ``monitor``: whether an event-loop monitor watches each loop; default True.
    * ``wait_objectives``: patterns of limiter names, each with the seconds that a call may wait before it is late,
        such as ``{"anyio.to_thread": 0.5}``; the first pattern that matches counts. Default none.
    * ``max_task_names``: distinct task names that metrics show for each executor, default 25; 0 shows none.
    """

    libraries = ("anyio",)
    requires = ("anyio >= 4.0",)

    def _instrument(
        self,
        selection: Selection,
        *,
        wait_objectives: Mapping[str, float] | None = None,
        max_task_names: int = MAX_TASK_NAMES,
        **options: Any,
    ) -> None:
        objectives = WaitObjectives(wait_objectives)
        _tasks.begin((_patches, token_patches), selection, max_task_names=max_task_names, **options)
        for limiters in (thread_limiters, _processes):
            limiters.objectives, limiters.max_task_names = objectives, max_task_names

    def _uninstrument(self) -> None:
        _tasks.cease((_patches, token_patches))
        thread_limiters.forget()
        _processes.forget()
        _entering.end()


# -- task groups -------------------------------------------------------------------------------------------------------

_failures: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()  # task group -> its first failed child


class _Ending:
    """Turns the error of a task group's child into its ending: failed, or cancelled and for what reason."""

    __slots__ = ("group", "name")

    def __init__(self, group: Any, name: str) -> None:
        self.group = group
        self.name = name

    def __call__(self, error: BaseException) -> Ending:
        cancellation = cancellation_in(error)
        if cancellation is None:
            _failures.setdefault(self.group, failure_text(self.name, error))
            return Ending.raised(error)
        failed = _failures.get(self.group)
        if failed is not None:
            return Ending.cancelled("sibling_failure", failed)
        if has_failed(self.group) or getattr(cancellation, "source", "") == "nursery":
            return Ending.cancelled("parent_scope")  # an error of the group's own block, or of one around it
        return Ending.cancelled(_scope_reason(self.group.cancel_scope))

    def asked(self) -> bool:
        """Whether the task was asked to end: a scope around it is cancelled, and not one that it has opened itself."""
        nursery = nursery_of(self.group)
        if nursery is not None:
            return is_being_cancelled(nursery)
        scope = self.group.cancel_scope
        while scope is not None and not scope.cancel_called:
            scope = None if scope.shield else scope_around(scope)
        return scope is not None


def _scope_reason(own: Any) -> str:
    """Why a scope is cancelled. Outer scopes come first: a group that is cancelled from outside also cancels itself."""
    from anyio import current_time  # here, because a module of this name is what we are in

    reason = "parent_scope"
    if own.cancel_called:
        reason = "deadline" if own.deadline <= current_time() else "explicit"
    scope = scope_around(own)
    while scope is not None:
        if scope.cancel_called:
            return "deadline" if scope.deadline <= current_time() else "parent_scope"
        scope = scope_around(scope)
    return reason


def _observe(group: Any, coro: Any, name: str, context: Context | None = None) -> Any:
    """The coroutine of a new child, wrapped if it is to be observed. ``context`` is the context it will run in, if one
    was passed."""
    if _tasks.observed is None or not issubclass(type(coro), Coroutine):
        return coro
    portals = portal_call(coro)
    if portals is not None and is_portals_own(portals[0]):
        return coro
    if portals is None:
        full, short = coroutine_names(coro)
    else:
        full, short = qualified_name(portals[0]), function_name(portals[0])
    parent = None if context is None or not _tasks.traced else context_in(context)
    started = _tasks.start(full, short, parent)
    if started is None:
        return coro
    ending = _Ending(group, name or short)
    if portals is not None:
        return PortalCoroutine(coro, *started, ending, portals[1], group.cancel_scope)
    return ObservedCoroutine(coro, *started, ending)


def _create_task(patch: Patch, original: Any) -> Any:
    def create_task(self: Any, coro: Any, **options: Any) -> Any:
        if not patch.active or submitting.inside:
            return original(self, coro, **options)
        loops.watch()
        quiet = from_executor()
        made = coro if quiet else _observe(self, coro, str(options.get("name") or ""), options.get("context"))
        with recording():
            return original(self, made, **options)

    return create_task


def _start(patch: Patch, original: Any) -> Any:
    async def start(self: Any, func: Any, *args: Any, name: object = None, **options: Any) -> Any:
        if not patch.active or from_executor():
            return await original(self, func, *args, name=name, **options)

        group = weakref.ref(self)  # who waits keeps it; the frames of an error lead to this function

        def call(*args: Any, **kwargs: Any) -> Any:
            coro = func(*args, **kwargs)
            return _observe(group(), coro, str(name or ""))

        return await original(self, _named_as(func, call), *args, name=name, **options)

    return start


def _named_as(func: Any, call: Any) -> Any:
    """``call`` with the names of ``func``, which anyio uses in messages and as the name of the task."""
    shown = look_through(func)
    call.__qualname__ = _string(shown, "__qualname__") or text(func)
    call.__name__ = _string(shown, "__name__") or text(func)
    call.__module__ = _string(shown, "__module__") or __name__
    return call


def _string(thing: Any, name: str) -> str:
    found = attribute(thing, name)
    return found if type(found) is str else ""


# -- threads -----------------------------------------------------------------------------------------------------------


def _run_in_thread(patch: Patch, original: Any) -> Any:
    async def run_sync_in_worker_thread(
        cls: Any, func: Any, args: Any, abandon_on_cancel: bool = False, limiter: Any = None
    ) -> Any:
        if not patch.active or recorded_above(awaits=True):
            return await original(cls, func, args, abandon_on_cancel, limiter)
        default = cls.current_default_thread_limiter()
        limiter = default if limiter is None else limiter
        name = DEFAULT_LIMITER if limiter is default else None
        observed = thread_limiters.find(limiter, name)
        if observed is None:
            return await original(cls, func, args, abandon_on_cancel, limiter)

        def run(call: Any, claim: Claim) -> Awaitable[Any]:
            passed = limiter
            if cls.__module__ == _TRIO:  # which lends to an object of its own
                passed = claim
            else:
                claim.of_this_task()
            found: Awaitable[Any] = original(cls, call, args, abandon_on_cancel, passed)
            return found

        return await run_in_thread(observed, limiter, func, run, _why, args)

    return run_sync_in_worker_thread


def _why(error: BaseException) -> str:
    return "" if cancellation_in(error) is None else "parent_scope"


def _from_thread() -> Observed:
    name = "anyio.from_thread"
    return _entering.find(
        name,
        lambda: Observed(
            name,
            "anyio_from_thread",
            "inline",
            workers=False,
            cancels=product(("parent_scope", "shutdown"), ("running",)),
            max_task_names=thread_limiters.max_task_names,
        ),
    )


# -- processes ---------------------------------------------------------------------------------------------------------


def _run_in_process(patch: Patch, original: Any) -> Any:
    async def run_sync(func: Any, *args: Any, cancellable: bool = False, limiter: Any = None) -> Any:
        if not patch.active or recorded_above(awaits=True):
            return await original(func, *args, cancellable=cancellable, limiter=limiter)
        default = importlib.import_module("anyio.to_process").current_default_process_limiter()
        limiter = default if limiter is None else limiter
        observed = _processes.find(limiter, "anyio.to_process" if limiter is default else None)
        if observed is None:
            return await original(func, *args, cancellable=cancellable, limiter=limiter)
        call = Away(observed, look_through(func, args), capture())
        errand = call.errand(func)
        call.accept()
        claim = Claim(limiter, functools.partial(observed.granted, call.task))
        claim.of_this_task()
        try:
            with recording_await():
                return await original(errand, *args, cancellable=cancellable, limiter=limiter)
        except BaseException as error:
            cancelled = cancellation_in(error) is not None
            call.finish(None if cancelled else error, cancelled=cancelled)
            raise
        finally:
            claim.end()

    return run_sync


def _patches_of(module: Any) -> list[Patch]:
    backend, group = getattr(module, "backend_class", None), getattr(module, "TaskGroup", None)
    if backend is None or group is None or not hasattr(backend, "run_sync_in_worker_thread"):
        logger.warning("AnyioInstrumentor: %s is laid out differently; it is not observed", module.__name__)
        return []
    found = [
        Patch(backend, "run_sync_in_worker_thread", _run_in_thread),
        Patch(backend, "run_async_from_thread", calling(_from_thread, sync=False)),
        Patch(backend, "run_sync_from_thread", calling(_from_thread, sync=True)),
        Patch(group, "start", _start),
    ]
    if "create_task" in vars(group):  # what makes children since anyio 4.14
        return [*found, Patch(group, "create_task", _create_task)]
    found.append(Patch(group, "start_soon", _start_soon))
    if hasattr(module, "iscoroutine"):  # what functions return is checked, on asyncio
        found.append(Patch(module, "iscoroutine", _iscoroutine))
    return found


def _start_soon(patch: Patch, original: Any) -> Any:
    def start_soon(self: Any, func: Any, *args: Any, name: object = None) -> Any:
        if not patch.active or submitting.inside or not callable(func):
            return original(self, func, *args, name=name)
        loops.watch()
        with recording():
            if from_executor():
                return original(self, func, *args, name=name)

            def call(*args: Any) -> Any:
                return _observe(self, func(*args), str(name or ""))

            return original(self, _named_as(func, call), *args, name=name)

    return start_soon


def _iscoroutine(patch: Patch, original: Any) -> Any:
    def iscoroutine(found: object) -> bool:
        return is_a(found, ObservedCoroutine) or original(found)

    return iscoroutine


_patches = Patches(
    {
        "anyio._backends._asyncio": _patches_of,
        _TRIO: _patches_of,
        "anyio.to_process": lambda module: [Patch(module, "run_sync", _run_in_process)],
    }
)
