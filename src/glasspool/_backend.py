"""The only file that touches what asyncio, anyio or trio keep private, and the only one that tells them apart.

``Backend`` is what the executor needs of the event loop it was opened on: a clock, calls from other threads, cheap
cancel scopes, and a spawner. The spawner starts each task as a backend task of its own inside the executor's one
nursery. anyio's own ``start_soon`` does the same for twice the price, so on asyncio the task is entered into the
nursery's cancel scope by hand. That needs three private names of anyio; they are checked once, at import, and if one
is missing ``start_soon`` is used instead: slower, the same semantics.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import time
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Protocol, cast

import anyio
from anyio.abc import TaskGroup

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

__all__ = ["AsyncioBackend", "Backend", "Spawner", "TrioBackend", "current_backend", "split_cancellation"]

logger = logging.getLogger("glasspool")

Main = Callable[[Any], Coroutine[Any, Any, None]]
"""The body of a spawned task; it takes the handle it is spawned for and never raises but cancellation."""


class Spawner(Protocol):
    """Starts backend tasks in the nursery. ``serve`` runs inside it until cancelled and all of them have ended."""

    def spawn(self, main: Main, handle: Any, context: Context | None, name: str) -> None:
        """Start ``main(handle)`` in ``context``; it takes its first step in a later loop turn."""


class Backend(Protocol):
    """One event loop, as the executor sees it."""

    name: str

    def is_current(self) -> bool:
        """Whether the caller runs on this loop."""

    def clock(self) -> float:
        """Monotonic seconds; the loop's own clock where tests replace it. Any thread may ask."""

    def call_soon_threadsafe(self, fn: Callable[[], object]) -> bool:
        """Call ``fn`` on the loop; False if the loop is gone."""

    def scope(self, deadline: float) -> Any:
        """A new cancel scope (``deadline`` in the loop's time, ``math.inf`` for none)."""

    def task(self) -> object:
        """The current backend task, to tell one from another."""

    def cancellation_source(self, error: BaseException | None) -> str | None:
        """Which enclosing scope's cancellation meets the current task: parent_scope, deadline, or None for neither."""

    async def serve(self, started: Callable[[Spawner], None], lost: Callable[[Any], None], until: anyio.Event) -> None:
        """Run a spawner in the calling task until ``until`` is set and all its tasks have ended.

        ``lost`` is called with the handle of a task that was ended before its first step.
        """


def split_cancellation(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """What of ``error`` is the backend's cancellation, and what is left of it."""
    cancelled = anyio.get_cancelled_exc_class()
    if isinstance(error, cancelled):
        return error, None
    if isinstance(error, BaseExceptionGroup):
        return error.split(cancelled)
    return None, error


def _enclosing_cancelled() -> bool:
    return anyio.current_effective_deadline() == -math.inf


# -- asyncio -------------------------------------------------------------------------------------------------------


def _anyio_parts() -> tuple[Any, Any] | None:
    """anyio's table of task states and their class, if both are where and what they were when this was written."""
    try:
        from anyio._backends import _asyncio as backend

        state = backend.TaskState(None, None)  # parent_id, cancel_scope
        scope = backend.CancelScope()
        fits = hasattr(state, "cancel_scope") and isinstance(scope._tasks, set) and hasattr(backend._task_states, "pop")
        return (backend._task_states, backend.TaskState) if fits else None
    except (ImportError, AttributeError, TypeError):
        return None


_PARTS = _anyio_parts()
if _PARTS is None:
    logger.warning(
        "anyio %s keeps its tasks' states elsewhere than expected: on asyncio tasks start through start_soon, slower",
        getattr(anyio, "__version__", "(unknown version)"),
    )


class _FastSpawner:
    """Native asyncio tasks, entered into ``scope`` (the scope of the task that serves) by hand."""

    def __init__(self, loop: asyncio.AbstractEventLoop, scope: Any, lost: Callable[[Any], None], parts: Any) -> None:
        self._loop = loop
        self._scope = scope
        self._lost = lost
        self._states, self._state_class = parts
        self._parent = id(asyncio.current_task())
        self._handles: dict[asyncio.Task[None], Any] = {}
        self._idle: asyncio.Future[None] | None = None

    def spawn(self, main: Main, handle: Any, context: Context | None, name: str) -> None:
        # asyncio.Task itself, not loop.create_task: an eager task factory would run the task's first step here,
        # inside submit.
        if sys.version_info >= (3, 11):
            task: asyncio.Task[None] = asyncio.Task(main(handle), loop=self._loop, name=name, context=context)
        else:
            task = cast("Context", context).run(_new_task, main(handle), self._loop, name)
        self._states[task] = self._state_class(self._parent, self._scope)
        self._scope._tasks.add(task)
        self._handles[task] = handle
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        handle = self._handles.pop(task)
        state = self._states.pop(task, None)
        scope = self._scope if state is None or state.cancel_scope is None else state.cancel_scope
        scope._tasks.discard(task)
        if handle._completed is None:
            self._lost(handle)  # ended before its first step
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler({"message": "glasspool task wrapper failed", "exception": error})
        if self._idle is not None and not self._handles and not self._idle.done():
            self._idle.set_result(None)

    async def join(self) -> None:
        """Wait for all tasks. The caller is shielded; a native cancellation is passed on afterwards."""
        cancelled: BaseException | None = None
        while self._handles:
            self._idle = self._loop.create_future()
            try:
                await self._idle
            except asyncio.CancelledError as error:
                cancelled = error
                for task in self._handles:
                    task.cancel()
            finally:
                self._idle = None
        if cancelled is not None:
            raise cancelled


def _new_task(coro: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, name: str) -> asyncio.Task[None]:
    return asyncio.Task(coro, loop=loop, name=name)


class _GroupSpawner:
    """Tasks by an anyio task group's public ``start_soon``."""

    def __init__(self, group: TaskGroup, lost: Callable[[Any], None]) -> None:
        self._group = group
        self._lost = lost

    def spawn(self, main: Main, handle: Any, context: Context | None, name: str) -> None:
        cast("Context", context).run(self._start, main, handle, name)

    def _start(self, main: Main, handle: Any, name: str) -> None:
        self._group.start_soon(self._run, main, handle, name=name)

    async def _run(self, main: Main, handle: Any) -> None:
        try:
            await main(handle)
        finally:
            self._lost(handle)


class AsyncioBackend:
    """A running asyncio loop (uvloop's too)."""

    name = "asyncio"

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._scope_class: Any = type(anyio.CancelScope())  # anyio.CancelScope looks the backend up at each call
        self.clock = time.perf_counter  # uvloop's own clock has milliseconds and stands still within a loop turn
        self.is_current = self._is_current

    def _is_current(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def call_soon_threadsafe(self, fn: Callable[[], object]) -> bool:
        try:
            self._loop.call_soon_threadsafe(fn)
        except RuntimeError:  # the loop is closed
            return False
        return True

    def scope(self, deadline: float) -> Any:
        return self._scope_class(deadline=deadline)

    def task(self) -> object:
        return asyncio.current_task()

    def cancellation_source(self, error: BaseException | None) -> str | None:
        return "parent_scope" if _enclosing_cancelled() else None

    async def serve(self, started: Callable[[Spawner], None], lost: Callable[[Any], None], until: anyio.Event) -> None:
        if _PARTS is None:
            async with anyio.create_task_group() as group:
                started(_GroupSpawner(group, lost))
                await until.wait()
            return
        with anyio.CancelScope() as scope:
            spawner = _FastSpawner(self._loop, scope, lost, _PARTS)
            started(spawner)
            try:
                await until.wait()
            finally:
                # The tasks are cancelled through `scope` themselves; waiting for them must not be.
                with anyio.CancelScope(shield=True):
                    await spawner.join()


# -- trio ----------------------------------------------------------------------------------------------------------


class TrioBackend:
    """A running trio loop."""

    name = "trio"

    def __init__(self) -> None:
        import trio  # an optional backend: imported only when it runs

        self._trio = trio
        self._token = trio.lowlevel.current_trio_token()
        self.clock = trio.lowlevel.current_clock().current_time
        self.is_current = self._is_current

    def _is_current(self) -> bool:
        try:
            return self._trio.lowlevel.current_trio_token() is self._token
        except RuntimeError:
            return False

    def call_soon_threadsafe(self, fn: Callable[[], object]) -> bool:
        try:
            self._token.run_sync_soon(fn)
        except self._trio.RunFinishedError:
            return False
        return True

    def scope(self, deadline: float) -> Any:
        return self._trio.CancelScope(deadline=deadline)

    def task(self) -> object:
        return self._trio.lowlevel.current_task()

    def cancellation_source(self, error: BaseException | None) -> str | None:
        if not _enclosing_cancelled():
            return None
        # trio 0.31 and later say what cancelled; earlier ones do not.
        return "deadline" if getattr(error, "source", None) == "deadline" else "parent_scope"

    async def serve(self, started: Callable[[Spawner], None], lost: Callable[[Any], None], until: anyio.Event) -> None:
        async with self._trio.open_nursery() as nursery:
            started(_TrioSpawner(nursery, lost))
            await until.wait()


class _TrioSpawner:
    """Native trio tasks in a nursery."""

    def __init__(self, nursery: Any, lost: Callable[[Any], None]) -> None:
        self._nursery = nursery
        self._lost = lost

    def spawn(self, main: Main, handle: Any, context: Context | None, name: str) -> None:
        cast("Context", context).run(self._start, main, handle, name)

    def _start(self, main: Main, handle: Any, name: str) -> None:
        self._nursery.start_soon(main, handle, name=name)


def current_backend() -> Backend:
    """The backend of the loop that runs the caller.

    :raises RuntimeError: when none runs.
    """
    trio = sys.modules.get("trio")
    # trio first: in guest mode the host's asyncio loop answers inside trio's tasks as well
    if trio is not None and trio.lowlevel.in_trio_run():
        return TrioBackend()
    return AsyncioBackend()
