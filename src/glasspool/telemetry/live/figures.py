"""The figures of executors and event loops as ``/live.json`` shows them."""

from __future__ import annotations

from typing import Any

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import QUEUE_OUTCOMES, Metric
from glasspool.telemetry.recording.snapshot_queries import quantile

from . import lasting, words
from .flat import LOOP, Entity, Flat, Numbers
from .history import History

__all__ = ["WINDOW", "event_loop", "executor", "is_executor", "quantiles"]

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


def is_executor(entity: Entity, flat: Flat) -> bool:
    """Whether this is shown as an executor: not the process itself, nor the tasks of a library that had none yet."""
    if entity.type in (LOOP, "process"):
        return False
    return entity.type not in catalog.LOOP_TYPES or (catalog.TASK_SUBMITTED.name,) in flat


def executor(history: History, entity: Entity, flat: Flat, now: float) -> dict[str, Any]:
    """One executor now, and in the last minute. The caller holds the history's lock."""
    before = _Before(history, entity, now)
    figures, then = Numbers(flat), before.numbers(flat)
    longest, totals = figures.of(catalog.TASK_OVERDUE_LONGEST), _counts(figures)
    shown: dict[str, Any] = {
        "process": entity.process, "name": entity.name, "type": entity.type,
        "slots": _slots(history, entity, figures, now),
        "queue": _queue(history, entity, figures, now),
        "producers": _producers(figures),
        "active": figures.total(catalog.TASK_ACTIVE),
        "oldest_task_age": _value(figures, catalog.TASK_OLDEST_AGE),
        "abandoned": figures.total(catalog.TASK_ABANDONED),
        "cancelling": {"tasks": _value(figures, catalog.TASK_CANCELLING),
                       "oldest_age": _value(figures, catalog.TASK_CANCELLING_OLDEST_AGE)},
        "overdue": [
            {"name": name, "age": value, "longest_before": longest.get((catalog.TASK_OVERDUE_LONGEST.name, name))}
            for (_, name), value in figures.of(catalog.TASK_OVERDUE_AGE).items()
        ],
        "services": _services(figures, then if before.window is not None else figures),
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
    bounds = (0.0, *metric.buckets, None)  # the last bucket has none
    longest = (None, None) if not filled else (bounds[filled[-1]], bounds[filled[-1] + 1])
    return {
        "process": entity.process, "name": entity.name, "stall": stall,
        "delay": {**quantiles(counts, metric), "at_least": longest[0], "at_most": longest[1]}, "window": before.window,
        "warnings": words.of_loop(stall, longest, before.window),
    }  # fmt: skip


def quantiles(counts: list[float], metric: Metric, most: float | None = None) -> dict[str, Any]:
    """p50, p95 and p99 in seconds, and how many measurements they are of.

    :param most: no measurement can have been longer than so many seconds; None: that is not known.
    """
    whole = [int(count) for count in counts]
    if not any(whole):
        return {"p50": None, "p95": None, "p99": None, "count": 0}
    found: dict[str, Any] = {}
    for name, q in QUANTILES:
        value = quantile(whole, metric.buckets, q)
        found[name] = value if most is None or value is None else min(value, most)
    return {**found, "count": sum(whole)}


def _value(figures: Numbers, metric: Metric) -> float:
    return figures.value(metric) or 0.0


def _producers(figures: Numbers) -> dict[str, Any] | None:
    blocked = figures.value(catalog.SUBMIT_PENDING)
    if blocked is None:
        return None
    return {"blocked": blocked, "oldest_age": _value(figures, catalog.SUBMIT_OLDEST_AGE)}


def _queue(history: History, entity: Entity, figures: Numbers, now: float) -> dict[str, Any] | None:
    size = figures.value(catalog.QUEUE_SIZE)
    if size is None:
        return None
    idle = lasting.idle(history, entity, _started(figures), now) if size else None
    return {
        "size": size, "capacity": figures.value(catalog.QUEUE_CAPACITY),
        "oldest_age": _value(figures, catalog.QUEUE_OLDEST_AGE),
        "idle_for": idle and idle.seconds, "idle_at_least": idle and idle.at_least,
    }  # fmt: skip


def _slots(history: History, entity: Entity, figures: Numbers, now: float) -> dict[str, Any] | None:
    used, limit = figures.value(catalog.SLOT_USAGE), figures.value(catalog.SLOT_LIMIT)
    if used is None:
        return None
    found: lasting.Lasting | None = None
    if limit is not None and used >= limit:
        held = any(figures.of(catalog.QUEUE_HELD).values())  # what waits, may wait for something else
        waits = 0.0 if held else _value(figures, catalog.QUEUE_OLDEST_AGE)
        found = lasting.full(history, entity, _value(figures, catalog.SLOT_SATURATED_TIME), now, waits)
    return {
        "used": used, "limit": limit, "full_for": found and found.seconds, "full_at_least": found and found.at_least,
    }  # fmt: skip


def _started(figures: Numbers) -> float:
    return sum([count for (_, outcome, _), count in figures.of(catalog.QUEUE_WAIT).items() if outcome == "started"])


def _counts(figures: Numbers) -> dict[str, float]:
    """What has happened up to this moment."""
    submitted = figures.total(catalog.TASK_SUBMITTED)
    waits = figures.of(catalog.QUEUE_WAIT)
    started = _started(figures)
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
        "given_up": figures.total(catalog.RETRY_STOPPED, "budget"),
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
    most = figures.value(catalog.EXECUTOR_TIME)  # it has been open for so long
    return {
        "window": window, "counts": counts, "per_second": rates,
        "wait": quantiles(waits, catalog.QUEUE_WAIT, most), "run": quantiles(runs, catalog.TASK_DURATION, most),
    }  # fmt: skip


def _services(figures: Numbers, then: Numbers) -> dict[str, Any]:
    states = figures.of(catalog.SERVICE_STATE)
    failed = [name for (_, name, state), count in states.items() if count and state == "failed"]
    return {"failed": failed, "restarted": _more(figures, then, catalog.SERVICE_RESTARTS)}


def _more(figures: Numbers, then: Numbers, metric: Metric) -> dict[str, float]:
    """By the first label of this counter, how much more it is than it was; without those that are no more."""
    found: dict[str, float] = {}
    before = then.of(metric)
    for key, value in figures.of(metric).items():
        found[key[1]] = found.get(key[1], 0.0) + max(0.0, value - before.get(key, 0.0))
    return {name: count for name, count in found.items() if count}


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
