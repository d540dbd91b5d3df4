"""The instrumentor of asyncio: tasks (``create_task``, ``TaskGroup``, ``asyncio.run``), ``run_in_executor``,
``to_thread``.

Pools that a loop uses are observed as pools. Each task is counted under the name of its function. Tasks get spans only
if a pattern selects them, since most tasks of an event loop are internal to a library; a span is current in its task.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

from glasspool._foreign.asyncio_ import cut_creation_frames, default_pool, errors_of, failure_of, is_aborting
from glasspool._recorded_calls import recorded_above
from glasspool.telemetry.recording.call_names import coroutine_names
from glasspool.telemetry.recording.ending import Ending
from glasspool.telemetry.recording.recorder import TaskRecord
from glasspool.telemetry.tracing.spans import attach, context_in

from . import futures
from ._observe import loops, pools
from ._observe.coroutines import SteppedCoroutine, failure_text
from ._observe.loop_tasks import LoopTasks
from ._observe.naming import Selection
from ._observe.observation import Observed
from ._observe.pool_kinds import every_pool, handing_on, is_own, is_plumbing
from ._observe.whereabouts import OfTask, makes
from ._patch.patching import Patch, Patches
from .instrumentor import Instrumentor

__all__ = ["AsyncioInstrumentor"]

_REASONS = ("explicit", "sibling_failure", "parent_scope", "shutdown")
_NOT_RETRIEVED = "Task exception was never retrieved"


_tasks = LoopTasks(
    "asyncio", _REASONS, unretrieved=True,
    requests=False,  # a cancellation of asyncio's may be taken back, by a timeout within the task for one
)  # fmt: skip


class AsyncioInstrumentor(Instrumentor):
    """Observes asyncio's tasks and the pools of its loops. These are the options of ``instrument()``:

    * ``include``: patterns of the tasks to count; default all. They match the function's qualified name, with and
        without its module.
    * ``exclude``: patterns of tasks that are not counted; default none.
    * ``spans``: patterns of the tasks that get a span; default None, no task.
    * ``monitor``: whether an event-loop monitor watches each loop; default True.
    * ``max_task_names``: distinct task names that metrics show, default 25; 0 shows none.
    """

    libraries = ("asyncio",)

    def _instrument(self, selection: Selection, **options: Any) -> None:
        _tasks.begin((_patches, futures.patches), selection, **options)

    def _uninstrument(self) -> None:
        _tasks.cease((_patches, futures.patches))
        if not futures.patches.used_by(futures.FuturesInstrumentor):
            pools.forget("thread_pool", "process_pool", "interpreter_pool", "futures")


def _begin(coro: Any, context: contextvars.Context | None) -> tuple[Observed, TaskRecord] | None:
    """The record of a task that is being made for ``coro``, if it is to be observed.

    If the user has passed a context, the parent of its span is the span in that context, not the current one.
    """
    if _tasks.observed is None or not issubclass(type(coro), Coroutine):
        return None
    full, name = coroutine_names(coro)
    return _tasks.start(full, name, None if context is None or not _tasks.traced else context_in(context))


class _Ending(OfTask):
    """The done-callback of one observed task."""

    __slots__ = ("observed", "record")

    def __init__(self, observed: Observed, record: TaskRecord) -> None:
        self.observed = observed
        self.record: TaskRecord | None = record

    def of_task(self) -> TaskRecord | None:
        """See OfTask."""
        return self.record

    def __call__(self, task: asyncio.Task[Any]) -> None:
        record, self.record = self.record, None
        if record is None:
            return
        if task.cancelled():
            reason, message = _why(task)
            self.observed.settle(record, Ending.cancelled(reason, message))
            return
        # Not task.exception(): that would count as retrieving it, and asyncio would no longer warn.
        error = failure_of(task)
        if error is not None and (group := _group_of(task)) is not None:
            _failures.setdefault(group, failure_text(record.name, error))
        self.observed.settle(record, Ending.raised(error))

    def __del__(self) -> None:
        # The task was destroyed before it ended: its loop is gone.
        if self.record is not None:
            self.observed.settle(self.record, Ending.cancelled("shutdown"))


# task -> its TaskGroup, by a weak reference, since the group refers to its tasks
_groups: weakref.WeakKeyDictionary[Any, weakref.ref[Any]] = weakref.WeakKeyDictionary()
_failures: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()  # TaskGroup -> its first failed task


class _Ends(threading.local):
    """``loop`` is the loop whose remaining tasks asyncio.run is cancelling in this thread."""

    loop: Any = None


_ends = _Ends()


def _group_of(task: asyncio.Task[Any]) -> Any:
    group = _groups.get(task)
    return None if group is None else group()


def _why(task: asyncio.Task[Any]) -> tuple[str, str | None]:
    """Reason and message of a task that ended as cancelled."""
    if _ends.loop is not None and _ends.loop is task.get_loop():
        return "shutdown", None
    group = _group_of(task)
    if group is None or not is_aborting(group):
        return "explicit", None
    failed = _failures.get(group)
    if failed is not None:
        return "sibling_failure", failed
    errors = errors_of(group)
    if errors:  # of a sibling that is not observed
        return "sibling_failure", failure_text("a sibling", errors[0])
    return "parent_scope", None


def _create_task(patch: Patch, original: Any) -> Any:
    def create_task(self: Any, coro: Any, **options: Any) -> Any:
        if not patch.active or recorded_above():
            return original(self, coro, **options)
        loops.watch()
        begun = _begin(coro, options.get("context"))
        if begun is None:
            return original(self, coro, **options)
        observed, record = begun
        try:
            task = _make_task(self, original, coro, options, record)
        except BaseException as error:
            observed.settle(record, Ending.raised(error))
            raise
        cut_creation_frames(task, __file__)  # it was not made here
        task.add_done_callback(_Ending(observed, record))
        return task

    return create_task


def _make_task(loop: Any, original: Any, coro: Any, options: dict[str, Any], record: TaskRecord) -> Any:
    if record.span is None:
        return original(loop, coro, **options)
    if options.get("context") is None:
        # The task copies the context it is made in.
        return contextvars.copy_context().run(_with_span, record, original, loop, coro, options)
    # A context that the user has passed is not copied: other tasks may run in it, and it may be entered again later.
    return original(loop, SteppedCoroutine(coro, record.span), **options)


makes(_make_task)


def _with_span(record: TaskRecord, original: Any, loop: Any, coro: Any, options: dict[str, Any]) -> Any:
    attach(None, record.span)
    return original(loop, coro, **options)


def _group_create_task(patch: Patch, original: Any) -> Any:
    def create_task(self: Any, coro: Any, **options: Any) -> Any:
        task = original(self, coro, **options)
        if patch.active:
            _groups[task] = weakref.ref(self)
        return task

    return create_task


def _run_in_executor(patch: Patch, original: Any) -> Any:
    def run_in_executor(self: Any, executor: Any, func: Any, *args: Any) -> Any:
        if not patch.active or recorded_above():
            return original(self, executor, func, *args)
        pool = executor if executor is not None else default_pool(self)
        if pool is not None and not isinstance(pool, (ThreadPoolExecutor, ProcessPoolExecutor)):
            if isinstance(pool, Executor) and not pools.is_wrapped(pool) and not is_plumbing(pool):
                return original(self, _Observing(pool), func, *args)
            return original(self, executor, func, *args)
        with every_pool():
            return original(self, executor, func, *args)

    return run_in_executor


class _Observing:
    """Stands for a pool whose class is not patched, and observes what is submitted through it."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        pool = self._pool
        original = type(pool).submit
        if is_own(original):  # which may be no function of its class
            original = handing_on(_submit)
        state = pools.observe(pool)
        return state.submit(state.observed, original, pool, fn, args, kwargs)


def _submit(pool: Executor, /, *args: Any, **kwargs: Any) -> Any:
    return pool.submit(*args, **kwargs)


def _cancel_all_tasks(patch: Patch, original: Any) -> Any:
    def cancel_all(loop: Any) -> None:
        _ends.loop = loop
        try:
            original(loop)
        finally:
            _ends.loop = None

    return cancel_all


def _call_exception_handler(patch: Patch, original: Any) -> Any:
    def call_exception_handler(self: Any, context: Any) -> None:
        observed = _tasks.observed if patch.active else None
        if observed is not None and isinstance(context, dict) and context.get("message") == _NOT_RETRIEVED:
            observed.record.error_unretrieved()  # which task it was can no longer be chosen by name
        original(self, context)

    return call_exception_handler


def _patches_of_loop(loop: type) -> list[Patch]:
    return [
        Patch(loop, "create_task", _create_task),
        Patch(loop, "run_in_executor", _run_in_executor),
        Patch(loop, "call_exception_handler", _call_exception_handler),
    ]


def _if_there(owner: Any, attribute: str, make: Any) -> list[Patch]:
    return [Patch(owner, attribute, make)] if owner is not None and hasattr(owner, attribute) else []


_patches = Patches(
    {
        "asyncio.base_events": lambda module: _patches_of_loop(module.BaseEventLoop),
        "asyncio.runners": lambda module: _if_there(module, "_cancel_all_tasks", _cancel_all_tasks),
        "asyncio": lambda module: _if_there(getattr(module, "TaskGroup", None), "create_task", _group_create_task),
        "uvloop": lambda module: _patches_of_loop(module.Loop),
    }
)
