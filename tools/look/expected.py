"""The lines that a drawn panel must show when its alert fires, and the values that they must reach."""

from __future__ import annotations

import re
from dataclasses import dataclass

from glasspool._monitoring import RuleOptions
from glasspool._monitoring.alerts import Alert, alerts

__all__ = ["SEEN", "Seen", "by_name"]


@dataclass(frozen=True)
class Seen:
    """A line of the alert's panel, by a regular expression, that must reach ``least``.

    ``job``: the recorded program that raises the alert (tests/alerting); empty if the run of all situations raises it
    (tests/dashboards/support/situations.py). The dashboard of ``executor`` and ``kind`` is opened.
    """

    line: str
    least: float
    executor: str = ""
    kind: str = "hybrid"
    job: str = ""
    severity: str = ""

    def wrong(self, panel: dict[str, object]) -> str:
        """What is missing in the drawn panel; empty if nothing is."""
        lines: list[dict[str, object]] = panel["lines"]  # type: ignore[assignment]  # as report.ts writes it
        found = {str(line["name"]): line["greatest"] for line in lines if re.search(self.line, str(line["name"]))}
        reached = [value for value in found.values() if isinstance(value, (int, float)) and value >= self.least]
        return "" if reached else f"no line {self.line!r} reaches {self.least:g}: {found or [x['name'] for x in lines]}"


SEEN = {
    "wait-objective-burning": Seen("wait p95", 0.5, "orders"),
    "wait-objective-burning-slowly": Seen("wait p95", 0.5, "orders"),
    "not-starting": Seen("oldest queued", 15, "orders"),
    "event-loop-blocked": Seen("main", 1, severity="page"),
    "saturated": Seen("time at the limit", 0.9, "anyio.to_thread", "anyio_limiter", "sick-limiter"),
    "queue-filling": Seen("queued", 17, "orders"),
    "producers-stuck": Seen("blocked", 1, "orders"),
    "pause-lasts": Seen("held by pause", 4, "crawl"),
    "limit-starved": Seen("db in use", 2, "crawl"),
    "service-gone": Seen("starting", 1, "crawl"),
    "service-restarting": Seen("feed ValueError", 0.01, "crawl"),
    "task-stuck": Seen("overdue", 300, "same", "thread_pool", "sick-stuck-thread"),
    "cancel-not-obeyed": Seen("oldest", 60, "reports", job="sick-cancel-not-obeyed"),
    "error-ratio": Seen("ConnectError", 0.5, "deliveries", job="sick-dead-upstream"),
    "cancel-storm": Seen("parent_scope", 0.5, "crawl"),
    "retry-budget-spent": Seen("refused by the budget", 0.01, "calls"),
    "rejecting": Seen("queue_full", 0.1, "orders"),
    "abandoned-threads": Seen("scans", 5, job="sick-abandoned-threads"),
    "context-losses": Seen("etl", 0.01),
    "drain-cut-tasks": Seen("cut", 0.01),
    "telemetry-unhealthy": Seen("observer", 0.01),
}
"""By runbook. Of the two alerts of one runbook the ticket has a picture of its own, below."""

LATE_TIMERS = Seen("main p99", 0.1, job="sick-blocked-loop", severity="ticket")


def by_name() -> dict[str, tuple[Alert, Seen]]:
    """Name of the picture to the alert and what must be seen."""
    found: dict[str, tuple[Alert, Seen]] = {}
    for alert in alerts(RuleOptions()):
        name, seen = alert.runbook, SEEN[alert.runbook]
        if seen.severity and seen.severity != alert.severity:
            name, seen = f"{name}-{alert.severity}", LATE_TIMERS
        found[name] = alert, seen
    return found
