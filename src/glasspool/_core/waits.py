"""The graph of waits: every wait of a task for an executor, across all executors, event loops and threads.

    task ──waits──▶ a task, some tasks, or room in an executor
    queued task, task that has lent its slot, room in an executor ──▶ slots ──▶ the tasks that hold them
    queued task ──▶ a permit of its limit ──▶ the tasks that hold one, of any executor that shares the limit
    queued task ──▶ the tasks that it depends on

A wait is refused (waiting.py) in two cases. *Chain*: it is for a task that waits for this one, directly or through
others, or for the executor of such a task where that is another one than this task's own; the second would hang as soon
as the slots run out, so it is always refused. *Standstill*: nothing that it waits for can happen any more, because all
of it depends on this task; this finds circles that run through slots, or that close in another order.

A task that waits for its own executor holds no slot (lending.py) and needs one again afterwards.

All waits within a task count as its own, including those in its nurseries and threads: the context identifies the task.
Tasks that do not wait, and waits outside of all tasks, are not in the graph.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator
from typing import cast

from .interfaces import NOTHING, Host, Needs
from .policies.limiter import Limiter
from .task_state import CURRENT, Task, has_ended

__all__ = ["WAITS", "Wait", "named"]


class Wait:
    """One wait of task ``owner`` for executor ``host``, which ``what`` names.

    ``needs`` returns its current condition. ``key`` identifies what it waits for: a task, the collection that a task's
    outcome goes to, or an executor that becomes idle; None for room. ``closing``: what it waits for is being cancelled
    and needs no slot, and its own cancellation does not end it.
    """

    __slots__ = ("_within", "closing", "host", "key", "needs", "owner", "what")

    def __init__(
        self, owner: Task, host: Host, what: str, needs: Callable[[], Needs], key: object, closing: bool
    ) -> None:
        self.owner = owner
        self.host = host
        self.what = what
        self.needs = needs
        self.key = key
        self.closing = closing
        self._within = CURRENT.get()

    @property
    def left_behind(self) -> bool:
        """Whether its task, or the attempt of it that waits, has ended: then it is no wait of the task any more."""
        return has_ended(self.owner, self._within)


# Events that can happen or not: a task's end, a wait's, a free slot or permit, a thread's end (by its waits).
Node = Task | Wait | Host | Limiter | tuple[Wait, ...]


class Waits:
    """All waits of the process. They may begin and end in different threads, so all changes are made under ``lock``."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all of them."""
        # Reentrant: a finalizer that runs in here may close a coroutine that waits.
        self.lock = threading.RLock()
        self.waits: dict[Task, dict[Wait, None]] = {}  # by the task that waits
        self.lending: dict[Task, int] = {}  # tasks that wait for their own executor, in so many waits
        self.waiting: dict[Host, dict[Task, None]] = {}  # the other tasks that wait, by their own executor
        self.awaited: dict[object, dict[Wait, None]] = {}  # by key

    def begin(self, wait: Wait) -> bool:
        """Enter the wait. Returns whether it must be examined because it may close a circle."""
        owner, key, awaited = wait.owner, wait.key, self.awaited
        with self.lock:
            waits = self.waits.get(owner)
            if waits is None:
                self.waits[owner] = {wait: None}
            else:
                waits[wait] = None
            if wait.host is owner.host:
                self.lending[owner] = self.lending.get(owner, 0) + 1
            self._enter(owner)
            if key is not None:
                awaited.setdefault(key, {})[wait] = None
            return self.is_suspect(wait)

    def is_suspect(self, wait: Wait) -> bool:
        """Whether the wait must be examined, since it may close a circle."""
        with self.lock:
            chain = not wait.closing and bool(self.chain(wait.owner, wait.host, wait.key))
            return chain or not self._can_end_at_once(wait)

    def returns(self, wait: Wait, needs: Callable[[], Needs]) -> None:
        """What the wait was for has come about; from now on it needs ``needs`` instead, the slot that was lent."""
        with self.lock:
            self._not_awaited(wait)
            wait.needs = needs

    def end(self, wait: Wait) -> None:
        """Remove the wait, however it ended."""
        owner = wait.owner
        with self.lock:
            self._not_awaited(wait)
            found = self.waits.get(owner)
            if found is None or wait not in found:  # in a child that was forked meanwhile
                return
            del found[wait]
            if not found:
                del self.waits[owner]
            if wait.host is owner.host:
                self.lending[owner] -= 1
                if not self.lending[owner]:
                    del self.lending[owner]
            self._enter(owner)

    def forget(self, task: Task) -> None:
        """An attempt of the task has ended: what still waits in it does not keep the next one waiting."""
        for wait in list(self.waits.get(task, ())):
            self.end(wait)

    def _enter(self, owner: Task) -> None:
        """List the task among those that wait and hold a slot, or do not."""
        tasks = self.waiting.setdefault(owner.host, {})
        if owner in self.waits and owner not in self.lending:
            tasks[owner] = None
        else:
            tasks.pop(owner, None)
            if not tasks:
                del self.waiting[owner.host]

    def _not_awaited(self, wait: Wait) -> None:
        if (found := self.awaited.get(wait.key)) is not None:
            found.pop(wait, None)
            if not found:
                del self.awaited[wait.key]

    def awaiting(self, task: Task) -> list[Wait]:
        """The waits for the task itself, or for what its outcome goes to."""
        with self.lock:
            return [wait for key in (task, task.sink) for wait in self.awaited.get(key, ())]

    # -- chains ----------------------------------------------------------------------------------------------------

    def chain(self, owner: Task, host: Host, key: object) -> list[Task]:
        """The shortest chain of tasks, of which each waits for the next and the last is ``owner``, that a wait of it
        for ``key`` would close; empty if there is none. It begins with ``key`` itself where ``host`` is the owner's own
        executor, and else with any task of ``host``."""
        awaited = self.awaited
        own = owner.host is host
        with self.lock:
            if own and (key is owner or key is host):
                return [owner]
            if own and key not in self.waits:
                return []  # it does not wait, the common case
            if owner not in awaited and owner.sink not in awaited and owner.host not in awaited:
                return []  # nothing waits for it, the common case
            followed_by: dict[Task, Task | None] = {owner: None}
            for task in (found := [owner]):
                if task is key if own else task.host is host:
                    return list(_followed(task, followed_by))
                for each in (task, task.sink, task.host):
                    for wait in list(awaited.get(each, ())):
                        if wait.owner not in followed_by and _holds_slot(wait.owner):
                            followed_by[wait.owner] = task
                            found.append(wait.owner)
            return []

    # -- standstills -----------------------------------------------------------------------------------------------

    def _can_end_at_once(self, wait: Wait) -> bool:
        """Whether what the wait needs is under way: the common case, seen without a search."""
        number, nodes = wait.needs()
        if number <= 1:
            for node in nodes:
                if isinstance(node, Task):
                    if node.state == "active" and node not in self.waits:
                        return True  # it runs
                    if node.state not in ("queued", "new") or self._needs(_permit_for(node) or node.host)[0] > 0:
                        continue
                    if node.host.needed_by(node):
                        continue
                    node = node.host
                if len(self.waiting.get(node, ())) < node.slots.used or node.slots.used < node.slots.limit:
                    return True  # a slot is free, or held by a task that does not wait
        return number <= 0

    def standstill(self, wait: Wait) -> str:
        """The reason why the wait can never end, or an empty result."""
        with self.lock:
            able: set[Node] = set()
            known = -1
            # One pass can show that it can end. That it cannot is certain only when a pass finds nothing new that can
            # happen: a node that was reached from itself counted as impossible.
            while known < len(able):
                known = len(able)
                if self._comes_about(wait, able):
                    return ""
            return self._story(wait, able)

    def _comes_about(self, root: Node, able: set[Node]) -> bool:
        """Whether ``root`` can happen; adds all examined nodes that can."""
        met = {root}
        path: list[tuple[Node, list[int], Iterator[Node]]] = [self._step(root)]
        while path:
            node, missing, nodes = path[-1]
            if missing[0] <= 0:
                able.add(node)
            elif (following := next(nodes, None)) is not None:
                if following in able:
                    missing[0] -= 1
                elif following not in met:
                    met.add(following)
                    path.append(self._step(following))
                continue
            path.pop()
            if path and node in able:
                path[-1][1][0] -= 1
        return root in able

    def _step(self, node: Node) -> tuple[Node, list[int], Iterator[Node]]:
        number, nodes = self._needs(node)
        return node, [number], iter(list(nodes))  # a copy: another thread may be changing them

    def _needs(self, node: Node) -> Needs:
        """The nodes on which a node depends, and how many of them must happen first."""
        if isinstance(node, Wait):
            return node.needs()
        if isinstance(node, tuple):
            return len(node), node
        if isinstance(node, Task):
            return self._end_of(node)
        return self._permit_of(node) if isinstance(node, Limiter) else self._slot_of(node)

    def _end_of(self, task: Task) -> Needs:
        if task.completed is not None:
            return NOTHING
        if task.state != "active":
            if task.plan.deadline is not None:
                return NOTHING
            permit, held_by = _permit_for(task), task.host.needed_by(task)
            start = [task.host] if permit is None else [task.host, permit]
            return len(start) + len(held_by), [*start, *held_by]
        waits: Collection[Wait] = list(self.waits.get(task, ()))
        if task.request is not None or task.plan.timeout is not None or task.plan.deadline is not None:
            waits = [wait for wait in waits if wait.closing]  # the others end by its cancellation
        elif task in self.lending:
            permit = _permit_for(task)
            needed = [*waits, task.host] if permit is None else [*waits, task.host, permit]
            return len(needed), needed
        return len(waits), waits

    def _slot_of(self, host: Host) -> Needs:
        used, limit = host.slots.used, host.slots.limit
        waiting = self.waiting.get(host, {})
        if used < limit or len(waiting) < used:
            return NOTHING  # free, or held by a task that does not wait
        holders = [task for task in list(waiting) if _holds_slot(task)]
        if len(holders) < used:
            return NOTHING
        return used - limit + 1, [tuple(self.waits[task]) if _in_thread(task) else task for task in holders]

    def _permit_of(self, limiter: Limiter) -> Needs:
        holders, bound = list(limiter.holders), limiter.in_flight or 0
        if len(holders) < bound or any(task not in self.waits or task in self.lending for task in holders):
            return NOTHING  # free, about to be lent, or held by a task that does not wait
        needed = [tuple(self.waits[task]) if _in_thread(task) else task for task in holders]
        return len(holders) - bound + 1, needed

    def _story(self, wait: Wait, able: set[Node]) -> str:
        """The path from the wait along nodes that cannot happen, up to the waiting task or a repetition."""
        told: list[str] = []
        node: Node = wait
        met: set[Node] = set()
        while node not in met:
            met.add(node)
            ahead = [following for following in list(self._needs(node)[1]) if following not in able]
            if not ahead:
                break
            following = next((found for found in ahead if _task_of(found) is wait.owner), ahead[0])
            if isinstance(node, Wait):
                verb = "would wait" if node is wait else "waits"
                told.append(f"{named(node.owner)} {verb} for {_aim(following)}")
            elif (holder := _task_of(following)) is not None and not isinstance(node, (Task, tuple)):
                what = "permit of its Limit" if isinstance(node, Limiter) else f"slot of {node.name!r}"
                told.append(f"every {what} is held by a task that waits, such as {named(holder)}")
            elif isinstance(node, Task) and isinstance(following, Task):
                told.append(f"{named(node)} depends on {named(following)}")
            if _task_of(following) is wait.owner:
                break
            node = following
        return "; ".join(told)


def _followed(task: Task | None, followed_by: dict[Task, Task | None]) -> Iterator[Task]:
    while task is not None:
        yield task
        task = followed_by[task]


def _permit_for(task: Task) -> Limiter | None:
    """The limit of a queued task's key, if that bounds how many may run."""
    found: Limiter | None = task.host.permits(task)
    return None if found is None or found.in_flight is None else found


def _holds_slot(task: Task) -> bool:
    return task.completed is None or task.left_running


def _in_thread(task: Task) -> bool:
    """Whether the slot is held until a thread ends, whether or not the task ends."""
    return task.plan.runner_name != "inline"


def named(task: Task) -> str:
    """The task and its executor, for a message."""
    return f"task {task.name!r} of {task.host.name!r}"


def _aim(node: Node) -> str:
    task = _task_of(node)
    if isinstance(node, Limiter):
        return "a permit of its Limit"
    if task is None:
        return f"room in {cast('Host', node).name!r}"
    return f"{named(task)}, which is queued" if task.state == "queued" else named(task)


def _task_of(node: Node) -> Task | None:
    """The task that a node is about; None for an executor."""
    if isinstance(node, Task):
        return node
    if isinstance(node, Wait):
        return node.owner
    return node[0].owner if isinstance(node, tuple) else None


WAITS = Waits()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=WAITS.clear)  # nothing waits in the child
