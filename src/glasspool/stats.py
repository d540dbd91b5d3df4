"""Figures of an executor and of a pile: statistics while open, the report when closed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from signal import Signals
from typing import Any

__all__ = ["LATE", "CutTask", "ExecutorStats", "PileStats", "ShutdownReport", "Stopped"]


LATE = 1.0
"""Seconds after which a task that was asked to end is logged and reported as late: longer than cleanup
commonly takes, shorter than people wait before they look."""


@dataclass(frozen=True)
class ExecutorStats:
    """The figures of an executor at one moment.

    ``submitted`` is always ``queued + in_flight + succeeded + failed + timed_out + cancelled``. ``rejected`` calls
    never became tasks; ``abandoned`` counts threads still busy for tasks that have ended, each with its slot; ``lent``
    counts tasks in flight that hold no slot while they wait for their own executor; ``pending`` counts producers
    blocked in submit; ``cancelling`` those in flight that were asked to end (cancelled, or out of time) and have not
    yet. ``slots_used`` is ``in_flight + abandoned - lent``. Ages are seconds, 0 when there is none. ``held`` says how
    many of the queued could not start though a slot were free, by reason (rate, limit, pause, retry, dependency).
    """

    queued: int
    in_flight: int
    succeeded: int
    failed: int
    timed_out: int
    cancelled: int
    rejected: int
    abandoned: int
    lent: int
    pending: int
    slots_limit: int
    oldest_queued_age: float
    oldest_active_age: float
    oldest_pending_age: float
    cancelling: int
    oldest_cancelling_age: float
    held: Mapping[str, int] = field(default_factory=dict[str, int], hash=False)

    @property
    def submitted(self) -> int:
        """Tasks accepted so far."""
        return self.queued + self.in_flight + self.succeeded + self.failed + self.timed_out + self.cancelled

    @property
    def slots_used(self) -> int:
        """Slots held: by tasks in flight that have not lent theirs, and by abandoned threads."""
        return self.in_flight + self.abandoned - self.lent


@dataclass(frozen=True)
class PileStats:
    """A pile's own tasks at one moment; ``untaken`` outcomes are held until they are taken."""

    queued: int
    in_flight: int
    succeeded: int
    failed: int
    timed_out: int
    cancelled: int
    untaken: int

    @property
    def submitted(self) -> int:
        """Tasks included so far."""
        return self.queued + self.in_flight + self.succeeded + self.failed + self.timed_out + self.cancelled


@dataclass(frozen=True)
class CutTask:
    """A task that the closing cancelled, or asked to end. ``phase`` is queued, running or retry_wait (an attempt had
    failed and the next one had not begun; then it has ended as that attempt has), ``age`` seconds since
    acceptance, ``obeyed_after`` seconds from the request to its end."""

    id: int
    name: str
    phase: str
    age: float
    obeyed_after: float


@dataclass(frozen=True)
class ShutdownReport:
    """How an executor closed. The counts are of tasks that ended during the closing.

    ``duration`` is seconds; ``cut`` names the tasks that were cancelled by it (empty: it drained); ``abandoned``
    counts threads still busy when it ended, which nobody waits for. ``late`` names the tasks that held it up: they were
    asked to end and took more than a second to, whatever they ended with.
    """

    duration: float
    succeeded: int
    failed: int
    timed_out: int
    cancelled: int
    cut: tuple[CutTask, ...]
    abandoned: int
    late: tuple[CutTask, ...]

    @property
    def drained(self) -> bool:
        """Whether everything accepted ran to its own end."""
        return not self.cut


@dataclass(frozen=True)
class Stopped:
    """Why an iterator or pile ended before its source: ``signal`` began a drain. What had been accepted was delivered.

    ``refused`` counts the calls that were asked for and not accepted any more; of an iterator that is at most one, and
    ``items`` gives back what had been taken from its source for it. ``remaining`` is how many items the source still
    has; None where it cannot tell (generators, asynchronous sources) or there is none (piles).
    """

    signal: Signals
    refused: int
    items: tuple[Any, ...]
    remaining: int | None

    @property
    def not_taken(self) -> int | None:
        """How many items did not become tasks, if that is known."""
        return None if self.remaining is None else self.refused + self.remaining
