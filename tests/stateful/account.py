"""A model of an executor: the expected figures, computed from its user's calls and from the functions of its tasks.

The account never looks at the executor. It is told of calls (by the machine), of beginnings and ends of functions (by
the functions themselves) and of acceptances (by the observer), and knows the rules: who gets a slot, who waits where,
how a task ends. Time is virtual, so every figure is exact.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Account", "Collector", "Request", "Task", "error_type"]


class Collector(Protocol):
    """Who collects the outcomes of some tasks, as the account knows it."""

    def accepted(self, task: Task) -> None:
        """The task is one of its own."""

    def ended(self, task: Task) -> None:
        """It has ended."""


@dataclass(frozen=True)
class Request:
    """A request to end the task: ``timeout``, or a reason of a cancellation."""

    reason: str
    at: float
    message: str | None = None
    recorded: bool = True
    """By the executor, which then knows how long the task took to obey."""


@dataclass(eq=False)
class Task:
    """One call. Instants are of the loop's clock; ``None``: it has not come to that."""

    name: str
    runner: str = "inline"
    timeout: float = math.inf
    deadline: float = math.inf
    abandon: bool = True
    startable: bool = True
    """Whether a pool that runs it has begun, so that it cannot be taken back."""
    called: float = 0.0
    accepted: float | None = None
    began: float | None = None
    ended: float | None = None
    assigned: bool = False
    waited: float | None = None
    """For room; None: there was some."""
    outcome: str = ""
    reason: str = ""
    error: BaseException | None = None
    value: Any = None
    request: Request | None = None
    order: int = 0
    step: int = 0
    left: bool = False
    doomed: str = ""
    """Accepted all the same it will be asked to end, for this reason: its submitter or its pile is no more."""
    called_once: bool = False
    finished: bool = False
    """Its function has ended, whatever became of the task before."""
    collector: Collector | None = None
    nested: bool = False
    """Another task of this executor has submitted it."""
    alias: str = ""
    """What the executor calls it, if that is not its own name: tasks of an iteration share one."""

    @property
    def shown_name(self) -> str:
        """Its name in what the executor reports."""
        return self.alias or self.name

    @property
    def limit(self) -> float:
        """Until when it may run."""
        return min(self.deadline, math.inf if self.began is None else self.began + self.timeout)

    def surely_before(self, other: Task) -> bool:
        """Whether it has ended before the other one; within one step only the ends of functions have an order."""
        assert self.ended is not None
        assert other.ended is not None
        if (self.ended, self.step) != (other.ended, other.step):
            return (self.ended, self.step) < (other.ended, other.step)
        exact = all(task.began is not None and not task.pooled for task in (self, other))
        return exact and self.order < other.order

    @property
    def pooled(self) -> bool:
        """Whether its function runs outside the loop."""
        return self.runner == "futures"


def error_type(error: BaseException) -> str:
    """``error.type`` of the contract."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


@dataclass
class Account:
    """One executor's."""

    clock: Callable[[], float]
    limit: int
    capacity: int | None
    escalate: bool = False
    tasks: list[Task] = field(default_factory=list)
    queue: dict[Task, None] = field(default_factory=dict)
    active: dict[Task, None] = field(default_factory=dict)
    left: dict[Task, None] = field(default_factory=dict)
    line: dict[Task, None] = field(default_factory=dict)
    rejections: list[tuple[str, str, float | None]] = field(default_factory=list)
    closing: str | None = None
    closing_at: float = 0.0
    closed_at: float | None = None
    grace_at: float = math.inf
    cut: list[Task] = field(default_factory=list)
    before: Counter[str] = field(default_factory=Counter)
    behind: int = 0
    now: float = 0.0
    opened: float = 0.0
    slot_time: float = 0.0
    limit_time: float = 0.0
    saturated_time: float = 0.0
    failures: list[BaseException] = field(default_factory=list)
    """Of tasks, where they escalate."""
    interrupt: BaseException | None = None
    body_cancelled: bool = False
    """A failure or an interrupt has cancelled the executor's block."""
    broken_observers: int = 0
    ends: int = 0
    step: int = 0
    """Counted up by the machine: ends within one step may come in any order."""
    faults: list[str] = field(default_factory=list)
    """Faults that were found where nothing could be raised."""

    def __post_init__(self) -> None:
        self.now = self.opened = self.clock()
        self.most = self.limit  # slots that there were in this step

    def next_step(self) -> None:
        """The loop is quiet."""
        self.step += 1
        self.most = self.limit

    def require(self, holds: bool, fault: str) -> None:
        """Note a fault: an exception in a function or an observer would not fail the test."""
        if not holds:
            self.faults.append(fault)

    # -- time ------------------------------------------------------------------------------------------------------

    def tick(self) -> float:
        """Take note of the time that has passed, and of what it has brought about."""
        now = self.clock()
        while (at := self._next_instant()) <= now:
            self._pass_until(at)
            for task in [task for task in self.line if task.deadline <= at]:
                self.reject(task, "submit_timeout")
            for task in [task for task in self.queue if task.deadline <= at]:
                self._end(task, "timeout")
            for task in [task for task in self._running() if task.limit <= at]:
                self._ask(task, Request("timeout", at))
            if self.grace_at <= at and self.closing == "":
                self.abort("shutdown")
        self._pass_until(now)
        return now

    def _next_instant(self) -> float:
        waiting = [task.deadline for task in (*self.line, *self.queue)]
        running = [task.limit for task in self._running()]
        grace = self.grace_at if self.closing == "" and self.closed_at is None else math.inf
        return max(self.now, min((*waiting, *running, grace), default=math.inf))

    def _running(self) -> list[Task]:
        """Those that time alone may end: whoever has no time left before it begins is told so then (has_no_time)."""
        return [task for task in self.active if task.began is not None and task.request is None]

    def _pass_until(self, at: float) -> None:
        if self.closed_at is None:
            passed, used = at - self.now, len(self.active) + len(self.left)
            self.slot_time += passed * used
            self.limit_time += passed * self.limit
            self.saturated_time += passed * (used >= self.limit)
        self.now = at

    # -- calls -----------------------------------------------------------------------------------------------------

    def room(self) -> bool:
        """Whether one more task that has waited for its turn can be accepted."""
        free = self.limit - len(self.active) - len(self.left)
        return self.capacity is None or len(self.queue) < self.capacity or (free > 0 and not self.queue)

    def block(self, task: Task) -> None:
        """Its producer waits for room."""
        self.line[task] = None

    def reject(self, task: Task, reason: str) -> None:
        """It never became a task."""
        blocked = self.now - task.called if task in self.line else None
        self.line.pop(task, None)
        self.rejections.append((task.name, reason, blocked))

    def accept(self, task: Task) -> None:
        """It becomes a task: into a slot, else into the queue. It does not overtake waiting ones."""
        now = self.tick()
        # An interrupt closes the executor when all observers have been told of its task's end; they may still submit.
        interrupting = self.closing == "keyboard_interrupt" and self.closing_at == now
        self.require(self.closing is None or interrupting, f"{task.name} was accepted while the executor was closing")
        self.require(task.accepted is None, f"{task.name} was accepted twice")
        ahead = [each for each in self.line if each is task or not each.doomed]  # the doomed are leaving the line
        # A task's own child may have a place beyond those of the queue, for which nobody waits.
        self.require(task.nested or not ahead or ahead[0] is task, f"{task.name} has overtaken another one")
        if interrupting and task not in self.line:
            self._readmit(task)
        task.accepted, task.waited = now, now - task.called if task in self.line else None
        self.line.pop(task, None)
        self.tasks.append(task)
        if task.collector is not None:
            task.collector.accepted(task)
        self.queue[task] = None
        self._dispatch()
        if interrupting:
            self._ask(task, Request("keyboard_interrupt", now))

    def _readmit(self, task: Task) -> None:
        # The end of the interrupted task made room, which an item in hand takes at once, before the executor closes.
        told = (task.name, "already_shutdown", self.now - task.called)
        if task.alias and told in self.rejections:
            self.rejections.remove(told)
            self.line[task] = None

    def resize(self, limit: int) -> None:
        """The number of slots changes."""
        self.tick()
        self.most = max(self.most, limit)
        self.limit = limit
        self._dispatch()

    def cancel(self, task: Task, reason: str, message: str | None = None, *, recorded: bool = True) -> bool:
        """Whether this is what ends the task, if nothing else does before."""
        now = self.tick()
        if task.ended is not None or task.request is not None:
            return False
        self._ask(task, Request(reason, now, message, recorded))
        return True

    def overtake(self, task: Task, reason: str, message: str) -> None:
        """An observer's request came before what ends the task by itself in this very step: its time, the closing."""
        settling = task.ended is None or (task.ended, task.step) == (self.now, self.step)
        by_itself = task.request is None or task.request.reason in ("timeout", self.closing)
        self.require(settling and by_itself, f"{task.name} was cancelled after its end, or twice")
        task.request = Request(reason, self.now, message)
        if task.ended is not None:
            task.outcome, task.reason = "cancelled", reason
        if task in self.cut:
            self.cut.remove(task)

    def meet(self, task: Task) -> None:
        """It is being cancelled: by a request that is known, or because its submitter was cancelled."""
        self.tick()
        if task.doomed and task.request is None and task.ended is None:
            self._ask(task, Request(task.doomed, self.now))

    def _ask(self, task: Task, request: Request) -> None:
        task.request = request
        if task.began is None or (task.pooled and task.abandon and not task.finished):
            task.left = task.began is not None and task.startable
            self._end(task, "timeout" if request.reason == "timeout" else "cancelled")

    # -- functions -------------------------------------------------------------------------------------------------

    def begin(self, task: Task) -> None:
        """Its function is about to be called."""
        now = self.tick()
        self.require(task.assigned, f"{task.name} begins without a slot")
        self.require(task.ended is None and task.began is None, f"{task.name} begins after its end, or twice")
        self.require(task.limit > now, f"{task.name} begins out of time")
        task.began = now

    def has_no_time(self, task: Task) -> None:
        """It is out of time before it begins; what asks it to end in the same step may come first."""
        now = self.tick()
        if task.ended is None and task.request is None and task.began is None:
            self.require(task.assigned and min(task.timeout, task.deadline - now) <= 0, f"{task.name} has time left")
            self._end(task, "timeout")

    def call(self, task: Task) -> None:
        """Its function is called."""
        self.require(task.began == self.tick() and not task.called_once, f"{task.name} is called twice, or late")
        task.called_once = True

    def end(
        self, task: Task, value: Any = None, error: BaseException | None = None, *, cancelled: bool = False
    ) -> None:
        """Its function ends: with a value, an error, or a cancellation that it lets pass."""
        self.tick()
        self.require(task.called_once and not task.finished, f"{task.name} ends before it was called, or twice")
        task.finished = True
        if task.left:
            del self.left[task]
            self._dispatch()
        elif not cancelled:
            self._end(task, "success" if error is None else "error", value, error)
        else:
            self.require(task.request is not None, f"{task.name} was cancelled by nobody")
            timeout = task.request is not None and task.request.reason == "timeout"
            self._end(task, "timeout" if timeout else "cancelled")

    def _end(self, task: Task, outcome: str, value: Any = None, error: BaseException | None = None) -> None:
        self.require(task.ended is None, f"{task.name} ends twice")
        task.ended, task.outcome, task.value, task.error = self.now, outcome, value, error
        self.ends += 1
        task.order, task.step = self.ends, self.step
        if outcome == "cancelled" and task.request is not None:
            task.reason = task.request.reason
            if self.closing and task.reason == self.closing:
                self.cut.append(task)
        self.queue.pop(task, None)
        self.active.pop(task, None)
        if task.left:
            self.left[task] = None
        if outcome == "error" and error is not None and self.escalate:
            self.failures.append(error)
            if not self.closing:
                self.body_cancelled = True
                self.abort("sibling_failure")
        if task.collector is not None:
            task.collector.ended(task)
        self._dispatch()
        self._close_if_idle()

    def _dispatch(self) -> None:
        while self.queue and len(self.active) + len(self.left) < self.limit:
            task = next(iter(self.queue))
            del self.queue[task]
            task.assigned = True
            self.active[task] = None

    def interrupted(self, error: BaseException) -> None:
        """A task on the loop has ended with an interrupt of the program."""
        if self.interrupt is None:
            self.interrupt = error
        self.body_cancelled = True
        self.abort("keyboard_interrupt")

    # -- closing ---------------------------------------------------------------------------------------------------

    def close(self, grace: float | None = None) -> None:
        """No more is accepted; after the grace what is left is cut."""
        now = self.tick()
        self._begin_closing()
        if grace is not None:
            self.grace_at = min(self.grace_at, now + grace)
            self.tick()
        self._close_if_idle()

    def abort(self, reason: str, *, recorded: bool = True) -> None:
        """Everything is cancelled."""
        self._begin_closing()
        self.closing = self.closing or reason
        for task in [*self.queue, *self.active]:
            if task.ended is None and task.request is None:
                self._ask(task, Request(reason, self.now, recorded=recorded))
        self._close_if_idle()

    def _begin_closing(self) -> None:
        if self.closing is None:
            self.closing, self.closing_at, self.before = "", self.now, self.outcomes()
            for task in list(self.line):
                self.reject(task, "already_shutdown")

    def _close_if_idle(self) -> None:
        if self.closing is not None and self.closed_at is None and not self.queue and not self.active:
            self.closed_at, self.behind = self.now, len(self.left)

    def outcomes(self) -> Counter[str]:
        """How many tasks have ended how."""
        return Counter(task.outcome for task in self.tasks if task.ended is not None)
