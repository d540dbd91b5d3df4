"""Lane: the queued tasks of one key in one executor, in order of acceptance, and why its first one may not start.

While the first task is held all of them are, for the same reason: those behind it could not start either. So a lane
keeps the seconds that it was held for each reason, and a task's own are the difference between its end and its
acceptance, however many tasks there are.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from glasspool._core.queue import Producer
from glasspool._core.task_state import Task

from .limiter import Block, Limiter

__all__ = ["NO_TIMES", "REASONS", "Lane", "Times", "Waiting"]

REASONS: tuple[str, ...] = ("rate", "limit", "pause")
"""Why a lane, or a whole executor, may be held."""

Times = tuple[float, float, float]
"""Seconds held, by reason, in the order of ``REASONS``."""

NO_TIMES: Times = (0.0, 0.0, 0.0)


class Waiting(NamedTuple):
    """A queued task's place: its number in order of submission (negative if it was moved forward), and what its lane
    had been held before."""

    number: int
    before: Times


class Lane:
    """The tasks of one key, or of none.

    :param limiter: what holds them back; None for tasks without a key.
    :param name: the configured name of the limit, which attributes show.
    :param whole: seconds that the whole executor was held up to an instant.
    :param changed: called when the limiter says that more may run now, or less.
    """

    __slots__ = (
        "_changed", "_order", "_since", "_times", "_whole", "_whole_before", "apart", "beyond", "block", "due",
        "limiter", "listed", "name", "producers", "promised", "tasks",
    )  # fmt: skip

    def __init__(
        self, limiter: Limiter | None, name: str | None, whole: Callable[[float], Times],
        changed: Callable[[Lane], None],
    ) -> None:  # fmt: skip
        self.limiter = limiter
        self.name = name
        self.tasks: dict[Task, Waiting] = {}
        self._order: list[tuple[int, Task]] = []  # a heap, with tasks that have left until they come to the top
        self.block: Block | None = None  # why the first task may not start
        self.producers: OrderedDict[Producer[Task], None] = OrderedDict()  # in line for a place among its own
        self.promised: set[Task] = set()  # of producers that have left that line and are in the executor's
        self.apart = 0  # tasks of its key that are queued and held by something of their own
        self.beyond: set[Task] = set()  # queued tasks that take none of the places of its key
        self.listed = self.due = -1  # the number, and the instant, with which it is in the gate's heaps
        self._changed = changed
        self._whole = whole
        self._times = NO_TIMES
        self._since = 0.0  # it is held, or is not, since then
        self._whole_before = NO_TIMES  # what the whole executor had been held then

    def changed(self) -> None:
        """See limiter.Lane."""
        self._changed(self)

    def hold(self, block: Block | None, now: float) -> None:
        """From now on its tasks are held for this reason, or are not."""
        if block is None or self.block is None or block.reason != self.block.reason:
            self._times = self.times(now)
            self._since, self._whole_before = now, self._whole(now)
        self.block = block

    def times(self, now: float) -> Times:
        """How long it has been held, for each reason, by its own limit or with the whole executor."""
        rate, limit, pause = self._times
        if self.block is None:
            whole, before = self._whole(now), self._whole_before
            if whole is before:
                return self._times
            return rate + whole[0] - before[0], limit, pause + whole[2] - before[2]
        held, reason = now - self._since, self.block.reason
        if reason == "rate":
            return rate + held, limit, pause
        return (rate, limit + held, pause) if reason == "limit" else (rate, limit, pause + held)

    def add(self, task: Task, now: float) -> None:
        """The task is queued."""
        number = task.record.id
        self.tasks[task] = Waiting(number, self.times(now))
        heapq.heappush(self._order, (number, task))

    def forward(self, task: Task, by: int) -> bool:
        """Move the task forward in the order, if that was not done before. Returns whether it is the first one now."""
        place = self.tasks.get(task)
        if place is None or place.number < 0:
            return False
        self.tasks[task] = place._replace(number=place.number - by)
        heapq.heappush(self._order, (place.number - by, task))
        return self.first() is task

    def first(self) -> Task | None:
        """The task that is the next to start."""
        order = self._order
        while order and order[0][1] not in self.tasks:
            heapq.heappop(order)
        return order[0][1] if order else None

    def head(self) -> Task:
        """The same of a lane that has tasks."""
        task = self.first()
        assert task is not None, "the lane has tasks"  # noqa: S101 - for the type checker
        return task

    def is_first(self, task: Task) -> bool:
        """Whether the task is the next to start. From any thread."""
        order = self._order
        return bool(order) and order[0][1] is task

    @property
    def _taken(self) -> int:
        """Places in the queue that its tasks have, or will have."""
        return len(self.tasks) + self.apart + len(self.promised) - len(self.beyond)

    @property
    def max_queued(self) -> int | None:
        """How many queue places its tasks may have; None for no bound."""
        return None if self.limiter is None else self.limiter.max_queued

    @property
    def full(self) -> bool:
        """Whether its tasks have all the queue places that they may have."""
        most = self.max_queued
        return most is not None and (self._taken >= most or bool(self.producers))

    def next_producer(self) -> Producer[Task] | None:
        """The producer that leaves the line now, because there is a place for it."""
        most = self.max_queued
        if most is None or not self.producers or self._taken >= most:
            return None
        producer = self.producers.popitem(last=False)[0]
        self.promised.add(producer.task)
        return producer
