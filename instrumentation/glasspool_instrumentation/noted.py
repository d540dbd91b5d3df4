"""A recorder for pools whose threads contend: moves are noted without a lock and counted in batches.

A worker and a submitter that take one lock three times a task spend more on waking each other than on the work. So
each move is one append to a deque (atomic), with its instant in the call itself; whoever appends the 256th note, and
every reading, enters them in order under the lock. Instants are those of the moves, so sums and times are exact.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from typing import Any

from glasspool.telemetry import exemplars, providers
from glasspool.telemetry.recorder import Recorder, TaskRecord
from glasspool.telemetry.series import Exemplar, Histogram

__all__ = ["BATCH", "NotedCall", "NotingRecorder"]

BATCH = 256
"""Notes before they are entered: the lock is taken a hundred times less often, and no more calls are kept alive."""

_NEW, _QUEUED, _ACTIVE, _DONE = range(4)


class NotedCall(TaskRecord):
    """A call as it is noted: a task record that also knows its end. ``phase`` is what has been counted of it."""

    # Defaults live on the class, so that making a call costs little.
    ended = 0.0
    error_type = ""
    id = 0
    label = ""
    outcome = ""
    phase = 0
    reason = ""


class NotingRecorder(Recorder):
    """``fresh`` takes calls that were accepted, ``notes`` calls that have started or ended, each in order."""

    alive: Callable[[], int] | None = None
    """How many threads the pool has now."""

    def _clear(self) -> None:
        super()._clear()
        self.fresh: deque[NotedCall] = deque()
        self.notes: deque[NotedCall] = deque()
        self._durations: dict[str, Histogram] = {}  # of successes, by function name

    def enter_some(self) -> None:
        """Enter the notes, unless another thread is at it."""
        lock = self.totals.lock
        if lock.acquire(blocking=False):
            try:
                self.catch_up()
            finally:
                lock.release()

    def catch_up(self) -> None:
        """Enter all notes."""
        if self.dormant:
            return
        if self.alive is not None:
            self.workers[self.shape.runners[0]] = self.alive()
        measured: list[tuple[Histogram, float, Any]] = []
        with self.totals.lock:
            fresh, notes = self.fresh, self.notes
            for _ in range(len(fresh)):
                call = fresh.popleft()
                if call.phase == _NEW:
                    self._accept(call)
            self._enter(notes, measured)
        if self.totals.capped:
            self._log_caps()
        sink = providers.sink
        if sink is not None:
            for series, value, span in measured:
                sink.record(series, value, span)

    def _accept(self, call: NotedCall) -> None:
        call.phase = _QUEUED
        self.totals.submitted += 1
        self.queued += 1
        self.queued_tasks[call] = None

    def _enter(self, notes: deque[NotedCall], measured: list[tuple[Histogram, float, Any]]) -> None:
        totals, sink, full_at = self.totals, providers.sink, self.full_at
        waits = totals.started_wait
        queued_tasks, active_tasks, durations = self.queued_tasks, self.active_tasks, self._durations
        in_flight, saturated = self.in_flight + self.abandoned, self.saturated
        slot_acc, saturated_acc = self.slot_acc, self.saturated_acc
        begun = succeeded = failed = 0
        runner = ""
        for _ in range(len(notes)):
            call = notes.popleft()
            phase = call.phase
            if phase == _NEW:  # its worker was quicker than its submitter
                self._accept(call)
                phase = _QUEUED
            span = call.span
            if phase == _QUEUED and call.began:
                call.phase = _ACTIVE
                now = call.started
                begun += 1
                in_flight += 1
                del queued_tasks[call]
                active_tasks[call] = None
                slot_acc -= now
                if in_flight >= full_at and not saturated:
                    saturated = True
                    saturated_acc -= now
                if waits is not None:
                    wait = now - call.accepted
                    waits.counts[bisect_left(waits.bounds, wait)] += 1
                    waits.sum += wait
                    if span is not None:
                        _exemplify(waits, wait, span)
                    if sink is not None:
                        measured.append((waits, wait, span))
            elif phase == _ACTIVE:
                call.phase = _DONE
                now = call.ended
                in_flight -= 1
                del active_tasks[call]
                slot_acc += now
                if saturated and in_flight < full_at:
                    saturated = False
                    saturated_acc += now
                runner = call.runner
                if call.outcome == "success":
                    succeeded += 1
                    series = durations.get(call.name)
                    if series is None:
                        series = totals.duration_of("success", totals.task_name(call.name), runner)
                        durations[call.name] = series
                else:
                    failed += 1
                    series = self._failed(call)
                ran = now - call.started
                series.counts[bisect_left(series.bounds, ran)] += 1
                series.sum += ran
                if span is not None:
                    _exemplify(series, ran, span)
                if sink is not None:
                    measured.append((series, ran, span))
            elif phase == _QUEUED:
                self._never_ran(call, measured)
        if succeeded:
            totals.completed["success", "", runner] += succeeded
        self.slot_acc, self.saturated, self.saturated_acc = slot_acc, saturated, saturated_acc
        # One call-free block, so that counts() never sees half a move.
        self.queued -= begun
        self.in_flight = in_flight - self.abandoned
        self.succeeded += succeeded
        self.failed += failed

    def _failed(self, call: NotedCall) -> Histogram:
        totals = self.totals
        key = ("error", totals.error_type(call.error_type), call.runner)
        totals.completed[key] = totals.completed.get(key, 0) + 1
        return totals.duration_of("error", totals.task_name(call.name), call.runner)

    def _never_ran(self, call: NotedCall, measured: list[tuple[Histogram, float, Any]]) -> None:
        totals = self.totals
        call.phase = _DONE
        del self.queued_tasks[call]
        self.queued -= 1
        if call.outcome == "cancelled":
            self.cancelled += 1
            error_type = "cancelled"
            totals.cancellations[call.reason, "queued"] += 1
        else:
            self.failed += 1
            error_type = totals.error_type(call.error_type)
        key = (call.outcome, error_type, call.runner)
        totals.completed[key] = totals.completed.get(key, 0) + 1
        series = totals.queue_wait.get("cancelled")
        if series is not None:
            wait = call.ended - call.accepted
            series.observe(wait, None if call.span is None else exemplars.of(call.span, wait))
            measured.append((series, wait, call.span))


def _exemplify(series: Histogram, value: float, span: Any) -> None:
    found = exemplars.of(span, value)
    if found is not None:
        kept: list[Exemplar | None] = series.exemplars or [None] * len(series.counts)
        kept[bisect_left(series.bounds, value)] = found
        series.exemplars = kept
