"""The record of one executor, native or wrapped: its life in the registry, its rare events, what readings ask of it.

The moves of its tasks are entered by a recorder that holds the record: ``recorder.Recorder``, or the instrumentation's,
which counts in batches.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

from opentelemetry.trace import Span

from glasspool.telemetry import catalog

from . import exemplars
from .histograms import Histogram
from .holds import Holds
from .identity import Totals
from .part import Part
from .places import Look, Places
from .printable_text import printable
from .registry import REGISTRY, Registry
from .shape import Shape
from .slots import SlotClock, SlotFigures
from .task_record import Counts, TaskRecord

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ExecutorRecord"]

logger = logging.getLogger("glasspool")


class ExecutorRecord:
    """The figures of one executor, native or wrapped.

    ``type`` is the contract's ``glasspool.executor.type``; ``limit`` the number of slots and ``capacity`` the number
    of queue places (``None``: unbounded or unknown); ``max_task_names`` caps the task names shown (0: none);
    ``clock`` gives monotonic seconds; a task is late when it waits longer than ``wait_objective`` seconds (``None``:
    there is no objective). Recorders of one name and type are summed by the registry.
    """

    def __init__(
        self,
        name: str,
        type: str,
        shape: Shape,
        *,
        limit: int | None = None,
        capacity: int | None = None,
        worker_limits: dict[str, int] | None = None,
        max_task_names: int = 25,
        wait_objective: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
        registry: Registry = REGISTRY,
        alive: Callable[[], int] | None = None,
        slots: Callable[[int | None], SlotClock] = SlotClock,
    ) -> None:
        self.name = printable(name)
        self.type = type
        self.shape = shape
        self.clock = clock
        self.max_task_names = max_task_names
        self.capacity = capacity
        self.slots = slots(limit)
        self.alive = alive
        self.worker_limits = worker_limits or {}
        self.late_after = inf if wait_objective is None else wait_objective
        self.registry = registry
        self.totals: Totals
        self.dormant: bool
        self.is_open: bool
        self.part = Part()
        self.shown_slots: SlotFigures | None = None  # those of a limiter, which knows better than its calls do
        self.places: Callable[[Look], Places | None] | None = None
        self._new_slots = slots
        self.clear()

    # -- lifecycle -------------------------------------------------------------------------------------------------

    def open(self) -> Self:
        """Join the registry: series exist from here on. Returns itself; a second call changes nothing."""
        if self.dormant:
            totals = self.totals = self.registry.attach(self)  # the same one, however often
            self.joined = True
            self.in_turn(self._open)
            self.registry.joined(totals)
            if totals.name != self.name and self.registry.budget.first("names"):
                logger.warning(
                    "this process shows as many executors as it may (%d names); %r and later ones are counted as %s, "
                    "without gauges", self.registry.budget.names, self.name, catalog.OTHER,
                )  # fmt: skip
            self.part.opened()
        return self

    def _open(self) -> None:
        if not self.dormant:
            return
        totals, now = self.totals, self.clock()
        totals.begin()
        totals.expect(self.shape)
        if self.late_after != inf:
            totals.expect_objective()
        if self.holds is not None:
            totals.expect_holds(self.holds.names)
        self.opened_at = now
        self.slots.open(now)
        live = [*totals.live, self]
        # Call-free, as everywhere where a reading in a signal handler must see all of it or nothing.
        totals.live = live
        if self.capacity is None:
            totals.unbounded = True
        totals.opened += 1
        self.is_open = True
        self.dormant = False

    def close(self) -> None:
        """Leave the registry: gauges go to 0, counters and histograms stay with the identity. Idempotent."""
        if self.joined:
            self.in_turn(self._close)
        self.part.closed()

    def _close(self) -> None:
        if not self.is_open:
            return
        totals, now = self.totals, self.clock()
        left = [recorder for recorder in totals.live if recorder is not self]
        figures = self.figures
        slots, limit, saturated = figures.used_time(now), figures.limit_time(now), figures.saturated_time(now)
        # Call-free: this executor's share is either here or there.
        totals.live = left
        totals.slot_time += slots
        totals.limit_time += limit
        totals.saturated_time += saturated
        totals.open_time += now - self.opened_at
        totals.closed += 1
        self.is_open = False

    def after_fork(self) -> None:
        """Forget everything inherited from the parent process; the next use joins the child's registry."""
        self.clear()
        self.part.cleared()

    def clear(self) -> None:
        """Start anew: nothing was recorded in this process yet."""
        # All mutable state. It changes in turns of the identity; the nine counts are also read without (see counts).
        self.lock = threading.RLock()  # for those to whom several of its methods are one step
        self.dormant = True  # not opened in this process yet
        self.joined = False  # opened, or put off until the update under way is complete
        self.is_open = False
        self.slots = self._new_slots(self.slots.limit)
        self.succeeded = self.failed = self.timed_out = self.cancelled = self.rejected = 0
        self.workers = dict.fromkeys(self.shape.workers, 0)  # alive; the busy ones are derived
        self.active_tasks: OrderedDict[TaskRecord, None] = OrderedDict()  # why ordered: see SlotClock.waiting
        self.asked: dict[TaskRecord, float] = {}  # to end, since then; or at a time to come, when theirs is out
        self.holds: Holds | None = None  # what holds queued tasks back, where something does
        self.retry_budget: Callable[[], int] | None = None  # retries that are allowed now, where they are counted
        self.services: Counter[tuple[str, str]] = Counter()  # by shown name and state; but those that have failed
        self.serving = 0  # calls that keep workers busy and are another executor's tasks
        self.pending: OrderedDict[object, float] = OrderedDict()  # blocked producer -> since when
        self.opened_at = 0.0

    def enter(self) -> None:
        """Bring up to date what only a reading asks for; called before every one, in a turn."""
        self.part.enter()
        if self.alive is not None and self.shape.workers:
            self.workers[self.shape.workers[0]] = self.alive()

    def catch_up(self) -> None:
        """Enter what was noted and not yet counted."""
        if not self.dormant:
            self.in_turn(self.enter)

    def when_caught_up(self, then: Callable[[], object]) -> None:
        """Catch up, then call ``then``, in a turn."""
        self.catch_up()
        self.in_turn(then)

    def in_turn(self, update: Callable[..., object], *args: object) -> None:
        """Make an update now, or when the one under way on this thread is complete."""
        self.totals.change(update, *args)
        if self.totals.capped:
            self.log_caps()

    def log_caps(self) -> None:
        """Say which caps were hit, each once. The caller holds no lock."""
        for cap in self.totals.unlogged_caps():
            logger.warning("executor %r (%s) %s; the rest is counted as %s", self.name, self.type, cap, catalog.OTHER)

    # -- what is not a task's own way ------------------------------------------------------------------------------

    def label(self, name: str) -> str:
        """The task name after the cap, as metrics and span names show it."""
        if self.dormant:
            self.open()
        totals = self.totals
        label = totals.task_names.get(name)
        if label is None:
            label = totals.task_name(name)
            if totals.capped:
                self.log_caps()
        return label

    def counts(self) -> Counts:
        """The conserved figures, from any thread, without a lock."""
        slots = self.slots
        figures = (
            slots.queued, slots.in_flight, self.succeeded, self.failed,
            self.timed_out, self.cancelled, self.rejected, slots.abandoned, slots.lent,
        )  # fmt: skip
        return Counts(*figures)

    def expect(self, shape: Shape) -> None:
        """Events of this shape have become possible: their counters exist at 0 from now on."""
        self.in_turn(self.totals.expect, shape)

    def reject(self, reason: str, blocked: float | None = None) -> None:
        """A call never became a task. ``blocked``: seconds its producer had waited, if it waited."""
        if self.dormant:
            self.open()
        self.in_turn(self._reject, reason, blocked)

    def _reject(self, reason: str, blocked: float | None) -> None:
        if blocked is not None:
            self.measure(self.totals.submit_wait_of(), blocked)
        rejected = self.totals.ready(self.totals.rejected, reason)
        rejected[reason] += 1
        self.rejected += 1

    def producer_blocked(self, producer: object) -> None:
        """A producer starts to wait in submit."""
        with self.totals.lock:  # a reading in another thread goes through them
            self.pending[producer] = self.clock()
        self.totals.blocked = True

    def producer_released(self, producer: object) -> float:
        """A producer's wait is over, accepted or not. Returns how long it waited, in seconds."""
        with self.totals.lock:
            return self.clock() - self.pending.pop(producer)

    def ask(self, task: TaskRecord, at: float) -> None:
        """A running task is asked to end at this instant of the clock."""
        self.in_turn(self._ask, task, at)

    def will_ask(self, task: TaskRecord, at: float) -> None:
        """A task that is about to begin will be asked to end at this instant of the clock (its timeout)."""
        with self.totals.lock:  # no turn: nothing comes in between, and figures that must add up do not change
            self.asked[task] = at

    def _ask(self, task: TaskRecord, at: float) -> None:
        if task in self.active_tasks:  # it may have come in the middle of its end
            self.asked[task] = min(at, self.asked.get(task, inf))

    def thread_freed(self, runner: str) -> None:
        """An abandoned task's thread has ended, perhaps long after the executor: its slot is free."""
        self.in_turn(self._free, runner, self.clock())

    def _free(self, runner: str, now: float) -> None:
        abandoned = self.totals.ready(self.totals.abandoned, runner, 0)
        slots = self.slots
        slots.hand_over(now)
        # Call-free.
        slots.abandoned -= 1
        abandoned[runner] -= 1
        slots.used_offset += now
        slots.freed_at = now
        if slots.saturated and slots.in_flight + slots.abandoned < slots.full_at:
            slots.saturated = False
            slots.saturated_offset += now

    def set_limit(self, limit: int) -> None:
        """The number of slots changes now."""
        self.in_turn(self.slots.set_limit, limit, self.clock())

    def lend(self, change: int) -> None:
        """So many more slots (or fewer) are lent by tasks that wait."""
        self.totals.lends = True
        self.in_turn(self.slots.lend, change, self.clock())

    def gated(self, holds: Holds) -> None:
        """From now on something may hold queued tasks back."""
        self.holds = holds
        self.slots.gated = True
        if self.is_open:
            self.in_turn(self.totals.expect_holds, holds.names)

    def was_held(self, task: TaskRecord, reason: str, seconds: float) -> None:
        """A queued task that leaves the queue was held for so long."""
        self.in_turn(self._was_held, task, reason, seconds)

    def _was_held(self, task: TaskRecord, reason: str, seconds: float) -> None:
        self.measure(self.totals.hold_of(reason), seconds, task.span)

    def shutdown_took(self, seconds: float, *, cut: bool) -> None:
        """A closing took this long; ``cut``: tasks were cancelled by it."""
        self.in_turn(self._shut_down, seconds, "cut" if cut else "drained")

    def _shut_down(self, seconds: float, outcome: str) -> None:
        self.measure(self.totals.shutdown_of(outcome), seconds)

    def serves(self, change: int) -> None:
        """So many more calls (or fewer) keep workers busy and are another executor's tasks."""
        self.in_turn(self._serve, change)

    def _serve(self, change: int) -> None:
        self.serving += change

    def context_lost(self, kind: str) -> None:
        """A task's trace context could not be carried: ``missing``, ``stale`` or ``unpicklable``."""
        self.in_turn(self.totals.count, self.totals.losses, kind)

    def error_unretrieved(self) -> None:
        """A failed task was thrown away with its error unseen."""
        if self.dormant:
            self.open()
        self.in_turn(self._unretrieved)

    def _unretrieved(self) -> None:
        self.totals.unretrieved += 1

    def telemetry_failed(self, kind: str) -> None:
        """The telemetry itself failed: ``observer``, ``export``, ``callback``, ``name_cap`` or ``label_cap``."""
        self.in_turn(self.totals.count, self.totals.failures, kind)

    def measure(self, series: Histogram, value: float, span: Span | None = None) -> None:
        """Count one measurement in seconds, in a turn. Updates that every task makes write this out."""
        self.totals.measure(series, value, None if span is None else exemplars.of(span, value), span)

    # -- derived figures, in a turn --------------------------------------------------------------------------------

    @property
    def figures(self) -> SlotFigures:
        """The slots as they are shown."""
        return self.slots if self.shown_slots is None else self.shown_slots

    def asked_since(self, now: float) -> list[float]:
        """When the tasks were asked that have not ended; no order."""
        return [at for at in self.asked.values() if at <= now]

    def active_by_runner(self) -> Counter[str]:
        """Tasks in flight by runner."""
        return Counter([task.runner for task in self.active_tasks])
