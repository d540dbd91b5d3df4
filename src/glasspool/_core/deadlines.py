"""Deadlines of tasks, the earliest first."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

__all__ = ["Deadlines"]

T = TypeVar("T")


class Deadlines(Generic[T]):
    """At most one for each task, ordered by instant, then by age. Constant time to remove."""

    def __init__(self) -> None:
        self.of: dict[T, int] = {}  # public, to be asked whether it is empty; only this class changes it
        self._tasks: dict[int, T] = {}
        self._heap: list[tuple[float, int]] = []  # with those that were removed, until they come to the top
        self._sequence = 0

    def add(self, task: T, at: float) -> bool:
        """The task has until then; True if this is now the earliest of all, those that were removed included."""
        self._sequence += 1
        self.of[task] = self._sequence
        self._tasks[self._sequence] = task
        if len(self._heap) > 2 * len(self.of) + 64:  # mostly of tasks that were removed: begin anew
            self._heap = [entry for entry in self._heap if entry[1] in self._tasks]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (at, self._sequence))
        return self._heap[0][1] == self._sequence

    def discard(self, task: T) -> None:
        """The task's deadline does not matter any more."""
        number = self.of.pop(task, None)
        if number is not None:
            del self._tasks[number]

    def next(self) -> float | None:
        """The earliest."""
        while self._heap and self._heap[0][1] not in self._tasks:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def expired(self, now: float) -> list[T]:
        """Remove the tasks whose deadline has passed; returns them, the earliest first."""
        found: list[T] = []
        while (deadline := self.next()) is not None and deadline <= now:
            task = self._tasks[self._heap[0][1]]
            self.discard(task)
            found.append(task)
        return found

    def __len__(self) -> int:
        return len(self._heap)
