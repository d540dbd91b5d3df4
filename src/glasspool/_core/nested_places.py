"""NestedPlaces: places in the queue over and above ``max_queued``.

Each task that runs may have one queued child of its own there: it waits for the child, so without that it could hang.
Its further children need room like all others; a place that becomes free goes to a producer of the same task.
"""

from __future__ import annotations

from collections import OrderedDict

from .queue import Producer
from .task_state import Task

__all__ = ["NestedPlaces"]


class NestedPlaces:
    """Who has such a place, and the producers within tasks, in one executor."""

    def __init__(self) -> None:
        # All mutable state; touched on the event loop only.
        self._child: dict[Task, Task] = {}  # by parent, the child that has its place
        self._parent: dict[Task, Task] = {}  # the same, the other way round
        self._in_line: dict[Task, OrderedDict[Producer[Task], None]] = {}  # by the task in which they wait for room
        # Parents with a free place, and a producer that may take it. Public, to be asked whether it is empty.
        self.free: OrderedDict[Task, None] = OrderedDict()

    def has_free(self, parent: Task) -> bool:
        """Whether the place of ``parent`` is free."""
        return parent not in self._child

    def take(self, parent: Task, child: Task) -> None:
        """The child gets the place of ``parent``, which is free."""
        self._child[parent] = child
        self._parent[child] = parent

    def has(self, child: Task) -> bool:
        """Whether the task has, or was promised, such a place."""
        return child in self._parent

    def left(self, child: Task) -> None:
        """The task is not queued any more, or never will be."""
        parent = self._parent.pop(child, None)
        if parent is not None:
            del self._child[parent]
            if parent in self._in_line:
                self.free[parent] = None

    def block(self, producer: Producer[Task]) -> None:
        """The producer waits for room from now on."""
        parent = producer.parent
        if parent is not None:
            self._in_line.setdefault(parent, OrderedDict())[producer] = None
            if self.has_free(parent):  # what its task lends may have let the child start
                self.free[parent] = None

    def unblock(self, producer: Producer[Task]) -> None:
        """The producer waits no longer."""
        if producer.parent is None:
            return
        line = self._in_line.get(producer.parent)
        if line is not None:
            line.pop(producer, None)
            if not line:
                del self._in_line[producer.parent]
                self.free.pop(producer.parent, None)
        if not producer.accepted:
            self.left(producer.task)

    def turn_away(self) -> None:
        """No producer gets anything any more."""
        self._in_line.clear()
        self.free.clear()

    def next(self) -> Producer[Task] | None:
        """A producer that gets the place of its task, which has become free; the caller promises it."""
        while self.free:
            parent = self.free.popitem(last=False)[0]
            if parent in self._child:
                continue
            producer = next(iter(self._in_line[parent]))
            self.take(parent, producer.task)
            return producer
        return None
