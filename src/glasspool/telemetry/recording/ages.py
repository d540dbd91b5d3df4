"""How old the oldest tasks of one executor are, and the oldest requests to end."""

from __future__ import annotations

from .executor_record import ExecutorRecord

__all__ = ["oldest_ages", "unobeyed"]


def oldest_ages(record: ExecutorRecord) -> tuple[float, float, float]:
    """Ages in seconds of the oldest queued task, active task and blocked producer; 0 for none."""
    found: list[float] = []
    record.totals.look(_ages, record, found)
    queued, active, pending = found
    return queued, active, pending


def _ages(record: ExecutorRecord, found: list[float]) -> None:
    now = record.clock()
    # The first entry of an insertion-ordered dict is the oldest one.
    queued, active = next(iter(record.slots.waiting), None), next(iter(record.active_tasks), None)
    blocked = next(iter(record.pending.values()), now)
    found += (
        0.0 if queued is None else now - queued.accepted, 0.0 if active is None else now - active.started,
        now - blocked,
    )  # fmt: skip


def unobeyed(record: ExecutorRecord) -> tuple[int, float]:
    """How many tasks were asked to end and have not, and the age of the oldest such request in seconds."""
    found: list[float] = []
    record.totals.look(_unobeyed, record, found)
    return len(found), max(found, default=0.0)


def _unobeyed(record: ExecutorRecord, found: list[float]) -> None:
    now = record.clock()
    found += [now - at for at in record.asked_since(now)]
