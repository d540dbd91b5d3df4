"""The runner in threads, the executor's own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from types import CoroutineType
from typing import Any

from glasspool._core.backend import Threads
from glasspool._core.task_state import Task
from glasspool._foreign.guarded import is_awaitable, text
from glasspool._recorded_calls import CALLERS
from glasspool.task import WorkItem

from .base import HIDDEN, Freed, Raised
from .exiting import RunningCall, running

__all__ = ["ThreadRunner"]


class ThreadRunner:
    """Runs plain functions in threads.

    The threads have no bound of their own, because the executor's slots are the only queue: a task that runs here holds
    one slot and one thread, and an abandoned thread keeps its slot until it ends.
    """

    name = "thread"

    def __init__(self, executor: str, threads: Threads) -> None:
        self._executor = executor
        self._threads = threads

    async def run(self, task: Task, freed: Freed) -> Any:
        """See Runner. Cancelled, it leaves the thread behind unless the task says ``abandon=False``."""
        call = ThreadCall(self._executor, task.item, partial(freed, task))
        try:
            await self._threads.run(call, task.scope, abandon=task.plan.abandon)
        except BaseException:
            if call.leave(task):
                raise
            if not call.called:
                raise
        # Finished, perhaps in the same moment as the cancellation: the outcome follows how the function ended.
        return call.take()


class ThreadCall:
    """One call in a thread. The end of the function or the end of waiting, whichever comes first, decides."""

    __slots__ = ("_executor", "_freed", "_item", "_left", "_lock", "_result", "_started", "called")

    def __init__(self, executor: str, item: WorkItem, freed: Callable[[], object]) -> None:
        self._executor = executor
        self._item: WorkItem | None = item
        self._freed: Callable[[], object] | None = freed
        self._lock = threading.Lock()
        self._started = self._left = False
        self.called = False  # the function has ended, and `take` says how
        self._result: Any = None

    def __call__(self) -> None:
        item, self._item = self._item, None
        if item is None or not self._start():
            return
        mine = RunningCall(self._executor, item.name, time.monotonic(), threading.get_ident())
        running[mine] = item.id
        result = _call(item.function, item.arguments)
        running.pop(mine, None)  # not there in a forked child
        del item
        with self._lock:
            self.called = True
            freed, self._freed = self._freed, None  # it refers to the task
            if not self._left:
                self._result, freed = result, None
        del self, result  # the traceback of what was raised leads to this frame (see Completed.unwrap)
        if freed is not None:
            freed()

    def _start(self) -> bool:
        with self._lock:
            self._started = not self._left  # cancelled on the way to the thread: never call the function
            return self._started

    def take(self) -> Any:
        """How the function has ended, once: the frames of the thread lead back to this call."""
        result, self._result = self._result, None
        return result

    def leave(self, task: Task) -> bool:
        """Stop waiting. Returns whether the function still runs and continues; the task has been notified then."""
        with self._lock:
            if self.called:
                return False
            self._left = True
            if self._started:
                task.leave_running()  # before the thread can say that it has ended
            return self._started


def _call(function: Any, arguments: tuple[Any, ...]) -> Any:
    try:
        result = function(*arguments)
        if not is_awaitable(result):
            return result
        if type(result) is CoroutineType:
            result.close()
        name = getattr(function, "__qualname__", None) or text(function)
    except BaseException as error:  # noqa: BLE001 - handed to the executor, which decides
        return Raised(error)
    return Raised(
        TypeError(
            f"{name} ran in a thread and returned an awaitable, which cannot be awaited there; "
            f'submit it with runner="inline", or submit the coroutine function itself'
        )
    )


CALLERS.add(_call.__code__)
HIDDEN.update((ThreadRunner.run.__code__, ThreadCall.__call__.__code__, _call.__code__))
