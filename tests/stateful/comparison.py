"""Compares an executor's statistics, Prometheus samples and events with the model."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import prometheus_client
from prometheus_client.utils import floatToGoString

from glasspool import ExecutorStats
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Metric, prometheus_label
from glasspool.telemetry.observers import TaskEvent

from .account import Account, Task, error_type

__all__ = ["events_of", "samples_of", "samples_shown", "spelled", "stats_of", "without"]

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
IDENTITY = {prometheus_label(catalog.Key.EXECUTOR_NAME), prometheus_label(catalog.Key.EXECUTOR_TYPE)}


def stats_of(account: Account) -> ExecutorStats:
    """What ``executor.stats()`` must say now."""
    now, ended = account.tick(), account.outcomes()

    def age(since: list[float | None]) -> float:
        return now - (since[0] or 0.0) if since else 0.0

    asked = [task.request.at for task in account.active if task.request is not None]
    return ExecutorStats(
        queued=len(account.queue),
        in_flight=len(account.active),
        succeeded=ended["success"],
        failed=ended["error"],
        timed_out=ended["timeout"],
        cancelled=ended["cancelled"],
        rejected=len(account.rejections),
        abandoned=len(account.left),
        lent=0,
        pending=len(account.line),
        slots_limit=account.limit,
        oldest_queued_age=age([task.accepted for task in account.queue]),
        oldest_active_age=age([task.began for task in account.active]),
        oldest_pending_age=age([task.called for task in account.line]),
        cancelling=len(asked),
        oldest_cancelling_age=now - min(asked, default=now),
    )


def events_of(task: Task) -> list[tuple[Any, ...]]:
    """What observers must have been told of the task: kind, wait, duration, outcome, error type, reason."""
    if task.accepted is None:
        return []
    told: list[tuple[Any, ...]] = [("submitted", None, None, "", "", "")]
    if task.began is not None:
        told.append(("started", task.began - task.accepted, None, "", "", ""))
    if task.ended is not None:
        begin = task.ended if task.began is None else task.began
        duration = None if task.began is None else task.ended - task.began
        told.append(("settled", begin - task.accepted, duration, task.outcome, error_of(task), task.reason))
    return told


def error_of(task: Task) -> str:
    """The task's ``error.type``; empty for a success."""
    if task.outcome == "error" and task.error is not None:
        return error_type(task.error)
    return "" if task.outcome == "success" else task.outcome


def spelled(event: TaskEvent) -> tuple[Any, ...]:
    """An event, as ``events_of`` spells it."""
    return (event.kind, event.wait, event.duration, event.outcome, event.error_type, event.reason)


def samples_shown(registry: prometheus_client.CollectorRegistry, executor: str, account: Account) -> Samples:
    """The samples of this executor that are not zero, but for what the account does not know.

    A scope around the executor may reach its tasks before the executor has asked them to end, or after.
    """
    found: Samples = {}
    for family in registry.collect():
        for sample in family.samples:
            if sample.value and executor in sample.labels.values():
                labels = frozenset((key, value) for key, value in sample.labels.items() if key not in IDENTITY)
                found[sample.name, labels] = sample.value
    return found if account.closing != "parent_scope" else without([catalog.CANCEL_DURATION], found)


def without(metrics: Iterable[Metric], samples: Samples) -> Samples:
    """The samples of other metrics."""
    names = tuple(metric.prometheus_name for metric in metrics)
    return {key: value for key, value in samples.items() if not key[0].startswith(names)}


class _Expected:
    """Samples, put together from single facts."""

    def __init__(self) -> None:
        self.samples: defaultdict[tuple[str, frozenset[tuple[str, str]]], float] = defaultdict(float)

    def add(self, metric: Metric, value: float, **labels: str) -> None:
        self._add(metric.prometheus_name, value, self._spelled(metric, labels))

    def observe(self, metric: Metric, seconds: float, **labels: str) -> None:
        spelled = self._spelled(metric, labels)
        self._add(f"{metric.prometheus_name}_count", 1, spelled)
        self._add(f"{metric.prometheus_name}_sum", seconds, spelled)
        bounds = [*map(floatToGoString, metric.buckets), "+Inf"]
        for bound in bounds[bisect_left(metric.buckets, seconds) :]:
            self._add(f"{metric.prometheus_name}_bucket", 1, {**spelled, "le": bound})

    def _add(self, name: str, value: float, labels: dict[str, str]) -> None:
        self.samples[name, frozenset(labels.items())] += value

    @staticmethod
    def _spelled(metric: Metric, labels: dict[str, str]) -> dict[str, str]:
        known = {key.rpartition("glasspool.")[2].replace(".", "_"): prometheus_label(key) for key in metric.attributes}
        return {known[key]: value for key, value in labels.items() if value}


def samples_of(account: Account) -> Samples:
    """The samples that Prometheus must be shown now, without those that are zero."""
    now, out = account.tick(), _Expected()
    for task in account.tasks:
        _add_task(out, task)
    for _, reason, blocked in account.rejections:
        out.add(catalog.TASK_REJECTED, 1, error_type=reason)
        if blocked is not None:
            out.observe(catalog.SUBMIT_WAIT, blocked)
    out.add(catalog.EXECUTOR_OPENED, 1)
    out.add(catalog.EXECUTOR_TIME, (now if account.closed_at is None else account.closed_at) - account.opened)
    out.add(catalog.SLOT_TIME, account.slot_time)
    out.add(catalog.SLOT_LIMIT_TIME, account.limit_time)
    out.add(catalog.SLOT_SATURATED_TIME, account.saturated_time)
    out.add(catalog.TELEMETRY_FAILURES, account.broken_observers, telemetry_failure_kind="observer")
    for task in account.left:
        out.add(catalog.TASK_ABANDONED, 1, runner=task.runner)
    if account.closed_at is None:
        _add_gauges(out, account)
    else:
        out.add(catalog.EXECUTOR_CLOSED, 1)
        outcome = "cut" if account.cut else "drained"
        out.observe(catalog.SHUTDOWN_DURATION, account.closed_at - account.closing_at, shutdown_outcome=outcome)
    found = {key: value for key, value in out.samples.items() if value}
    return found if account.closing != "parent_scope" else without([catalog.CANCEL_DURATION], found)


def _add_task(out: _Expected, task: Task) -> None:
    assert task.accepted is not None
    out.add(catalog.TASK_SUBMITTED, 1)
    if task.waited is not None:
        out.observe(catalog.SUBMIT_WAIT, task.waited)
    if task.began is not None:
        out.observe(catalog.QUEUE_WAIT, task.began - task.accepted, queue_outcome="started")
    if task.ended is None:
        return
    labels = {"task_outcome": task.outcome, "runner": task.runner}
    out.add(catalog.TASK_COMPLETED, 1, error_type=error_of(task), **labels)
    if task.began is None:
        out.observe(catalog.QUEUE_WAIT, task.ended - task.accepted, queue_outcome=task.outcome)
    else:
        out.observe(catalog.TASK_DURATION, task.ended - task.began, **labels)
    if task.outcome == "cancelled" and task.request is not None:
        phase = "queued" if task.began is None else "running"
        out.add(catalog.TASK_CANCELLATIONS, 1, cancel_reason=task.reason, task_phase=phase)
        if task.request.recorded:
            out.observe(catalog.CANCEL_DURATION, task.ended - task.request.at, cancel_reason=task.reason)


def _add_gauges(out: _Expected, account: Account) -> None:
    stats = stats_of(account)
    for runner, count in Counter(task.runner for task in account.active).items():
        out.add(catalog.TASK_ACTIVE, count, runner=runner)
    out.add(catalog.TASK_OLDEST_AGE, stats.oldest_active_age)
    out.add(catalog.TASK_CANCELLING, stats.cancelling)
    out.add(catalog.TASK_CANCELLING_OLDEST_AGE, stats.oldest_cancelling_age)
    out.add(catalog.QUEUE_SIZE, stats.queued)
    out.add(catalog.QUEUE_CAPACITY, account.capacity or 0)
    out.add(catalog.QUEUE_OLDEST_AGE, stats.oldest_queued_age)
    out.add(catalog.SUBMIT_PENDING, stats.pending)
    out.add(catalog.SUBMIT_OLDEST_AGE, stats.oldest_pending_age)
    out.add(catalog.SLOT_USAGE, stats.slots_used)
    out.add(catalog.SLOT_LIMIT, stats.slots_limit)
