"""What an installation may choose: objectives, thresholds, traffic floors, links. All checked at construction."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from dashboards.expressions import bound
from glasspool.telemetry.catalog import QUEUE_WAIT, REJECT_REASONS

__all__ = ["LONG_FACTOR", "PAGE_FACTOR", "TICKET_FACTOR", "RuleOptions", "seconds"]

PAGE_FACTOR = 14.4
"""Burns 2 % of a month's budget in an hour."""

LONG_FACTOR = 6.0
"""Burns 5 % of a month's budget in six hours."""

TICKET_FACTOR = 1.0
"""Burns the budget exactly within its period."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(duration: str) -> int:
    """Seconds of a Prometheus duration of one number and one unit (``90s``, ``5m``, ``3d``)."""
    found = re.fullmatch(r"(\d+)([smhd])", duration)
    if not found:
        raise ValueError(f"{duration!r} is no duration: write a number and one of s, m, h, d, such as '5m'")
    return int(found[1]) * _UNITS[found[2]]


@dataclass(frozen=True, kw_only=True)
class RuleOptions:
    """Arguments of the rules' generator. Raises ValueError, naming the option, for what cannot work.

    Ratios are between 0 and 1, ages in seconds, floors in tasks; a floor keeps an executor that hardly works from
    raising an alert over a handful of tasks.
    """

    wait_seconds: float = 0.5
    """A task has started in time when it waited no longer. Must be a bucket bound of the wait histogram."""
    objective: float = 0.99
    """Share of tasks that must start in time."""
    wait_floor: int = 50
    """Tasks an executor must have had in the long window before its wait objective can burn."""
    saturated_share: float = 0.9
    """Share of time at the limit."""
    queue_fill: float = 0.8
    """Share of the queue's places taken."""
    stall_seconds: float = 1.0
    """Age of the event loop's overdue timer."""
    producer_seconds: float = 60.0
    """How long a producer may be blocked in submit."""
    task_seconds: float = 3600.0
    """How long a task may run."""
    cancel_seconds: float = 60.0
    """How long a task may take to end once it was asked to."""
    error_ratio: float = 0.05
    """Share of errors and timeouts among the tasks that ran to an end of their own."""
    cancel_ratio: float = 0.2
    """Share of cancellations that nobody asked for among all tasks that ended."""
    ratio_floor: int = 20
    """Tasks that must have ended within five minutes before a ratio is judged."""
    reject_reasons: tuple[str, ...] = tuple(reason for reason in REJECT_REASONS if reason != "submit_cancelled")
    """Reasons that raise the alert. A producer that leaves by itself (submit_cancelled) is no fault of the executor."""
    event_window: str = "15m"
    """How long an alert on a rare event stays up after the last one."""
    long_interval: str = "1m"
    """Evaluation interval of the wait objective's rules; the three-day window counts their samples."""
    grafana_url: str = ""
    """Prefix of the dashboards' links; empty makes them relative."""
    runbook_url: str = "https://github.com/glasspool/glasspool/blob/main/docs/runbooks"
    """Where the runbook pages are."""

    def __post_init__(self) -> None:
        try:
            bound(QUEUE_WAIT, self.wait_seconds)
        except ValueError as error:
            raise ValueError(f"wait_seconds: {error}") from None
        for name in ("objective", "saturated_share", "queue_fill", "error_ratio", "cancel_ratio"):
            self._require(name, 0 < getattr(self, name) < 1, "must lie between 0 and 1, both excluded")
        if self.budget * PAGE_FACTOR >= 1:
            raise ValueError(
                f"objective={self.objective!r}: a burn of {PAGE_FACTOR} times its budget is more than every"
                " task, so the"
                f" page could never fire; choose an objective above {1 - 1 / PAGE_FACTOR:.3f}"
            )
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_seconds"):
                self._require(field.name, value > 0, "must be above 0")
            elif field.name.endswith("_floor"):
                self._require(field.name, value >= 1, "must be at least 1")
        seconds(self.event_window)
        seconds(self.long_interval)
        unknown = sorted(set(self.reject_reasons) - set(REJECT_REASONS))
        self._require("reject_reasons", bool(self.reject_reasons) and not unknown, f"must be among {REJECT_REASONS}")

    @property
    def budget(self) -> float:
        """Share of tasks that may start late."""
        return round(1 - self.objective, 9)

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ValueError(f"{name}={getattr(self, name)!r}: {rule}")
