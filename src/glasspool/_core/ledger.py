"""Ledger: the outcomes of some tasks, each given once, in order of ending. Piles and iterators use it."""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import chain
from typing import Any, Generic, TypeVar

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from glasspool.task import Completed

from .interfaces import NOTHING, Host, Needs
from .task_state import Task

__all__ = ["Ledger", "OrderedLedger"]

T = TypeVar("T")


class Ledger(Generic[T]):
    """Outstanding tasks and their untaken outcomes. A task's Sink; used on the event loop only.

    Outcomes are held without bound until they are taken, so a late or missing consumer blocks nothing.
    """

    def __init__(self) -> None:
        # Ordered: every wait inside a task reads the first one, and tasks that have left must cost nothing.
        self.outstanding: OrderedDict[Task, None] = OrderedDict()
        self.ready: deque[Task] = deque()
        self.pending = 0  # tasks whose outcome has not been taken
        self.asking = 0  # calls that wait for room to become tasks of this ledger
        self.watched = 0  # tasks that wait for this ledger: they look again at what they wait for when that grows
        self.grown = 0  # how often it has done so
        self.retries = 0  # attempts beyond the first of each task
        self._changed: anyio.Event | None = None

    def accepted(self, task: Task) -> None:
        """See Sink."""
        self.outstanding[task] = None
        self.pending += 1
        if self.watched:
            self.grown += 1
            self.wake()

    def asks(self, number: int) -> None:
        """See Sink."""
        self.asking += number
        if number > 0:
            self.wake()

    def completed(self, task: Task) -> None:
        """See Sink."""
        del self.outstanding[task]
        self.ready.append(task)
        if self._changed is not None:
            self.wake()

    def retried(self, task: Task) -> None:
        """See Sink."""
        self.retries += 1

    @property
    def available(self) -> bool:
        """Whether there is an outcome to take."""
        return bool(self.ready)

    def take(self) -> Completed[T]:
        """The outcome that has been ready longest."""
        self.pending -= 1
        completed: Any = self.ready.popleft().completed  # only ended tasks are ready
        return completed  # type: ignore[no-any-return]  # typing.cast would be a call on the way of every task

    def wake(self) -> None:
        """Wake all waiters."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def wait(self) -> None:
        """Wait until something has changed."""
        # On asyncio a scope cancels nobody who is about to be woken, which a consumer of many quick tasks always is.
        await checkpoint_if_cancelled()
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()

    def needs_one(self, host: Host, sources: int) -> Needs:
        """The condition of a wait until an outcome can be taken, or none can come any more.

        ``sources`` is the number of producers of tasks; calls that wait for room also need a slot of ``host``.
        """
        if self.ready:
            return NOTHING
        if not self.outstanding:
            return (1, (host,)) if self.asking and self.asking >= sources else NOTHING
        return 1, chain((host,), self.outstanding) if self.asking or sources else self.outstanding

    def needs_all(self) -> Needs:
        """The condition of a wait until nothing is outstanding."""
        return len(self.outstanding), self.outstanding

    def unfinished(self) -> list[Task]:
        """The outstanding tasks, the oldest first."""
        return list(self.outstanding)


class OrderedLedger(Ledger[T]):
    """A ledger that gives outcomes in order of acceptance."""

    def __init__(self) -> None:
        super().__init__()
        self._order: deque[Task] = deque()

    def accepted(self, task: Task) -> None:
        """See Sink."""
        super().accepted(task)
        self._order.append(task)

    def completed(self, task: Task) -> None:
        """See Sink."""
        del self.outstanding[task]
        if self.available or not self.outstanding:
            self.wake()

    @property
    def available(self) -> bool:
        """Whether the next outcome in order is there."""
        return bool(self._order) and self._order[0].completed is not None

    def needs_one(self, host: Host, sources: int) -> Needs:
        """As for any ledger; nothing but the next in order will do."""
        try:
            head = self._order[0]
        except IndexError:
            return super().needs_one(host, sources)
        return NOTHING if head.completed is not None else (1, (head,))

    def take(self) -> Completed[T]:
        """The next outcome in order; it is there."""
        self.ready.append(self._order.popleft())
        return super().take()

    def forget(self) -> None:
        """Give no more outcomes."""
        self._order.clear()
        self.pending = 0
