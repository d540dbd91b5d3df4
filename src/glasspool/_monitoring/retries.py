"""Expressions about tasks that run again after a failure.

Tasks between two attempts count as queued, but they take no place of the queue. Their later starts are no starts of
tasks: ``queue.wait.duration`` counts each task once.
"""

from __future__ import annotations

from glasspool.telemetry.catalog import QUEUE_HELD, QUEUE_SIZE, RETRY_STOPPED, TASK_RETRIES, Key

from .expressions import any_of, events, match, series, without

__all__ = ["goes_on", "refused", "taking_places"]


def taking_places(*matchers: str) -> str:
    """Queued tasks that take a place of the queue, of every executor."""
    size = series(QUEUE_SIZE, *matchers)
    between = without((Key.HOLD_REASON,), series(QUEUE_HELD, match(Key.HOLD_REASON, "retry"), *matchers))
    # Not read at one instant: for a moment more tasks may seem to be held than are queued.
    return any_of(f"clamp_min({size} - {between}, 0)", size)


def goes_on(window: str) -> str:
    """Executors in which an attempt has failed within the window after which its task goes on: it makes progress."""
    return f"{without((Key.ERROR_TYPE,), events(series(TASK_RETRIES), window))} > 0"


def refused() -> str:
    """Tasks of the last three minutes that were not tried again because the budget of retries was spent."""
    spent = series(RETRY_STOPPED, match(Key.RETRY_STOP, "budget"))
    return f"{without((Key.RETRY_STOP,), events(spent, '3m'))} > 0"
