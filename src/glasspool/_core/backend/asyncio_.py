"""The asyncio backend, including uvloop.

A task started by anyio's ``start_soon`` costs twice as much as one here, and a cancel scope per task a third. So tasks
are started natively and entered into the nursery's cancel scope directly, and a task gets its own scope only when it is
cancelled (``_enter_late``). This needs a few private names of anyio. They are checked once, at import; if one is
missing, ``start_soon`` and ordinary scopes are used instead, which is slower, with the same semantics.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from functools import cache, partial
from importlib.metadata import version
from typing import Any, cast

import anyio
from anyio.abc import TaskGroup

from .anyio_threads import AnyioThreads
from .asyncio_threads import AsyncioThreads, thread_parts
from .base import Call, Main, Scope, Spawner, Threads, enclosing_cancelled
from .shared_workers import SharingSpawner, Worker

__all__ = ["AsyncioBackend"]

logger = logging.getLogger("glasspool")


def _anyio_parts() -> tuple[Any, Any] | None:
    """anyio's table of task states and their class, or None if they are not as expected."""
    try:
        from anyio._backends import _asyncio as backend

        state = backend.TaskState(None, None)  # parent_id, cancel_scope
        scope = backend.CancelScope()
        fits = (
            hasattr(state, "cancel_scope")
            and (type(scope._tasks), type(scope._child_scopes), scope._cancel_called) == (set, set, False)
            and hasattr(backend._task_states, "pop")
            and hasattr(asyncio.Task, "_must_cancel")
        )
        return (backend._task_states, backend.TaskState) if fits else None
    except (ImportError, AttributeError, TypeError):
        return None


_PARTS = _anyio_parts()
if _PARTS is None:
    logger.warning(
        "anyio %s keeps its tasks' states elsewhere than expected: on asyncio tasks start through start_soon, slower",
        version("anyio"),
    )

THREAD_PARTS = thread_parts()
if THREAD_PARTS is None:
    logger.warning(
        "anyio %s connects worker threads otherwise than expected: plain functions run in threads of anyio's,"
        " which the process waits for when it ends",
        version("anyio"),
    )


class _Pause:
    """Suspends a coroutine once, without any loop."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class _FastSpawner(SharingSpawner):
    """Native asyncio tasks, entered into ``scope`` (the scope of the task that serves) by hand.

    Each coroutine runs up to its ``pause`` before its task is made. A task that is cancelled before its first step then
    receives the cancellation like any other, where asyncio would silently drop the coroutine; this saves a callback per
    task.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, scope: Any, parts: Any) -> None:
        super().__init__()
        self._loop = loop
        self._scope = scope
        self._states, self._state_class = parts
        self._parent = id(asyncio.current_task())
        self._tasks: set[asyncio.Task[None]] = set()  # asyncio itself refers to its tasks weakly
        self._idle: asyncio.Future[None] | None = None
        self.pause: Awaitable[None] | None = _PAUSE
        self.changes_context = False

    def spawn(self, main: Main, task: Any, context: Any, name: str) -> None:
        coro = main(task)
        coro.send(None)
        # asyncio.Task itself, not loop.create_task: an eager task factory would run the task's first step here,
        # inside submit.
        if sys.version_info >= (3, 11):
            native: asyncio.Task[None] = asyncio.Task(coro, loop=self._loop, name=name, context=context)
        else:
            native = context.run(_new_task, coro, self._loop, name)
        task.native = native
        self._states[native] = self._state_class(self._parent, self._scope)
        self._scope._tasks.add(native)
        self._tasks.add(native)

    def finished(self, task: Any) -> None:
        native, task.native = task.native, None  # the native task's context refers to the task
        if self._workers is not None and native in self._workers.all:
            return  # it goes on with another task
        state = self._states.pop(native, None)
        scope = self._scope if state is None or state.cancel_scope is None else state.cancel_scope
        scope._tasks.discard(native)
        self._tasks.discard(native)
        if self._idle is not None and not self._tasks and not self._idle.done():
            self._idle.set_result(None)

    def current(self) -> Any:
        return asyncio.current_task(self._loop)

    async def sleep(self, worker: Worker) -> None:
        worker.waiter = self._loop.create_future()
        await worker.waiter

    def wake(self, worker: Worker) -> None:
        if not worker.waiter.done():  # it has been cancelled
            worker.waiter.set_result(None)

    def turn(self) -> Awaitable[None]:
        return cast("Awaitable[None]", _PAUSE)

    def is_clean(self, native: Any) -> bool:
        return (
            self._states[native].cancel_scope is self._scope
            and not native._must_cancel
            and not (_COUNTS_CANCELLATIONS and native.cancelling())
        )

    async def join(self) -> None:
        """Wait for all tasks. The caller is shielded; a native cancellation is passed on afterwards."""
        self.end_workers()
        cancelled: BaseException | None = None
        while self._tasks:
            self._idle = self._loop.create_future()
            try:
                await self._idle
            except asyncio.CancelledError as error:
                cancelled = error
                for task in self._tasks:
                    task.cancel()
            finally:
                self._idle = None
        if cancelled is not None:
            raise cancelled


def _new_task(coro: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, name: str) -> asyncio.Task[None]:
    return asyncio.Task(coro, loop=loop, name=name)


def _enter_late(scope: Any, task: asyncio.Task[Any], outer: Any, states: Any) -> None:
    """Insert ``scope`` around ``task``: between the nursery's scope, ``outer``, and those that the task has opened."""
    state = states[task]
    scope._host_task, scope._parent_scope, scope._active = task, outer, True
    own = state.cancel_scope
    if own is outer:
        outer._tasks.discard(task)
        scope._tasks.add(task)
        state.cancel_scope = scope
    else:
        while own._parent_scope is not None and own._parent_scope is not outer:
            own = own._parent_scope
        outer._child_scopes.discard(own)
        own._parent_scope = scope
        scope._child_scopes.add(own)
    outer._child_scopes.add(scope)


class _GroupSpawner:
    """Tasks by an anyio task group's public ``start_soon``."""

    def __init__(self, group: TaskGroup) -> None:
        self._group = group

    def spawn(self, main: Main, task: Any, context: Any, name: str) -> None:
        start: Any = self._group.start_soon
        context.run(partial(start, main, task, name=name))

    share = spawn

    def hand_over(self, task: Any) -> bool:
        return False

    def finished(self, task: Any) -> None:
        pass


@cache
def _apart(scope_class: Any) -> Any:
    """A cancel scope that does not pass its count of cancellations on to a scope of another task.

    anyio counts how often a scope has called ``task.cancel()``, to undo that by ``uncancel()``. A scope that is left
    passes its count on to the enclosing scope, even if that belongs to another task, which would then undo a
    cancellation that was requested by others.
    """

    class ApartScope(scope_class):  # type: ignore[misc]  # the class is known at run time only
        __slots__ = ()

        def __exit__(self, *info: Any) -> Any:
            parent, task = self._parent_scope, self._host_task
            if parent is None or parent._host_task is task:
                return super().__exit__(*info)
            pending = parent._pending_uncancellations
            try:
                return super().__exit__(*info)
            finally:
                parent._pending_uncancellations = pending

    return ApartScope


@cache
def _timed(scope_class: Any) -> Any:
    """A cancel scope whose timer is started in a separate context.

    asyncio keeps a cancelled timer, with the context in which it was started, until it is due: the task's context would
    outlive the task by the rest of its timeout.
    """

    class TimedScope(scope_class):  # type: ignore[misc]  # the class is known at run time only
        __slots__ = ()

        def __enter__(self) -> Any:
            return Context().run(super().__enter__)

    return TimedScope


_PAUSE = _Pause() if _PARTS is not None else None
_TIME = asyncio.BaseEventLoop.time
_COUNTS_CANCELLATIONS = sys.version_info >= (3, 11)


class AsyncioBackend:
    """A running asyncio loop (uvloop's too)."""

    name = "asyncio"
    # Any code may cancel a native task, also before its first step.
    cancels: tuple[tuple[str, str], ...] = (
        ("parent_scope", "queued"), ("parent_scope", "running"), ("unknown", "queued"), ("unknown", "running"),
    )  # fmt: skip

    def __init__(self) -> None:
        self.pause: Awaitable[None] | None = _PAUSE
        self.call: Call | None = None
        self.take: Callable[[Any], Any] = next
        self._loop = asyncio.get_running_loop()
        self._home: Any = None  # the scope that natively started tasks are entered into
        scope: Any = anyio.CancelScope()
        self._scope_class: Any = type(scope)  # anyio.CancelScope looks the backend up at each call
        if hasattr(scope, "_pending_uncancellations"):
            self._scope_class = _apart(cast("Any", self._scope_class))  # pyright: ignore[reportUnnecessaryCast]  # mypy needs it
        self._timed_class = _timed(cast("Any", self._scope_class))  # pyright: ignore[reportUnnecessaryCast]  # mypy needs it
        # uvloop's own clock has milliseconds and does not advance within a loop turn. If a test has replaced asyncio's
        # clock, the replacement is used.
        loops_time = getattr(self._loop.time, "__func__", None)
        replaced = isinstance(self._loop, asyncio.BaseEventLoop) and loops_time is not _TIME
        self.clock: Callable[[], float] = self._loop.time if replaced else time.perf_counter
        self.loop: object = self._loop
        self.running: Callable[[], object] = asyncio._get_running_loop  # raises nothing, and is called for each task
        self.now: Callable[[], float] = self._loop.time

    def is_current(self) -> bool:
        return self.running() is self._loop

    def call_soon_threadsafe(self, fn: Callable[[], object]) -> bool:
        try:
            self._loop.call_soon_threadsafe(fn)
        except RuntimeError:  # the loop is closed
            return False
        return True

    def threads(self, name: str) -> Threads:
        if THREAD_PARTS is None:
            return AnyioThreads()
        return AsyncioThreads(name, self._loop, self.call_soon_threadsafe, THREAD_PARTS)

    def begin(self, task: Any) -> bool:
        return self._home is not None

    def scope(self, deadline: float) -> Scope:
        return cast("Scope", self._scope_class() if deadline == math.inf else self._timed_class(deadline=deadline))

    def late_scope(self, task: Any, deadline: float = math.inf) -> Scope:
        scope = self._scope_class(deadline=deadline)
        _enter_late(scope, task.native, self._home, cast("Any", _PARTS)[0])
        return cast("Scope", scope)

    def left(self, task: Any) -> bool:
        scope: Any = task.scope
        state = cast("Any", _PARTS)[0][task.native]
        if scope._cancel_called or state.cancel_scope is not scope:
            return False
        home = state.cancel_scope = self._home
        home._child_scopes.discard(scope)
        home._tasks.add(task.native)
        return True

    def task(self) -> object:
        return asyncio.current_task()

    def is_cancelled(self, cancellation: BaseException) -> bool:
        if enclosing_cancelled():
            return True
        if sys.version_info >= (3, 11):
            return cast("asyncio.Task[Any]", asyncio.current_task()).cancelling() > 0
        # A native cancellation leaves no trace in its task; that of a scope is recognised by its message.
        return not str(cancellation).startswith("Cancelled ")

    def cancellation_source(self, error: BaseException | None) -> str | None:
        return "parent_scope" if enclosing_cancelled() else None

    async def serve(self, started: Callable[[Spawner], None], until: Callable[[], Awaitable[None]]) -> None:
        if _PARTS is None:
            async with anyio.create_task_group() as group:
                started(_GroupSpawner(group))
                await until()
            return
        with self._scope_class() as scope:
            self._home = scope
            spawner = _FastSpawner(self._loop, scope, _PARTS)
            started(spawner)
            try:
                await until()
            finally:
                # The tasks are cancelled through `scope` themselves; waiting for them must not be.
                with anyio.CancelScope(shield=True):
                    await spawner.join()
