"""The time limits of running tasks, watched together: a timer for each would cost as much as the task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .backend import Backend
from .deadlines import Deadlines
from .queue import AdmissionQueue
from .task_state import Task

__all__ = ["TimeLimits"]


class TimeLimits:
    """Cancels the scopes of tasks that have run for too long.

    :param wake: called when there is a new earliest limit.
    :param queue: the tasks that do not run yet.
    """

    def __init__(self, backend: Backend, wake: Callable[[], None], queue: AdmissionQueue[Task, Any]) -> None:
        self.deadlines: Deadlines[Task] = Deadlines()
        self._queue = queue
        self._backend = backend
        self._wake = wake
        self.also: Callable[[], float | None] | None = None  # another instant to wake at

    def begin(self, task: Task, until: float) -> None:
        """The task, which is about to call its function, may run until then. Its scope shows that to the function."""
        task.begin(None)
        task.enclose(self._backend.late_scope(task, until))
        if self.deadlines.add(task, until):
            self._wake()

    def next(self) -> float | None:
        """The earliest deadline of a running or queued task."""
        queued, running = self._queue.deadlines.next(), self.deadlines.next()
        return queued if running is None else running if queued is None else min(queued, running)

    def wake_at(self) -> float | None:
        """The same, or what else is to be looked at before."""
        limit, other = self.next(), None if self.also is None else self.also()
        return limit if other is None else other if limit is None else min(limit, other)

    def expire(self) -> list[Task]:
        """Cancel the scopes of running tasks whose time is over; returns the queued ones, taken out of the queue."""
        if self.next() is None:
            return []
        now = self._backend.now()
        for task in self.deadlines.expired(now):
            if task.scope is not None:
                task.scope.cancel()
        return self._queue.expired(now)
