"""The recorder of a native executor, and of those that are wrapped and whose moves are counted as they happen.

A task is reported by ``accept`` → ``assign`` (when it gets its slot) → ``begin`` (its function starts) → ``settle``
(its one outcome), each exactly once and in this order; ``assign`` and ``begin`` are left out for a task that never got
so far. Each is a turn of the identity, so a snapshot sees whole tasks. ``counts()`` needs no lock: it reads what one
call-free block wrote in one call-free expression.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from glasspool.telemetry import catalog

from . import exemplars
from .ending import SUCCESS, Ending
from .executor_record import ExecutorRecord
from .histograms import Histogram
from .shape import Shape
from .task_record import Counts, TaskRecord

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Counts", "Recorder", "TaskRecord"]

_ENDS = {outcome: tuple(int(outcome == each) for each in catalog.OUTCOMES) for outcome in catalog.OUTCOMES}
"""What an end adds to the tasks that succeeded, failed, timed out and were cancelled."""


class Recorder:
    """Enters each move of each task in the record of their executor.

    :param options: those of ``ExecutorRecord``.
    """

    def __init__(self, name: str, type: str, shape: Shape, **options: Any) -> None:
        self.record = ExecutorRecord(name, type, shape, **options)

    def open(self) -> Self:
        """Open the record. Returns itself."""
        self.record.open()
        return self

    # Written for speed: no call that can be spared, because every task of every executor passes here. Each is a turn
    # (see Turns), written out; put off, it is called again in a turn (`in_turn`) with the instant at which it happened
    # (`at`). What can be is worked out first; then come, in one block without a call, all figures that must add up, so
    # that not even a signal handler sees half of a move.

    def task(self, name: str, runner: str) -> TaskRecord:
        """A record for one call. Not a task yet: nothing is counted before ``accept``."""
        return TaskRecord(name, runner, self.record.label(name))

    def accept(
        self,
        task: TaskRecord,
        *,
        queued: bool,
        blocked: float | None = None,
        at: float | None = None,
        in_turn: bool = False,
    ) -> None:
        """The task is accepted: into the queue, or with a slot of its own at once.

        ``blocked`` is how long the producer had to wait, in seconds, if it found no room at first.
        """
        record = self.record
        totals, slots = record.totals, record.slots
        with totals.lock:
            if not in_turn and (totals.busy or totals.later):
                task.accepted = task.started = at = record.clock()
                totals.put_off(partial(self.accept, task, queued=queued, blocked=blocked, at=at, in_turn=True))
                return
            totals.busy = True
            try:
                task.accepted = task.started = now = record.clock() if at is None else at
                if blocked is not None:
                    record.measure(totals.submit_wait_of(), blocked, task.span)
                if queued:
                    if slots.queued and slots.limit is not None and not slots.saturated:
                        slots.hand_over(now)
                    totals.submitted += 1
                    slots.queued += 1
                    slots.waiting[task] = None
                else:
                    totals.submitted += 1
                    slots.in_flight += 1
                    record.active_tasks[task] = None
                    slots.used_offset -= now
                    if slots.in_flight + slots.abandoned >= slots.full_at and not slots.saturated:
                        slots.saturated = True
                        slots.saturated_offset -= now
            finally:
                totals.busy = in_turn
            if in_turn:
                return
            if totals.later:
                totals.run_later()
            measured = totals.taken() if totals.measured else ()
        if measured:
            totals.tell(measured)

    def assign(self, task: TaskRecord, *, at: float | None = None, in_turn: bool = False) -> None:
        """A queued task gets a slot of its own.

        A slot that became free while the task waited was handed over and never out of use, so it counts from then.
        """
        record = self.record
        totals, slots = record.totals, record.slots
        with totals.lock:
            if not in_turn and (totals.busy or totals.later):
                task.started = at = record.clock()
                totals.put_off(partial(self.assign, task, at=at, in_turn=True))
                return
            totals.busy = True
            try:
                task.started = since = record.clock() if at is None else at
                handed = task.accepted <= slots.freed_at < since and not slots.gated
                if handed and slots.in_flight + slots.abandoned < slots.full_at:
                    since = slots.freed_at
                slots.queued -= 1
                slots.in_flight += 1
                del slots.waiting[task]
                record.active_tasks[task] = None
                slots.used_offset -= since
                if slots.in_flight + slots.abandoned >= slots.full_at and not slots.saturated:
                    slots.saturated = True
                    slots.saturated_offset -= since
            finally:
                totals.busy = in_turn
            if totals.later and not in_turn:
                totals.run_later()

    def begin(self, task: TaskRecord, *, at: float | None = None, in_turn: bool = False) -> float:
        """Its function starts.

        :param at: the instant, if that is not now.
        :returns: the wait since acceptance, in seconds.
        """
        record = self.record
        totals = record.totals
        if not totals.shape.queue:
            task.started = now = record.clock() if at is None else at
            task.began = True
            return now - task.accepted
        with totals.lock:
            if not in_turn and (totals.busy or totals.later):
                task.started = at = record.clock() if at is None else at
                task.began = True
                totals.put_off(partial(self.begin, task, at=at, in_turn=True))
                return at - task.accepted
            totals.busy = True
            try:
                now = record.clock() if at is None else at
                wait = now - task.accepted
                found = None if task.span is None else exemplars.of(task.span, wait)
                series: Any = totals.started_wait  # there since the first executor has opened
                index = bisect_left(series.bounds, wait)
                if series.one_by_one:
                    totals.measured.append((series, wait, task.span))
                task.started = now
                task.began = True
                series.counts[index] += 1
                series.sum += wait
                if wait < series.least:
                    series.least = wait
                if wait > series.most:
                    series.most = wait
                if wait > record.late_after:
                    totals.late += 1
                if found is not None:
                    series.keep(index, found)
            finally:
                totals.busy = in_turn
            if in_turn:
                return wait
            if totals.later:
                totals.run_later()
            measured = totals.taken() if totals.measured else ()
        if measured:
            totals.tell(measured)
        return wait

    def succeed(self, task: TaskRecord, *, at: float | None = None, in_turn: bool = False) -> float:
        """The common end, for speed: ``settle(task, SUCCESS)`` of a task that began. Returns its running time."""
        record = self.record
        totals, slots = record.totals, record.slots
        with totals.lock:
            if not in_turn and (totals.busy or totals.later):
                at = record.clock()
                totals.put_off(partial(self.succeed, task, at=at, in_turn=True))
                return at - task.started
            totals.busy = True
            try:
                now = record.clock() if at is None else at
                duration = now - task.started
                found = None if task.span is None else exemplars.of(task.span, duration)
                key = ("success", "", task.runner)
                if key not in totals.completed:
                    key = totals.new_end(*key)
                series = totals.duration.get(("success", task.label, task.runner))
                if series is None:
                    series = totals.duration_of("success", task.label, task.runner)
                index = bisect_left(series.bounds, duration)
                if series.one_by_one:
                    totals.measured.append((series, duration, task.span))
                if record.asked:
                    record.asked.pop(task, None)
                if slots.queued and slots.limit is not None and not slots.saturated:
                    slots.hand_over(now)
                del record.active_tasks[task]
                slots.used_offset += now
                slots.freed_at = now
                slots.in_flight -= 1
                record.succeeded += 1
                totals.completed[key] += 1
                series.counts[index] += 1
                series.sum += duration
                if duration < series.least:
                    series.least = duration
                if duration > series.most:
                    series.most = duration
                if slots.saturated and slots.in_flight + slots.abandoned < slots.full_at:
                    slots.saturated = False
                    slots.saturated_offset += now
                if found is not None:
                    series.keep(index, found)
            finally:
                totals.busy = in_turn
            if in_turn:
                return duration
            if totals.later:
                totals.run_later()
            measured = totals.taken() if totals.measured else ()
        if measured:
            totals.tell(measured)
        if totals.capped:
            record.log_caps()
        return duration

    def settle(self, task: TaskRecord, ending: Ending, *, assigned: bool = True) -> float | None:
        """The task reaches its one outcome.

        :param assigned: it held a slot; else it leaves the queue.
        :returns: its running time in seconds, or None if it never began.
        """
        if ending is SUCCESS and assigned and task.began:
            return self.succeed(task)
        record = self.record
        totals = record.totals
        with totals.lock:
            now = record.clock()
            totals.take(self._settle, task, ending, assigned, now)
            measured = totals.taken() if totals.measured else ()
        if measured:
            totals.tell(measured)
        if totals.capped:
            record.log_caps()
        if not task.began:
            return None
        return now - task.started if ending.ran is None else ending.ran

    def _settle(self, task: TaskRecord, ending: Ending, assigned: bool, now: float) -> None:
        # First what calls anything.
        record = self.record
        totals, slots, outcome, runner = record.totals, record.slots, ending.outcome, task.runner
        end = totals.end_of(outcome, ending.error_type, runner)
        series, value = self._measured_by(task, ending, now)
        index = bisect_left(series.bounds, value)
        found = None if task.span is None else exemplars.of(task.span, value)
        success, error, timeout, cancelled = _ENDS[outcome]
        phase = "queued" if not task.began else "running" if assigned else "retry_wait"
        why = ending.reason or "unknown", phase
        cancellations = totals.ready(totals.cancellations, why) if cancelled else {why: 0}
        held, left = int(assigned), int(assigned and ending.abandoned)
        left_behind = totals.ready(totals.abandoned, runner, 0) if left else {runner: 0}
        late = timeout if not task.began and record.late_after != inf else 0
        tasks = record.active_tasks if assigned else slots.waiting
        if task not in tasks:
            tasks = OrderedDict({task: None})
        record.asked.pop(task, None)
        if slots.queued and slots.limit is not None and not slots.saturated:
            slots.hand_over(now)
        freed, freed_at = (now, now) if held > left else (0.0, slots.freed_at)
        # Then all that must add up, in one block without a call or a jump.
        del tasks[task]
        slots.queued -= 1 - held
        slots.in_flight -= held
        slots.abandoned += left
        slots.used_offset += freed
        slots.freed_at = freed_at
        record.succeeded += success
        record.failed += error
        record.timed_out += timeout
        record.cancelled += cancelled
        totals.completed[end] += 1
        totals.late += late
        cancellations[why] += 1
        left_behind[runner] += left
        series.counts[index] += 1
        series.sum += value
        if value < series.least:
            series.least = value
        if value > series.most:
            series.most = value
        if slots.saturated and slots.in_flight + slots.abandoned < slots.full_at:
            slots.saturated = False
            slots.saturated_offset += now
        if found is not None:
            series.keep(index, found)
        if series.one_by_one:
            totals.measured.append((series, value, task.span))
        if cancelled and ending.requested is not None:
            took = max(0.0, now - ending.requested)
            record.measure(totals.cancel_duration_of(ending.reason or "unknown"), took, task.span)

    def _measured_by(self, task: TaskRecord, ending: Ending, now: float) -> tuple[Histogram, float]:
        """The series that an end is measured by, and the value: the running time, or else the wait."""
        record = self.record
        totals = record.totals
        if task.began:
            ran = now - task.started if ending.ran is None else ending.ran
            return totals.duration_of(ending.outcome, task.label, task.runner), ran
        if totals.started_wait is None:  # it cannot wait
            return _UNSEEN, 0.0
        # It can only have been cancelled or timed out, or its runner broke; all of it is waiting.
        outcome = "timeout" if ending.outcome == "timeout" else "cancelled"
        return totals.queue_wait_of(outcome), now - task.accepted


_UNSEEN = Histogram(catalog.QUEUE_WAIT, {})
"""Takes the wait of a task that ends without having begun where tasks cannot wait. It is never read."""
