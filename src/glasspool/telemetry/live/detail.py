"""One executor over the last ten minutes: every series that was ever not 0, and quantiles of waits and runs."""

from __future__ import annotations

from typing import Any

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import QUEUE_OUTCOMES, Metric

from .figures import quantiles
from .flat import Entity, SeriesKey, labels_of
from .history import History

__all__ = ["history_of"]

_STEP = 5
"""Samples (10 s) that a quantile is of."""


def history_of(history: History, entity: Entity, now: float) -> dict[str, Any]:
    """The history of one executor. The caller holds the history's lock.

    ``age`` is how many seconds ago each sample was taken.
    """
    columns = history.columns.get(entity, {})
    series: list[dict[str, Any]] = []
    for key, column in columns.items():
        metric = catalog.BY_NAME[key[0]]
        if metric.kind == "histogram":
            continue
        series.append({
            "metric": metric.name, "kind": metric.kind, "unit": metric.unit, "help": metric.help,
            "attributes": dict(labels_of(key)), "values": [round(value, 4) for value in column],
        })  # fmt: skip
    return {
        "age": [round(now - at, 2) for at in history.times],
        "series": series,
        "wait": _over_time(history, columns, catalog.QUEUE_WAIT, QUEUE_OUTCOMES),
        "run": _over_time(history, columns, catalog.TASK_DURATION, ("",)),
    }


def _over_time(
    history: History, columns: dict[SeriesKey, Any], metric: Metric, labels: tuple[str, ...]
) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {"p50": [], "p95": [], "p99": []}
    size = len(metric.buckets) + 1
    mine = [[column for label in labels if (column := columns.get((metric.name, label, index))) is not None]
            for index in range(size)]  # fmt: skip
    opened = columns.get((catalog.EXECUTOR_TIME.name,))  # for how long; no measurement is longer
    for index in range(len(history.times)):
        before = max(0, index - _STEP)
        counts = [sum([column[index] - column[before] for column in bucket], 0.0) for bucket in mine]
        now = quantiles(counts, metric, None if opened is None else opened[index])
        for name, line in found.items():
            line.append(now[name])
    return found
