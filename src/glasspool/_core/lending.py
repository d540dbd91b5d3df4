"""Lending: a task that waits for its own executor lends its slot, and its permit, for as long as it waits.

    wait begins ──▶ lent ──▶ the slot goes to what is awaited, else to the deepest task (nested_order.py)
                      │
    wait is over ─────┴──▶ returning ──a slot is free, before all queued tasks──▶ the task goes on

A task may wait in several branches, in nurseries and threads of its own: it lends from its first waiting branch to the
end of its last one. It never waits for its slot when it was asked to end: then it goes on at once, if need be over the
limit, since its cleanup must not stand behind the work of others.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

import anyio

from glasspool.errors import NestedWait

from .interfaces import AGAIN, Needs
from .nested_order import NestedOrder
from .nested_places import NestedPlaces
from .policies.gate import Gate
from .policies.limiter import Limiter
from .queue import AdmissionQueue, Producer
from .reporter import Reporter
from .slot_limit import SlotLimit
from .task_state import Task
from .waiting import WAY_OUT, inside, look_again
from .waits import WAITS, Wait

__all__ = ["Lending"]

MOST = 1_000
"""Waits of which each waits for the next. Every one keeps a suspended task alive: a recursion that does not end must
fail before it has used up the memory, and one that is meant is seldom deeper."""


class Owner(Protocol):
    """The engine, as it is used here."""

    queue: AdmissionQueue[Task, Producer[Task]]
    slots: SlotLimit
    reporter: Reporter
    gate: Gate | None

    def dispatch(self) -> None:
        """Give free slots to those that wait for them."""


class Lease:
    """The slot, and the permit, that one task has lent. Its limit tells it when permits are free (see limiter.Lane).

    :param level: how many tasks wait for each other, this one being the last.
    """

    __slots__ = ("_wake", "branches", "event", "level", "limiter")

    def __init__(self, level: int, wake: Callable[[], None]) -> None:
        self.level = level
        self.branches = 0  # that wait
        self.event: anyio.Event | None = None  # the last one waits for it: it has a slot again, or needs none
        self.limiter: Limiter | None = None
        self._wake = wake

    def changed(self) -> None:
        """See limiter.Lane."""
        if self.event is not None:
            self._wake()


class Lending:
    """The slots that tasks of one executor have lent.

    :param wake: has the executor dispatch in a later turn of its loop.
    """

    def __init__(self, owner: Owner, wake: Callable[[], None]) -> None:
        self._owner = owner
        self._wake = wake
        # All mutable state; touched on the event loop only.
        self.on = False  # there have been nested tasks or waits: until then none of this is kept up
        self.order = NestedOrder(lambda: owner.gate)
        self.places = NestedPlaces()
        self._lent: dict[Task, Lease] = {}
        self._returning: OrderedDict[Task, Lease] = OrderedDict()  # those of them that would go on
        self._over: OrderedDict[Wait, None] = OrderedDict()  # waits that may be over: a task has ended

    def begin(self) -> None:
        """There is a nested task, or a wait."""
        if not self.on:
            self.on = True
            for task in self._owner.queue.tasks():
                self.order.queued(task)

    def submitted(self, task: Task, parent: Task) -> None:
        """The task, submitted within ``parent``, is being accepted."""
        self.begin()
        self.order.submitted(task, parent)

    # -- one wait --------------------------------------------------------------------------------------------------

    async def lend(self, wait: Wait, step: Callable[[], Awaitable[Any]]) -> Any:
        """Await ``step()``, as often as it returns AGAIN, while the slot of the waiting task is lent.

        :raises NestedWait: too many tasks wait for each other.
        """
        if wait.closing and wait.needs()[0] <= 0:
            return await step()
        self.check_depth(wait.owner, wait.what)
        lease = self._lend(wait)
        try:
            while (value := await step()) is AGAIN:
                if self._lent.get(wait.owner) is lease:
                    self._returning.pop(wait.owner, None)
                elif not wait.left_behind:  # the wait seemed to be over
                    self._leave(wait, lease)
                    lease = self._lend(wait)
                await look_again(wait)
        except Exception:
            await self._return(wait, lease)
            raise
        except BaseException:
            self._go_on(wait, lease)
            raise
        await self._return(wait, lease)
        return value

    def check_depth(self, task: Task, what: str) -> None:
        """Refuse a wait of the task if too many tasks wait for each other then.

        :raises NestedWait: they would.
        """
        if self._level(task) > MOST:
            raise NestedWait(
                f"{inside(what, task)} would be a wait nested {MOST + 1:,} deep: {MOST:,} tasks of this executor wait "
                f"for each other already, the last of them for {task.name!r}, and there may be no more. {WAY_OUT}"
            )

    def _level(self, task: Task) -> int:
        if (lease := self._lent.get(task)) is not None:
            return lease.level
        found = (self._lent.get(wait.owner) for wait in WAITS.awaiting(task))
        return 1 + max((lease.level for lease in found if lease is not None), default=0)

    def _lend(self, wait: Wait) -> Lease:
        self.begin()
        task, owner = wait.owner, self._owner
        lease = self._lent.get(task)
        if lease is None:
            lease = self._lent[task] = Lease(self._level(task), self._wake)
            owner.slots.used -= 1
            limiter = None if owner.gate is None else owner.gate.lanes.known(task.plan.key).limiter
            if limiter is not None and task in limiter.holders:
                lease.limiter = limiter
                limiter.lanes[lease] = None
                limiter.release(task)
            owner.reporter.record.lend(1)
        lease.branches += 1
        self._let_on(task, lease)  # a branch that would have waited for a slot: now another one waits for something
        self.order.awaited(wait)
        owner.dispatch()
        return lease

    async def _return(self, wait: Wait, lease: Lease) -> None:
        """The wait is over: the task needs a slot again, unless other branches of it wait."""
        task = wait.owner
        self._leave(wait, lease)
        if self._lent.get(task) is not lease or lease.branches:
            return  # it has its slot again, or has ended; or another branch waits
        self._returning[task] = lease
        if wait.closing or task.request is not None or task.scope_cancelled:
            self._take_back(task, lease)
            return
        self.give_back()
        if self._lent.get(task) is not lease:
            return
        event = lease.event = anyio.Event()
        WAITS.returns(wait, partial(self._needs, task, lease))
        try:
            await event.wait()
        except BaseException:
            if lease.event is event:
                self._take_back(task, lease)
            raise

    def _go_on(self, wait: Wait, lease: Lease) -> None:
        """The wait was cancelled: the task goes on at once."""
        self._leave(wait, lease)
        if self._lent.get(wait.owner) is lease and not lease.branches:
            self._take_back(wait.owner, lease)

    def _leave(self, wait: Wait, lease: Lease) -> None:
        lease.branches -= 1
        self._over.pop(wait, None)
        self.order.not_awaited(wait)

    def _needs(self, task: Task, lease: Lease) -> Needs:
        """The condition of a wait for the slot, and the permit, that were lent."""
        return (1, (task.host,)) if lease.limiter is None else (2, (task.host, lease.limiter))

    # -- slots -----------------------------------------------------------------------------------------------------

    @property
    def lent(self) -> int:
        """How many slots are lent."""
        return len(self._lent)

    def next(self) -> Task:
        """The queued task that gets a free slot; it leaves the queue."""
        queue = self._owner.queue
        task = self.order.next(len(self._lent))
        if task is None:
            task = queue.pop()
        else:
            queue.remove(task)
        self.left_queue(task)
        return task

    def give_back(self) -> None:
        """Give free slots to tasks that go on, in order; those whose permit is missing are passed over."""
        slots, returning = self._owner.slots, self._returning
        while self._over:
            self._look(self._over.popitem(last=False)[0])
        while returning and slots.used < slots.limit:
            task = next((task for task, lease in returning.items() if _permitted(lease)), None)
            if task is None:
                return
            self._take_back(task, returning[task])

    def _look(self, wait: Wait) -> None:
        """Whether the wait is over: then the slot that has become free is for its task, before that has woken."""
        lease = self._lent.get(wait.owner)
        if lease is None or wait.left_behind:
            return
        if wait.needs()[0] > 0:
            self.order.lasts(wait)
        elif lease.branches == 1:
            self._returning.setdefault(wait.owner, lease)
            if wait.closing:  # it goes on at once, so it needs the slot before the others
                self._returning.move_to_end(wait.owner, last=False)

    def _take_back(self, task: Task, lease: Lease) -> None:
        """The task has its slot and its permit again, if need be over the limit."""
        del self._lent[task]
        limiter = lease.limiter
        if limiter is not None:
            limiter.lanes.pop(lease, None)
            limiter.holders[task] = None
        self._owner.slots.used += 1
        self._owner.reporter.record.lend(-1)
        self._let_on(task, lease)

    def _let_on(self, task: Task, lease: Lease) -> None:
        self._returning.pop(task, None)
        event, lease.event = lease.event, None
        if event is not None:
            event.set()

    def hurry(self, task: Task) -> None:
        """The task was asked to end: if it waits for its slot, it goes on at once."""
        lease = self._returning.get(task)
        if lease is not None and lease.event is not None:
            self._take_back(task, lease)

    def forget(self) -> None:
        """Wake no waiters: their event loop may be gone."""
        for lease in self._lent.values():
            lease.event = None

    # -- tasks -----------------------------------------------------------------------------------------------------

    def left_queue(self, task: Task) -> None:
        """The task is not queued any more."""
        self.order.left(task)
        self.places.left(task)

    def ended(self, task: Task, *, left: bool = False) -> None:
        """The task ends. ``left``: its thread goes on, and has lent the slot or has it.

        A slot that it has lent, for a branch that outlives it, is its own again: the caller frees it.
        """
        self.left_queue(task)
        self.order.ended(task)
        if not left:
            self.repossess(task)
        for wait in WAITS.awaiting(task):
            if wait.owner in self._lent:
                self._over[wait] = None

    def repossess(self, task: Task) -> None:
        """A slot that the task has lent is its own again."""
        lease = self._lent.get(task)
        if lease is not None:
            self._take_back(task, lease)


def _permitted(lease: Lease) -> bool:
    limiter = lease.limiter
    return limiter is None or limiter.in_flight is None or len(limiter.holders) < limiter.in_flight
