"""What is left of an executor: its statistics while open, its report when closed."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CutTask", "ExecutorStats", "ShutdownReport"]


@dataclass(frozen=True)
class ExecutorStats:
    """The figures of an executor at one moment.

    ``submitted`` is always ``queued + in_flight + succeeded + failed + timed_out + cancelled``. ``rejected`` calls
    never became tasks; ``abandoned`` counts threads still busy for tasks that have ended, each with its slot;
    ``pending`` counts producers blocked in submit. ``slots_used`` is ``in_flight + abandoned``. Ages are seconds, 0
    when there is none.
    """

    queued: int
    in_flight: int
    succeeded: int
    failed: int
    timed_out: int
    cancelled: int
    rejected: int
    abandoned: int
    pending: int
    slots_limit: int
    oldest_queued_age: float
    oldest_active_age: float
    oldest_pending_age: float

    @property
    def submitted(self) -> int:
        """Tasks accepted so far."""
        return self.queued + self.in_flight + self.succeeded + self.failed + self.timed_out + self.cancelled

    @property
    def slots_used(self) -> int:
        """Slots held: by tasks in flight and by abandoned threads."""
        return self.in_flight + self.abandoned


@dataclass(frozen=True)
class CutTask:
    """A task that the closing cancelled. ``phase`` is queued or running, ``age`` seconds since acceptance."""

    id: int
    name: str
    phase: str
    age: float


@dataclass(frozen=True)
class ShutdownReport:
    """How an executor closed. The counts are of tasks that ended during the closing.

    ``duration`` is seconds; ``cut`` names the tasks that were cancelled by it (empty: it drained); ``abandoned``
    counts threads still busy when it ended, which nobody waits for.
    """

    duration: float
    succeeded: int
    failed: int
    timed_out: int
    cancelled: int
    cut: tuple[CutTask, ...]
    abandoned: int

    @property
    def drained(self) -> bool:
        """Whether everything accepted ran to its own end."""
        return not self.cut
