"""What the hot path touches: the live figures of one executor, native or wrapped.

A task is reported by ``accept`` → ``assign`` (when a slot is its own) → ``begin`` (its function starts) →
``settle`` (its one outcome), each exactly once and in this order; ``assign`` and ``begin`` are left out for a task
that never got so far. Each is one block of assignments under the identity's lock, so a snapshot sees whole tasks.
``counts()`` needs no lock: it reads what one call-free block wrote in one call-free expression.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from math import inf

from opentelemetry.trace import Span

from . import exemplars
from .live import Counts, Live
from .series import Histogram

__all__ = ["Counts", "Recorder", "TaskRecord"]

_task_ids = itertools.count(1)


class TaskRecord:
    """One task as telemetry knows it. Instants are readings of the recorder's clock, in seconds."""

    # Slots, and no defaults on the class: every task reads most of these, and from a slot that takes a tenth.
    __slots__ = ("accepted", "began", "id", "label", "name", "runner", "span", "started")

    def __init__(self, name: str, runner: str, label: str) -> None:
        self.span: Span | None = None
        self.accepted = 0.0
        self.started = 0.0  # when the slot became its own, then when the function began
        self.began = False
        self.id = next(_task_ids)
        self.name = name
        self.runner = runner
        self.label = label  # the name after the cap, as metrics and span names show it


class Recorder(Live):
    """The live figures of one executor. Arguments: see :class:`glasspool.telemetry.live.Live`."""

    # -- the way of a task -----------------------------------------------------------------------------------------
    # Written for speed: no call that can be spared, because every task of every executor passes here.

    def task(self, name: str, runner: str) -> TaskRecord:
        """A record for one call. Not a task yet: nothing is counted before ``accept``."""
        return TaskRecord(name, runner, self.label(name))

    def label(self, name: str) -> str:
        """The task name after the cap, as metrics and span names show it."""
        if self.dormant:
            self.open()
        totals = self.totals
        label = totals.task_names.get(name)
        if label is None:
            with totals.lock:
                label = totals.task_name(name)
            self._log_caps()
        return label

    def accept(self, task: TaskRecord, *, queued: bool, blocked: float | None = None) -> None:
        """The task is accepted: into the queue, or with a slot of its own at once.

        ``blocked`` is how long the producer had to wait, in seconds, if it found no room at first.
        """
        totals, series = self.totals, None
        task.accepted = task.started = now = self.clock()
        with totals.lock:
            totals.submitted += 1
            if queued:
                if self.queued and self.limit is not None and not self.saturated:
                    self._hand_over(now)
                self.queued += 1
                self.queued_tasks[task] = None
            else:
                self.in_flight += 1
                self.active_tasks[task] = None
                self.slot_acc -= now
                if self.in_flight + self.abandoned >= self.full_at and not self.saturated:
                    self.saturated = True
                    self.saturated_acc -= now
            if blocked is not None:
                series = totals.submit_wait_of()
                series.observe(blocked, None if task.span is None else exemplars.of(task.span, blocked))
            sink = totals.sink
        if sink is not None and series is not None and blocked is not None:
            sink.record(series, blocked, task.span)

    def assign(self, task: TaskRecord) -> None:
        """A queued task gets a slot of its own.

        A slot that became free while the task waited was handed over and never out of use, so it counts from then.
        """
        task.started = since = self.clock()
        with self.totals.lock:
            if self.freed_at >= task.accepted and self.in_flight + self.abandoned < self.full_at:
                since = self.freed_at
            self.queued -= 1
            self.in_flight += 1
            del self.queued_tasks[task]
            self.active_tasks[task] = None
            self.slot_acc -= since
            if self.in_flight + self.abandoned >= self.full_at and not self.saturated:
                self.saturated = True
                self.saturated_acc -= since

    def begin(self, task: TaskRecord) -> float:
        """Its function starts now. Returns the wait since acceptance, in seconds."""
        task.started = now = self.clock()
        task.began = True
        wait = now - task.accepted
        totals = self.totals
        series = totals.started_wait
        if series is not None:
            found = None if task.span is None else exemplars.of(task.span, wait)
            index = bisect_left(series.bounds, wait)
            with totals.lock:
                series.counts[index] += 1
                series.sum += wait
                if wait > self.late_after:
                    self.totals.late += 1
                if found is not None:
                    series.keep(index, found)
                sink = totals.sink
            if sink is not None:
                sink.record(series, wait, task.span)
        return wait

    def succeed(self, task: TaskRecord) -> float:
        """The common end, for speed: ``settle(task, "success")`` of a task that began. Returns its running time."""
        totals = self.totals
        now = self.clock()
        duration = now - task.started
        found = None if task.span is None else exemplars.of(task.span, duration)
        with totals.lock:
            del self.active_tasks[task]
            if self.asked:
                self.asked.pop(task, None)
            if self.queued and self.limit is not None and not self.saturated:
                self._hand_over(now)
            self.slot_acc += now
            self.freed_at = now
            if self.saturated and self.in_flight + self.abandoned - 1 < self.full_at:
                self.saturated = False
                self.saturated_acc += now
            # One call-free block, so that counts() never sees half a move.
            self.in_flight -= 1
            self.succeeded += 1
            key = ("success", "", task.runner)
            if key not in totals.completed:
                key = totals.new_end(*key)
            totals.completed[key] += 1
            series = totals.duration.get(("success", task.label, task.runner))
            if series is None:
                series = totals.duration_of("success", task.label, task.runner)
            index = bisect_left(series.bounds, duration)
            series.counts[index] += 1
            series.sum += duration
            if found is not None:
                series.keep(index, found)
            sink = totals.sink
        if sink is not None:
            sink.record(series, duration, task.span)
        if totals.capped:
            self._log_caps()
        return duration

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
        totals, span = self.totals, task.span
        now = self.clock()
        duration = now - task.started if ran is None else ran
        measured = None
        with totals.lock:
            if self.queued and self.limit is not None and not self.saturated:
                self._hand_over(now)
            if assigned:
                self.active_tasks.pop(task, None)
                self.asked.pop(task, None)
                if abandoned:
                    totals.abandoned[task.runner] = totals.abandoned.get(task.runner, 0) + 1
                else:
                    self.slot_acc += now
                    self.freed_at = now
                    if self.saturated and self.in_flight + self.abandoned - 1 < self.full_at:
                        self.saturated = False
                        self.saturated_acc += now
            else:
                self.queued_tasks.pop(task, None)
            self._move(outcome, assigned, abandoned)
            key = (outcome, error_type, task.runner)
            if key not in totals.completed:
                key = totals.new_end(*key)
            totals.completed[key] += 1
            if task.began:
                series = totals.duration.get((outcome, task.label, task.runner))
                if series is None:
                    series = totals.duration_of(outcome, task.label, task.runner)
                series.observe(duration, None if span is None else exemplars.of(span, duration))
                if outcome == "cancelled":
                    measured = self._cancelled(task, now, reason or "unknown", requested)
            else:
                series, duration, measured = self._never_began(task, now, outcome, reason or "unknown", requested)
            sink = totals.sink
        if totals.capped:
            self._log_caps()
        if sink is not None:
            if series is not None:
                sink.record(series, duration, span)
            if measured is not None:
                sink.record(*measured, span)
        return duration if task.began else None

    def _never_began(
        self, task: TaskRecord, now: float, outcome: str, reason: str, requested: float | None
    ) -> tuple[Histogram | None, float, tuple[Histogram, float] | None]:
        wait, series, measured = now - task.accepted, None, None
        # It can only have been cancelled or timed out, or its runner broke; all of it is waiting.
        if self.totals.started_wait is not None:
            series = self.totals.queue_wait_of("timeout" if outcome == "timeout" else "cancelled")
            series.observe(wait, None if task.span is None else exemplars.of(task.span, wait))
        if outcome == "cancelled":
            measured = self._cancelled(task, now, reason, requested)
        elif outcome == "timeout" and self.late_after != inf:
            self.totals.late += 1
        return series, wait, measured

    def _cancelled(
        self, task: TaskRecord, now: float, reason: str, requested: float | None
    ) -> tuple[Histogram, float] | None:
        totals = self.totals
        totals.count(totals.cancellations, (reason, "running" if task.began else "queued"))
        if requested is None:
            return None
        obeyed = max(0.0, now - requested)
        series = totals.cancel_duration_of(reason)
        series.observe(obeyed, None if task.span is None else exemplars.of(task.span, obeyed))
        return series, obeyed

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
