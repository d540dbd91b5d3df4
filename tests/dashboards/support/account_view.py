"""The expected results of queries, computed from the run's own record without any telemetry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from glasspool.telemetry.catalog import HOLD_REASONS, Metric

Task = dict[str, Any]
LATE_SECONDS = 0.5
NOTED_WITHIN = 0.005
READ_WITHIN = 4.0
"""Seconds: a gauge is scraped or pushed every two, and recorded by a rule every two. The mean of what is recorded takes
each change so much late at most."""


@dataclass(frozen=True)
class View:
    """The account as one store sees it at one instant.

    ``exact`` stores divide a rate by the time their samples cover, the others by the window. Everything before
    ``idle_from`` is history: it is in every counter's first sample and in no rate.
    """

    account: dict[str, Any] = field(hash=False)
    at: float
    exact: bool

    whole: bool = False
    """History counts: for expressions that take the whole count of a series that was not there a window ago."""

    noted_late: float = 0.0
    """A task's own note of its start comes after the executor's, by up to so many seconds where the machine is busy."""

    read: Callable[[Iterable[int]], int] | None = None
    """Of a queue's lengths in the last `READ_WITHIN` a sample shows the least or the greatest; none: that of now."""

    @property
    def start(self) -> float:
        return 0.0 if self.whole else float(self.account["idle_from"])

    @property
    def since_birth(self) -> View:
        """The same with its history."""
        return replace(self, whole=True)

    @property
    def readings(self) -> list[View]:
        """The extremes between which a store's answer lies.

        VictoriaMetrics takes a new counter's first value for growth where the value is small, so history may count.
        """
        views = [self, self.since_birth] if self.exact else [self]
        reads = (None, 0.0), (None, NOTED_WITHIN), (min, 0.0), (max, 0.0)
        return [replace(view, read=read, noted_late=late) for view in views for read, late in reads]

    def per_second(self, amount: float, window: float) -> float:
        """A rate over the window, all of the amount lying within it."""
        return amount / (min(window, self.at - self.start) if self.exact else window)

    def tasks(self, **facts: Any) -> list[Task]:
        """Tasks with these facts; a tuple is a choice."""
        return [
            task
            for task in self.account["tasks"]
            if all(
                task[key] in value if isinstance(value, tuple) else task[key] == value for key, value in facts.items()
            )
        ]

    def recent(self, tasks: Iterable[Task], moment: str) -> list[Task]:
        """Those whose moment (accepted, started, ended) lies after the start."""
        return [task for task in tasks if task[moment] is not None and task[moment] >= self.start]

    def ended(self, **facts: Any) -> list[Task]:
        """Tasks that ended after the start. What a pool ran in another process has no times of its own."""
        found = self.tasks(**facts)
        return [t for t in found if t["outcome"] and (t["ended"] or t["accepted"]) >= self.start]

    def executors(self, kind: str | None = None, open_now: bool = True) -> list[dict[str, Any]]:
        """Executors, of one type or all."""
        found = [e for e in self.account["executors"] if kind in (None, e["type"])]
        return [e for e in found if e["closed"] is None] if open_now else found

    def waits(self, executor: str) -> list[float]:
        """Waits of tasks that started or timed out in the queue, since the start."""
        return [wait for _, wait, _ in self.waits_over(executor)]

    def waits_over(self, executor: str) -> list[tuple[float, float, bool]]:
        """The same with the instant at which each was known, and whether the objective counts it as late.

        Timeouts count with their history: of a series that was not there a window ago the whole count is taken.
        """
        found = []
        for task in self.tasks(executor=executor):
            left = task["started"] or (task["ended"] if task["outcome"] == "timeout" else None)
            if task["type"] == "process_pool" and task["outcome"] == "success":
                left = task["accepted"]  # only the pool knows, and it is milliseconds
            timed_out = task["outcome"] == "timeout" and task["started"] is None
            if left is not None and (left >= self.start or timed_out):
                wait = max(0.0, left - task["accepted"] - self.noted_late)
                found.append((left, wait, wait > LATE_SECONDS or timed_out))
        return found

    def summed_rates(self, executor: str, only_late: bool = False) -> float:
        """The integral over the run of the five-minute rate of waits, in tasks; the three-day rules are made of it."""
        # A task is in the rate from its instant on.
        waits = self.waits_over(executor)
        return sum((self.at - instant) / 300 for instant, _, late in waits if late or not only_late)

    def runs(self, **facts: Any) -> list[float]:
        """Running times of ended tasks, since the start."""
        ended = [t for t in self.recent(self.tasks(**facts), "ended") if t["started"]]
        return [sum(end - begun for begun, end in t["attempts"] or [(t["started"], t["ended"])]) for t in ended]

    def submit_waits(self, executor: str) -> list[float]:
        """What producers waited that found no room, those that gave up included, since the start."""
        accepted = [t["submit_wait"] for t in self.recent(self.tasks(executor=executor, blocked=True), "accepted")]
        return accepted + [
            r["waited"] for r in self.account["rejects"] if r["executor"] == executor and r["waited"] is not None
        ]

    def busy(self, executor: str, since: float, until: float) -> list[tuple[float, float]]:
        """When slots were held: one span a task or attempt, cut to the interval."""
        spans = []
        for task in self.tasks(executor=executor):
            for begun, ended in task["attempts"]:
                spans.append((max(begun, since), min(ended, until)))
            if task["started"] is not None and not task["attempts"]:
                end = until if task["held_until"] == "end" or task["ended"] is None else task["ended"]
                span = max(task["started"], since), min(end, until)
                spans.append(span)
        return [span for span in spans if span[1] > span[0]]

    def slot_seconds(self, executor: str) -> float:
        """Slot-seconds used between start and now."""
        return sum(end - begin for begin, end in self.busy(executor, self.start, self.at))

    def mean_queued(self, executor: dict[str, Any]) -> float:
        """Tasks in the queue, on the mean of the time that it was open between start and now."""
        since, until = max(executor["opened"], self.start), executor["closed"] or self.at
        spans = [(t["accepted"], t["started"] or t["ended"] or self.at) for t in self.tasks(executor=executor["name"])]
        if self.read is None:
            waited = sum(max(0.0, min(left, until) - max(came, since)) for came, left in spans)
            return float(waited / (until - since))
        step = 0.25
        lengths = [
            sum(came <= since + number * step < left for came, left in spans)
            for number in range(round((until - since) / step))
        ]
        back = round(READ_WITHIN / step)
        shown = [self.read(lengths[max(0, at - back) : at + 1]) for at in range(len(lengths))]
        return sum(shown) / len(shown)

    def open_seconds(self, executor: dict[str, Any]) -> float:
        """Seconds open between start and now."""
        return float((executor["closed"] or self.at) - max(executor["opened"], self.start))

    def limit_seconds(self, executor: dict[str, Any], since: float) -> float:
        """Seconds with every slot in use, between an instant and now."""
        changes = sorted(
            (t, step)
            for span in self.busy(executor["name"], since, self.at)
            for t, step in zip(span, (1, -1), strict=True)
        )
        held, full_since, total = 0, None, 0.0
        for instant, step in changes:
            held += step
            if held >= executor["limit"] and full_since is None:
                full_since = instant
            elif held < executor["limit"] and full_since is not None:
                total, full_since = total + instant - full_since, None
        return total + (self.at - full_since if full_since is not None else 0.0)

    def queued(self, executor: str) -> list[Task]:
        """Tasks that wait now."""
        return [t for t in self.tasks(executor=executor, outcome=("", None)) if t["started"] is None or t["attempts"]]

    def places(self, executor: str) -> int:
        """How many of them take a place of the queue: not those between two attempts."""
        return sum(not task["attempts"] for task in self.queued(executor))

    def retried(self, executor: str) -> int:
        """Attempts that have failed and after which the task went on, or will."""
        return sum(len(t["attempts"]) - bool(t["outcome"]) for t in self.tasks(executor=executor) if t["attempts"])

    def attempts(self, executor: str) -> dict[str, list[float]]:
        """How long attempts have taken, by outcome."""
        found: dict[str, list[float]] = {}
        for task in self.tasks(executor=executor):
            for number, (begun, ended) in enumerate(task["attempts"], 1):
                succeeded = task["outcome"] == "success" and number == len(task["attempts"])
                found.setdefault("success" if succeeded else "error", []).append(ended - begun)
        return found

    def stops(self, executor: str) -> Counter[str]:
        """Tasks that were not tried again, by reason."""
        return Counter(task["stops"] for task in self.tasks(executor=executor) if task["stops"])

    def held(self, executor: str) -> dict[str, list[Task]]:
        """Tasks that wait now and are held, by reason."""
        queued = self.queued(executor)
        held = {reason: [t for t in queued if t["held_by"] == reason] for reason in HOLD_REASONS}
        return {**held, "retry": [t for t in queued if t["attempts"]]}

    def holds(self, executor: str) -> dict[str, list[float]]:
        """For how long tasks were held that have started, by reason; each was held by one, and by nothing else."""
        started = [t for t in self.tasks(executor=executor) if t["started"] is not None and t["held_by"]]
        return {
            reason: [max(0.0, t["started"] - t["accepted"]) for t in started if t["held_by"] == reason]
            for reason in HOLD_REASONS
        }

    def services(self, state: str | None = None) -> list[dict[str, Any]]:
        """The services, or those in this state."""
        return [service for service in self.account["services"] if state in (None, service["state"])]

    def under(self, executor: str, name: str) -> int:
        """Tasks of this name that run now."""
        return sum(task["name"] == name for task in self.active(executor))

    def active(self, executor: str) -> list[Task]:
        """Tasks that run now."""
        unfinished = self.tasks(executor=executor, outcome=("", None))
        return [t for t in unfinished if t["started"] is not None and not t["attempts"]]

    def asked(self, executor: str) -> list[Task]:
        """Tasks that run now although they were asked to end."""
        return [t for t in self.active(executor) if t["asked"] is not None]

    def in_use(self, executor: str) -> int:
        """Slots held now, those of abandoned threads included."""
        return len(self.active(executor)) + len(self.tasks(executor=executor, held_until="end"))

    def oldest(self, tasks: Iterable[Task], moment: str) -> float:
        """Age of the oldest, 0 for none."""
        since = [t["attempts"][-1][1] if moment == "accepted" and t["attempts"] else t[moment] for t in tasks]
        return max((self.at - instant for instant in since), default=0.0)

    def cancelled(self, executor: str | None = None) -> list[Task]:
        """Cancellations since the start."""
        return [t for t in self.ended(outcome="cancelled") if executor in (None, t["executor"])]

    def rejected(self) -> Counter[str]:
        """Refused submissions by reason."""
        return Counter(reject["reason"] for reject in self.account["rejects"])


def cumulative(values: list[float], metric: Metric) -> dict[float, int]:
    """Observations at or below each bound."""
    bounds = [*metric.buckets, float("inf")]
    return {bound: sum(value <= bound for value in values) for bound in bounds}


def quantile(q: float, values: list[float], metric: Metric) -> float | None:
    """What a histogram of these values answers: linear within the bucket of the rank. None without values."""
    if not values:
        return None
    rank, below, low = q * len(values), 0, 0.0
    for bound, count in cumulative(values, metric).items():
        if count >= rank:
            if bound == float("inf"):
                return low
            return low + (bound - low) * (rank - below) / max(count - below, 1)
        below, low = count, bound
    return low


def each(names: Iterable[Any], value: Callable[[Any], float | None]) -> dict[tuple[str, ...], float]:
    """Expected lines by label values, without those that have no value."""
    found = {}
    for name in names:
        result = value(name)
        if result is not None:
            found[name if isinstance(name, tuple) else (name,)] = result
    return found
