"""NestedOrder: which queued task gets a slot out of turn, where tasks wait for tasks of their own executor.

    wait ──for a task──▶ that task                           first, the deepest of them before the others
    wait ──for a pile or an iteration──▶ its oldest queued    likewise, one at a time
    slots that are lent, as many as there are ──▶ the deepest queued tasks
    everything else ──▶ in order of acceptance

One task at a time of each pile or iteration: a task that waits for an endless one must not have all slots for it. The
*depth* of a task is one more than that of the task of the same executor in which it was submitted, else 0.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import count

from .policies.gate import Gate
from .task_state import Task
from .waits import Wait

__all__ = ["NestedOrder"]

_DEPTH, _AWAITED = 1 << 40, 1 << 80
"""How far a gate moves an awaited task forward in its order: before all that are not, and the deeper the further."""

Pair = tuple[Task, object]
"""A task that waits, and what for (``Wait.key``)."""

Heap = list[tuple[int, int]]
"""Depths, negative, and ages: the deepest first, then the oldest. With entries that hold no more; without the tasks:
those that have ended must leave nothing."""


class NestedOrder:
    """The queued tasks of one executor, from its first nested task on.

    :param gate: the executor's gate, if it has one; it has an order of its own then.
    """

    def __init__(self, gate: Callable[[], Gate | None]) -> None:
        self._gate = gate
        # All mutable state; touched on the event loop only.
        self._ages = count()
        self._depths: dict[Task, int] = {}  # of tasks that have not ended; where it is not 0
        self._queued: dict[Task, int] = {}  # the age
        self._of_age: dict[int, Task] = {}  # the same, the other way round
        self._of_sink: dict[object, OrderedDict[Task, None]] = {}  # queued ones, by what their outcome goes to
        self._waits: dict[Pair, int] = {}  # how many there are
        self._chosen: dict[Pair, Task] = {}  # the task that goes first, until it has ended
        self._chosen_by: dict[Task, dict[Pair, None]] = {}  # the same, the other way round
        self._choosing: dict[object, OrderedDict[Pair, None]] = {}  # by key: those waited for that have no such task
        self._first: Heap = []  # queued tasks that were chosen
        self._deepest: Heap = []  # queued tasks of some depth
        self._ahead: set[Task] = set()  # tasks that have started out of turn and have not ended

    # -- tasks -----------------------------------------------------------------------------------------------------

    def submitted(self, task: Task, parent: Task) -> None:
        """The task was submitted within ``parent``, a task of the same executor, and is being accepted."""
        self._depths[task] = self._depths.get(parent, 0) + 1

    def queued(self, task: Task) -> None:
        """The task is queued."""
        self._queued[task] = age = next(self._ages)
        self._of_age[age] = task
        if task.sink is not None:
            self._of_sink.setdefault(task.sink, OrderedDict())[task] = None
        if task in self._depths:
            self._push(self._deepest, task)
        choosing = self._choosing.get(task) or self._choosing.get(task.sink)
        if choosing:
            self._choose(next(iter(choosing)), task)

    def queued_again(self, task: Task) -> None:
        """The task, which had started, is queued again, to run once more."""
        self._ahead.discard(task)
        self.queued(task)
        if task in self._chosen_by:
            self._forward(task)

    def left(self, task: Task) -> None:
        """The task is not queued any more, if it was."""
        age = self._queued.pop(task, None)
        if age is None:
            return
        del self._of_age[age]
        others = self._of_sink.get(task.sink)
        if others is not None:
            others.pop(task, None)
            if not others:
                del self._of_sink[task.sink]

    def ended(self, task: Task) -> None:
        """The task has ended."""
        self.left(task)
        self._depths.pop(task, None)
        self._ahead.discard(task)
        for pair in self._chosen_by.pop(task, ()):
            del self._chosen[pair]

    # -- waits -----------------------------------------------------------------------------------------------------

    def awaited(self, wait: Wait) -> None:
        """A wait of a task for this executor begins."""
        pair = wait.owner, wait.key
        self._waits[pair] = self._waits.get(pair, 0) + 1
        self.lasts(wait)

    def lasts(self, wait: Wait) -> None:
        """The wait still lasts: it chooses a task, if the one that it has chosen has ended, or an earlier one has."""
        key = wait.key
        pair = wait.owner, key
        if pair in self._chosen or key is None:
            return
        if isinstance(key, Task):
            found = key if key in self._queued else None
        else:
            found = next(iter(self._of_sink.get(key, ())), None)
        if found is not None:
            self._choose(pair, found)
        else:
            self._choosing.setdefault(key, OrderedDict())[pair] = None

    def not_awaited(self, wait: Wait) -> None:
        """The wait is over."""
        pair = wait.owner, wait.key
        self._waits[pair] -= 1
        if self._waits[pair]:
            return
        del self._waits[pair]
        self._no_more(pair)
        task = self._chosen.get(pair)
        if task is not None and task in self._queued:  # one that has started counts until it has ended
            del self._chosen[pair]
            pairs = self._chosen_by[task]
            del pairs[pair]
            if not pairs:
                del self._chosen_by[task]

    def _no_more(self, pair: Pair) -> None:
        """A task was chosen, or none is needed."""
        others = self._choosing.get(pair[1])
        if others is not None:
            others.pop(pair, None)
            if not others:
                del self._choosing[pair[1]]

    def _choose(self, pair: Pair, task: Task) -> None:
        self._no_more(pair)
        self._chosen[pair] = task
        pairs = self._chosen_by.setdefault(task, {})
        pairs[pair] = None
        if len(pairs) == 1:
            self._push(self._first, task)
            self._forward(task)

    # -- the order -------------------------------------------------------------------------------------------------

    def _push(self, heap: Heap, task: Task) -> None:
        if self._gate() is not None:
            return
        if len(heap) > 2 * len(self._queued) + 64:  # mostly of tasks that have left: begin anew
            heap[:] = [entry for entry in heap if entry[1] in self._of_age]
            heapq.heapify(heap)
        heapq.heappush(heap, (-self._depths.get(task, 0), self._queued[task]))

    def _forward(self, task: Task) -> None:
        gate = self._gate()
        if gate is not None:
            gate.forward(task, _AWAITED + self._depths.get(task, 0) * _DEPTH)

    def gated(self) -> None:
        """There is a gate from now on, with an order of its own: it has those before all others that were
        chosen."""
        self._first.clear()
        self._deepest.clear()
        for task in self._chosen_by:
            if task in self._queued:
                self._forward(task)

    def next(self, lent: int) -> Task | None:
        """The queued task that gets the next free slot out of turn, while so many slots are lent; None if the oldest
        does."""
        task = self._top(self._first, self._chosen_by)
        if task is None and len(self._ahead) < lent:
            task = self._top(self._deepest, self._queued)
        if task is not None:
            self._ahead.add(task)
        return task

    def _top(self, heap: Heap, valid: Mapping[Task, object]) -> Task | None:
        while heap:
            task = self._of_age.get(heap[0][1])
            if task is not None and task in valid:
                return task
            heapq.heappop(heap)
        return None
