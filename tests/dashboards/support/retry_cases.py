"""Situations of executors whose tasks run again after failures, and the alerts that must fire in each."""

from __future__ import annotations

from collections.abc import Iterator

from glasspool.telemetry import catalog as c
from glasspool.telemetry.catalog import Key

from .curves import (
    ABSENT,
    NONE,
    A,
    B,
    C,
    Case,
    Curve,
    M,
    Series,
    const,
    ended,
    held,
    limited,
    overdue,
    queue,
    ramp,
    released,
    slots,
    steps,
)

__all__ = ["retry_cases"]


def retried(attempts: Curve, error: str = "ConnectionError", instance: str = A) -> Series:
    """Attempts that have failed and after which the task goes on; absent before the first."""
    return Series(c.TASK_RETRIES, attempts, {Key.ERROR_TYPE: error}, instance=instance)


def stopped(reason: str, tasks: Curve, instance: str = A) -> tuple[Series, ...]:
    """Tasks that were not tried again. An executor that may retry shows every reason."""
    return tuple(
        Series(c.RETRY_STOPPED, tasks if each == reason else NONE, {Key.RETRY_STOP: each}, instance=instance)
        for each in c.RETRY_STOPS
    )


def retry_cases() -> Iterator[Case]:
    """All of them."""
    yield from _spent()
    yield from _starting()
    yield from _places()
    yield from _blocked()
    yield from _starved()
    yield from _endings()


def _spent() -> Iterator[Case]:
    """The budget of retries refuses."""
    name, end = "GlasspoolRetryBudgetSpent", 20 * M
    yield Case("retries are refused all the time", stopped("budget", ramp(0.5)), end, {name: (A,)})
    yield Case("one retry in a minute is refused", stopped("budget", ramp(1 / 60)), end, {name: (A,)})
    yield Case("one retry in two minutes is refused", stopped("budget", ramp(1 / 120)), end, {name: (A,)})
    born = stopped("budget", lambda t: None if t < 11 * M else 3 + (t - 11 * M) / 20)
    yield Case("retries are refused from birth on", born, end, {name: (A,)})
    yield Case("refused for ten minutes", stopped("budget", ramp(1, 10 * M)), end, {name: (A,)})
    yield Case("refused for two minutes so far", stopped("budget", ramp(1, 18 * M)), end, {})
    yield Case("refused for two minutes, and well again", stopped("budget", ramp(1, 15 * M, 17 * M)), end, {})
    yield Case("refused for ten minutes, over for five", stopped("budget", ramp(1, 5 * M, 15 * M)), end, {})
    yield Case("refused for a minute in each ten", stopped("budget", lambda t: t // (10 * M) * 60.0), end, {})
    for reason in ("attempts", "deadline", "closing"):
        yield Case(f"tasks end for {reason}", stopped(reason, ramp(1)), end, {})
    yield Case("many retries, none refused", (retried(ramp(5)), *stopped("budget", NONE)), end, {})
    yield Case("refused in one instance of three",
               (*stopped("budget", NONE), *stopped("budget", ramp(1), B), *stopped("attempts", ramp(1), C)), end,
               {name: (B,)})  # fmt: skip


def _starting() -> Iterator[Case]:
    """No task starts, since others are tried again before it."""
    name, idle = "GlasspoolNotStarting", slots(2)
    waiting = (*queue(const(5), const(7)), *held("retry", const(2)), *idle)
    yield Case("no task starts, attempts do", (*waiting, retried(ramp(0.1))), 8 * M, {})
    yield Case("no task starts, one attempt did", (*waiting, retried(steps((0, 3), (6 * M, 4)))), 8 * M, {})
    yield Case("no task starts, the first retry ever", (*waiting, retried(steps((6 * M, 1)))), 8 * M, {})
    yield Case("no task starts, nor any attempt", (*waiting, retried(const(9))), 8 * M, {name: (A,)})
    yield Case("no task starts, nor any attempt for five minutes", (*waiting, retried(ramp(0.1, 0, 3 * M))), 9 * M,
               {name: (A,)})  # fmt: skip
    yield Case("no task starts, attempts do in one instance",
               (*waiting, retried(ramp(0.1)), *queue(const(5), const(7), B), *held("retry", const(2), B),
                *slots(2, instance=B), retried(ABSENT, instance=B)),
               8 * M, {name: (B,)})  # fmt: skip


def _places() -> Iterator[Case]:
    """1000 places, which tasks between two attempts do not take."""
    name, idle = "GlasspoolQueueFilling", slots(2)
    beyond = (*queue(const(1500), ramp(1)), *held("retry", const(900)), *idle)
    yield Case("more queued than places, most to be tried again", beyond, 8 * M, {})
    full = (*queue(const(1700), ramp(1)), *held("retry", const(850)), *idle)
    yield Case("more queued than places, and full without those to be tried again", full, 8 * M, {name: (A,)})
    yield Case("all slots free, all queued are to be tried again",
               (*queue(const(950), const(7)), *held("retry", const(950)), *slots(0)), 8 * M, {})  # fmt: skip


def _blocked() -> Iterator[Case]:
    """Producers without room."""
    name, filling, idle = "GlasspoolProducersStuck", "GlasspoolQueueFilling", slots(2)
    pending = Series(c.SUBMIT_OLDEST_AGE, ramp(1))
    line = (*queue(const(1150), ramp(1)), *held("retry", const(1000)), *idle, pending)
    yield Case("producers in line for one key, beside many that are tried again", line, 8 * M, {})
    full = (*queue(const(1050), ramp(1)), *held("retry", const(50)), *idle, pending)
    yield Case("producers behind a full queue, beside some that are tried again", full, 8 * M,
               {name: (A,), filling: (A,)})  # fmt: skip


def _starved() -> Iterator[Case]:
    """A limit whose permits only tasks get that are tried again."""
    name, end = "GlasspoolLimitStarved", 22 * M
    waiting = (*queue(const(3), const(7)), *held("limit", const(3)), *slots(4), *limited(const(4)))
    again = (*waiting, released("limit", ramp(0.1)), retried(ramp(0.1)))
    yield Case("permits go to tasks that are tried again", again, end, {})
    other = (*waiting, released("limit", ABSENT), retried(ramp(0.1)))
    yield Case("no permit comes back, other tasks are tried again", other, end, {name: (A,)})


def _endings() -> Iterator[Case]:
    """Attempts are no tasks."""
    end = 20 * M
    attempts = (*ended(ramp(1), NONE), retried(ramp(9)), *queue(NONE, ramp(1)))
    yield Case("attempts fail, and no task", attempts, end, {})
    failing = (*ended(ramp(0.5), ramp(0.5)), retried(ramp(9)))
    yield Case("half of the tasks fail, after more attempts", failing, end, {"GlasspoolErrorRatio": (A,)})
    stuck = (*overdue(ramp(1), 20), retried(ramp(0.1)))
    yield Case("an attempt hangs, others are tried again", stuck, end, {"GlasspoolTaskStuck": (A,)})
