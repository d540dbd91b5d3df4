"""The graph of waits: every wait of a task for an executor, across all executors, event loops and threads.

    task ──waits──▶ a task, some tasks, or room in an executor
    queued task, room in an executor ──▶ slots ──▶ the tasks that hold them
    queued task ──▶ a permit of its limit ──▶ the tasks that hold one, of any executor that shares the limit

A wait is refused, by ``NestedWait``, in two cases. *Chain*: its executor is that of the task itself, or of a task that
waits for it, directly or through others; it would hang as soon as the slots run out, so it is always refused.
*Standstill*: nothing that it waits for can happen any more, because all of it depends on this task; this finds circles
that run through slots, or that close in another order.

All waits within a task count as its own, including those in its nurseries and threads: the context identifies the task.
Tasks that do not wait, and waits outside of all tasks, are not in the graph.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import TypeVar, cast

from anyio.lowlevel import checkpoint

from glasspool.errors import NestedWait

from .interfaces import NOTHING, Host, Needs
from .ledger import Ledger
from .policies.limiter import Limiter
from .task_state import Task

__all__ = ["WAITS", "Wait", "refuse_chain", "waiting"]

T = TypeVar("T")

TURNS = 3
"""Loop turns after which a refusal must still hold: a waiter that was cancelled needs one or two until it is gone."""

WAY_OUT = (
    "Within a task call the function itself, without an executor; or return what is still to be done and let the code "
    "that waits outside of these tasks submit it"
)


class Wait:
    """One wait of task ``owner`` for executor ``host``, which ``what`` names.

    ``needs`` returns its current condition. ``key`` identifies what it waits for: a task, the collection that a task's
    outcome goes to, or an executor that becomes idle; None for room. ``closing``: what it waits for is being cancelled
    and needs no slot, and its own cancellation does not end it.
    """

    __slots__ = ("closing", "host", "key", "needs", "owner", "what")

    def __init__(
        self, owner: Task, host: Host, what: str, needs: Callable[[], Needs], key: object, closing: bool
    ) -> None:
        self.owner = owner
        self.host = host
        self.what = what
        self.needs = needs
        self.key = key
        self.closing = closing


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
        self.waiting: dict[Host, dict[Task, None]] = {}  # tasks that wait, by their own executor
        self.awaited: dict[object, dict[Wait, None]] = {}  # by key

    def begin(self, wait: Wait) -> bool:
        """Enter the wait. Returns whether it must be examined because it may close a circle."""
        owner, key, awaited = wait.owner, wait.key, self.awaited
        with self.lock:
            waits = self.waits.get(owner)
            if waits is None:
                self.waits[owner] = {wait: None}
                self.waiting.setdefault(owner.host, {})[owner] = None
            else:
                waits[wait] = None
            if key is not None:
                awaited.setdefault(key, {})[wait] = None
            return (not wait.closing and bool(self.chain(owner, wait.host))) or not self._can_end_at_once(wait)

    def end(self, wait: Wait) -> None:
        """Remove the wait, however it ended."""
        owner, key = wait.owner, wait.key
        with self.lock:
            if (found := self.awaited.get(key)) is not None:
                found.pop(wait, None)
                if not found:
                    del self.awaited[key]
            if (found := self.waits.get(owner)) is not None:
                found.pop(wait, None)
                if not found:
                    del self.waits[owner]
                    tasks = self.waiting.get(owner.host, {})
                    tasks.pop(owner, None)
                    if not tasks:
                        self.waiting.pop(owner.host, None)

    # -- chains ----------------------------------------------------------------------------------------------------

    def chain(self, owner: Task, host: Host) -> list[Task]:
        """The shortest chain of tasks, the first of ``host``, of which each waits for the next and the last is
        ``owner``; empty if there is none."""
        awaited = self.awaited
        with self.lock:
            if owner.host is host:
                return [owner]
            if owner not in awaited and owner.sink not in awaited and owner.host not in awaited:
                return []  # nothing waits for it, the common case
            followed_by: dict[Task, Task | None] = {owner: None}
            for task in (found := [owner]):
                if task.host is host:
                    return list(_followed(task, followed_by))
                for key in (task, task.sink, task.host):
                    for wait in list(awaited.get(key, ())):
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
                    if node.state != "queued" or self._needs(_permit_for(node) or node.host)[0] > 0:
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
            # happen:
            # a node that was reached from itself counted as impossible.
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
            permit = _permit_for(task)
            return (1, (task.host,)) if permit is None else (2, (task.host, permit))
        waits: Collection[Wait] = list(self.waits.get(task, ()))
        if task.request is not None or task.plan.timeout is not None or task.plan.deadline is not None:
            waits = [wait for wait in waits if wait.closing]  # the others end by its cancellation
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
        if len(holders) < bound or any(task not in self.waits for task in holders):
            return NOTHING  # free, or held by a task that does not wait
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
                told.append(f"{_named(node.owner)} {verb} for {_aim(following)}")
            elif (holder := _task_of(following)) is not None and not isinstance(node, (Task, tuple)):
                what = "permit of its Limit" if isinstance(node, Limiter) else f"slot of {node.name!r}"
                told.append(f"every {what} is held by a task that waits, such as {_named(holder)}")
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


def _named(task: Task) -> str:
    return f"task {task.name!r} of {task.host.name!r}"


def _aim(node: Node) -> str:
    task = _task_of(node)
    if isinstance(node, Limiter):
        return "a permit of its Limit"
    if task is None:
        return f"room in {cast('Host', node).name!r}"
    return f"{_named(task)}, which is queued" if task.state == "queued" else _named(task)


def _task_of(node: Node) -> Task | None:
    """The task that a node is about; None for an executor."""
    if isinstance(node, Task):
        return node
    if isinstance(node, Wait):
        return node.owner
    return node[0].owner if isinstance(node, tuple) else None


WAITS = Waits()


async def waiting(wait: Wait, body: Callable[[], Awaitable[T]]) -> T:
    """Await ``body()``, which performs the wait. Raises NestedWait if it could, or would, hang for ever."""
    ledger = wait.key if isinstance(wait.key, Ledger) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if ledger is not None:
        ledger.watched += 1
    try:
        if WAITS.begin(wait):
            await _examine(wait)
        return await body()
    finally:
        WAITS.end(wait)
        if ledger is not None:
            ledger.watched -= 1


async def _examine(wait: Wait) -> None:
    if not wait.closing:
        await refuse_chain(wait.owner, wait.host, wait.what)
    if WAITS.standstill(wait):
        for _ in range(TURNS):
            await checkpoint()
        if story := WAITS.standstill(wait):
            raise NestedWait(f"{_inside(wait.what, wait.owner)} would hang for ever: {story}. {WAY_OUT}")


async def refuse_chain(owner: Task, host: Host, what: str) -> None:
    """Raise NestedWait if a wait of ``owner`` for ``host`` would close a chain."""
    if owner.host is host:
        raise NestedWait(
            f"{what} inside task {owner.name!r} of the same executor {host.name!r} could hang for ever: the task would "
            f"hold a slot while it waits for one. {WAY_OUT}"
        )
    if WAITS.chain(owner, host):
        for _ in range(TURNS):
            await checkpoint()
        if chain := WAITS.chain(owner, host):
            raise NestedWait(
                f"{_inside(what, owner)} would close a circle of waits, which could hang for ever: "
                f"{' waits for '.join(map(_named, chain))}, which would wait for {host.name!r}. {WAY_OUT}"
            )


def _inside(what: str, owner: Task) -> str:
    return f"{what} inside task {owner.name!r} of executor {owner.host.name!r}"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=WAITS.clear)  # nothing waits in the child
