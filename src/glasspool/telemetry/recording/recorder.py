"""What the hot path touches: the live figures of one executor, native or wrapped.

A task is reported by ``accept`` → ``assign`` (when a slot is its own) → ``begin`` (its function starts) →
``settle`` (its one outcome), each exactly once and in this order; ``assign`` and ``begin`` are left out for a task
that never got so far. Each is a turn of the identity, so a snapshot sees whole tasks. ``counts()`` needs no lock: it
reads what one call-free block wrote in one call-free expression.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import OrderedDict
from functools import partial
from math import inf
from typing import Any

from opentelemetry.trace import Span

from glasspool.telemetry import catalog

from . import exemplars
from .histograms import Histogram
from .live import Counts, Live

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


_ENDS = {outcome: tuple(int(outcome == each) for each in catalog.OUTCOMES) for outcome in catalog.OUTCOMES}
"""What an end adds to the tasks that succeeded, failed, timed out and were cancelled."""


class Recorder(Live):
    """The live figures of one executor. Arguments: see :class:`glasspool.telemetry.recording.live.Live`."""

    # -- the way of a task -----------------------------------------------------------------------------------------
    # Written for speed: no call that can be spared, because every task of every executor passes here. Each is a turn
    # (see Turns), written out; put off, it is called again with the instant at which it happened (`at`). What can be
    # is worked out first; then come, in one block without a call, all figures that must add up, so that not even a
    # signal handler sees half of a move.

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
            label = totals.task_name(name)
            if totals.capped:
                self.log_caps()
        return label

    def accept(self, task: TaskRecord, *, queued: bool, blocked: float | None = None, at: float | None = None) -> None:
        """The task is accepted: into the queue, or with a slot of its own at once.

        ``blocked`` is how long the producer had to wait, in seconds, if it found no room at first.
        """
        totals = self.totals
        with totals.lock:
            if at is None and (totals.busy or totals.later):
                task.accepted = task.started = at = self.clock()
                totals.put_off(partial(self.accept, task, queued=queued, blocked=blocked, at=at))
                return
            totals.busy = True
            try:
                task.accepted = task.started = now = self.clock() if at is None else at
                if blocked is not None:
                    self._measure(totals.submit_wait_of(), blocked, task.span)
                if queued:
                    if self.queued and self.limit is not None and not self.saturated:
                        self._hand_over(now)
                    totals.submitted += 1
                    self.queued += 1
                    self.queued_tasks[task] = None
                else:
                    totals.submitted += 1
                    self.in_flight += 1
                    self.active_tasks[task] = None
                    self.slot_acc -= now
                    if self.in_flight + self.abandoned >= self.full_at and not self.saturated:
                        self.saturated = True
                        self.saturated_acc -= now
            finally:
                totals.busy = at is not None
            if at is not None:
                return
            if totals.later:
                totals.run_later()
            measured = totals.taken() if totals.measured else ()
        if measured:
            totals.tell(measured)

    def assign(self, task: TaskRecord, *, at: float | None = None) -> None:
        """A queued task gets a slot of its own.

        A slot that became free while the task waited was handed over and never out of use, so it counts from then.
        """
        totals = self.totals
        with totals.lock:
            if at is None and (totals.busy or totals.later):
                task.started = at = self.clock()
                totals.put_off(partial(self.assign, task, at=at))
                return
            totals.busy = True
            try:
                task.started = since = self.clock() if at is None else at
                if task.accepted <= self.freed_at < since and self.in_flight + self.abandoned < self.full_at:
                    since = self.freed_at
                self.queued -= 1
                self.in_flight += 1
                del self.queued_tasks[task]
                self.active_tasks[task] = None
                self.slot_acc -= since
                if self.in_flight + self.abandoned >= self.full_at and not self.saturated:
                    self.saturated = True
                    self.saturated_acc -= since
            finally:
                totals.busy = at is not None
            if totals.later and at is None:
                totals.run_later()

    def begin(self, task: TaskRecord, *, waited: float | None = None, at: float | None = None) -> float:
        """Its function starts now. Returns the wait since acceptance, in seconds.

        ``waited``: the wait when it was measured elsewhere, by which it started earlier than now.
        """
        totals = self.totals
        if not totals.shape.queue:
            task.started = now = self.clock()
            task.began = True
            return now - task.accepted
        with totals.lock:
            if at is None and (totals.busy or totals.later):
                task.started = at = self.clock() if waited is None else task.accepted + waited
                task.began = True
                totals.put_off(partial(self.begin, task, at=at))
                return at - task.accepted
            totals.busy = True
            try:
                now = at if at is not None else self.clock() if waited is None else task.accepted + waited
                wait = now - task.accepted
                found = None if task.span is None else exemplars.of(task.span, wait)
                series: Any = totals.started_wait  # there since the first executor has opened
                index = bisect_left(series.bounds, wait)
                if totals.sink is not None:
                    totals.measured.append((series, wait, task.span))
                task.started = now
                task.began = True
                series.counts[index] += 1
                series.sum += wait
                if wait > self.late_after:
                    totals.late += 1
                if found is not None:
                    series.keep(index, found)
            finally:
                totals.busy = at is not None
            if at is not None:
                return wait
            if totals.later:
                totals.run_later()
            measured = totals.taken() if totals.measured else ()
        if measured:
            totals.tell(measured)
        return wait

    def succeed(self, task: TaskRecord, *, at: float | None = None) -> float:
        """The common end, for speed: ``settle(task, "success")`` of a task that began. Returns its running time."""
        totals = self.totals
        with totals.lock:
            if at is None and (totals.busy or totals.later):
                at = self.clock()
                totals.put_off(partial(self.succeed, task, at=at))
                return at - task.started
            totals.busy = True
            try:
                now = self.clock() if at is None else at
                duration = now - task.started
                found = None if task.span is None else exemplars.of(task.span, duration)
                key = ("success", "", task.runner)
                if key not in totals.completed:
                    key = totals.new_end(*key)
                series = totals.duration.get(("success", task.label, task.runner))
                if series is None:
                    series = totals.duration_of("success", task.label, task.runner)
                index = bisect_left(series.bounds, duration)
                if totals.sink is not None:
                    totals.measured.append((series, duration, task.span))
                if self.asked:
                    self.asked.pop(task, None)
                if self.queued and self.limit is not None and not self.saturated:
                    self._hand_over(now)
                del self.active_tasks[task]
                self.slot_acc += now
                self.freed_at = now
                self.in_flight -= 1
                self.succeeded += 1
                totals.completed[key] += 1
                series.counts[index] += 1
                series.sum += duration
                if self.saturated and self.in_flight + self.abandoned < self.full_at:
                    self.saturated = False
                    self.saturated_acc += now
                if found is not None:
                    series.keep(index, found)
            finally:
                totals.busy = at is not None
            if at is not None:
                return duration
            if totals.later:
                totals.run_later()
            measured = totals.taken() if totals.measured else ()
        if measured:
            totals.tell(measured)
        if totals.capped:
            self.log_caps()
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
        at: float | None = None,
    ) -> float | None:
        """The task reaches its one outcome. Returns its running time in seconds, or None if it never began.

        ``error_type`` as the contract spells it; ``assigned``: it held a slot (else it leaves the queue); ``reason``
        and ``requested`` (an instant) belong to cancellations; ``abandoned``: its thread goes on and keeps the slot;
        ``ran``: the running time when it was measured elsewhere (another process).
        """
        if outcome == "success" and assigned and task.began and ran is None and not abandoned and at is None:
            return self.succeed(task)
        totals, span = self.totals, task.span
        with totals.lock:
            if at is None and (totals.busy or totals.later):
                at = self.clock()
                totals.put_off(
                    partial(
                        self.settle, task, outcome, error_type, assigned=assigned, reason=reason, requested=requested,
                        abandoned=abandoned, ran=ran, at=at,
                    )
                )  # fmt: skip
                return None if not task.began else at - task.started if ran is None else ran
            totals.busy = True
            try:
                now = self.clock() if at is None else at
                # First what calls anything, then all that must add up in one block without a call or a jump.
                key = (outcome, error_type, task.runner)
                if key not in totals.completed:
                    key = totals.new_end(*key)
                value = now - task.accepted if not task.began else now - task.started if ran is None else ran
                reason = reason or "unknown"
                series: Histogram | None = (
                    totals.duration.get((outcome, task.label, task.runner)) if task.began else None
                )
                if series is None:
                    series = self._series_of(task, outcome)
                counts = [0] if series is None else series.counts
                index = 0 if series is None else bisect_left(series.bounds, value)
                found = None if span is None or series is None else exemplars.of(span, value)
                held, left = int(assigned), int(assigned and abandoned)
                tasks = self.active_tasks if assigned else self.queued_tasks
                if task not in tasks:
                    tasks = OrderedDict({task: None})
                runner, why = task.runner, (reason, "running" if task.began else "queued")
                left_behind = totals.ready(totals.abandoned, runner, 0) if left else {runner: 0}
                cancellations = totals.ready(totals.cancellations, why) if outcome == "cancelled" else {why: 0}
                success, error, timeout, cancelled = _ENDS[outcome]
                late = timeout if not task.began and self.late_after != inf else 0
                self.asked.pop(task, None)
                if self.queued and self.limit is not None and not self.saturated:
                    self._hand_over(now)
                freed, freed_at = (now, now) if held > left else (0.0, self.freed_at)
                del tasks[task]
                self.queued -= 1 - held
                self.in_flight -= held
                self.abandoned += left
                self.slot_acc += freed
                self.freed_at = freed_at
                self.succeeded += success
                self.failed += error
                self.timed_out += timeout
                self.cancelled += cancelled
                totals.completed[key] += 1
                totals.late += late
                cancellations[why] += 1
                left_behind[runner] += left
                counts[index] += 1
                if self.saturated and self.in_flight + self.abandoned < self.full_at:
                    self.saturated = False
                    self.saturated_acc += now
                if series is not None:
                    series.sum += value
                    if found is not None:
                        series.keep(index, found)
                    if totals.sink is not None:
                        totals.measured.append((series, value, span))
                if cancelled and requested is not None:
                    self._measure(totals.cancel_duration_of(reason), max(0.0, now - requested), span)
            finally:
                totals.busy = at is not None
            if at is not None:
                return None
            if totals.later:
                totals.run_later()
            told = totals.taken() if totals.measured else ()
        if told:
            totals.tell(told)
        if totals.capped:
            self.log_caps()
        return value if task.began else None

    def _series_of(self, task: TaskRecord, outcome: str) -> Histogram | None:
        """What an end is measured by: the running time, or else the wait, if there can be one."""
        totals = self.totals
        if task.began:
            return totals.duration_of(outcome, task.label, task.runner)
        if totals.started_wait is None:
            return None
        # It can only have been cancelled or timed out, or its runner broke; all of it is waiting.
        return totals.queue_wait_of("timeout" if outcome == "timeout" else "cancelled")
