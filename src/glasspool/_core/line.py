"""Line: the producers that wait for room, and how their tasks are accepted in turn.

Where a key may only have some of the queue's places, its producers first stand in a line of their own.
"""

from __future__ import annotations

from typing import Protocol

from .policies.gate import Gate
from .queue import AdmissionQueue, Producer
from .reporter import Reporter
from .slot_limit import SlotLimit
from .task_state import Plan, Task

__all__ = ["Line"]


class Owner(Protocol):
    """The engine, as its line sees it."""

    queue: AdmissionQueue[Task, Producer[Task]]
    slots: SlotLimit
    reporter: Reporter
    gate: Gate | None

    def accept(self, task: Task, blocked: float | None = None) -> None:
        """Accept the task, for which there is room."""


class Line:
    """The producers of one executor that wait for room."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def can_accept(self, plan: Plan) -> bool:
        """Whether such a task finds a slot or a queue place now without overtaking others."""
        owner = self._owner
        queue, slots, gate = owner.queue, owner.slots, owner.gate
        if gate is not None and gate.lanes.full(plan.key):
            return False
        if queue.producers or queue.granted:
            return False
        # The same as queue.room, written out because it runs for every task.
        waiting = len(queue.waiting)
        if queue.capacity is None or waiting < queue.capacity:
            return True
        if slots.used >= slots.limit:
            return False
        # A free slot needs no place in the queue; those that wait are held.
        return not waiting if gate is None else not plan.after and gate.could_start(plan)

    def block(self, producer: Producer[Task]) -> None:
        """The producer joins the line."""
        owner = self._owner
        apart = owner.gate is not None and owner.gate.lanes.stands_apart(producer)
        if not apart:
            owner.queue.block(producer)
        owner.reporter.blocked(producer)
        if producer.task.sink is not None:
            producer.task.sink.asks(1)
        if not apart:
            self.grant()  # there is room if only those before it had to be let through

    def come_back(self, producer: Producer[Task]) -> None:
        """The producer has woken to use its grant. Its task is accepted now; or, since trio wakes tasks in any order,
        when the producers with earlier grants have woken too; or, since a resize may have taken the room, when there is
        room again, and then it is woken again."""
        producer.back = True
        self.accept_granted()

    def give_up(self, producer: Producer[Task]) -> None:
        """The producer stops waiting; room that was granted to it goes to the next in line."""
        owner = self._owner
        if producer.task.sink is not None:
            producer.task.sink.asks(-1)
        if owner.queue.unblock(producer):
            self.grant()
            self.accept_granted()
        if owner.gate is not None:
            owner.gate.lanes.leaves_line(producer)
            self.has_place(producer.task)

    def has_place(self, task: Task) -> None:
        """A place among those of this task's key may have become free: its next producer joins the common line."""
        owner = self._owner
        if owner.gate is not None and (producer := owner.gate.lanes.next_producer(task.plan.key)) is not None:
            owner.queue.block(producer)
            self.grant()

    def accept_granted(self) -> None:
        """Accept the tasks of the producers that were granted room and have come back, in turn."""
        owner = self._owner
        queue, slots, granted = owner.queue, owner.slots, owner.queue.granted
        while granted and (producer := next(iter(granted))).back and queue.fits(slots.free):
            del granted[producer]
            producer.accepted = True
            if producer.task.sink is not None:
                producer.task.sink.asks(-1)
            owner.accept(producer.task, owner.reporter.released(producer))
            producer.wake()

    def grant(self) -> None:
        """Promise room to the producers whose turn it is, and wake them."""
        ready = False
        for producer in self._owner.queue.grant(self._owner.slots.free):
            if producer.back:
                ready = True
            else:
                producer.wake()
        if ready:
            self.accept_granted()

    def turn_away(self) -> None:
        """Wake all producers: nothing more is accepted."""
        owner = self._owner
        for producer in [*owner.queue.turn_away(), *(owner.gate.lanes.turn_away() if owner.gate is not None else ())]:
            producer.wake()
