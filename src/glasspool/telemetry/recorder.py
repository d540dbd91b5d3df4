"""What the hot path touches: the live figures of one executor, native or wrapped.

A task is reported by ``accept`` → ``assign`` (when a slot is its own) → ``begin`` (its function starts) →
``settle`` (its one outcome), each exactly once and in this order; ``assign`` and ``begin`` are left out for a task
that never got so far. Each is one block of assignments under the identity's lock, so a snapshot sees whole tasks.
``counts()`` needs no lock: it reads what one call-free block wrote in one call-free expression.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from opentelemetry.trace import Span

from . import catalog, exemplars, providers
from .registry import REGISTRY, Registry
from .series import Shape, Totals

__all__ = ["Counts", "Recorder", "TaskRecord"]

logger = logging.getLogger("glasspool")
_task_ids = itertools.count(1)


class Counts(NamedTuple):
    """The conserved figures of one executor: submitted is the sum of the next six."""

    queued: int
    in_flight: int
    succeeded: int
    failed: int
    timed_out: int
    cancelled: int
    rejected: int
    abandoned: int


class TaskRecord:
    """One task as telemetry knows it. Instants are readings of the recorder's clock, in seconds."""

    __slots__ = ("accepted", "began", "id", "label", "name", "runner", "span", "started")

    def __init__(self, name: str, runner: str, label: str, span: Span | None = None) -> None:
        self.id = next(_task_ids)
        self.name = name
        self.runner = runner
        self.label = label  # the name after the cap, as metrics and span names show it
        self.span = span
        self.accepted = 0.0
        self.started = 0.0  # when the slot became its own, then when the function began
        self.began = False


class Recorder:
    """The live figures of one executor.

    ``type`` is the contract's ``glasspool.executor.type``; ``limit`` the number of slots and ``capacity`` the number
    of queue places (``None``: unbounded or unknown); ``max_task_names`` caps the task names shown (0: none);
    ``clock`` gives monotonic seconds. Recorders of one name and type are summed by the registry.
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
        clock: Callable[[], float] = time.perf_counter,
        registry: Registry = REGISTRY,
    ) -> None:
        self.name = name
        self.type = type
        self.shape = shape
        self.clock = clock
        self.max_task_names = max_task_names
        self.capacity = capacity
        self.limit = limit
        self.worker_limits = worker_limits or {}
        self.registry = registry
        self.totals: Totals
        self.dormant: bool
        self.is_open: bool
        self._clear()

    # -- lifecycle -------------------------------------------------------------------------------------------------

    def open(self) -> Recorder:
        """Join the registry: series exist from here on. Returns itself; a second call changes nothing."""
        with self.registry.lock:
            if not self.dormant:
                return self
            totals = self.totals = self.registry.attach(self)
            self.dormant = False
        providers.bind(self.registry)
        now = self.clock()
        with totals.lock:
            totals.opened += 1
            totals.live.append(self)
            self.opened_at = now
            if self.limit is not None:
                self.limit_acc = -now * self.limit
            if self.capacity is None:
                totals.unbounded = True
            self.is_open = True
            self._saturation(now)
        return self

    def close(self) -> None:
        """Leave the registry: gauges go to 0, counters and histograms stay with the identity. Idempotent."""
        if not self.is_open:
            return
        now = self.clock()
        totals = self.totals
        with totals.lock:
            if self not in totals.live:  # another thread closed it meanwhile
                return
            self.is_open = False
            totals.closed += 1
            totals.live.remove(self)
            totals.slot_time += self.slot_time(now)
            totals.limit_time += self.limit_time(now)
            totals.saturated_time += self.saturated_time(now)
            totals.open_time += now - self.opened_at

    def after_fork(self) -> None:
        """Forget everything inherited from the parent process; the next use joins the child's registry."""
        self._clear()

    def _clear(self) -> None:
        # All mutable state. Written under totals.lock by whatever thread settles or submits; the eight counts are
        # also read without it (see counts).
        self.dormant = True  # not opened in this process yet
        self.is_open = False
        self.queued = self.in_flight = 0
        self.succeeded = self.failed = self.timed_out = self.cancelled = 0
        self.rejected = self.abandoned = 0
        self.active = dict.fromkeys(self.shape.runners, 0)
        self.workers = dict.fromkeys(self.shape.workers, 0)  # alive; the busy ones are derived
        self.queued_tasks: dict[TaskRecord, None] = {}
        self.active_tasks: dict[TaskRecord, None] = {}
        self.pending: dict[object, float] = {}  # blocked producer -> since when
        self.opened_at = 0.0
        # Time counters kept as f(now) = held * now + acc: they grow while work still runs, with no timer.
        self.slot_acc = self.limit_acc = self.saturated_acc = 0.0
        self.saturated = False

    # -- the way of a task -----------------------------------------------------------------------------------------

    def task(self, name: str, runner: str) -> TaskRecord:
        """A record for one call. Not a task yet: nothing is counted before ``accept``."""
        if self.dormant:
            self.open()
        totals = self.totals
        label = totals.task_names.get(name)
        if label is None:
            with totals.lock:
                label = totals.task_name(name)
            self._log_caps()
        return TaskRecord(name, runner, label)

    def accept(self, task: TaskRecord, *, queued: bool, blocked: float = 0.0) -> None:
        """The task is accepted: into the queue, or with a slot of its own at once.

        ``blocked`` is how long the producer had to wait, in seconds.
        """
        totals = self.totals
        span = exemplars.of(task.span)
        task.accepted = task.started = now = self.clock()
        with totals.lock:
            totals.submitted += 1
            if queued:
                self.queued += 1
                self.queued_tasks[task] = None
            else:
                self.in_flight += 1
                self._slot_taken(task, now)
            if totals.submit_wait is not None:
                totals.submit_wait.observe(blocked, span and (blocked, *span))
        sink = providers.sink
        if sink is not None and totals.submit_wait is not None:
            sink.record(totals.submit_wait, blocked, task.span)

    def assign(self, task: TaskRecord) -> None:
        """A queued task gets a slot of its own."""
        now = self.clock()
        with self.totals.lock:
            self.queued -= 1
            self.in_flight += 1
            self.queued_tasks.pop(task, None)
            task.started = now
            self._slot_taken(task, now)

    def begin(self, task: TaskRecord) -> float:
        """Its function starts now. Returns the wait since acceptance, in seconds."""
        totals = self.totals
        span = exemplars.of(task.span)
        task.started = now = self.clock()
        task.began = True
        wait = now - task.accepted
        if not self.shape.queue:
            return wait
        series = totals.queue_wait["started"]
        with totals.lock:
            series.observe(wait, span and (wait, *span))
        sink = providers.sink
        if sink is not None:
            sink.record(series, wait, task.span)
        return wait

    def settle(
        self,
        task: TaskRecord,
        outcome: str,
        error_type: str = "",
        *,
        assigned: bool = True,
        reason: str = "",
        requested: float | None = None,
        abandoned: bool = False,
        ran: float | None = None,
    ) -> float | None:
        """The task reaches its one outcome. Returns its running time in seconds, or None if it never began.

        ``error_type`` as the contract spells it; ``assigned``: it held a slot (else it leaves the queue); ``reason``
        and ``requested`` (an instant) belong to cancellations; ``abandoned``: its thread goes on and keeps the slot;
        ``ran``: the running time when it was measured elsewhere (another process).
        """
        totals = self.totals
        span = exemplars.of(task.span)
        now = self.clock()
        duration = now - task.started if ran is None else ran
        wait_series = run_series = cancel_series = None
        waited = now - task.accepted
        obeyed = 0.0 if requested is None else max(0.0, now - requested)
        with totals.lock:
            if assigned:
                self._slot_given_back(task, now, abandoned)
            else:
                self.queued_tasks.pop(task, None)
            self._move(outcome, assigned, abandoned)
            label = totals.error_type(error_type) if outcome == "error" else error_type
            key = (outcome, label, task.runner)
            totals.completed[key] = totals.completed.get(key, 0) + 1
            if task.began:
                run_series = totals.duration_of(outcome, task.label, task.runner)
                run_series.observe(duration, span and (duration, *span))
            elif self.shape.queue:
                # A task that never began can only have been cancelled or timed out; anything else is a wait, too.
                wait_series = totals.queue_wait["timeout" if outcome == "timeout" else "cancelled"]
                wait_series.observe(waited, span and (waited, *span))
            if outcome == "cancelled":
                totals.cancellations[reason or "unknown", "running" if task.began else "queued"] += 1
            if requested is not None and outcome == "cancelled":
                cancel_series = totals.cancel_duration_of(reason or "unknown")
                cancel_series.observe(obeyed, span and (obeyed, *span))
        if totals.capped:
            self._log_caps()
        sink = providers.sink
        if sink is not None:
            if run_series is not None:
                sink.record(run_series, duration, task.span)
            if wait_series is not None:
                sink.record(wait_series, waited, task.span)
            if cancel_series is not None:
                sink.record(cancel_series, obeyed, task.span)
        return duration if task.began else None

    def _move(self, outcome: str, assigned: bool, abandoned: bool) -> None:
        # Each branch is one call-free block, so that counts() never sees half a move.
        held = 1 if assigned else 0
        waiting = 1 - held
        left = 1 if abandoned else 0
        if outcome == "success":
            self.queued -= waiting
            self.in_flight -= held
            self.abandoned += left
            self.succeeded += 1
        elif outcome == "error":
            self.queued -= waiting
            self.in_flight -= held
            self.abandoned += left
            self.failed += 1
        elif outcome == "timeout":
            self.queued -= waiting
            self.in_flight -= held
            self.abandoned += left
            self.timed_out += 1
        else:
            self.queued -= waiting
            self.in_flight -= held
            self.abandoned += left
            self.cancelled += 1

    def counts(self) -> Counts:
        """The conserved figures, from any thread, without a lock."""
        figures = (
            self.queued, self.in_flight, self.succeeded, self.failed,
            self.timed_out, self.cancelled, self.rejected, self.abandoned,
        )  # fmt: skip
        return Counts(*figures)

    # -- what is not a task's own way ------------------------------------------------------------------------------

    def reject(self, reason: str, blocked: float | None = None) -> None:
        """A call never became a task. ``blocked``: seconds its producer had waited, if it waited."""
        if self.dormant:
            self.open()
        totals = self.totals
        series = totals.submit_wait if blocked is not None else None
        with totals.lock:
            self.rejected += 1
            totals.rejected[reason] += 1
            if series is not None and blocked is not None:
                series.observe(blocked)
        sink = providers.sink
        if sink is not None and series is not None and blocked is not None:
            sink.record(series, blocked, None)

    def producer_blocked(self, producer: object) -> None:
        """A producer starts to wait in submit."""
        with self.totals.lock:
            self.pending[producer] = self.clock()

    def producer_released(self, producer: object) -> float:
        """A producer's wait is over, accepted or not. Returns how long it waited, in seconds."""
        with self.totals.lock:
            return self.clock() - self.pending.pop(producer)

    def thread_freed(self, runner: str) -> None:
        """An abandoned task's thread has ended, perhaps long after the executor: its slot is free."""
        totals = self.totals
        now = self.clock()
        with totals.lock:
            self.abandoned -= 1
            totals.abandoned[runner] -= 1
            self.slot_acc += now
            self._saturation(now)

    def set_limit(self, limit: int) -> None:
        """The number of slots changes now."""
        now = self.clock()
        with self.totals.lock:
            self.limit_acc += now * ((self.limit or 0) - limit)
            self.limit = limit
            self._saturation(now)

    def shutdown_took(self, seconds: float, *, cut: bool) -> None:
        """A closing took this long; ``cut``: tasks were cancelled by it."""
        series = self.totals.shutdown["cut" if cut else "drained"]
        with self.totals.lock:
            series.observe(seconds)
        sink = providers.sink
        if sink is not None:
            sink.record(series, seconds, None)

    def context_lost(self, kind: str) -> None:
        """A task's trace context could not be carried: ``missing``, ``stale`` or ``unpicklable``."""
        with self.totals.lock:
            self.totals.losses[kind] += 1

    def telemetry_failed(self, kind: str) -> None:
        """The telemetry itself failed: ``observer``, ``export``, ``callback``, ``name_cap`` or ``label_cap``."""
        with self.totals.lock:
            self.totals.failures[kind] += 1

    def oldest_ages(self) -> tuple[float, float, float]:
        """Ages in seconds of the oldest queued task, active task and blocked producer; 0 for none."""
        with self.totals.lock:
            now = self.clock()
            queued = now - next(iter(self.queued_tasks)).accepted if self.queued_tasks else 0.0
            active = now - next(iter(self.active_tasks)).started if self.active_tasks else 0.0
            pending = now - next(iter(self.pending.values())) if self.pending else 0.0
            return queued, active, pending

    # -- derived figures; the caller holds the lock ----------------------------------------------------------------

    def slot_time(self, now: float) -> float:
        """Slot-seconds used since open."""
        return (self.in_flight + self.abandoned) * now + self.slot_acc

    def limit_time(self, now: float) -> float:
        """Slot-seconds on offer since open."""
        return (self.limit or 0) * now + self.limit_acc

    def saturated_time(self, now: float) -> float:
        """Seconds since open with every slot in use."""
        return (now if self.saturated else 0.0) + self.saturated_acc

    def _slot_taken(self, task: TaskRecord, now: float) -> None:
        self.active[task.runner] = self.active.get(task.runner, 0) + 1
        self.active_tasks[task] = None
        self.slot_acc -= now
        self._saturation(now)

    def _slot_given_back(self, task: TaskRecord, now: float, abandoned: bool) -> None:
        self.active[task.runner] -= 1
        self.active_tasks.pop(task, None)
        if abandoned:
            self.totals.abandoned[task.runner] = self.totals.abandoned.get(task.runner, 0) + 1
        else:
            self.slot_acc += now
            self._saturation(now, leaving=1)

    def _saturation(self, now: float, leaving: int = 0) -> None:
        used = self.in_flight + self.abandoned - leaving
        saturated = self.limit is not None and used >= self.limit > 0
        if saturated is not self.saturated:
            self.saturated = saturated
            self.saturated_acc += -now if saturated else now

    def _log_caps(self) -> None:
        for kind in self.totals.unlogged_caps():
            logger.warning(
                "executor %r shows more distinct values than the %s allows; the rest is counted as %s",
                self.name, kind, catalog.OTHER,
            )  # fmt: skip
