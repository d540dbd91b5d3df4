"""In a thread of anyio's, under a limiter of the executor's own."""

from __future__ import annotations

import inspect
import math
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from anyio import CapacityLimiter, to_thread

from glasspool.task import TaskHandle

from .base import HIDDEN, Freed, Raised

__all__ = ["ThreadRunner"]


class ThreadRunner:
    """Runs plain functions in threads.

    The limiter has no bound of its own, because the executor's slots are the only queue: a task that runs here holds
    one slot and one thread, and an abandoned thread keeps its slot until it ends.
    """

    name = "thread"

    def __init__(self) -> None:
        self._limiter = CapacityLimiter(math.inf)

    async def run(self, handle: TaskHandle[Any], freed: Freed) -> Any:
        """See Runner. Cancelled, it leaves the thread behind unless the task says ``abandon=False``."""
        call = _Call(handle.item.function, handle.item.arguments, partial(freed, handle))
        try:
            await to_thread.run_sync(call, abandon_on_cancel=handle._plan.abandon, limiter=self._limiter)
        except BaseException:
            if call.leave():
                handle._left_running = True
                raise
            if not call.called:
                raise
        # Finished, perhaps in the same moment as the cancellation: the outcome follows how the function ended.
        return call.take()


class _Call:
    """One call in a thread. The end of the function or the end of waiting: whoever comes first decides."""

    __slots__ = ("_arguments", "_freed", "_function", "_left", "_lock", "_result", "_started", "called")

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...], freed: Callable[[], object]) -> None:
        self._function: Callable[..., Any] | None = function
        self._arguments = arguments
        self._freed: Callable[[], object] | None = freed
        self._lock = threading.Lock()
        self._started = self._left = False
        self.called = False  # the function has ended, and `take` says how
        self._result: Any = None

    def __call__(self) -> None:
        if not self._start():
            return
        function, arguments = self._function, self._arguments
        self._function, self._arguments = None, ()
        result = _call(function, arguments)
        del function, arguments
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

    def leave(self) -> bool:
        """Wait no longer; True if the function is running and will go on by itself."""
        with self._lock:
            if self.called:
                return False
            self._left = True
            return self._started


def _call(function: Any, arguments: tuple[Any, ...]) -> Any:
    try:
        result = function(*arguments)
    except BaseException as error:  # noqa: BLE001 - handed to the executor, which decides
        return Raised(error)
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        name = getattr(function, "__qualname__", repr(function))
        return Raised(
            TypeError(
                f"{name} ran in a thread and returned an awaitable, which cannot be awaited there; "
                f'submit it with runner="inline", or submit the coroutine function itself'
            )
        )
    return result


HIDDEN.update((ThreadRunner.run.__code__, _Call.__call__.__code__, _call.__code__))
