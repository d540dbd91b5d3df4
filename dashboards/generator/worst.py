"""Queries and panels of the executors with the highest values: one line for each executor, its worst process."""

from __future__ import annotations

from dashboards.generator.panels import Panel, Target
from glasspool._monitoring.expressions import EXECUTOR_LABELS, SERVICE, top, worst_executors

__all__ = ["FEW", "FILTER", "SHOWN", "WHICH", "lines_of", "mean", "recorded", "worst"]

SHOWN = 15
"""The most lines in a panel; with more than about 20 they cannot be told apart."""

FEW = 8
"""The most lines in a panel of values that change all the time."""

FILTER = (*SERVICE, f'{EXECUTOR_LABELS[1]}=~"$type"')
WHICH = "{{" + EXECUTOR_LABELS[0] + "}} ({{" + EXECUTOR_LABELS[1] + "}})"
"""The legend of an executor's line."""


def recorded(name: str, *matchers: str) -> str:
    """The series of a recording rule, of the executors chosen."""
    return f"{name}{{{', '.join((*FILTER, *matchers))}}}"


def worst(name: str, most: int = SHOWN) -> tuple[Target, ...]:
    """The executors that were highest on average in the range shown."""
    rank = recorded(name)
    return (Target(top(most, worst_executors(rank), rank), WHICH),)


def mean(name: str) -> str:
    """Executors on the mean of five minutes; values that change all the time cannot be read otherwise."""
    return worst_executors(f"avg_over_time({recorded(name)}[5m])")


def lines_of(
    title: str,
    question: str,
    action: str,
    targets: tuple[Target, ...],
    *,
    unit: str = "percentunit",
    warn: float | None = None,
    alarm: float | None = None,
    whole: bool = True,
    width: int = 12,
) -> Panel:
    """A panel of the worst executors; a click opens the executor. ``whole`` shows shares on an axis up to 100 %."""
    return Panel(
        title=title, question=question, action=action, targets=targets, unit=unit, warn=warn, alarm=alarm,
        maximum=1 if unit == "percentunit" and whole else None, link="executor", width=width,
    )  # fmt: skip
