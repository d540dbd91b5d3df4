"""Line: accepts tasks, at once or in turn, and has the producers that wait for room.

Where a key may only have some of the queue's places, its producers first stand in a line of their own.
"""

from __future__ import annotations

from typing import Protocol

from .closing import Closing
from .dependencies import Dependencies
from .lending import Lending
from .nursery import Nursery
from .policies.gate import Gate
from .queue import AdmissionQueue, Producer
from .reporter import Reporter
from .retrying import Retrying
from .slot_limit import SlotLimit
from .task_state import Plan, Task

__all__ = ["Line"]


class Owner(Protocol):
    """The engine, as its line sees it."""

    name: str
    queue: AdmissionQueue[Task, Producer[Task]]
    slots: SlotLimit
    reporter: Reporter
    gate: Gate | None
    lending: Lending
    closing: Closing
    nursery: Nursery
    active: dict[Task, None]

    def depending(self) -> Dependencies:
        """The tasks that wait for others."""
        ...

    def retrying(self) -> Retrying:
        """The tasks that may run again."""
        ...

    def settle_cancelled(self, task: Task, reason: str, cause: BaseException | None = None) -> None:
        """End the task as cancelled."""


class Line:
    """Accepts the tasks of one executor; the producers that find no room wait in it."""

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
        return not waiting if gate is None else self._needs_no_place(plan, slots.free)

    def room(self, task: Task) -> list[Task]:
        """Of which of these one must be able to start, or to end, so that there is room for the task again: those that
        have the places, or itself, since a free slot needs no place. Empty: it needs no more than a slot.
        """
        gate = self._owner.gate
        if gate is None:
            return []
        lane = gate.lanes.known(task.plan.key)
        own = gate.lanes.full(task.plan.key)
        found = [
            each
            for each in self._owner.queue.tasks()
            if (not own or gate.lanes.known(each.plan.key) is lane)
            and (each.attempts is None or each.attempts.failed is None)  # between two attempts it has no place
        ]
        return found if own or task.plan.after else [*found, task]

    def can_exceed(self, parent: Task | None) -> bool:
        """Whether a task for which there is no room gets the place that ``parent`` has for a child of its own."""
        return parent is not None and self._owner.lending.places.has_free(parent)

    def accept(
        self, task: Task, parent: Task | None, *, exceeding: bool = False, blocked: float | None = None
    ) -> None:  # fmt: skip
        """Accept the task: into a free slot, else into the queue. The caller has checked that there is room.

        :param parent: the task of the same executor within which it was submitted; None if there is none.
        :param exceeding: it takes the place that ``parent`` has for a child of its own.
        """
        owner = self._owner
        queue, slots, gate, lending = owner.queue, owner.slots, owner.gate, owner.lending
        if task.plan.retry is not None:
            owner.retrying().accept(task)
        if parent is not None:
            lending.submitted(task, parent)
            if exceeding:
                lending.places.take(parent, task)
        if task.sink is not None:
            task.sink.accepted(task)
        if slots.used >= slots.limit or (queue.waiting if gate is None else not self._starts_at_once(gate, task)):
            task.enqueue()
            earliest = queue.push(task, task.plan.deadline)
            failed = None if gate is None else self._hold(gate, task)
            if lending.on:
                lending.order.queued(task)
            owner.reporter.accepted(task, queued=True, blocked=blocked)
            if earliest:
                owner.nursery.wake()
            if gate is not None:
                self._held(task, gate, failed)
        else:
            slots.used += 1
            task.activate()
            owner.active[task] = None
            if lending.on:
                lending.places.left(task)
            owner.reporter.accepted(task, queued=False, blocked=blocked)
            if task.completed is None:  # an observer may have cancelled it
                owner.nursery.start(task)
            if gate is not None:
                self.arrived(task)

    def _hold(self, gate: Gate, task: Task) -> Task | None:
        """Let what holds tasks know of one that is queued. Returns one that has failed on which it depends."""
        if task.plan.after:
            held, failed = self._owner.depending().hold(task)
            if held or failed is not None:
                return failed
        gate.push(task)
        return None

    def _held(self, task: Task, gate: Gate, failed: Task | None) -> None:
        """The queued task was reported as accepted. Meanwhile it may have ended, or a slot have become free."""
        if failed is not None and failed.completed is not None and task.completed is None:
            self._owner.settle_cancelled(task, "dependency", failed.completed.error)
        self.arrived(task)
        if self._owner.slots.used < self._owner.slots.limit and gate.judge_whole():
            self._owner.nursery.wake()

    def _starts_at_once(self, gate: Gate, task: Task) -> bool:
        if task.plan.after:
            if not self._owner.depending().met(task):
                return False
            task.plan.after = ()
        return gate.start_at_once(task)

    # -- the producers ---------------------------------------------------------------------------------------------

    def block(self, producer: Producer[Task]) -> None:
        """The producer joins the line."""
        owner = self._owner
        owner.lending.places.block(producer)
        apart = owner.gate is not None and owner.gate.lanes.stands_apart(producer)
        if not apart:
            owner.queue.block(producer)
        producer.in_line = True
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
        producer.in_line = False
        owner.lending.places.unblock(producer)
        if producer.task.sink is not None:
            producer.task.sink.asks(-1)
        if owner.queue.unblock(producer):
            self.grant()
            self.accept_granted()
        if owner.gate is not None:
            owner.gate.lanes.leaves_line(producer)
            self._next_of_key(producer.task)

    def arrived(self, task: Task) -> None:
        """The task is accepted, or starts, or ends: its place among those of its key may have become free, and the next
        producer of the key joins the common line."""
        owner = self._owner
        if owner.gate is not None and owner.gate.lanes.crowded:
            owner.gate.lanes.promise_kept(task)
            self._next_of_key(task)

    def _next_of_key(self, task: Task) -> None:
        owner = self._owner
        while owner.gate is not None and owner.closing.reason is None:
            producer = owner.gate.lanes.next_producer(task.plan.key)
            if producer is None:
                return
            owner.queue.block(producer)
            owner.nursery.wake()  # it is granted room in a step of its own

    def accept_granted(self) -> None:
        """Accept the tasks of the producers that were granted room and have come back, in turn."""
        owner = self._owner
        granted = owner.queue.granted
        while granted and (producer := next(iter(granted))).back and self._fits(producer.task):
            del granted[producer]
            producer.accepted, producer.in_line = True, False
            owner.lending.places.unblock(producer)
            if producer.task.sink is not None:
                producer.task.sink.asks(-1)
            self.accept(producer.task, producer.parent, blocked=owner.reporter.released(producer))
            producer.wake()

    def _fits(self, task: Task) -> bool:
        owner = self._owner
        if owner.queue.fits(owner.slots.free) or self._needs_no_place(task.plan, owner.slots.free):
            return True
        return owner.lending.places.has(task)

    def _needs_no_place(self, plan: Plan, free_slots: int) -> bool:
        """Whether such a task would start at once, while all that is queued is held."""
        gate = self._owner.gate
        return gate is not None and free_slots > 0 and not plan.after and gate.could_start(plan)

    def grant(self) -> None:
        """Promise room to the producers whose turn it is, and wake them."""
        queue, slots = self._owner.queue, self._owner.slots
        woken = queue.grant(slots.free)
        while queue.producers and self._needs_no_place(
            (head := next(iter(queue.producers))).task.plan, slots.free - len(queue.granted)
        ):
            queue.promise(head)
            woken.append(head)
        while (inner := self._owner.lending.places.next()) is not None:
            if self._owner.gate is not None:
                self._owner.gate.lanes.leaves_line(inner)
            queue.promise(inner, first=True)
            woken.append(inner)
        ready = False
        for producer in woken:
            if producer.back:
                ready = True
            else:
                producer.wake()
        if ready:
            self.accept_granted()

    def turn_away(self, *, wake: bool = True) -> None:
        """Remove all producers, and wake them: nothing more is accepted."""
        owner = self._owner
        owner.lending.places.turn_away()
        for producer in [*owner.queue.turn_away(), *(owner.gate.lanes.turn_away() if owner.gate is not None else ())]:
            if wake:
                producer.wake()

    # -- telling ---------------------------------------------------------------------------------------------------

    def fullness(self, plan: Plan) -> str:
        """Why there is no room for such a task, and what to do, for a message."""
        gate = self._owner.gate
        if gate is not None and gate.lanes.full(plan.key):
            return f"{gate.lanes.fullness(plan.key)}; wait with `await submit`, or raise the Limit's max_queued"
        return f"{self.figures()}; wait with `await submit`, or raise max_queued"

    def figures(self) -> str:
        """How full the executor is, for a message."""
        owner, stats = self._owner, self._owner.reporter.stats()
        return (
            f"executor {owner.name!r} holds {stats.queued} of {owner.queue.bound} queued tasks and "
            f"{stats.slots_used} of {stats.slots_limit} slots, the oldest has waited {stats.oldest_queued_age:.1f} s "
            f"and {stats.pending} producers are blocked"
        )
