"""The process's identities and event loops, and the one snapshot that every exporter reads.

``collect()`` visits each identity once, under its lock, and gives plain points; the OpenTelemetry callbacks and the
Prometheus collector only spell them. After a fork the child starts with nothing.
"""

from __future__ import annotations

import abc
import os
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice, zip_longest
from math import inf
from typing import Any

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import OTHER, PROCESS, Key, Metric

from .executor_figures import ExecutorFigures
from .histograms import Exemplar, Histogram, Holder
from .identity import Totals
from .overdue import overdue
from .policy_readings import read_policies
from .series_budget import Budget
from .turns import Turns

__all__ = ["REGISTRY", "HistogramPoint", "Point", "Registry", "Snapshot", "Source", "listen"]

# What the process itself can get wrong, at 0 from the first executor on: the caps always, the rest (but for observers,
# who belong to an executor, and the endpoint's, which are for those who share a port) where OpenTelemetry listens.
_EXPORT = tuple(
    kind for kind in catalog.FAILURE_KINDS if kind not in (*catalog.CAP_KINDS, "observer", *catalog.PORT_KINDS)
)


@dataclass(slots=True)  # not frozen, for then each costs three times as much, and a reading makes thousands
class Point:
    """One value of a counter or gauge series; never changed."""

    attributes: dict[str, Any]
    value: float


@dataclass(slots=True)
class HistogramPoint:
    """One histogram series, never changed: counts per bucket (not cumulative, the last one open), their sum, exemplars
    by bucket."""

    attributes: dict[str, Any]
    counts: tuple[int, ...]
    sum: float
    exemplars: tuple[Exemplar | None, ...]

    @property
    def count(self) -> int:
        """How many measurements there are."""
        return sum(self.counts)


@dataclass(frozen=True)
class Snapshot:
    """What the process's series read at one moment, by metric name; metrics without a series are absent."""

    points: dict[str, list[Point]]
    histograms: dict[str, list[HistogramPoint]]


class Source(Holder):
    """Something besides executors that has series (the event-loop monitors)."""

    @abc.abstractmethod
    def collect(
        self, add: Callable[[Metric, dict[str, Any], float], None], histogram: Callable[[Histogram], None]
    ) -> None:
        """Add gauge points by ``add``, and every histogram by ``histogram``, which copies it."""


class Registry(Turns):
    """All identities of a process. Thread-safe; no thread waits for another lock while it holds this one's."""

    def __init__(self) -> None:
        self._recorders: weakref.WeakSet[ExecutorFigures] = weakref.WeakSet()
        self.listening: Callable[[], bool] = lambda: False  # whether OpenTelemetry does; set by a listener
        self.reset()

    def reset(self) -> None:
        """Forget everything (a forked child, or a test)."""
        super().__init__()
        self.budget = Budget()
        self._identities: dict[tuple[str, str], Totals] = {}
        self._names: dict[str, object] = {}
        self.sources: dict[type[Source], Any] = {}  # one of each kind
        self._failures = dict.fromkeys(catalog.FAILURE_KINDS, 0)
        for recorder in list(self._recorders):
            recorder.after_fork()

    def attach(self, recorder: ExecutorFigures) -> Totals:
        """The totals of this recorder's identity; beyond the caps those of the name ``_OTHER``."""
        shape, names = recorder.shape, recorder.max_task_names
        with self.lock:
            self._recorders.add(recorder)
            name, series = recorder.name, shape.series(names)
            totals = self._identities.get((name, recorder.type))
            if totals is None and not self._enter(name, series):
                self.telemetry_failed("name_cap")
                name, series = OTHER, shape.series(names, gauges=False)
                totals = self._identities.get((name, recorder.type))
                if totals is None:
                    self.budget.use(series)
            if totals is None:
                made = Totals(name, recorder.type, shape, self.budget, names)
                totals = self._identities.setdefault((name, recorder.type), made)
                if totals is not made:  # something that re-entered was faster
                    self.budget.use(-series)
            return totals

    def _enter(self, name: str, series: int) -> bool:
        mine = object()
        if self._names.setdefault(name, mine) is not mine:  # under another type
            return self.budget.take(series)
        if self.budget.enter(series):
            return True
        del self._names[name]
        return False

    def joined(self, holder: Holder) -> None:
        """Something that has series has begun to exist: tell those who hand its measurements on."""
        for listener in _listeners:
            listener(self, holder)

    def telemetry_failed(self, kind: str, count: int = 1) -> None:
        """Count failures that belong to no single executor."""
        self.take(self._fail, kind, count)

    def _fail(self, kind: str, count: int) -> None:
        self._failures[kind] += count

    def lost(self) -> int:
        """How many spans and metric points were thrown away on their way out."""
        return sum(self._failures[kind] for kind in catalog.LOSS_KINDS)

    def holders(self) -> list[Holder]:
        """Everything that has histograms now."""
        return [*list(self._identities.values()), *list(self.sources.values())]

    def look_at_live(self, reading: Callable[[ExecutorFigures], object]) -> None:
        """Call ``reading`` with each open executor's figures, in a turn of its identity."""
        for totals in list(self._identities.values()):
            for recorder in totals.live:
                recorder.catch_up()
                totals.look(reading, recorder)

    def collect(self, *, zeros: bool = True) -> Snapshot:
        """One snapshot of every series. Each identity is read whole, in a turn; no event loop is touched.

        :param zeros: with the counters by label that are still 0, which are most of all series.
        """
        out = _Collection(zeros)
        identities = list(self._identities.values())
        sources = list(self.sources.values())
        failures = dict(self._failures)
        for totals in identities:
            for recorder in totals.live:
                recorder.catch_up()
            with totals.lock:
                totals.look(_read, totals, out, not totals.busy)
        for source in sources:
            source.collect(out.add, out.histogram)
        process = {Key.EXECUTOR_NAME: PROCESS, Key.EXECUTOR_TYPE: "process"}
        expected = (*catalog.CAP_KINDS, *(_EXPORT if self.listening() else ())) if identities or sources else ()
        for kind, count in failures.items():
            if count or kind in expected:
                out.add(catalog.TELEMETRY_FAILURES, {**process, Key.FAILURE_KIND: kind}, count)
        return out.snapshot()


_NONE: Counter[str] = Counter()
_listeners: list[Callable[[Registry, Holder], None]] = []


def listen(listener: Callable[[Registry, Holder], None]) -> None:
    """Have ``listener`` called with the registry and each executor's identity, or other source, that joins it."""
    _listeners.append(listener)


class _Collection:
    """Points being gathered."""

    def __init__(self, zeros: bool) -> None:
        self.zeros = zeros
        self.points: dict[str, list[Point]] = {}
        self._histograms: dict[str, list[HistogramPoint]] = {}
        self._others: dict[tuple[str, frozenset[tuple[str, Any]]], HistogramPoint] = {}

    def add(self, metric: Metric, attributes: dict[str, Any], value: float) -> None:
        self.points.setdefault(metric.name, []).append(Point(attributes, value))

    def histogram(self, series: Histogram) -> None:
        found = tuple(series.exemplars) if series.exemplars else ()
        point = HistogramPoint(series.attributes, tuple(series.counts), series.sum, found)
        if series.attributes.get(Key.EXECUTOR_NAME) != OTHER:
            self._histograms.setdefault(series.metric.name, []).append(point)
            return
        # Each identity keeps what it has no room for under its own lock; they are one series.
        key = series.metric.name, frozenset(series.attributes.items())
        known = self._others.get(key)
        self._others[key] = point if known is None else _together(known, point)

    def snapshot(self) -> Snapshot:
        for (name, _), point in self._others.items():
            self._histograms.setdefault(name, []).append(point)
        return Snapshot(self.points, self._histograms)


def _together(left: HistogramPoint, right: HistogramPoint) -> HistogramPoint:
    counts = tuple(map(int.__add__, left.counts, right.counts))
    pairs = zip_longest(left.exemplars, right.exemplars)
    newest = tuple(max(pair, key=lambda found: found[-1] if found else 0.0) for pair in pairs)
    return HistogramPoint(left.attributes, counts, left.sum + right.sum, newest)


def _read(totals: Totals, out: _Collection, whole: bool) -> None:
    identity, shape = totals.identity, totals.shape
    now, (open_time, slot_time, limit_time, saturated_time) = _times(totals, whole)

    def add(metric: Metric, value: float) -> None:
        out.add(metric, identity, value)

    def each(metric: Metric, values: dict[Any, int], *keys: str) -> None:
        for found, value in values.items():
            if not (value or out.zeros):
                continue
            labels: list[Any] = list(found) if isinstance(found, tuple) else [found]  # pyright: ignore[reportUnknownArgumentType]
            spelled = {key: label for key, label in zip(keys, labels, strict=True) if label}
            out.add(metric, {**identity, **spelled}, value)

    add(catalog.TASK_SUBMITTED, totals.submitted)
    each(catalog.TASK_COMPLETED, totals.completed, Key.TASK_OUTCOME, Key.ERROR_TYPE, Key.RUNNER)
    each(catalog.TASK_REJECTED, totals.rejected, Key.ERROR_TYPE)
    each(catalog.TASK_CANCELLATIONS, totals.cancellations, Key.CANCEL_REASON, Key.TASK_PHASE)
    each(catalog.TASK_RETRIES, totals.retries, Key.ERROR_TYPE)
    each(catalog.RETRY_STOPPED, totals.retry_stops, Key.RETRY_STOP)
    each(catalog.CONTEXT_LOSSES, totals.losses, Key.LOSS_KIND)
    each(catalog.TELEMETRY_FAILURES, totals.failures, Key.FAILURE_KIND)
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
    totals.services.read(identity, totals.live, out.add)
    if totals.name != OTHER:  # gauges of unlike executors under one name would say nothing
        _read_gauges(totals, now, out)


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


def _read_gauges(totals: Totals, now: dict[ExecutorFigures, float], out: _Collection) -> None:
    identity, shape, live = totals.identity, totals.shape, totals.live

    def add(metric: Metric, value: float, **extra: str) -> None:
        out.add(metric, {**identity, **extra} if extra else identity, value)

    def oldest(since: Callable[[ExecutorFigures], Iterable[float]]) -> float:
        # The first entry of an insertion-ordered dict is the oldest one.
        return max((now[r] - instant for r in live for instant in since(r)), default=0.0)

    counted = [r.active_by_runner() for r in live if r.active_tasks]  # few have any, and adding counters takes long
    active = sum(counted[1:], counted[0]) if counted else _NONE
    used = [runner for (_, _, runner), count in totals.completed.items() if count]
    runners = dict.fromkeys((shape.runners[0], *used, *active))  # gauges of the others appear with their first task
    for runner in runners:
        add(catalog.TASK_ACTIVE, active[runner], **{Key.RUNNER: runner})
    for runner, count in totals.abandoned.items():
        add(catalog.TASK_ABANDONED, count, **{Key.RUNNER: runner})
    add(catalog.TASK_OLDEST_AGE, oldest(lambda r: [task.started for task in islice(r.active_tasks, 1)]))
    if shape.requests:
        asked = {r: r.asked_since(now[r]) for r in live}
        add(catalog.TASK_CANCELLING, sum(map(len, asked.values())))
        add(catalog.TASK_CANCELLING_OLDEST_AGE, oldest(asked.__getitem__))
    for name, (age, longest) in overdue(totals, now).items():
        extra = {Key.TASK_NAME: name} if name else {}
        add(catalog.TASK_OVERDUE_AGE, age, **extra)
        add(catalog.TASK_OVERDUE_LONGEST, longest, **extra)
    if shape.queue:
        add(catalog.QUEUE_SIZE, sum(r.figures.queued for r in live))
        add(catalog.QUEUE_OLDEST_AGE, oldest(lambda r: [task.accepted for task in islice(r.slots.waiting, 1)]))
        if not totals.unbounded:
            add(catalog.QUEUE_CAPACITY, sum(r.capacity or 0 for r in live))
        objective = min((r.late_after for r in live), default=inf)
        if objective != inf:
            add(catalog.QUEUE_WAIT_OBJECTIVE, objective)
    read_policies(totals, add)
    if totals.blocked:
        add(catalog.SUBMIT_PENDING, sum(len(r.pending) for r in live))
        add(catalog.SUBMIT_OLDEST_AGE, oldest(lambda r: list(islice(r.pending.values(), 1))))
    if shape.slots:
        add(catalog.SLOT_USAGE, sum(r.figures.used() for r in live))
        limits = [found for r in live if (found := r.figures.limit) is not None]
        if len(limits) == len(live):
            add(catalog.SLOT_LIMIT, sum(limits))
        if totals.lends:
            add(catalog.SLOT_LENT, sum(r.slots.lent for r in live))
    for runner in filter(runners.__contains__, shape.workers):
        busy = active[runner] + totals.abandoned.get(runner, 0)
        if len(shape.runners) == 1:  # what waits, waits for these workers: one that it is handed to is not idle
            busy += sum(r.figures.handed_over() for r in live)
        alive = max(sum(r.workers.get(runner, 0) for r in live), busy)
        busy = min(busy + sum(r.serving for r in live), alive)  # those served may be waiting
        extra = {Key.RUNNER: runner}
        add(catalog.WORKER_COUNT, busy, **extra, **{Key.WORKER_STATE: "busy"})
        add(catalog.WORKER_COUNT, alive - busy, **extra, **{Key.WORKER_STATE: "idle"})
        add(catalog.WORKER_LIMIT, sum(r.worker_limits.get(runner, 0) for r in live), **extra)


REGISTRY = Registry()
"""The process's own registry. ``os.register_at_fork`` empties it in every forked child."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=REGISTRY.reset)
