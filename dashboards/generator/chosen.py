"""Queries about the executor that the drill-down has chosen: one name, one type, all its processes."""

from __future__ import annotations

from dashboards.generator.panels import Target
from glasspool._monitoring.expressions import (
    EXECUTOR,
    EXECUTOR_LABELS,
    bucket,
    grown,
    label,
    match,
    quantile,
    rate,
    series,
)
from glasspool.telemetry.catalog import QUEUE_WAIT, Key, Metric

__all__ = ["FILTER", "TASK", "WINDOW", "of_executor", "per_second", "rate_of", "three_quantiles", "waited"]

FILTER = (*EXECUTOR, f'{EXECUTOR_LABELS[1]}="$type"')
TASK = f'{label(Key.TASK_NAME)}=~"$task"'
"""The matcher for metrics with a task name."""
WINDOW = "$__rate_interval"
"""The window of rates and increases; Grafana adapts it to the zoom."""


def of_executor(metric: Metric, how: str = "sum") -> str:
    """The metric over all processes of the executor."""
    return f"{how}({series(metric, *FILTER)})"


def rate_of(metric: Metric, *matchers: str) -> str:
    """Its rate, for each series."""
    return rate(series(metric, *FILTER, *matchers), WINDOW)


def per_second(events_of_a_window: str) -> str:
    """Events of the last interval as a rate: the interval, and so a count, changes with the zoom."""
    return f"{events_of_a_window} / $__rate_interval_ms * 1000"


def waited() -> str:
    """Waits of the last interval that ended with a start, or with a timeout (a series that begins with the first)."""
    started, timed_out = (
        bucket(QUEUE_WAIT, *FILTER, match(Key.QUEUE_OUTCOME, outcome)) for outcome in ("started", "timeout")
    )
    return grown(started, timed_out, WINDOW)


def three_quantiles(name: str, growth: str, least: float | None = None) -> tuple[Target, ...]:
    """Three quantiles; none below ``least``, the first bound, where an interpolated value is only a guess."""
    limited = "" if least is None else f" > {least:g}"
    # Only one of the three requests exemplars: they belong to the series, and would otherwise appear three times.
    return tuple(
        Target(quantile(level, growth) + limited, f"{name} p{level * 100:g}", exemplar=level == 0.95)
        for level in (0.5, 0.95, 0.99)
    )
