"""LeftThreads: threads that go on when their tasks have ended. Each keeps its task's slot until it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from .backend import Backend
from .reporter import Reporter
from .task_state import Task

__all__ = ["LeftThreads"]

T = TypeVar("T")


class LeftThreads:
    """Frees the slots of tasks that were left behind in threads.

    :param release: frees the slot of a task; called on the event loop.
    :param dispatch: gives free slots to queued tasks.
    """

    def __init__(
        self, reporter: Reporter, backend: Backend, release: Callable[[Task], None], dispatch: Callable[[], None]
    ) -> None:
        self._reporter = reporter
        self._backend = backend
        self._release = release
        self._dispatch = dispatch
        self._lock = threading.RLock()  # a finalizer within it may settle another executor's tasks, or these

    def settle(self, task: Task, report: Callable[[], T]) -> T:
        """The task ends, and its thread goes on: count it as abandoned, in the report."""
        with self._lock:  # the thread may end right now, but not be counted as free before it was as abandoned
            if not task.left_running:
                self._release(task)
            task.count_left()
            return report()

    def freed(self, task: Task) -> None:
        """The thread that a task left behind has ended (called on that thread): telemetry first, then the slot."""
        with self._lock:
            if not task.thread_ended():
                return
        self._reporter.thread_freed(task)
        self._backend.call_soon_threadsafe(partial(self._freed, task))

    def _freed(self, task: Task) -> None:
        self._release(task)
        self._dispatch()
