"""All figures of one identity, read in one turn."""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import Any

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import OTHER, Metric

from .executor_figures import ExecutorFigures
from .identity import Totals
from .overdue import overdue
from .policy_readings import read_policies
from .snapshot import Add, Gathering

__all__ = ["read_identity"]

_NONE: Counter[str] = Counter()


def read_identity(totals: Totals, out: Gathering, whole: bool) -> None:
    """Gather what this identity and its live recorders count. In a turn.

    :param whole: whether this is in no update's middle.
    """
    shape = totals.shape
    now, (open_time, slot_time, limit_time, saturated_time) = _times(totals, whole)
    add = out.of(totals.identity)
    add(catalog.TASK_SUBMITTED, totals.submitted)
    families: tuple[tuple[Metric, dict[Any, int]], ...] = (
        (catalog.TASK_COMPLETED, totals.completed), (catalog.TASK_REJECTED, totals.rejected),
        (catalog.TASK_CANCELLATIONS, totals.cancellations), (catalog.TASK_RETRIES, totals.retries),
        (catalog.RETRY_STOPPED, totals.retry_stops), (catalog.CONTEXT_LOSSES, totals.losses),
        (catalog.TELEMETRY_FAILURES, totals.failures),
    )  # fmt: skip
    zeros = out.zeros
    for metric, family in families:
        for found, value in family.items():
            if value or zeros:
                labels: tuple[str, ...] = found if isinstance(found, tuple) else (found,)
                add(metric, value, *labels)
    add(catalog.EXECUTOR_OPENED, totals.opened)
    add(catalog.EXECUTOR_CLOSED, totals.closed)
    add(catalog.EXECUTOR_TIME, open_time)
    if shape.unretrieved:
        add(catalog.TASK_UNRETRIEVED, totals.unretrieved)
    if shape.slots:
        add(catalog.SLOT_TIME, slot_time)
        add(catalog.SLOT_LIMIT_TIME, limit_time)
        add(catalog.SLOT_SATURATED_TIME, saturated_time)
    for histogram in totals.histograms():
        out.histogram(histogram)
    if totals.has_objective:
        add(catalog.QUEUE_WAIT_LATE, totals.late)
    totals.services.read(totals.live, add)
    if totals.name != OTHER:  # gauges of unlike executors under one name would say nothing
        _read_gauges(totals, now, add)


def _times(totals: Totals, whole: bool) -> tuple[dict[ExecutorFigures, float], tuple[float, float, float, float]]:
    """An instant of each live recorder, and the four time counters then. ``whole``: this is in no update's middle.

    What ended before this instant may be entered after it, when its thread gets round to that: it takes back what was
    counted for it up to now. A counter must not fall, so it stays at what was shown until it has come to that again.
    """
    now = {recorder: recorder.clock() for recorder in totals.live}
    if whole:  # else a trace function looks, and sees half a move
        opened, used = totals.open_time, totals.slot_time
        limited, saturated = totals.limit_time, totals.saturated_time
        for recorder, instant in now.items():
            figures = recorder.figures
            opened += instant - recorder.opened_at
            used += figures.used_time(instant)
            limited += figures.limit_time(instant)
            saturated += figures.saturated_time(instant)
        shown = totals.shown_times
        totals.shown_times = (
            max(shown[0], opened), max(shown[1], used), max(shown[2], limited), max(shown[3], saturated)
        )  # fmt: skip
    return now, totals.shown_times


def _read_gauges(totals: Totals, now: dict[ExecutorFigures, float], add: Add) -> None:
    # Lists, for generators take longer; and nearly always one recorder is live, or none. The first entry of an
    # insertion-ordered dict is the oldest one.
    shape, live = totals.shape, totals.live
    slots = [r.figures for r in live]
    counted = [r.active_by_runner() for r in live if r.active_tasks]  # few have any, and adding counters takes long
    active = sum(counted[1:], counted[0]) if counted else _NONE
    used = [runner for (_, _, runner), count in totals.completed.items() if count]
    runners = dict.fromkeys((shape.runners[0], *used, *active))  # gauges of the others appear with their first task
    for runner in runners:
        add(catalog.TASK_ACTIVE, active[runner], runner)
    for runner, count in totals.abandoned.items():
        add(catalog.TASK_ABANDONED, count, runner)
    running = [now[r] - next(iter(r.active_tasks)).started for r in live if r.active_tasks]
    add(catalog.TASK_OLDEST_AGE, max(running, default=0.0))
    if shape.requests:
        asked = [now[r] - instant for r in live for instant in r.asked_since(now[r])]
        add(catalog.TASK_CANCELLING, len(asked))
        add(catalog.TASK_CANCELLING_OLDEST_AGE, max(asked, default=0.0))
    for name, (age, longest) in overdue(totals, now).items():
        add(catalog.TASK_OVERDUE_AGE, age, name)
        add(catalog.TASK_OVERDUE_LONGEST, longest, name)
    if shape.queue:
        add(catalog.QUEUE_SIZE, sum([figures.queued for figures in slots]))
        waiting = [now[r] - next(iter(r.slots.waiting)).accepted for r in live if r.slots.waiting]
        add(catalog.QUEUE_OLDEST_AGE, max(waiting, default=0.0))
        if not totals.unbounded:
            add(catalog.QUEUE_CAPACITY, sum([r.capacity or 0 for r in live]))
        objective = min([r.late_after for r in live], default=inf)
        if objective != inf:
            add(catalog.QUEUE_WAIT_OBJECTIVE, objective)
    read_policies(totals, add)
    if totals.blocked:
        add(catalog.SUBMIT_PENDING, sum([len(r.pending) for r in live]))
        blocked = [now[r] - next(iter(r.pending.values())) for r in live if r.pending]
        add(catalog.SUBMIT_OLDEST_AGE, max(blocked, default=0.0))
    if shape.slots:
        add(catalog.SLOT_USAGE, sum([figures.used() for figures in slots]))
        limits = [found for figures in slots if (found := figures.limit) is not None]
        if len(limits) == len(live):
            add(catalog.SLOT_LIMIT, sum(limits))
        if totals.lends:
            add(catalog.SLOT_LENT, sum([r.slots.lent for r in live]))
    for runner in filter(runners.__contains__, shape.workers):
        busy = active[runner] + totals.abandoned.get(runner, 0)
        if len(shape.runners) == 1:  # what waits, waits for these workers: one that it is handed to is not idle
            busy += sum([figures.handed_over() for figures in slots])
        alive = max(sum([r.workers.get(runner, 0) for r in live]), busy)
        busy = min(busy + sum([r.serving for r in live]), alive)  # those served may be waiting
        add(catalog.WORKER_COUNT, busy, runner, "busy")
        add(catalog.WORKER_COUNT, alive - busy, runner, "idle")
        add(catalog.WORKER_LIMIT, sum([r.worker_limits.get(runner, 0) for r in live]), runner)
