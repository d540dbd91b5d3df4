"""What a task asks of those around it: its executor (Host), and who collects its outcome (Sink)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from glasspool.task import TaskHandle

__all__ = ["NOTHING", "Feed", "Host", "Needs", "Sink", "Slots"]

T = TypeVar("T")

Needs = tuple[int, Iterable[Any]]
"""What a wait needs to end: so many of these tasks to end; an executor among them stands for a free slot in it."""

NOTHING: Needs = (0, ())
"""The wait ends by itself, or by somebody who is not a task."""


class Slots(Protocol):
    """How many tasks of an executor may be in flight, and how many slots are held."""

    @property
    def limit(self) -> int:
        """As many as there are."""
        ...

    @property
    def used(self) -> int:
        """As many as are held, by tasks and by threads that were left behind."""
        ...


class Host(Protocol):
    """What a handle needs of its executor."""

    @property
    def name(self) -> str:
        """As metrics and messages show it."""
        ...

    @property
    def slots(self) -> Slots:
        """Its slots now."""
        ...

    def check_caller(self, what: str) -> None:
        """Raise WrongThread unless called on the executor's own event loop."""

    async def wait(
        self, what: str, body: Callable[[], Awaitable[T]], needs: Callable[[], Needs], key: object = None, *,
        closing: bool = False,
    ) -> T:  # fmt: skip
        """Await ``body()``. Raises WrongThread, and inside a task NestedWait where it could hang; see waits.Wait.

        Some loop turns may pass before ``body`` is called: it looks itself whether there is still something to await.
        """
        ...

    def request_cancel(self, handle: TaskHandle[Any], reason: str, message: str | None) -> bool:
        """Ask for the task's end; True if this is the first request and the task has not ended."""
        ...


class Sink(Protocol):
    """Who collects the outcomes of some tasks (a pile, an iterator)."""

    def accepted(self, handle: TaskHandle[Any]) -> None:
        """The task is the sink's own from now on."""

    def asks(self, number: int) -> None:
        """So many calls more (or, negative, fewer) wait for room to become tasks of the sink."""

    def completed(self, handle: TaskHandle[Any]) -> None:
        """The task has ended. Called once, after the move; must not block or raise."""


class Feed(Protocol):
    """An iteration that takes items from a source as the executor has slots for them."""

    def resized(self) -> None:
        """The number of slots has changed."""

    def cut(self) -> None:
        """Everything is being cancelled: if the source is slow to close, that too."""

    def pass_interrupt(self) -> None:
        """Nobody will be given what the source raised any more: if it was KeyboardInterrupt or SystemExit, it is the
        executor's."""
