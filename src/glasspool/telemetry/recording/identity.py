"""What is kept for one identity (executor name and type): counters and histograms that live as long as the process.

Whatever changes here changes in a turn of the identity, made by its recorders; the registry reads in one.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, TypeVar

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import OTHER, Key, Metric

from .executor_figures import ExecutorFigures
from .histograms import Histogram, Holder
from .printable_text import NAME_LENGTH, printable
from .series_budget import Budget, series_of
from .services import ServiceSeries
from .shape import Expected, Shape

__all__ = ["Totals"]

K = TypeVar("K", bound=Hashable)

_TASK_ERROR_TYPES = 20  # error.type values an executor may show before the rest becomes _OTHER
_NO_ROOM = "series"  # the cap that all executors of the process share
_SAID = {
    "name_cap": "shows as many task names as it may (name_cap)",
    "label_cap": "shows as many values of error.type as it may (label_cap)",
    "service_cap": "shows as many names of services as it may (label_cap)",
    _NO_ROOM: "finds no room: this process shows as many series as it may (label_cap)",
}


class Totals(Holder):
    """Counters and histograms of one identity. They outlive executors and never restart in a process.

    Counters of what can happen (see ``Shape``) exist from the beginning, so that ``increase()`` sees the first event;
    so does the histogram of waits that ended with a start. Every other histogram appears with its first measurement.

    Everything here, and in the live recorders of this identity, changes in its turns.
    """

    def __init__(self, name: str, type: str, shape: Shape, budget: Budget, names: int) -> None:
        super().__init__()
        self.name = name
        self.type = type
        self.shape = shape
        self.live: list[ExecutorFigures] = []  # replaced, never changed
        self.identity: dict[str, Any] = {Key.EXECUTOR_NAME: name, Key.EXECUTOR_TYPE: type}
        self.submitted = self.opened = self.closed = self.unretrieved = 0
        self.slot_time = self.limit_time = self.saturated_time = self.open_time = 0.0  # of closed recorders
        self.shown_times = (0.0, 0.0, 0.0, 0.0)  # the same of all recorders, as they were last read
        self.unbounded = False  # a recorder with an unbounded queue was seen: capacity is omitted
        self.blocked = False  # a producer had to wait
        self.lends = False  # a task has lent its slot
        self.holds = False  # something may hold queued tasks
        self.limit_names: set[str] = set()
        self.bounded: set[str] = set()  # those of them that have permits
        self.late = 0  # tasks that waited longer than their recorder's objective
        self.has_objective = False  # a recorder with a wait objective was seen: late tasks are shown
        expected = Expected.of(shape, names)
        self.completed = dict.fromkeys(expected.completed, 0)
        self.rejected = dict.fromkeys(expected.rejected, 0)
        self.cancellations = dict.fromkeys(expected.cancellations, 0)
        self.losses = dict.fromkeys(expected.losses, 0)
        self.failures = dict.fromkeys(expected.failures, 0)
        self.abandoned: dict[str, int] = {}
        self.duration: dict[tuple[str, str, str], Histogram] = {}
        self.cancel_duration: dict[str, Histogram] = {}
        self.queue_wait: dict[str, Histogram] = {}
        self.hold: dict[str, Histogram] = {}
        self.attempt: dict[str, Histogram] = {}
        self.retries: dict[str, int] = {}  # by error type
        self.retry_stops: dict[str, int] = {}
        self.submit_wait: dict[str, Histogram] = {}  # one, without a label
        self.shutdown: dict[str, Histogram] = {}
        self.folded: dict[str, Histogram] = {}  # by metric: measurements that found no room for a series of their own
        self._budget = budget
        self._names = names
        self.task_names: dict[str, str] = {}
        self.watched: dict[tuple[int, float], int] = {}  # see overdue.py
        self.overdue_names: set[str] = set()
        self._error_types: set[str] = set()
        self._runners = set(shape.runners)
        self.capped: list[str] = []  # caps that were hit and not yet logged
        self._hits: set[str] = set()
        self.started_wait: Histogram | None = None
        self.services = ServiceSeries(budget, self._hit, self._room_for, _NO_ROOM)

    def begin(self) -> None:
        """The first executor has opened. In a turn."""
        if self.shape.queue and self.started_wait is None:
            self.started_wait = self.queue_wait_of("started")

    def expect(self, shape: Shape) -> None:
        """Another executor of this identity may bring events that the earlier ones could not: from now on at 0.

        In a turn, like all that follows.
        """
        expected = Expected.of(shape, self._names)
        self._expect(self.completed, expected.completed)
        self._expect(self.rejected, expected.rejected)
        self._expect(self.cancellations, expected.cancellations)
        self._expect(self.losses, expected.losses)
        self._expect(self.failures, expected.failures)

    def expect_objective(self) -> None:
        """An executor of this identity has a wait objective."""
        if not self.has_objective:
            self.has_objective = True
            self._budget.use(2)  # late tasks, and the objective itself

    def expect_holds(self, names: Iterable[str]) -> None:
        """An executor of this identity may hold queued tasks, by limits of these names among others."""
        if not self.holds:
            self.holds = True
            self._budget.use(len(catalog.HOLD_REASONS))
        for name in map(printable, names):
            if name in self.limit_names:
                continue
            if self._budget.take(3):  # usage, capacity, available
                self.limit_names.add(name)
            else:
                self._hit("label_cap", _NO_ROOM)

    def expect_retries(self) -> None:
        """An executor of this identity may run tasks again."""
        if not self.retry_stops:
            self._expect(self.retry_stops, catalog.RETRY_STOPS)
            self._budget.use(1)  # what the budget still allows

    def retry_of(self, error_type: str) -> str:
        """The key in ``retries`` of such an error, which is there from now on."""
        if error_type not in self.retries:
            error_type = error_type if self._room_for(error_type) else OTHER
            self.retries.setdefault(error_type, 0)
        return error_type

    def _expect(self, family: dict[K, int], keys: Iterable[K], series: int = 1) -> None:
        for key in keys:
            if key not in family:
                self._budget.use(series)
                family[key] = 0

    def ready(self, family: dict[K, int], key: K, series: int = 1) -> dict[K, int]:
        """The family, with a counter for this key, which was perhaps not expected and is so many new series."""
        self._expect(family, (key,), series)
        return family

    def count(self, family: dict[K, int], key: K) -> None:
        """One more event."""
        self.ready(family, key)[key] += 1

    # -- labels ----------------------------------------------------------------------------------------------------

    def task_name(self, name: str) -> str:
        """The name as a metric label: itself for the first ones, then ``_OTHER``; empty when switched off.

        In a turn or not. Taken first and given back: between a look and a step another name may come in.
        """
        known = self.task_names.get(name)
        if known is not None:
            return known
        if self._names == 0:
            return ""
        shown = printable(name)
        if len(name) > NAME_LENGTH:  # an endless one is not kept
            name = shown
        self.task_names[name] = shown
        if len(self.task_names) <= self._names:
            return shown
        self.task_names.pop(name, None)
        self.take(self._hit, "name_cap", "name_cap")
        return OTHER

    def shown_name(self, name: str) -> str:
        """The same for a reading: a name that finds no room is ``_OTHER`` and is not counted as folded."""
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

    def end_of(self, outcome: str, error_type: str, runner: str) -> tuple[str, str, str]:
        """The key in ``completed`` of such an end, which is there from now on."""
        key = (outcome, error_type, runner)
        return key if key in self.completed else self.new_end(*key)

    def new_end(self, outcome: str, error_type: str, runner: str) -> tuple[str, str, str]:
        """The key in ``completed`` of an end that has none yet; where there is no room the type is ``_OTHER``."""
        if runner not in self._runners:
            self._runners.add(runner)
            self._budget.use(2)  # its gauges: active, abandoned
        if outcome == "error" and self._room_for(error_type):
            key = (outcome, error_type, runner)
            self.completed[key] = 0
        else:
            key = (outcome, OTHER if outcome == "error" else error_type, runner)
            self._expect(self.completed, (key,))
        return key

    def _room_for(self, error_type: str) -> bool:
        if error_type not in self._error_types and len(self._error_types) >= _TASK_ERROR_TYPES:
            self._hit("label_cap", "label_cap")
            return False
        if not self._budget.take(1):
            self._hit("label_cap", _NO_ROOM)
            return False
        self._error_types.add(error_type)
        return True

    # -- histograms, made when first needed ------------------------------------------------------------------------

    def histograms(self) -> list[Histogram]:
        """All there are."""
        families: tuple[dict[Any, Histogram], ...] = (
            self.queue_wait, self.hold, self.submit_wait, self.shutdown, self.duration, self.attempt,
            self.cancel_duration, self.services.ready, self.folded,
        )  # fmt: skip
        return [series for family in families for series in family.values()]

    def duration_of(self, outcome: str, name: str, runner: str) -> Histogram:
        """The run-time histogram of these labels; an empty name is no label."""
        key = (outcome, name, runner)
        series = self.duration.get(key)
        if series is None and self._room(catalog.TASK_DURATION):
            labels = {Key.TASK_OUTCOME: outcome, Key.RUNNER: runner}
            if name:
                labels[Key.TASK_NAME] = name
            series = self.duration[key] = self.series(catalog.TASK_DURATION, {**self.identity, **labels})
        if series is None:  # first the name goes, which may be many
            series = self.duration.get((outcome, OTHER, runner)) or self._fold(catalog.TASK_DURATION)
        return series

    def cancel_duration_of(self, reason: str) -> Histogram:
        """How long cancellations for this reason took."""
        return self._one_of(self.cancel_duration, catalog.CANCEL_DURATION, reason)

    def queue_wait_of(self, outcome: str) -> Histogram:
        """Waits that ended so."""
        return self._one_of(self.queue_wait, catalog.QUEUE_WAIT, outcome)

    def hold_of(self, reason: str) -> Histogram:
        """How long tasks were held for this reason."""
        return self._one_of(self.hold, catalog.QUEUE_HOLD, reason)

    def attempt_of(self, outcome: str) -> Histogram:
        """How long attempts ran that ended so."""
        return self._one_of(self.attempt, catalog.ATTEMPT_DURATION, outcome)

    def service_ready_of(self, name: str) -> Histogram:
        """How long services of this (shown) name took to be ready."""
        return self._one_of(self.services.ready, catalog.SERVICE_READY, name)

    def submit_wait_of(self) -> Histogram:
        """Waits of producers."""
        return self._one_of(self.submit_wait, catalog.SUBMIT_WAIT)

    def shutdown_of(self, outcome: str) -> Histogram:
        """Closings that ended so."""
        return self._one_of(self.shutdown, catalog.SHUTDOWN_DURATION, outcome)

    def _one_of(self, family: dict[str, Histogram], metric: Metric, *label: str) -> Histogram:
        key = "".join(label)
        series = family.get(key)
        if series is None and self._room(metric):
            labels = dict(zip(metric.attributes, label, strict=True))
            series = family[key] = self.series(metric, {**self.identity, **labels})
        return series or self._fold(metric)

    def _room(self, metric: Metric) -> bool:
        if self._budget.take(series_of(metric)):
            return True
        self._hit("label_cap", _NO_ROOM)
        return False

    def _fold(self, metric: Metric) -> Histogram:
        """What takes the measurements of this metric that find no room; the registry adds up those of one type."""
        series = self.folded.get(metric.name)
        if series is None:
            self._budget.fold(self.type, metric)
            labels = {Key.EXECUTOR_NAME: OTHER, Key.EXECUTOR_TYPE: self.type, **dict.fromkeys(metric.attributes, OTHER)}
            series = self.folded[metric.name] = self.series(metric, labels)
        return series

    # -- caps ------------------------------------------------------------------------------------------------------

    def unlogged_caps(self) -> list[str]:
        """The messages about caps that were hit and not logged yet; each is returned once."""
        news: list[str] = []
        while self.capped:
            try:
                cap = self.capped.pop()
            except IndexError:  # another thread was faster
                break
            if cap != _NO_ROOM or self._budget.first(cap):
                news.append(_SAID[cap])
        return news

    def _hit(self, kind: str, cap: str) -> None:
        # Every folded measurement counts: remembering which values were already folded would itself be unbounded.
        self.failures[kind] += 1
        if cap not in self._hits:
            self._hits.add(cap)
            self.capped.append(cap)
