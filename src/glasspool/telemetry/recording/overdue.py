"""Active tasks that run longer than any before them: what the alert on stuck tasks reads.

How long a call may take is not known here, only how long calls have taken. A task is compared with the finished runs
of its own name, if there are some. A call in a thread or another process whose name has none is compared with all runs
of its executor, once a few others have overtaken it; a coroutine of a new name may be a consumer or a connection, which
lives as long as it likes, and nothing is said. Nor is anything said of event loops: their tasks are servers as well.
A task that was asked to end is no longer expected to end by itself: ``task.cancelling.oldest.age`` tells of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from glasspool.telemetry.catalog import LOOP_TYPES

from .executor_figures import ExecutorFigures
from .identity import Totals

__all__ = ["ENOUGH_RUNS", "WATCHED_AFTER", "overdue"]

WATCHED_AFTER = 60.0
"""Seconds a task has run before it is looked at: nearly all are over by then and cost a reading nothing."""

ENOUGH_RUNS = 10
"""Finished runs that make a history. With fewer the longest says little about the next one."""

_BY_THEMSELVES = ("success", "error")
"""Outcomes of runs that say how long a call takes; what was cancelled or timed out was cut short."""


def overdue(totals: Totals, now: Mapping[ExecutorFigures, float]) -> dict[str, tuple[float, float]]:
    """Shown task name to the age of its oldest overdue task and the longest run before, in seconds.

    The caller holds the identity's lock; ``now`` is an instant of each live recorder.
    """
    found: dict[str, tuple[float, float]] = {}
    if totals.type in LOOP_TYPES:
        return found
    watched: dict[tuple[int, float], int] = {}
    histories: dict[str | None, tuple[int, float]] = {}
    for recorder, instant in now.items():
        for task in list(recorder.active_tasks):
            age = instant - task.started
            if age < WATCHED_AFTER:
                break  # they are in the order in which they started
            if recorder.asked and recorder.asked.get(task, inf) <= instant:
                continue
            name = totals.shown_name(task.name)
            if name not in histories:
                histories[name] = _history(totals, name)
            runs, longest = histories[name]
            if runs < ENOUGH_RUNS:
                if task.runner == "inline":
                    continue
                if None not in histories:
                    histories[None] = _history(totals, None)
                ended, longest = histories[None]
                key = id(task), task.started
                watched[key] = totals.watched.get(key, ended)
                if ended - watched[key] < ENOUGH_RUNS:
                    continue
            if age > max(longest, found.get(name, (0.0, 0.0))[0]) and totals.room_for_overdue(name):
                found[name] = age, longest
    totals.watched = watched
    return found


def _history(totals: Totals, name: str | None) -> tuple[int, float]:
    """How many runs of this shown name (None: of all) ended by themselves, and a bound that none has exceeded."""
    runs, longest = 0, 0.0
    for (outcome, shown, _), series in totals.duration.items():
        if outcome in _BY_THEMSELVES and name in (None, shown):
            runs += sum(series.counts)
            index = max((i for i, count in enumerate(series.counts) if count), default=-1)
            if index >= 0:
                longest = max(longest, series.bounds[index] if index < len(series.bounds) else inf)
    return runs, longest
