"""The figures of executors and event loops as ``/live.json`` shows them."""

from __future__ import annotations

from typing import Any

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import QUEUE_OUTCOMES, Metric
from glasspool.telemetry.recording.snapshot_queries import quantile

from . import words
from .flat import Entity, Flat, Numbers
from .history import History

__all__ = ["WINDOW", "event_loop", "executor", "quantiles"]

WINDOW = 60.0
"""Seconds that rates and quantiles are of."""

SPARK = 120.0
"""Seconds of the sparklines."""

_SHORTEST = 0.5
"""Seconds from which on a difference gives a rate."""

QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


class _Before:
    """An entity a minute ago, or when the history begins. The caller holds the history's lock."""

    def __init__(self, history: History, entity: Entity, now: float) -> None:
        self._history = history
        self._entity = entity
        index = history.base(now - WINDOW)
        if index is not None and now - history.times[index] < _SHORTEST:
            index = None
        self._index = index
        self.window = None if index is None else now - history.times[index]

    def numbers(self, flat: Flat) -> Numbers:
        """The same numbers then; all 0 when nothing is known."""
        index = self._index
        if index is None:
            return Numbers({})
        columns = self._history.columns.get(self._entity, {})
        return Numbers({key: columns[key][index] for key in flat if key in columns})


def executor(history: History, entity: Entity, flat: Flat, now: float) -> dict[str, Any]:
    """One executor now, and in the last minute. The caller holds the history's lock."""
    before = _Before(history, entity, now)
    figures, then = Numbers(flat), before.numbers(flat)
    longest, totals = figures.of(catalog.TASK_OVERDUE_LONGEST), _counts(figures)
    shown: dict[str, Any] = {
        "process": entity.process, "name": entity.name, "type": entity.type,
        "slots": _slots(history, entity, figures, now),
        "queue": _queue(figures),
        "producers": _optional(figures, catalog.SUBMIT_PENDING, {
            "blocked": _value(figures, catalog.SUBMIT_PENDING),
            "oldest_age": _value(figures, catalog.SUBMIT_OLDEST_AGE),
        }),
        "active": figures.total(catalog.TASK_ACTIVE),
        "oldest_task_age": _value(figures, catalog.TASK_OLDEST_AGE),
        "abandoned": figures.total(catalog.TASK_ABANDONED),
        "cancelling": {"tasks": _value(figures, catalog.TASK_CANCELLING),
                       "oldest_age": _value(figures, catalog.TASK_CANCELLING_OLDEST_AGE)},
        "overdue": [
            {"name": name, "age": value, "longest_before": longest.get((catalog.TASK_OVERDUE_LONGEST.name, name))}
            for (_, name), value in figures.of(catalog.TASK_OVERDUE_AGE).items()
        ],
        "held": {key[1]: value for key, value in figures.of(catalog.QUEUE_HELD).items() if value},
        "totals": totals,
        "recent": _recent(figures, then, totals, before.window),
        "spark": _spark(history, entity, now),
    }  # fmt: skip
    shown["warnings"] = words.of_executor(shown)
    shown["pressure"] = _pressure(shown)
    return shown


def event_loop(history: History, entity: Entity, flat: Flat, now: float) -> dict[str, Any]:
    """One event loop now, and in the last minute. The caller holds the history's lock."""
    before = _Before(history, entity, now)
    metric = catalog.EVENTLOOP_DELAY
    figures = Numbers(flat)
    counts = _since(figures, before.numbers(flat), metric, "")
    stall = _value(figures, catalog.EVENTLOOP_STALL)
    filled = [index for index, count in enumerate(counts) if count]
    worst = None if not filled else metric.buckets[min(filled[-1], len(metric.buckets) - 1)]
    return {
        "process": entity.process, "name": entity.name, "stall": stall,
        "delay": {**quantiles(counts, metric), "at_most": worst}, "window": before.window,
        "warnings": words.of_loop(stall, worst, before.window),
    }  # fmt: skip


def quantiles(counts: list[float], metric: Metric) -> dict[str, Any]:
    """p50, p95 and p99 in seconds, and how many measurements they are of."""
    whole = [int(count) for count in counts]
    if not any(whole):
        return {"p50": None, "p95": None, "p99": None, "count": 0}
    found: dict[str, Any] = {name: quantile(whole, metric.buckets, q) for name, q in QUANTILES}
    return {**found, "count": sum(whole)}


def _value(figures: Numbers, metric: Metric) -> float:
    return figures.value(metric) or 0.0


def _optional(figures: Numbers, metric: Metric, shown: dict[str, Any]) -> dict[str, Any] | None:
    return None if figures.value(metric) is None else shown


def _queue(figures: Numbers) -> dict[str, Any] | None:
    capacity = figures.value(catalog.QUEUE_CAPACITY)
    return _optional(figures, catalog.QUEUE_SIZE, {
        "size": _value(figures, catalog.QUEUE_SIZE), "capacity": capacity,
        "oldest_age": _value(figures, catalog.QUEUE_OLDEST_AGE),
    })  # fmt: skip


def _slots(history: History, entity: Entity, figures: Numbers, now: float) -> dict[str, Any] | None:
    used, limit = figures.value(catalog.SLOT_USAGE), figures.value(catalog.SLOT_LIMIT)
    if used is None:
        return None
    full = limit is not None and used >= limit
    return {"used": used, "limit": limit, "full_for": _full_for(history, entity, figures, now) if full else None}


def _full_for(history: History, entity: Entity, figures: Numbers, now: float) -> float | None:
    """For how many seconds every slot has been in use, as far as the history tells."""
    key = (catalog.SLOT_SATURATED_TIME.name,)
    saturated, found = _value(figures, catalog.SLOT_SATURATED_TIME), None
    for index in range(len(history.times) - 1, -1, -1):
        elapsed = now - history.times[index]
        if saturated - history.at(entity, key, index) < 0.99 * elapsed - 0.05:
            break
        found = elapsed
    return found


def _counts(figures: Numbers) -> dict[str, float]:
    """What has happened up to this moment."""
    submitted = figures.total(catalog.TASK_SUBMITTED)
    waits = figures.of(catalog.QUEUE_WAIT)
    started = sum([count for (_, outcome, _), count in waits.items() if outcome == "started"])
    if figures.value(catalog.QUEUE_SIZE) is None and not waits:  # what waits for nothing starts when it is submitted
        started = submitted
    ends = {
        outcome: figures.total(catalog.TASK_COMPLETED, outcome)
        for outcome in ("success", "error", "timeout", "cancelled")
    }
    return {
        "submitted": submitted, "started": started,
        "finished": sum(ends.values()), "succeeded": ends["success"], "errors": ends["error"],
        "timeouts": ends["timeout"], "cancellations": ends["cancelled"],
        "rejected": figures.total(catalog.TASK_REJECTED), "retries": figures.total(catalog.TASK_RETRIES),
        "late": figures.total(catalog.QUEUE_WAIT_LATE), "context_losses": figures.total(catalog.CONTEXT_LOSSES),
    }  # fmt: skip


def _recent(figures: Numbers, then: Numbers, totals: dict[str, float], window: float | None) -> dict[str, Any]:
    counts = totals
    if window is not None:
        before = _counts(then)
        counts = {name: max(0.0, count - before[name]) for name, count in totals.items()}
    waits = _since(figures, then, catalog.QUEUE_WAIT, *QUEUE_OUTCOMES)
    runs = _since(figures, then, catalog.TASK_DURATION, "")
    rates = None if window is None else {name: count / window for name, count in counts.items()}
    return {
        "window": window, "counts": counts, "per_second": rates,
        "wait": quantiles(waits, catalog.QUEUE_WAIT), "run": quantiles(runs, catalog.TASK_DURATION),
    }  # fmt: skip


def _since(figures: Numbers, then: Numbers, metric: Metric, *labels: str) -> list[float]:
    counts = figures.buckets(metric, *labels)
    if not then.of(metric):
        return counts
    pairs = zip(counts, then.buckets(metric, *labels), strict=True)
    return [max(0.0, now - before) for now, before in pairs]


def _spark(history: History, entity: Entity, now: float) -> dict[str, list[float]]:
    first = history.base(now - SPARK)
    if first is None:
        return {"age": [], "slots": [], "queue": []}
    if now - history.times[first] > SPARK + 5:
        first += 1
    columns = history.columns.get(entity, {})

    def line(metric: Metric) -> list[float]:
        column = columns.get((metric.name,))
        return [0.0] * (len(history.times) - first) if column is None else list(column[first:])

    ages = [round(now - at, 2) for at in history.times[first:]]
    return {"age": ages, "slots": line(catalog.SLOT_USAGE), "queue": line(catalog.QUEUE_SIZE)}


def _pressure(shown: dict[str, Any]) -> float:
    """How hard an executor is pressed: slots in use of the limit, queue of capacity, what waits, what is wrong."""
    slots, queue, producers = shown["slots"], shown["queue"], shown["producers"]
    found = 0.0
    if slots is not None and slots["limit"]:
        found += min(1.0, slots["used"] / slots["limit"])
    if queue is not None and queue["size"]:
        found += 1.0 + (min(1.0, queue["size"] / queue["capacity"]) if queue["capacity"] else 0.0)
    if producers is not None and producers["blocked"]:
        found += 1.0
    return round(found + sum(2.0 if said["level"] == "warning" else 0.1 for said in shown["warnings"]), 4)
