"""Time series as curves over seconds, for the unit tests of alerts: the series of an executor of one process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from glasspool.telemetry import catalog as c
from glasspool.telemetry.catalog import Key, Metric, prometheus_label

Curve = Callable[[float], float | None]
"""Value at a second since the start; None: not there."""

M, H, D = 60, 3600, 86400
A, B, C = "a:1", "b:1", "c:1"


def const(value: float) -> Curve:
    """The same all the time."""
    return lambda _: value


def ramp(per_second: float, start: float = 0, end: float = float("inf")) -> Curve:
    """A counter that grows between two instants and stands still before and after."""
    return lambda t: max(0.0, min(t, end) - start) * per_second


def steps(*pairs: tuple[float, float | None]) -> Curve:
    """Piecewise constant: (from second, value)."""

    def value(t: float) -> float | None:
        found = None
        for since, level in pairs:
            if t >= since:
                found = level
        return found

    return value


def plus(*curves: Curve) -> Curve:
    """Sum; absent where one is absent."""

    def value(t: float) -> float | None:
        values = [curve(t) for curve in curves]
        return None if None in values else sum(v for v in values if v is not None)

    return value


def or_none(curve: Curve) -> Curve:
    """The curve, 0 where it is absent."""
    return lambda t: curve(t) or 0.0


def minus(curve: Curve) -> Curve:
    """The same below 0."""

    def value(t: float) -> float | None:
        now = curve(t)
        return None if now is None else -now

    return value


def restarted(curve: Curve, at: float) -> Curve:
    """A counter whose process restarts: it begins again at 0."""

    def value(t: float) -> float | None:
        now, lost = curve(t), curve(at)
        return now if t < at or now is None or lost is None else now - lost

    return value


@dataclass(frozen=True)
class Series:
    """One input series of one instance."""

    metric: Metric
    curve: Curve
    labels: dict[str, str] = field(default_factory=dict)
    suffix: str = ""
    instance: str = A

    def name(self, job: str) -> str:
        """The series with all its labels."""
        labels = {"job": job, "instance": self.instance}
        if self.metric.identity:
            labels |= {prometheus_label(Key.EXECUTOR_NAME): "mail", prometheus_label(Key.EXECUTOR_TYPE): "hybrid"}
        labels |= {prometheus_label(key): value for key, value in self.labels.items()}
        inner = ",".join(f'{key}="{value}"' for key, value in labels.items())
        return f"{self.metric.prometheus_name}{self.suffix}{{{inner}}}"


@dataclass(frozen=True)
class Case:
    """At ``at`` seconds exactly these alerts fire: alert name to instances."""

    title: str
    series: tuple[Series, ...]
    at: float
    firing: Mapping[str, tuple[str, ...]]
    intervals: tuple[int, ...] = (15, 60)


NONE = const(0)


Waits = Callable[..., tuple["Series", ...]]

ABSENT = steps()
"""A series that is not there: what is rare has none before its first event."""


def waits(total: Curve, good: Curve, timeouts: Curve = ABSENT, instance: str = A) -> tuple[Series, ...]:
    """The waits of one instance that declares an objective: how many there were, and how many were late."""
    started = {Key.QUEUE_OUTCOME: "started"}
    return (
        Series(c.QUEUE_WAIT, total, started, "_count", instance),
        Series(c.QUEUE_WAIT, timeouts, {Key.QUEUE_OUTCOME: "timeout"}, "_count", instance),
        Series(c.QUEUE_WAIT_LATE, plus(total, or_none(timeouts), minus(good)), instance=instance),
    )


def bucketed(total: Curve, good: Curve, timeouts: Curve = ABSENT, instance: str = A) -> tuple[Series, ...]:
    """The same of one that declares none: its wait histogram, as far as an option of the rules reads it."""
    started = {Key.QUEUE_OUTCOME: "started"}
    return (
        Series(c.QUEUE_SIZE, NONE, instance=instance),
        Series(c.QUEUE_WAIT, total, started, "_count", instance),
        Series(c.QUEUE_WAIT, timeouts, {Key.QUEUE_OUTCOME: "timeout"}, "_count", instance),
        Series(c.QUEUE_WAIT, good, {**started, "le": "0.5"}, "_bucket", instance),
        Series(c.QUEUE_WAIT, total, {**started, "le": "+Inf"}, "_bucket", instance),
    )


def slow(share: float, since: float = 0, until: float = float("inf"), rate: float = 1) -> tuple[Curve, Curve]:
    """Total and good tasks when a share of them starts late for a while."""
    return ramp(rate), plus(ramp(rate), ramp(-rate * share, since, until))


def queue(size: Curve, started: Curve, instance: str = A, capacity: float = 1000) -> tuple[Series, ...]:
    """Queue and starts of one instance."""
    return (
        Series(c.QUEUE_SIZE, size, instance=instance),
        Series(c.QUEUE_CAPACITY, const(capacity), instance=instance),
        Series(c.QUEUE_WAIT, started, {Key.QUEUE_OUTCOME: "started"}, "_count", instance),
    )


def held(reason: str, tasks: Curve, instance: str = A) -> tuple[Series, ...]:
    """Queued tasks that something holds. An executor that may hold tasks shows every reason."""
    return tuple(
        Series(c.QUEUE_HELD, tasks if each == reason else NONE, {Key.HOLD_REASON: each}, instance=instance)
        for each in c.HOLD_REASONS
    )


def limited(usage: Curve, capacity: float | None = 4, name: str = "db", instance: str = A) -> tuple[Series, ...]:
    """A limit: tasks in flight under it, and how many there may be (None: it has rates only)."""
    label = {Key.LIMIT_NAME: name}
    bound = ABSENT if capacity is None else const(capacity)
    return (
        Series(c.LIMIT_USAGE, usage, label, instance=instance),
        Series(c.LIMIT_CAPACITY, bound, label, instance=instance),
    )


def released(reason: str, tasks: Curve, instance: str = A) -> Series:
    """Tasks that were held and have left the queue; absent before the first."""
    return Series(c.QUEUE_HOLD, tasks, {Key.HOLD_REASON: reason}, "_count", instance)


def slots(active: float, limit: float = 8, abandoned: float = 0, instance: str = A) -> tuple[Series, ...]:
    """Slots taken by active tasks and by threads left behind, and how many there are."""
    runner = {Key.RUNNER: "thread"}
    return (
        Series(c.TASK_ACTIVE, const(active), runner, instance=instance),
        Series(c.TASK_ABANDONED, const(abandoned), runner, instance=instance),
        Series(c.SLOT_USAGE, const(active + abandoned), instance=instance),
        Series(c.SLOT_LIMIT, const(limit), instance=instance),
    )


def overdue(age: Curve, longest: float, instance: str = A, task: str = "send") -> tuple[Series, ...]:
    """A task that runs longer than any before it; absent where its age is."""
    labels = {Key.TASK_NAME: task}
    return (
        Series(c.TASK_OVERDUE_AGE, age, labels, instance=instance),
        Series(c.TASK_OVERDUE_LONGEST, lambda t: None if age(t) is None else longest, labels, instance=instance),
    )


def of_type(kind: str, *series: Series) -> tuple[Series, ...]:
    """The same series of another type of executor."""
    return tuple(replace(each, labels={**each.labels, Key.EXECUTOR_TYPE: kind}) for each in series)


def ended(good: Curve, bad: Curve, outcome: str = "error", instance: str = A) -> tuple[Series, ...]:
    """Completions of one instance."""
    return (
        Series(c.TASK_COMPLETED, good, {Key.TASK_OUTCOME: "success", Key.RUNNER: "inline"}, instance=instance),
        Series(
            c.TASK_COMPLETED,
            bad,
            {Key.TASK_OUTCOME: outcome, Key.ERROR_TYPE: "ValueError", Key.RUNNER: "inline"},
            instance=instance,
        ),
    )
