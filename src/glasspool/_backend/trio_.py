"""trio. As on asyncio, a task's own cancel scope is put around it only when somebody cancels it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from types import TracebackType
from typing import Any, cast

import anyio
import trio

from .base import Main, Scope, Spawner, enclosing_cancelled

__all__ = ["TrioBackend"]

logger = logging.getLogger("glasspool")


def _status_class() -> Any:
    """trio's CancelStatus, if it and what uses it are what they were when this was written; else None."""
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


class _LateScope:
    """A cancel scope around all that a task runs, put in place when it is cancelled and not before.

    From then on it is a scope of trio's like any other, between the nursery's and those the task has opened itself.
    """

    __slots__ = ("_scope", "_task")

    def __init__(self) -> None:
        self._task: Any = trio.lowlevel.current_task()
        self._scope: Any = None

    @property
    def cancel_called(self) -> bool:
        return self._scope is not None

    def cancel(self) -> None:
        if self._scope is None:
            task, outer = self._task, self._task.parent_nursery._cancel_status
            self._scope = scope = trio.CancelScope()
            scope_: Any = scope
            scope_._has_been_entered = True
            own = task._cancel_status
            status = scope_._cancel_status = _STATUS(scope=scope, parent=outer)
            if own is outer:
                task._activate_cancel_status(status)
            else:
                while own.parent is not None and own.parent is not outer:
                    own = own.parent
                own.parent = status
            scope.cancel()

    def __enter__(self) -> _LateScope:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        if self._scope is None:
            return None
        return cast("bool | None", self._scope.__exit__(exc_type, exc, traceback))


class TrioBackend:
    """A running trio loop."""

    name = "trio"
    pause: Awaitable[None] | None = None

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        clock = trio.lowlevel.current_clock()
        # trio's own clock is perf_counter with an offset; a clock that a test has put in its place is asked itself.
        self.clock = time.perf_counter if type(clock).__name__ == "SystemClock" else clock.current_time
        self.is_current = self._is_current

    def _is_current(self) -> bool:
        try:
            return trio.lowlevel.current_trio_token() is self._token
        except RuntimeError:
            return False

    def call_soon_threadsafe(self, fn: Callable[[], object]) -> bool:
        try:
            self._token.run_sync_soon(fn)
        except trio.RunFinishedError:
            return False
        return True

    def scope(self, deadline: float, handle: Any) -> Scope:
        if deadline == math.inf and _STATUS is not None:
            return _LateScope()
        return trio.CancelScope(deadline=deadline)

    def task(self) -> object:
        return trio.lowlevel.current_task()

    def cancellation_source(self, error: BaseException | None) -> str | None:
        if not enclosing_cancelled():
            return None
        # trio 0.31 and later say what cancelled; earlier ones do not.
        return "deadline" if getattr(error, "source", None) == "deadline" else "parent_scope"

    async def serve(self, started: Callable[[Spawner], None], until: anyio.Event) -> None:
        async with trio.open_nursery() as nursery:
            started(_TrioSpawner(nursery))
            await until.wait()


class _TrioSpawner:
    """Native trio tasks in a nursery."""

    def __init__(self, nursery: Any) -> None:
        self._nursery = nursery

    def spawn(self, main: Main, handle: Any, context: Context | None, name: str) -> None:
        cast("Context", context).run(self._nursery.start_soon, main, handle, name=name)

    def finished(self, handle: Any) -> None:
        pass
