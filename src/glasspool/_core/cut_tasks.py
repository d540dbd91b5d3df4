"""What is said of tasks that the closing has cut, or waits for."""

from __future__ import annotations

import logging

from glasspool._foreign.guarded import log
from glasspool.stats import CutTask
from glasspool.telemetry.recording.executor_record import ExecutorRecord

from .task_state import Task

__all__ = ["cut_task", "log_late"]

logger = logging.getLogger("glasspool")

_NAMED = 10  # the most tasks that a log line names


def cut_task(record: ExecutorRecord, task: Task, asked: float | None) -> CutTask:
    """A task of the closing's report, which was asked to end at this instant of the clock, if it was."""
    now, attempts = record.clock(), task.attempts
    obeyed = 0.0 if asked is None else now - asked
    phase = "running" if task.began else "queued" if attempts is None or not attempts.number else "retry_wait"
    accepted = task.record.accepted if attempts is None else attempts.accepted
    return CutTask(task.item.id, task.name, phase, now - accepted, obeyed)


def log_late(executor: str, record: ExecutorRecord, tasks: list[Task]) -> None:
    """Log the tasks that were asked to end and that the closing still waits for."""
    now, asked = record.clock(), record.asked
    named = [f"{task.name!r} (asked {now - asked.get(task.record, now):.1f} s ago)" for task in tasks[:_NAMED]]
    if len(tasks) > _NAMED:
        named.append(f"and {len(tasks) - _NAMED} more")
    log(
        logger.warning,
        "executor %r is closing and still waits for tasks that were asked to end: %s", executor, ", ".join(named),
    )  # fmt: skip
