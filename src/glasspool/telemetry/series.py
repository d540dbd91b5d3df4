"""What is kept for one identity (executor name and type): counters and histograms that live as long as the process.

Nothing here locks or decides; the recorder writes under the identity's lock, the registry reads under it.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from . import catalog
from .catalog import OTHER, Key, Metric

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from .live import Live

__all__ = ["Budget", "Exemplar", "Histogram", "Shape", "Sink", "Totals"]

_TASK_ERROR_TYPES = 20  # error.type values an executor may show before the rest becomes _OTHER

Exemplar = tuple[float, int, int, float]
"""value, trace id, span id, wall-clock seconds: one sampled measurement of a bucket."""


@dataclass(frozen=True)
class Shape:
    """Which parts of the contract an executor has. What it has is exported at 0 from open.

    ``queue``: tasks can wait; ``submit``: producers can block; ``slots``: there is a limit on concurrency;
    ``workers``: runners whose threads or processes are counted; ``runners``: values of ``glasspool.runner``;
    ``unretrieved``: it is told when a task is thrown away with its error unseen; ``requests``: it is told when a task
    is asked to end; ``breakable``: it refuses calls when its workers have died.
    """

    runners: tuple[str, ...] = ("inline",)
    workers: tuple[str, ...] = ()
    queue: bool = False
    submit: bool = False
    slots: bool = False
    shutdown: bool = False
    unretrieved: bool = False
    requests: bool = False
    breakable: bool = False


class Histogram:
    """One histogram series: a count per bucket (upper bounds inclusive, the last one open), a sum, exemplars."""

    __slots__ = ("attributes", "bounds", "counts", "exemplars", "metric", "sum")

    def __init__(self, metric: Metric, attributes: dict[str, Any]) -> None:
        self.metric = metric
        self.attributes = attributes
        self.bounds = metric.buckets
        self.counts = [0] * (len(metric.buckets) + 1)
        self.sum = 0.0
        self.exemplars: list[Exemplar | None] | None = None

    def observe(self, value: float, exemplar: Exemplar | None = None) -> None:
        """Count one measurement in seconds. The caller holds the identity's lock."""
        index = bisect_left(self.bounds, value)
        self.counts[index] += 1
        self.sum += value
        if exemplar is not None:
            self.keep(index, exemplar)

    def keep(self, index: int, exemplar: Exemplar) -> None:
        """Keep this as the bucket's latest exemplar. The caller holds the identity's lock."""
        kept: list[Exemplar | None] = self.exemplars or [None] * len(self.counts)
        kept[index] = exemplar
        self.exemplars = kept


class Sink(Protocol):
    """Where measurements also go while an OpenTelemetry meter provider is set."""

    def record(self, series: Histogram, value: float, span: Span | None) -> None:
        """Take one measurement in seconds that ``series`` has counted. The caller holds no lock."""
        ...


class Budget:
    """How many series a process may still make. Thread-safe: identities have locks of their own.

    ``kept_back`` is room for the identities named ``_OTHER``, one per executor type, which must always be had.
    """

    def __init__(self, series: int = 20_000, names: int = 200, kept_back: int = 3_000) -> None:
        self.series = series - kept_back
        self.names = names
        self._lock = threading.Lock()

    def take(self, count: int) -> bool:
        """Take room for ``count`` series; False (and nothing taken) when there is not that much."""
        with self._lock:
            if self.series < count:
                return False
            self.series -= count
            return True


class Totals:
    """Counters and histograms of one identity. They outlive executors and never restart in a process.

    ``lock`` guards everything here and in the live recorders of this identity. It is re-entrant because a
    garbage collection inside a locked block may close a recorder of the same identity.
    """

    def __init__(self, name: str, type: str, shape: Shape, budget: Budget, names: int) -> None:
        self.name = name
        self.type = type
        self.shape = shape
        self.lock = threading.RLock()
        self.live: list[Live] = []
        self.identity: dict[str, Any] = {Key.EXECUTOR_NAME: name, Key.EXECUTOR_TYPE: type}
        self.submitted = self.opened = self.closed = self.unretrieved = 0
        self.slot_time = self.limit_time = self.saturated_time = self.open_time = 0.0  # of closed recorders
        # Whoever counts a measurement reads it under the lock: what is counted while it is None is handed over at once.
        self.sink: Sink | None = None
        self.unbounded = False  # a recorder with an unbounded queue was seen: capacity is omitted
        self.late = 0  # tasks that waited longer than their recorder's objective
        self.has_objective = False  # a recorder with a wait objective was seen: late tasks are shown
        self.completed: dict[tuple[str, str, str], int] = {}
        for runner in shape.runners:
            self.completed["success", "", runner] = 0
            self.completed["timeout", "timeout", runner] = 0
            self.completed["cancelled", "cancelled", runner] = 0
        self.abandoned = dict.fromkeys(shape.runners, 0)
        self.rejected = {why: 0 for why in catalog.REJECT_REASONS if why != "broken" or shape.breakable}
        self.cancellations = {(r, p): 0 for r in catalog.CANCEL_REASONS for p in catalog.CANCEL_PHASES}
        self.losses = dict.fromkeys(catalog.CONTEXT_LOSS_KINDS, 0)
        self.failures = dict.fromkeys(catalog.EXECUTOR_FAILURE_KINDS, 0)
        self.queue_wait = {
            outcome: self._histogram(catalog.QUEUE_WAIT, {Key.QUEUE_OUTCOME: outcome})
            for outcome in (catalog.QUEUE_OUTCOMES if shape.queue else ())
        }
        self.started_wait = self.queue_wait.get("started")
        self.submit_wait = self._histogram(catalog.SUBMIT_WAIT, {}) if shape.submit else None
        self.shutdown = {
            outcome: self._histogram(catalog.SHUTDOWN_DURATION, {Key.SHUTDOWN_OUTCOME: outcome})
            for outcome in (catalog.SHUTDOWN_OUTCOMES if shape.shutdown else ())
        }
        self.cancel_duration: dict[str, Histogram] = {}
        self.duration: dict[tuple[str, str, str], Histogram] = {}
        self._budget = budget
        self._names = names
        self.task_names: dict[str, str] = {}
        self.watched: dict[tuple[int, float], int] = {}  # see overdue.py
        self.overdue_names: set[str] = set()
        self._error_types: set[str] = set()
        self.capped: set[str] = set()  # caps that were hit and not yet logged
        self._logged: set[str] = set()

    @staticmethod
    def base_series(shape: Shape) -> int:
        """How many series a new identity of this shape brings, the last resorts of its caps included."""
        runners, workers = len(shape.runners), len(shape.workers)
        waits = (
            len(catalog.QUEUE_OUTCOMES) * shape.queue + shape.submit + len(catalog.SHUTDOWN_OUTCOMES) * shape.shutdown
        )
        last_resorts = _series_of(catalog.TASK_DURATION) + _series_of(catalog.CANCEL_DURATION) + runners
        counters = 21 + len(catalog.CANCEL_REASONS) * len(catalog.CANCEL_PHASES) + 3 * runners
        gauges = 9 + 2 * runners + 3 * workers + 2 * shape.requests
        return waits * _series_of(catalog.QUEUE_WAIT) + last_resorts + counters + gauges

    def _histogram(self, metric: Metric, extra: dict[str, Any]) -> Histogram:
        return Histogram(metric, {**self.identity, **extra})

    def histograms(self) -> list[Histogram]:
        """All histograms there are; the caller holds the lock."""
        families = (self.queue_wait, self.shutdown, self.duration, self.cancel_duration)
        # Copies are iterated: a garbage collection in this thread may settle a lost executor's tasks meanwhile.
        found = [series for family in families for series in list(family.values())]
        return found if self.submit_wait is None else [*found, self.submit_wait]

    def task_name(self, name: str) -> str:
        """The name as a metric label: itself for the first ones, then ``_OTHER``; empty when switched off."""
        known = self.task_names.get(name)
        if known is not None:
            return known
        if self._names == 0:
            return ""
        if len(self.task_names) >= self._names:
            self._hit("name_cap")
            return OTHER
        self.task_names[name] = name
        return name

    def shown_name(self, name: str) -> str:
        """The same for whoever only looks: a name that finds no room is ``_OTHER`` and is not counted as folded."""
        if len(self.task_names) < self._names:
            return self.task_name(name)
        return self.task_names.get(name, OTHER if self._names else "")

    def room_for_overdue(self, name: str) -> bool:
        """Whether the two gauges of an overdue task of this (shown) name find room among the process's series."""
        if name not in self.overdue_names:
            if not self._budget.take(2):
                return False
            self.overdue_names.add(name)
        return True

    def error_type(self, name: str) -> str:
        """The error type as a metric label: itself for the first ones, then ``_OTHER``."""
        if name in self._error_types:
            return name
        if len(self._error_types) >= _TASK_ERROR_TYPES or not self._budget.take(len(self.shape.runners)):
            self._hit("label_cap")
            return OTHER
        self._error_types.add(name)
        return name

    def duration_of(self, outcome: str, name: str, runner: str) -> Histogram:
        """The run-time histogram of these labels, made when first needed."""
        series = self.duration.get((outcome, name, runner))
        if series is None:
            if not self._budget.take(_series_of(catalog.TASK_DURATION)):
                self._hit("label_cap")
                # First the name goes, which may be many; where even that finds no room, one histogram takes it all.
                if name in ("", OTHER):
                    return self._last_resort(catalog.TASK_DURATION, self.duration, (OTHER, OTHER, OTHER))
                return self.duration_of(outcome, OTHER, runner)
            extra = {Key.TASK_OUTCOME: outcome, Key.RUNNER: runner}
            if name:
                extra[Key.TASK_NAME] = name
            series = self.duration[outcome, name, runner] = self._histogram(catalog.TASK_DURATION, extra)
        return series

    def cancel_duration_of(self, reason: str) -> Histogram:
        """The cancel-duration histogram of this reason, made when first needed."""
        series = self.cancel_duration.get(reason)
        if series is None:
            if not self._budget.take(_series_of(catalog.CANCEL_DURATION)):
                self._hit("label_cap")
                return self._last_resort(catalog.CANCEL_DURATION, self.cancel_duration, OTHER)
            series = self._histogram(catalog.CANCEL_DURATION, {Key.CANCEL_REASON: reason})
            self.cancel_duration[reason] = series
        return series

    def _last_resort(self, metric: Metric, family: dict[Any, Histogram], key: Any) -> Histogram:
        if key not in family:
            family[key] = self._histogram(metric, dict.fromkeys(metric.attributes, OTHER))
        return family[key]

    def unlogged_caps(self) -> list[str]:
        """The caps that were hit and not yet spoken of; each is returned once."""
        with self.lock:
            news = [kind for kind in self.capped if kind not in self._logged]
            self._logged.update(self.capped)
            self.capped.clear()
        return news

    def _hit(self, kind: str) -> None:
        # Every folded measurement counts: remembering which values were already folded would itself be unbounded.
        self.failures[kind] += 1
        if kind not in self._logged:
            self.capped.add(kind)


def _series_of(metric: Metric) -> int:
    return len(metric.buckets) + 3  # the open bucket, sum and count
