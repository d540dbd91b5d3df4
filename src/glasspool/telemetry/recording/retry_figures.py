"""What one identity counts of its retries, and the move of a task that is to run again."""

from __future__ import annotations

from collections.abc import Callable

from .executor_record import ExecutorRecord
from .task_record import TaskRecord

__all__ = ["attempt_ended", "attempt_resumed", "expect_retries", "retry_stopped", "sent_back"]


def expect_retries(record: ExecutorRecord, allowed: Callable[[], int] | None) -> None:
    """From now on tasks may run again, as often as ``allowed`` says; None: without a bound."""
    record.retry_budget = allowed
    record.in_turn(record.totals.expect_retries)


def attempt_ended(record: ExecutorRecord, task: TaskRecord, outcome: str, seconds: float) -> None:
    """An attempt of a task that may be retried has ended so, after so many seconds."""
    record.in_turn(_attempt_ended, record, task, outcome, seconds)


def _attempt_ended(record: ExecutorRecord, task: TaskRecord, outcome: str, seconds: float) -> None:
    record.measure(record.totals.attempt_of(outcome), seconds, task.span)


def retry_stopped(record: ExecutorRecord, reason: str) -> None:
    """A task is not tried again, for a reason of the catalog."""
    record.in_turn(record.totals.count, record.totals.retry_stops, reason)


def sent_back(record: ExecutorRecord, task: TaskRecord, error_type: str) -> None:
    """The attempt has failed with this error, and the task is queued again."""
    record.in_turn(_sent_back, record, task, error_type, record.clock())


def _sent_back(record: ExecutorRecord, task: TaskRecord, error_type: str, now: float) -> None:
    totals, slots = record.totals, record.slots
    retries, why = totals.retries, totals.retry_of(error_type)
    record.asked.pop(task, None)
    # All that must add up, in one block without a call or a jump.
    del record.active_tasks[task]
    slots.waiting[task] = None
    slots.queued += 1
    slots.in_flight -= 1
    slots.used_offset += now
    slots.freed_at = now
    task.accepted = now
    retries[why] += 1
    if slots.saturated and slots.in_flight + slots.abandoned < slots.full_at:
        slots.saturated = False
        slots.saturated_offset += now


def attempt_resumed(record: ExecutorRecord, task: TaskRecord) -> None:
    """The task begins another attempt: ages count from here, since tasks in flight are in the order of their starts."""
    record.in_turn(_resumed, task, record.clock())


def _resumed(task: TaskRecord, now: float) -> None:
    task.started = now
