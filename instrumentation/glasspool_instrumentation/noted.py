"""A recorder for pools whose threads contend: moves are noted without a lock and counted in batches.

A worker and a submitter that take one lock three times a task spend more on waking each other than on the work. So
each move is one append to a deque (atomic), with its instant in the call itself; whoever appends the 256th note, and
every reading, enters them in order under the lock. Instants are those of the moves, so sums and times are exact.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any

from glasspool.telemetry import exemplars
from glasspool.telemetry.recorder import Recorder, TaskRecord
from glasspool.telemetry.series import Histogram

__all__ = ["BATCH", "NotedCall", "NotingRecorder"]

BATCH = 256
"""Notes before they are entered: the lock is taken a hundred times less often, and no more calls are kept alive."""

_NEW, _WAITING, _ACTIVE, _DONE = range(4)


class NotedCall(TaskRecord):
    """A call as it is noted: a task record that also knows its end. ``phase`` is what has been entered of it."""

    __slots__ = ("ended", "error_type", "outcome", "phase", "reason")
    ended: float
    error_type: str
    outcome: str
    phase: int
    reason: str


_LAST = NotedCall.__new__(NotedCall)  # stands behind the last note: what was accepted up to now is entered before it
_LAST.phase, _LAST.ended = _ACTIVE, inf


class NotingRecorder(Recorder):
    """``fresh`` takes calls that were accepted, ``notes`` calls that have started or ended, each in order.

    A free worker takes the call that has waited longest, so there are as many slots in use as unfinished calls, up to
    the limit. While calls wait, a worker that is on its way from one to the next, or is busy with the callbacks of
    the last one, is not free.
    """

    def _clear(self) -> None:
        super()._clear()
        self.fresh: deque[NotedCall] = deque()
        self.notes: deque[NotedCall] = deque()
        self._waiting: deque[NotedCall] = deque()  # entered as accepted; the head has not started
        self._active: list[NotedCall] = []
        self._successes: dict[str, Histogram] = {}  # by function name
        self._entering = False
        self._postponed: Callable[[], object] | None = None

    def handed_over(self) -> int:
        """See Live."""
        return int(min(self.full_at - self.in_flight, self.queued))

    def slot_time(self, now: float) -> float:
        """Slot-seconds used since open."""
        return self.slots_used() * now + self.slot_acc

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
            super().catch_up()
            self.active_tasks = dict.fromkeys(self._active)
            # Its age is asked for, no more.
            self.queued_tasks = dict.fromkeys([self._waiting[0]] if self._waiting else ())
        self._after(measured)

    def _after(self, measured: list[tuple[Histogram, float, Any]]) -> None:
        # Without the lock, which the SDK's collection takes while it holds its own.
        if self.totals.capped:
            self._log_caps()
        sink = self.totals.sink
        if sink is not None:
            for series, value, span in measured:
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
        notes, totals, sink, full_at = self.notes, self.totals, self.totals.sink, self.full_at
        waits, successes, active = totals.started_wait, self._successes, self._active
        fresh, waiting = self.fresh, self._waiting
        queued, in_flight, saturated = self.queued, self.in_flight, self.saturated
        unfinished = queued + in_flight
        slot_acc, saturated_acc, freed_at = self.slot_acc, self.saturated_acc, self.freed_at
        accepted = succeeded = failed = cancelled = 0
        late_after = self.late_after
        sampled: dict[tuple[Histogram, int], tuple[float, Any]] = {}  # per bucket the latest value with a span
        series: Histogram | None
        try:
            for left in range(len(notes), -1, -1):
                call = notes.popleft() if left else _LAST
                instant = call.ended if call.phase == _ACTIVE or not call.began else call.started
                while True:
                    if fresh and fresh[0].accepted <= instant:
                        newcomer = fresh.popleft()
                        if newcomer.phase != _NEW:
                            continue
                    elif call.phase == _NEW:  # a worker was quicker than the submitter
                        newcomer = call
                    else:
                        break
                    newcomer.phase = _WAITING
                    if newcomer is not call:  # which waits no longer
                        waiting.append(newcomer)
                    accepted += 1
                    queued += 1
                    unfinished += 1
                    if unfinished <= full_at:
                        since = newcomer.accepted if newcomer.accepted > freed_at else freed_at
                        slot_acc -= since
                        if unfinished == full_at:
                            saturated = True
                            saturated_acc -= since
                if not left:
                    break
                if call.phase == _WAITING and call.began:
                    call.phase = _ACTIVE
                    value = instant - call.accepted
                    queued -= 1
                    in_flight += 1
                    active.append(call)
                    if value > late_after:
                        totals.late += 1
                    series = waits
                else:
                    began, call.phase = call.phase == _ACTIVE, _DONE
                    unfinished -= 1
                    if unfinished < full_at:
                        slot_acc += instant
                        freed_at = instant
                        if saturated:
                            saturated = False
                            saturated_acc += instant
                    if not began:
                        value = instant - call.accepted
                        queued -= 1
                        if call.outcome == "cancelled":
                            cancelled += 1
                        else:
                            failed += 1
                        series = self._never_ran(call)
                    elif call.outcome == "success":
                        value = instant - call.started
                        in_flight -= 1
                        succeeded += 1
                        series = successes.get(call.name) or self._series_of(call.name)
                    else:
                        value = instant - call.started
                        in_flight -= 1
                        failed += 1
                        series = self._failed(call)
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
            while waiting and waiting[0].phase != _WAITING:
                waiting.popleft()
            totals.submitted += accepted
            self.slot_acc, self.saturated, self.saturated_acc = slot_acc, saturated, saturated_acc
            self.freed_at = freed_at
            # One call-free block, so that counts() never sees half a move.
            self.queued = queued
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
