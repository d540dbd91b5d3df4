"""The trio backend. As on asyncio, a task gets its own cancel scope only when it is cancelled."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from .anyio_threads import AnyioThreads
from .base import Call, Main, Scope, Spawner, Threads, enclosing_cancelled
from .protecting import call_unprotected, protect, take_unprotected
from .shared_workers import SharingSpawner, Worker
from .trio_threads import TrioThreads, thread_parts

__all__ = ["TrioBackend"]

logger = logging.getLogger("glasspool")


def _status_class() -> Any:
    """trio's CancelStatus, or None if it and its users are not as expected."""
    try:
        from trio._core import _run

        scope = trio.CancelScope()
        status = _run.CancelStatus(scope=scope, parent=None)
        fits = (
            isinstance(type(status).parent, property)
            and (scope._cancel_status, scope._has_been_entered) == (None, False)
            and hasattr(_run.Task, "_activate_cancel_status")
        )
        return _run.CancelStatus if fits else None
    except (ImportError, AttributeError, TypeError):
        return None


_STATUS = _status_class()
if _STATUS is None:
    logger.warning(
        "trio %s keeps cancellation elsewhere than expected: each task has a scope, slower", trio.__version__
    )


THREAD_PARTS = thread_parts()
if THREAD_PARTS is None:
    logger.warning(
        "trio %s connects worker threads otherwise than expected: plain functions run in trio's own threads, slower",
        trio.__version__,
    )


def _enter_late(scope: Any, task: Any) -> None:
    """Insert ``scope`` around ``task``: between its nursery's scope and those that the task has opened."""
    outer, own = task.parent_nursery._cancel_status, task._cancel_status
    scope._has_been_entered = True
    status = scope._cancel_status = _STATUS(scope=scope, parent=outer)
    if own is outer:
        task._activate_cancel_status(status)
    else:
        while own.parent is not None and own.parent is not outer:
            own = own.parent
        own.parent = status


class TrioBackend:
    """A running trio loop."""

    name = "trio"
    cancels: tuple[tuple[str, str], ...] = (
        ("parent_scope", "queued"), ("parent_scope", "running"), ("deadline", "queued"), ("deadline", "running"),
        ("unknown", "running"),
    )  # fmt: skip

    def __init__(self) -> None:
        protect()
        self.pause: Awaitable[None] | None = None
        self.call: Call | None = call_unprotected
        self.take: Callable[[Any], Any] = take_unprotected
        self._token = trio.lowlevel.current_trio_token()
        clock = trio.lowlevel.current_clock()
        # trio's own clock is perf_counter with an offset; if a test has replaced it, the replacement is used.
        self.clock = time.perf_counter if type(clock).__name__ == "SystemClock" else clock.current_time
        self.loop: object = self._token
        self.now: Callable[[], float] = clock.current_time

    def running(self) -> object:
        try:
            return trio.lowlevel.current_trio_token()
        except RuntimeError:
            return None

    def is_current(self) -> bool:
        return self.running() is self._token

    def call_soon_threadsafe(self, fn: Callable[[], object]) -> bool:
        try:
            self._token.run_sync_soon(fn)
        except trio.RunFinishedError:
            return False
        return True

    def threads(self, name: str) -> Threads:
        if THREAD_PARTS is None:
            return AnyioThreads()
        return TrioThreads(name, self._token, self.call_soon_threadsafe, THREAD_PARTS)

    def begin(self, task: Any) -> bool:
        if _STATUS is None:
            return False
        task.native = trio.lowlevel.current_task()
        return True

    def scope(self, deadline: float) -> Scope:
        return trio.CancelScope(deadline=deadline)

    def late_scope(self, task: Any, deadline: float = math.inf) -> Scope:
        scope = trio.CancelScope(deadline=deadline)  # trio watches the deadlines of scopes that are entered as usual
        _enter_late(scope, task.native)
        return scope

    def left(self, task: Any) -> bool:
        return False

    def task(self) -> object:
        return trio.lowlevel.current_task()

    def is_cancelled(self, cancellation: BaseException) -> bool:
        return enclosing_cancelled()

    def cancellation_source(self, error: BaseException | None) -> str | None:
        if not enclosing_cancelled():
            return None
        # trio 0.31 and later report the source of a cancellation; earlier versions do not.
        return "deadline" if getattr(error, "source", None) == "deadline" else "parent_scope"

    async def serve(self, started: Callable[[Spawner], None], until: Callable[[], Awaitable[None]]) -> None:
        async with trio.open_nursery() as nursery:
            spawner = _TrioSpawner(nursery)
            started(spawner)
            try:
                await until()
            finally:
                spawner.end_workers()


class _TrioSpawner(SharingSpawner):
    """Native trio tasks in a nursery."""

    pause: Awaitable[None] | None = None
    changes_context = True
    turn = staticmethod(trio.lowlevel.cancel_shielded_checkpoint)

    def __init__(self, nursery: Any) -> None:
        super().__init__()
        self._nursery = nursery

    def spawn(self, main: Main, task: Any, context: Any, name: str) -> None:
        context.run(self._nursery.start_soon, main, task, name=name)

    def share(self, main: Main, task: Any, context: Any, name: str) -> None:
        if _STATUS is None:
            self.spawn(main, task, context, name)
            return
        super().share(main, task, context, name)

    def finished(self, task: Any) -> None:
        task.native = None  # the native task's context refers to the task

    def current(self) -> Any:
        try:
            return trio.lowlevel.current_task()
        except RuntimeError:  # called by trio itself
            return None

    async def sleep(self, worker: Worker) -> None:
        def give_up(_: object) -> trio.lowlevel.Abort:
            worker.waiter = None
            return trio.lowlevel.Abort.SUCCEEDED

        worker.waiter = worker.native
        await trio.lowlevel.wait_task_rescheduled(give_up)

    def wake(self, worker: Worker) -> None:
        native, worker.waiter = worker.waiter, None
        if native is not None:  # else it is being cancelled
            trio.lowlevel.reschedule(native)

    def is_clean(self, native: Any) -> bool:
        return native._cancel_status is native.parent_nursery._cancel_status and not native.child_nurseries
