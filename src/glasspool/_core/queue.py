"""AdmissionQueue: the tasks that wait for a slot, and the producers that wait for a place in the queue.

It is plain and synchronous: it decides and returns what must be woken; only the executor awaits. Both lines are first
in, first out: a blocked producer is granted room in its turn and is not overtaken, but by those within tasks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import takewhile
from typing import Any, Generic, TypeVar

from .deadlines import Deadlines

__all__ = ["AdmissionQueue", "Producer", "stand_in"]

T = TypeVar("T")
P = TypeVar("P", bound="Producer[Any]")


class Producer(Generic[T]):
    """A submitter that waits for room for its ``task``. It is first granted room; when it has woken from its wait
    (``back``) it uses the room in turn. If it is ``back`` from the beginning, its task is accepted as soon as its turn
    comes. ``parent``: the task of the same executor within which it submits, if that is so. ``in_line``: it has begun
    to wait, and has neither been accepted nor given up.

    ``wake`` is called when room was granted to a producer that is not back, when the task was accepted, or when the
    executor is closing.
    """

    __slots__ = ("accepted", "back", "in_line", "parent", "task", "wake")

    wake: Callable[[], object]  # set when it is put in line

    def __init__(self, task: T, *, back: bool = False, parent: T | None = None) -> None:
        self.task = task
        self.back = back
        self.parent = parent
        self.accepted = self.in_line = False


def stand_in(line: OrderedDict[P, None], producer: P) -> None:
    """Put the producer in line: at its end, or behind those who submit within tasks if it does so too. They go first,
    since others may wait for their tasks."""
    line[producer] = None
    if producer.parent is not None:
        inner = list(takewhile(lambda each: each.parent is not None, line))
        for each in (producer, *reversed(inner)):
            line.move_to_end(each, last=False)


class AdmissionQueue(Generic[T, P]):
    """Queued tasks (``T``), at most ``capacity`` of them (``None``: no bound), and blocked producers (``P``).

    ``granted`` are producers that were promised room and woken, and have not come back yet to take it.
    """

    def __init__(self, capacity: int | None) -> None:
        self.bound = capacity
        self.capacity = capacity  # the bound, with the places of those beyond it
        # Ordered dicts: constant-time removal from the middle, for cancelled tasks and producers. Public because other
        # modules check several times per task whether they are empty; only this class changes them.
        self.waiting: OrderedDict[T, None] = OrderedDict()
        self.producers: OrderedDict[P, None] = OrderedDict()
        self.granted: OrderedDict[P, None] = OrderedDict()
        self.beyond: set[T] = set()  # queued tasks that take no place
        self.deadlines: Deadlines[T] = Deadlines()

    def room(self, free_slots: int) -> bool:
        """Whether one more task can be accepted now from a producer whose turn it is."""
        if self.capacity is None:
            return True
        places = self.capacity - len(self.waiting) - len(self.granted)
        # While tasks are queued the free slots are theirs.
        return places > 0 or (free_slots > 0 and not self.waiting and free_slots + places > 0)

    def fits(self, free_slots: int) -> bool:
        """Whether the first producer that was granted room finds it; a resize may have taken the room meanwhile."""
        waiting = len(self.waiting)
        return self.capacity is None or waiting < self.capacity or (free_slots > 0 and not waiting)

    def push(self, task: T, deadline: float | None) -> bool:
        """Queue the task; True if its deadline is now the earliest one."""
        self.waiting[task] = None
        return deadline is not None and self.deadlines.add(task, deadline)

    def push_beyond(self, task: T, deadline: float | None) -> bool:
        """Queue the task, which had left the queue, without a place of its own; else as ``push``."""
        self.beyond.add(task)
        if self.capacity is not None:
            self.capacity += 1
        return self.push(task, deadline)

    def _is_out(self, task: T) -> None:
        self.beyond.discard(task)
        if self.capacity is not None:
            self.capacity -= 1

    def pop(self) -> T:
        """The task that has waited longest."""
        task = self.waiting.popitem(last=False)[0]
        if task in self.beyond:
            self._is_out(task)
        if self.deadlines.of:
            self.deadlines.discard(task)
        return task

    def remove(self, task: T) -> bool:
        """Remove the task from the queue; False if it is not queued."""
        if task not in self.waiting:
            return False
        del self.waiting[task]
        if task in self.beyond:
            self._is_out(task)
        if self.deadlines.of:
            self.deadlines.discard(task)
        return True

    def tasks(self) -> list[T]:
        """All queued tasks, the oldest first."""
        return list(self.waiting)

    def expired(self, now: float) -> list[T]:
        """Take out the queued tasks whose deadline has passed."""
        found = self.deadlines.expired(now)
        for task in found:
            del self.waiting[task]
            if task in self.beyond:
                self._is_out(task)
        return found

    def block(self, producer: P) -> None:
        """The producer waits for room from now on."""
        stand_in(self.producers, producer)

    def unblock(self, producer: P) -> bool:
        """The producer stops waiting; True if room that was granted to it is free for the next in line."""
        self.producers.pop(producer, None)
        if producer not in self.granted:
            return False
        del self.granted[producer]
        return True

    def grant(self, free_slots: int) -> list[P]:
        """Promise room to the producers whose turn it is; the caller wakes them."""
        woken: list[P] = []
        while self.producers and self.room(free_slots):
            producer = self.producers.popitem(last=False)[0]
            self.granted[producer] = None
            woken.append(producer)
        return woken

    def promise(self, producer: P, *, first: bool = False) -> None:
        """Promise a producer that it is accepted when it comes back; the caller wakes it. ``first``: it need not wait
        for those who were promised something before."""
        self.producers.pop(producer, None)
        self.granted[producer] = None
        if first:
            self.granted.move_to_end(producer, last=False)

    def turn_away(self) -> list[P]:
        """Remove all producers, including those that were granted room; the caller wakes them."""
        woken = [*self.granted, *self.producers]
        self.granted.clear()
        self.producers.clear()
        return woken
