"""Protocols between a task and its surroundings: its executor (Host), the collector of its outcome (Sink), and others.

This module imports no concrete class of the core; every task that is passed is a ``task_state.Task``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

__all__ = ["AGAIN", "NOTHING", "Feed", "Host", "Needs", "Sink", "Slots", "TaskView"]

T = TypeVar("T")

Needs = tuple[int, Iterable[Any]]
"""The condition of a wait: so many of these tasks must end; an executor among them stands for a free slot in it."""

NOTHING: Needs = (0, ())
"""The wait ends by itself, or through code that is not a task."""


AGAIN: Any = object()
"""What the body of a wait returns when something has changed and it must be called again: it still has to wait."""


class Slots(Protocol):
    """How many tasks of an executor may be in flight, and how many slots are held."""

    @property
    def limit(self) -> int:
        """How many slots there are."""
        ...

    @property
    def used(self) -> int:
        """How many slots are held, by tasks and by abandoned threads."""
        ...


class Host(Protocol):
    """The executor, as a task, its handle and its waiters use it."""

    @property
    def name(self) -> str:
        """The name that metrics and messages show."""
        ...

    @property
    def slots(self) -> Slots:
        """Its slots now."""
        ...

    def check_caller(self, what: str) -> None:
        """Refuse a caller on another thread or event loop than the executor's.

        :param what: the call, as the message names it.
        :raises WrongThread: the executor's own event loop does not run the caller.
        """

    async def wait(
        self, what: str, body: Callable[[], Awaitable[T]], needs: Callable[[], Needs], key: object = None, *,
        closing: bool = False,
    ) -> T:  # fmt: skip
        """Await ``body()`` on behalf of the caller.

        Some loop turns may pass before ``body`` is called, so ``body`` itself checks whether there is still something
        to await. It may return AGAIN. If the caller is a task of this executor, its slot is lent meanwhile. Parameters:
        see ``waits.Wait``.

        :returns: what ``body`` returned; AGAIN only if the caller is no task.

        :raises WrongThread: the executor's own event loop does not run the caller.
        :raises NestedWait: the caller is a task, and the wait could hang for ever.
        """
        ...

    def hold_of(self, task: Any) -> Any:
        """Why the queued task is held (Hold); None if it is not. From any thread."""
        ...

    def permits(self, task: Any) -> Any:
        """The limit that holds for the key of a queued task (Limiter); None if there is none. From any thread."""
        ...

    def needed_by(self, task: Any) -> Sequence[Any]:
        """The tasks that a queued task depends on and that have not succeeded yet. From any thread."""
        ...

    def request_cancel(self, task: Any, reason: str, message: str | None = None) -> bool:
        """Request the end of the task.

        :returns: whether the request was recorded: it is the first one and the task has not ended.
        """
        ...


class TaskView(Protocol):
    """The task, as its handle uses it."""

    @property
    def host(self) -> Host:
        """The task's executor."""
        ...

    @property
    def item(self) -> Any:
        """The submitted call (WorkItem)."""
        ...

    @property
    def state(self) -> str:
        """A key of ``task_state.MOVES``, or an outcome."""
        ...

    @property
    def completed(self) -> Any:
        """How the task ended (Completed); None until then."""
        ...

    def shown_by(self, handle: object) -> None:
        """Users hold the task by this handle."""

    async def until_ended(self) -> None:
        """Wait until the task has ended."""

    def needs(self) -> Needs:
        """The condition of a wait for the task's end."""
        ...


class Sink(Protocol):
    """Collects the outcomes of some tasks, for a pile or an iterator."""

    def accepted(self, task: Any) -> None:
        """The task was accepted, and its outcome will come here."""

    def asks(self, number: int) -> None:
        """The number of calls that wait for room to become tasks of the sink has changed by so many."""

    def retried(self, task: Any) -> None:
        """Another attempt of the task begins."""

    def completed(self, task: Any) -> None:
        """The task has ended. Called once, after its state has moved; must not block or raise."""


class Feed(Protocol):
    """An iteration that takes items from a source as the executor has slots for them."""

    @property
    def what(self) -> str:
        """The call that made it, as messages name it."""
        ...

    def resized(self) -> None:
        """The number of slots has changed."""

    def cut(self) -> None:
        """Everything is being cancelled: if the source is slow to close, cancel its closing too."""

    def pass_interrupt(self) -> None:
        """No consumer will receive the source's error any more. If it is KeyboardInterrupt or SystemExit, the executor
        raises it."""
