"""A recorder for pools whose threads contend: moves are noted without a lock and counted in batches.

A worker and a submitter that take one lock three times a task spend more on waking each other than on the work. So
each move is one append to a deque (atomic), with its instant in the call itself; whoever appends the 256th note, and
every reading, enters them in order under the lock. Instants are those of the moves, so sums and times are exact.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Any, TypeVar

from glasspool.telemetry.recording import exemplars
from glasspool.telemetry.recording.histograms import Histogram
from glasspool.telemetry.recording.recorder import Recorder, TaskRecord

__all__ = ["BATCH", "NotedCall", "NotingRecorder"]

BATCH = 256
"""Notes before they are entered: the lock is taken a hundred times less often, and no more calls are kept alive."""

K = TypeVar("K", bound=Hashable)

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
_LAST.phase = _ACTIVE


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
        self.claims: dict[NotedCall, object] = {}  # of those who want to be the one that settles a call
        self._active: list[NotedCall] = []
        self._successes: dict[str, Histogram] = {}  # by those names of functions that are shown

    def handed_over(self) -> int:
        """See Live."""
        return int(min(self.full_at - self.in_flight, self.queued))

    def slot_time(self, now: float) -> float:
        """Slot-seconds used since open."""
        return self.slots_used() * now + self.slot_acc

    def enter_some(self) -> None:
        """Enter the notes, unless another thread is at it, or something further up this one's stack."""
        totals = self.totals
        if not totals.lock.acquire(blocking=False):
            return
        try:
            if totals.busy:
                return
            totals.take(self._enter_notes)
            measured = totals.taken()
        finally:
            totals.lock.release()
        if measured:
            totals.tell(measured)
        if totals.capped:
            self.log_caps()

    def enter(self) -> None:
        """See Live."""
        self._enter_notes()
        super().enter()

    def _enter_notes(self) -> None:
        """Enter the notes, in a turn. A note is taken off when it has been entered: Ctrl-C may come in between."""
        notes, totals, sink, full_at = self.notes, self.totals, self.totals.sink, self.full_at
        waits, successes, active, runner = totals.started_wait, self._successes, self._active, self.shape.runners[0]
        fresh, waiting = self.fresh, self._waiting
        queued, in_flight, saturated = self.queued, self.in_flight, self.saturated
        unfinished = queued + in_flight
        slot_acc, saturated_acc, freed_at = self.slot_acc, self.saturated_acc, self.freed_at
        accepted = succeeded = failed = cancelled = late = 0
        late_after = self.late_after
        ends: dict[tuple[str, str, str], int] = {}  # those that did not succeed
        reasons: dict[tuple[str, str], int] = {}
        sampled: dict[tuple[Histogram, int], tuple[float, Any]] = {}  # per bucket the latest value with a span
        success = ("success", "", runner)
        end = success
        why = ("", "")
        series: Histogram | None
        try:
            for left in range(len(notes), -1, -1):
                call = notes[0] if left else _LAST
                if not left:
                    instant = self.clock()  # what comes while this is being done is entered next time
                else:
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
                    if newcomer is not call:  # which waits no longer
                        waiting.append(newcomer)
                    newcomer.phase = _WAITING
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
                # First what calls anything, then all changes in one go.
                began = call.phase == _ACTIVE
                if call.phase == _WAITING and call.began:
                    value = instant - call.accepted
                    series = waits
                    index = 0 if series is None else bisect_left(series.bounds, value)
                    active.append(call)
                    call.phase = _ACTIVE
                    queued -= 1
                    in_flight += 1
                    if value > late_after:
                        late += 1
                else:
                    value = instant - (call.started if began else call.accepted)
                    if began and call.outcome == "success":
                        series = successes.get(call.name) or self._successful(call.name)
                    else:
                        end = self._end_of(call, began)
                        series = self._unsuccessful(call, began)
                        ends.setdefault(end, 0)
                        if end[0] == "cancelled":
                            why = call.reason, "running" if began else "queued"
                            reasons.setdefault(why, 0)
                    index = bisect_left(series.bounds, value)
                    call.phase = _DONE
                    unfinished -= 1
                    if unfinished < full_at:
                        slot_acc += instant
                        freed_at = instant
                        if saturated:
                            saturated = False
                            saturated_acc += instant
                    if began:
                        in_flight -= 1
                    else:
                        queued -= 1
                    if began and call.outcome == "success":
                        succeeded += 1
                    else:
                        ends[end] += 1
                        if end[0] == "cancelled":
                            cancelled += 1
                            reasons[why] += 1
                        else:
                            failed += 1
                if series is not None:
                    series.counts[index] += 1
                    series.sum += value
                notes.popleft()
                if series is None:
                    continue
                if call.span is not None:
                    sampled[series, index] = value, call.span
                if sink is not None:
                    totals.measured.append((series, value, call.span))
        finally:  # what has been entered stays entered
            active = [call for call in active if call.phase == _ACTIVE]
            while waiting and waiting[0].phase != _WAITING:
                waiting.popleft()
            active_tasks: OrderedDict[TaskRecord, None] = OrderedDict.fromkeys(active, None)
            if len(waiting) > 2 * queued + BATCH:  # who came last went first, and the first is waiting still
                waiting = deque(call for call in waiting if call.phase == _WAITING)
            # The oldest: its age is asked.
            queued_tasks: OrderedDict[TaskRecord, None] = OrderedDict.fromkeys((waiting[0],) if waiting else (), None)
            completed, cancellations = _plus(totals.completed, ends), _plus(totals.cancellations, reasons)
            # One call-free block, so that counts() never sees half a move, nor a signal handler half of the batch.
            self._active = active
            self._waiting = waiting
            self.active_tasks = active_tasks
            self.queued_tasks = queued_tasks
            self.slot_acc = slot_acc
            self.saturated = saturated
            self.saturated_acc = saturated_acc
            self.freed_at = freed_at
            totals.late += late
            totals.submitted += accepted
            totals.completed = completed
            totals.completed[success] += succeeded
            totals.cancellations = cancellations
            self.queued = queued
            self.in_flight = in_flight
            self.succeeded += succeeded
            self.failed += failed
            self.cancelled += cancelled
            for (series, index), (value, span) in sampled.items():
                exemplar = exemplars.of(span, value)
                if exemplar is not None:
                    series.keep(index, exemplar)

    def _successful(self, name: str) -> Histogram:
        totals = self.totals
        label = totals.task_name(name)
        series = totals.duration_of("success", label, self.shape.runners[0])
        if label == name:  # no end of those that are folded
            self._successes[name] = series
        return series

    def _unsuccessful(self, call: NotedCall, began: bool) -> Histogram:
        totals = self.totals
        if not began:
            return totals.queue_wait_of("cancelled")
        return totals.duration_of(call.outcome, totals.task_name(call.name), call.runner)

    def _end_of(self, call: NotedCall, began: bool) -> tuple[str, str, str]:
        """The counter for a call that did not succeed, and that of its cancellation: from now on they are there."""
        totals = self.totals
        outcome = call.outcome
        if outcome == "cancelled":
            totals.ready(totals.cancellations, (call.reason, "running" if began else "queued"))
        key = (outcome, "cancelled" if outcome == "cancelled" else call.error_type, call.runner)
        return key if key in totals.completed else totals.new_end(*key)


def _plus(family: dict[K, int], more: dict[K, int]) -> dict[K, int]:
    """The family with these counts added: another one if there are any, so that nobody sees some of them only."""
    return {key: count + more.get(key, 0) for key, count in family.items()} if more else family
