"""The waiters of the model: the end of each wait, and its expected result."""

from __future__ import annotations

import abc
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from glasspool import ExecutorClosed, TaskCancelled, TaskTimeout

from .account import Account, Task

__all__ = ["Caller", "ForEnd", "ForHandle", "ForRoom", "ForShutdown", "Waiter", "verify_outcome"]


class Caller:
    """A caller that makes one call in a separate task."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.done = False
        self.value: Any = None
        self.error: BaseException | None = None

    async def wait(self, call: Callable[[], Awaitable[Any]]) -> None:
        """Make the call and keep what comes of it."""
        try:
            with self.scope:
                self.value = await call()
        except BaseException as error:
            self.error = error
        finally:
            self.done = True


class Waiter(Caller, abc.ABC):
    """A caller whose call ends when the model says so. ``patient``: it is never cancelled."""

    patient = False

    def __init__(self, task: Task | None = None) -> None:
        super().__init__()
        self.task = task

    @abc.abstractmethod
    def due(self, account: Account) -> bool:
        """Whether the call must be over now."""

    def agrees(self, account: Account) -> bool:
        """Whether it is over if and only if it must be."""
        return self.done == self.due(account)

    def verify(self, account: Account) -> None:
        """The call is over and was not cancelled: what came of it must be right."""


class _ForTask(Waiter):
    task: Task

    def _refused(self, account: Account) -> bool:
        """Whether there was no room for the task in time."""
        if self.task.accepted is not None:
            return False
        (reason,) = [reason for name, reason, _ in account.rejections if name == self.task.name]
        assert type(self.error) is (TaskTimeout if reason == "submit_timeout" else ExecutorClosed)
        return True


def verify_outcome(task: Task, value: Any, error: BaseException | None) -> None:
    """The caller got the task's outcome."""
    if task.outcome == "success":
        assert (value, error) == (task.value, None)
    elif task.outcome == "error":
        assert error is task.error
    elif task.outcome == "timeout":
        assert type(error) is TaskTimeout
    else:
        assert isinstance(error, TaskCancelled)
        assert task.request is not None
        assert (error.reason, error.message) == (task.reason, task.request.message)


class ForRoom(_ForTask):
    """In ``submit``, for a handle."""

    def due(self, account: Account) -> bool:
        return self.scope.cancel_called or self.task not in account.line

    def verify(self, account: Account) -> None:
        if not self._refused(account):
            assert (self.value.name, self.error) == (self.task.name, None)


class ForEnd(_ForTask):
    """In ``run``, for room and for the task's end, even if he is cancelled."""

    def due(self, account: Account) -> bool:
        if self.task.accepted is None:
            return self.scope.cancel_called or self.task not in account.line
        return self.task.ended is not None

    def verify(self, account: Account) -> None:
        if not self._refused(account):
            verify_outcome(self.task, self.value, self.error)


class ForHandle(_ForTask):
    """In ``await handle``."""

    def due(self, account: Account) -> bool:
        return self.scope.cancel_called or self.task.ended is not None

    def verify(self, account: Account) -> None:
        verify_outcome(self.task, self.value, self.error)


class ForShutdown(Waiter):
    """In ``shutdown``, for the report."""

    patient = True

    def due(self, account: Account) -> bool:
        return account.closed_at is not None

    def verify(self, account: Account) -> None:
        report = self.value
        assert account.closed_at is not None
        assert report.duration == account.closed_at - account.closing_at
        ended = account.outcomes() - account.before
        assert (report.succeeded, report.failed) == (ended["success"], ended["error"])
        assert (report.timed_out, report.cancelled) == (ended["timeout"], ended["cancelled"])
        assert Counter(cut.name for cut in report.cut) == Counter(task.shown_name for task in account.cut)
        assert report.abandoned == account.behind
