"""A recorder for pools whose threads contend: events are queued without a lock and counted in batches.

A worker and a submitter that take a lock three times per task spend more time on waking each other than on the work. So
each event is one append to a deque (atomic), with its instant in the call itself. The thread that appends the 256th
event, and every reading, counts them in order under the lock. Instants are those of the events, so sums and times are
exact.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Any, TypeVar

from glasspool.telemetry.recording import exemplars
from glasspool.telemetry.recording.ending import SUCCESS, Ending
from glasspool.telemetry.recording.executor_record import ExecutorRecord
from glasspool.telemetry.recording.histograms import Histogram
from glasspool.telemetry.recording.part import Part
from glasspool.telemetry.recording.shape import Shape
from glasspool.telemetry.recording.slots import SlotClock
from glasspool.telemetry.recording.task_record import TaskRecord

__all__ = ["ACTIVE", "ASSIGNED", "BATCH", "WAITING", "Batch", "BatchedRecorder", "NotedCall"]

BATCH = 256
"""Events in a batch: enough that the lock is rarely taken, and no more calls than these are kept alive."""

K = TypeVar("K", bound=Hashable)

NEW, WAITING, ASSIGNED, ACTIVE, DONE = range(5)
"""What has been entered of a call. Assigned: it has a slot, and it is not known yet when it started."""


class NotedCall(TaskRecord):
    """A call as it is noted: a task record that also knows its end. ``phase`` is what has been entered of it."""

    __slots__ = ("ended", "ending", "phase")
    ended: float
    ending: Ending | None
    phase: int


class PoolSlots(SlotClock):
    """The workers of a thread pool. A free one takes the call that has waited longest, so there are as many slots in
    use as unfinished calls, up to the limit. While calls wait, a worker that is on its way from one to the next, or is
    busy with the callbacks of the last one, is not free."""

    __slots__ = ()

    def handed_over(self) -> int:
        """See SlotClock."""
        return int(min(self.full_at - self.in_flight, self.queued))

    def used_time(self, now: float) -> float:
        """See SlotClock."""
        return self.used() * now + self.used_offset


class Batch:
    """The changes of a batch. They are applied in one block, so that no reading sees a part of them."""

    __slots__ = (
        "accepted",
        "cancelled",
        "ends",
        "failed",
        "late",
        "reasons",
        "sampled",
        "slots",
        "succeeded",
        "waits",
    )

    def __init__(self, record: ExecutorRecord) -> None:
        self.slots = record.slots.copy()
        self.waits = record.totals.started_wait
        self.accepted = self.succeeded = self.failed = self.cancelled = self.late = 0
        self.ends: dict[tuple[str, str, str], int] = {}  # those that did not succeed
        self.reasons: dict[tuple[str, str], int] = {}
        self.sampled: dict[tuple[Histogram, int], tuple[float, Any]] = {}  # per bucket the latest value with a span


class BatchedRecorder(Part):
    """Notes the moves of calls, and enters them in the record of their pool in batches.

    ``fresh`` takes calls that were accepted, ``notes`` calls that have started or ended, each in order.

    :param options: those of ``ExecutorRecord``.
    """

    def __init__(self, name: str, type: str, shape: Shape, **options: Any) -> None:
        self.record = ExecutorRecord(name, type, shape, slots=PoolSlots, **options)
        self.record.part = self
        self.cleared()

    def cleared(self) -> None:
        """See Part."""
        self.fresh: deque[NotedCall] = deque()
        self.notes: deque[NotedCall] = deque()
        self.unstarted: deque[NotedCall] = deque()  # entered as accepted; the head has not started
        self.claims: dict[NotedCall, object] = {}  # of those who want to be the one that settles a call
        self.active: list[NotedCall] = []
        self._successes: dict[str, Histogram] = {}  # by those names of functions that are shown

    def enter_some(self) -> None:
        """Count the queued events, unless another thread, or a caller further up the stack, is doing it."""
        totals = self.record.totals
        if not totals.lock.acquire(blocking=False):
            return
        try:
            if totals.busy:
                return
            totals.take(self.enter_notes)
            measured = totals.taken()
        finally:
            totals.lock.release()
        if measured:
            totals.tell(measured)
        if totals.capped:
            self.record.log_caps()

    def enter(self) -> None:
        """See Part."""
        self.enter_notes()

    def enter_notes(self) -> None:
        """Enter the notes, in a turn, and what was accepted up to now.

        Ctrl-C may come in between: what has been entered by then stays entered. So each note is entered in three steps:
        first what calls anything, then all its changes in a block without a call, whose end takes the note off.
        """
        notes, fresh, batch = self.notes, self.fresh, Batch(self.record)
        enter_accepted, enter_start, enter_end = self.enter_accepted, self.enter_start, self.enter_end
        try:
            for _ in range(len(notes)):  # what comes while this is being done is entered next time
                call = notes[0]
                phase = call.phase
                starts = call.began and phase != ACTIVE
                instant = call.started if starts else call.ended
                if phase == NEW or (fresh and fresh[0].accepted <= instant):
                    enter_accepted(batch, call, instant)
                if starts:
                    enter_start(batch, call)
                else:
                    enter_end(batch, call)
            self.enter_accepted(batch, None, self.record.clock())
        finally:
            self._take_over(batch)

    def enter_accepted(self, batch: Batch, call: NotedCall | None, instant: float) -> None:
        """Enter the calls that were accepted up to this instant, and ``call`` in any case."""
        fresh, slots = self.fresh, batch.slots
        while True:
            if fresh and fresh[0].accepted <= instant:
                newcomer = fresh.popleft()
                if newcomer.phase != NEW:
                    continue
            elif call is not None and call.phase == NEW:  # a worker was quicker than the submitter
                newcomer = call
            else:
                return
            if newcomer is not call:  # which waits no longer
                self.unstarted.append(newcomer)
            newcomer.phase = WAITING
            batch.accepted += 1
            slots.queued += 1
            unfinished = slots.queued + slots.in_flight
            if unfinished <= slots.full_at:
                since = newcomer.accepted if newcomer.accepted > slots.freed_at else slots.freed_at
                slots.used_offset -= since
                if unfinished == slots.full_at:
                    slots.saturated = True
                    slots.saturated_offset -= since

    def enter_start(self, batch: Batch, call: NotedCall) -> None:
        slots, series = batch.slots, batch.waits
        wait = call.started - call.accepted
        index = 0 if series is None else bisect_left(series.bounds, wait)
        moves = call.phase < ASSIGNED
        self.active.append(call)
        call.phase = ACTIVE
        slots.queued -= moves
        slots.in_flight += moves
        if wait > self.record.late_after:
            batch.late += 1
        if series is not None:
            series.counts[index] += 1
            series.sum += wait
            if wait < series.least:
                series.least = wait
            if wait > series.most:
                series.most = wait
        self.notes.popleft()
        if series is not None and (call.span is not None or series.one_by_one):
            self._sample(batch, call, series, index, wait)

    def enter_end(self, batch: Batch, call: NotedCall) -> None:
        slots, instant, began = batch.slots, call.ended, call.phase == ACTIVE
        held = call.phase >= ASSIGNED
        value = instant - (call.started if began else call.accepted)
        succeeded = began and call.ending is SUCCESS
        end = ("", "", "")
        why: tuple[str, str] | None = None
        if succeeded:
            series = self._successes.get(call.name) or self._successful(call.name)
        else:
            series, end, why = self._unsuccessful(batch, call, began)
        index = bisect_left(series.bounds, value)
        call.phase = DONE
        if slots.queued + slots.in_flight <= slots.full_at:
            slots.used_offset += instant
            slots.freed_at = instant
            if slots.saturated:
                slots.saturated = False
                slots.saturated_offset += instant
        slots.in_flight -= held
        slots.queued -= 1 - held
        if succeeded:
            batch.succeeded += 1
        else:
            batch.ends[end] += 1
            if why is None:
                batch.failed += 1
            else:
                batch.cancelled += 1
                batch.reasons[why] += 1
        series.counts[index] += 1
        series.sum += value
        if value < series.least:
            series.least = value
        if value > series.most:
            series.most = value
        self.notes.popleft()
        if call.span is not None or series.one_by_one:
            self._sample(batch, call, series, index, value)

    def _sample(self, batch: Batch, call: NotedCall, series: Histogram, index: int, value: float) -> None:
        if call.span is not None:
            batch.sampled[series, index] = value, call.span
        if series.one_by_one:
            self.record.totals.measured.append((series, value, call.span))

    def _take_over(self, batch: Batch) -> None:
        record, slots, waiting = self.record, batch.slots, self.unstarted
        totals, runner = record.totals, record.shape.runners[0]
        active = [call for call in self.active if WAITING < call.phase < DONE]
        while waiting and waiting[0].phase != WAITING:
            waiting.popleft()
        active_tasks: OrderedDict[TaskRecord, None] = OrderedDict.fromkeys(active, None)
        if len(waiting) > 2 * slots.queued + BATCH:  # who came last went first, and the first is waiting still
            waiting = deque(call for call in waiting if call.phase == WAITING)
        # The oldest: its age is asked.
        slots.waiting = OrderedDict.fromkeys((waiting[0],) if waiting else (), None)
        completed, cancellations = _plus(totals.completed, batch.ends), _plus(totals.cancellations, batch.reasons)
        # One call-free block, so that counts() never sees half a move, nor a signal handler half of the batch.
        self.active = active
        self.unstarted = waiting
        record.active_tasks = active_tasks
        record.slots = slots
        totals.late += batch.late
        totals.submitted += batch.accepted
        totals.completed = completed
        totals.completed["success", "", runner] += batch.succeeded
        totals.cancellations = cancellations
        record.succeeded += batch.succeeded
        record.failed += batch.failed
        record.cancelled += batch.cancelled
        for (series, index), (value, span) in batch.sampled.items():
            exemplar = exemplars.of(span, value)
            if exemplar is not None:
                series.keep(index, exemplar)

    def _successful(self, name: str) -> Histogram:
        totals = self.record.totals
        label = totals.task_name(name)
        series = totals.duration_of("success", label, self.record.shape.runners[0])
        if label == name:  # no end of those that are folded
            self._successes[name] = series
        return series

    def _unsuccessful(
        self, batch: Batch, call: NotedCall, began: bool
    ) -> tuple[Histogram, tuple[str, str, str], tuple[str, str] | None]:
        """The series of a call that did not succeed, and the keys of its counter and of that of its cancellation.

        From now on the counters are there, in the totals and in the batch.
        """
        totals, ending, why = self.record.totals, call.ending or SUCCESS, None
        end = totals.end_of(ending.outcome, ending.error_type, call.runner)
        batch.ends.setdefault(end, 0)
        if ending.outcome == "cancelled":
            why = ending.reason, "running" if began else "queued"
            totals.ready(totals.cancellations, why)
            batch.reasons.setdefault(why, 0)
        if not began:
            return totals.queue_wait_of("cancelled"), end, why
        return totals.duration_of(ending.outcome, totals.task_name(call.name), call.runner), end, why


def _plus(family: dict[K, int], more: dict[K, int]) -> dict[K, int]:
    """The family with these counts added: a new one if there are any, so that no reading sees a part of them."""
    return {key: count + more.get(key, 0) for key, count in family.items()} if more else family
