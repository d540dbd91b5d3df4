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
from glasspool.telemetry.series import Histogram

__all__ = ["BATCH", "NotedCall", "NotingRecorder"]

BATCH = 256
"""Notes before they are entered: the lock is taken a hundred times less often, and no more calls are kept alive."""

_NEW, _ACTIVE, _DONE = range(3)


class NotedCall(TaskRecord):
    """A call as it is noted: a task record that also knows its end. ``phase`` is what has been entered of it."""

    __slots__ = ("ended", "error_type", "outcome", "phase", "reason")
    ended: float
    error_type: str
    outcome: str
    phase: int
    reason: str


class NotingRecorder(Recorder):
    """``fresh`` takes calls that were accepted, ``notes`` calls that have started or ended, each in order."""

    alive: Callable[[], int] | None = None
    """How many threads the pool has now."""

    def _clear(self) -> None:
        super()._clear()
        self.fresh: deque[NotedCall] = deque()
        self.notes: deque[NotedCall] = deque()
        self._accepted = 0
        self._noted = 0  # calls that have a note: started, or never to start
        self._dropped = 0  # of these, the ones taken out of ``fresh``
        self._active: list[NotedCall] = []
        self._successes: dict[str, Histogram] = {}  # by function name
        self._entering = False
        self._postponed: Callable[[], object] | None = None

    def enter_some(self) -> None:
        """Enter the notes, unless another thread is at it."""
        if self.totals.lock.acquire(blocking=False):
            try:
                measured = self._enter()
            finally:
                self.totals.lock.release()
            self._after(measured)

    def catch_up(self) -> None:
        """Enter all notes, and bring up to date what only a reading asks for."""
        if self.dormant:
            return
        with self.totals.lock:
            measured = self._enter()
            if self.alive is not None:
                self.workers[self.shape.runners[0]] = self.alive()
            self.active_tasks = dict.fromkeys(self._active)
            # Entering has left the oldest waiting call at the head; its age is asked for, no more.
            self.queued_tasks = dict.fromkeys([self.fresh[0]] if self.fresh else ())
        self._after(measured)

    def _after(self, measured: list[tuple[Histogram, float, Any]]) -> None:
        # Without the lock, which the SDK's collection takes while it holds its own.
        if self.totals.capped:
            self._log_caps()
        for series, value, span in measured:
            if (sink := providers.sink) is not None:
                sink.record(series, value, span)
        if self._postponed is not None and not self._entering:
            then, self._postponed = self._postponed, None
            then()

    def when_caught_up(self, then: Callable[[], object]) -> None:
        """Catch up, then call ``then``: later, when a garbage collection within the catching up asks for it."""
        self.catch_up()
        if self._entering:
            self._postponed = then
        else:
            then()

    def _enter(self) -> list[tuple[Histogram, float, Any]]:
        """Enter the notes; the caller holds the lock. Returns what the SDK is to measure, too."""
        if self._entering:  # further up the stack: a garbage collection in there came here
            return []
        self._entering = True
        try:
            return self._enter_notes()
        finally:
            self._entering = False

    def _enter_notes(self) -> list[tuple[Histogram, float, Any]]:
        measured: list[tuple[Histogram, float, Any]] = []
        notes, totals, sink, full_at = self.notes, self.totals, providers.sink, self.full_at
        waits, successes, active = totals.started_wait, self._successes, self._active
        in_flight, saturated = self.in_flight, self.saturated
        slot_acc, saturated_acc = self.slot_acc, self.saturated_acc
        left = succeeded = failed = cancelled = 0  # left: the queue
        sampled: dict[tuple[Histogram, int], tuple[float, Any]] = {}  # per bucket the latest value with a span
        series: Histogram | None
        try:
            for _ in range(len(notes)):
                call = notes.popleft()
                if call.phase == _ACTIVE:
                    call.phase = _DONE
                    instant = call.ended
                    value = instant - call.started
                    in_flight -= 1
                    slot_acc += instant
                    if saturated and in_flight < full_at:
                        saturated = False
                        saturated_acc += instant
                    if call.outcome == "success":
                        succeeded += 1
                        series = successes.get(call.name) or self._series_of(call.name)
                    else:
                        failed += 1
                        series = self._failed(call)
                elif call.began:
                    call.phase = _ACTIVE
                    instant = call.started
                    value = instant - call.accepted
                    left += 1
                    active.append(call)
                    in_flight += 1
                    slot_acc -= instant
                    if in_flight >= full_at and not saturated:
                        saturated = True
                        saturated_acc -= instant
                    series = waits
                else:
                    call.phase = _DONE
                    value = call.ended - call.accepted
                    left += 1
                    if call.outcome == "cancelled":
                        cancelled += 1
                    else:
                        failed += 1
                    series = self._never_ran(call)
                if series is None:
                    continue
                index = bisect_left(series.bounds, value)
                series.counts[index] += 1
                series.sum += value
                if call.span is not None:
                    sampled[series, index] = value, call.span
                if sink is not None:
                    measured.append((series, value, call.span))
        finally:  # Ctrl-C may come in between: what has been entered stays entered
            if succeeded:
                totals.completed["success", "", self.shape.runners[0]] += succeeded
            for (series, index), (value, span) in sampled.items():
                exemplar = exemplars.of(span, value)
                if exemplar is not None:
                    series.keep(index, exemplar)
            self._active = [call for call in active if call.phase == _ACTIVE]
            self._noted += left
            fresh = self.fresh
            while fresh and fresh[0].phase != _NEW:
                fresh.popleft()
                self._dropped += 1
            # A worker may be quicker than its submitter: a call that has started is accepted, in fresh or not yet.
            accepted = max(self._noted, self._dropped + len(fresh))
            totals.submitted += accepted - self._accepted
            self._accepted = accepted
            self.slot_acc, self.saturated, self.saturated_acc = slot_acc, saturated, saturated_acc
            # One call-free block, so that counts() never sees half a move.
            self.queued = accepted - self._noted
            self.in_flight = in_flight
            self.succeeded += succeeded
            self.failed += failed
            self.cancelled += cancelled
        return measured

    def _series_of(self, name: str) -> Histogram:
        totals = self.totals
        series = totals.duration_of("success", totals.task_name(name), self.shape.runners[0])
        self._successes[name] = series
        return series

    def _failed(self, call: NotedCall) -> Histogram:
        totals = self.totals
        self._completed("error", call)
        return totals.duration_of("error", totals.task_name(call.name), call.runner)

    def _never_ran(self, call: NotedCall) -> Histogram | None:
        self._completed(call.outcome, call)
        if call.outcome == "cancelled":
            self.totals.count(self.totals.cancellations, (call.reason, "queued"))
        return self.totals.queue_wait_of("cancelled")

    def _completed(self, outcome: str, call: NotedCall) -> None:
        totals = self.totals
        key = (outcome, "cancelled" if outcome == "cancelled" else call.error_type, call.runner)
        if key not in totals.completed:
            key = totals.new_end(*key)
        totals.completed[key] += 1
