"""A recorder for pools of other processes: a call tells when it started only when its result arrives.

Until then the order says which calls have a slot: pools start calls first in, first out. Everything is entered in
batches, as ``batched_recorder`` describes.
"""

from __future__ import annotations

from typing import Any

from glasspool.telemetry.recording.shape import Shape
from glasspool_instrumentation._observe.batched_recorder import (
    ASSIGNED,
    WAITING,
    Batch,
    BatchedRecorder,
    NotedCall,
)

__all__ = ["ArrivalRecorder", "RemoteCall"]


class RemoteCall(NotedCall):
    """A call as it is noted: twice when it has run, else once. ``ran`` is its running time in seconds."""

    __slots__ = ("key", "ran")
    key: str
    ran: float


class ArrivalRecorder(BatchedRecorder):
    """Enters the calls of a pool of processes, and gives slots to those that came first."""

    def __init__(self, name: str, type: str, shape: Shape, **options: Any) -> None:
        super().__init__(name, type, shape, **options)
        self.unfinished: dict[str, RemoteCall] = {}

    def cleared(self) -> None:
        """See Part."""
        super().cleared()
        self.unfinished = {}

    def queued(self) -> int:
        """How many calls wait now, those included that are not entered yet."""
        return int(max(0, len(self.unfinished) - self.record.slots.full_at))

    def has_slot(self, call: RemoteCall) -> bool:
        """Has this call, which has not ended, got a slot by its turn?"""
        self.record.catch_up()
        return call.phase == ASSIGNED

    def enter_accepted(self, batch: Batch, call: NotedCall | None, instant: float) -> None:
        """See BatchedRecorder."""
        super().enter_accepted(batch, call, instant)
        self._assign(batch)

    def enter_start(self, batch: Batch, call: Any) -> None:
        """See BatchedRecorder. Its running time says when it was."""
        call.started = max(call.accepted, call.ended - call.ran)
        super().enter_start(batch, call)

    def enter_end(self, batch: Batch, call: NotedCall) -> None:
        """See BatchedRecorder. The slot goes to the call that has waited longest."""
        super().enter_end(batch, call)
        if batch.slots.queued:
            self._assign(batch)

    def _assign(self, batch: Batch) -> None:
        slots, waiting = batch.slots, self.unstarted
        while slots.in_flight < slots.full_at and waiting:
            call = waiting[0]
            if call.phase == WAITING:
                self.active.append(call)
                since = call.accepted if call.accepted > slots.freed_at else slots.freed_at
                # Call-free: see enter_notes.
                call.started = since
                call.phase = ASSIGNED
                slots.queued -= 1
                slots.in_flight += 1
            waiting.popleft()
