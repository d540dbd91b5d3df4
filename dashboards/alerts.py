"""The alerts: what wakes somebody up (page) and what waits for the morning (ticket).

Each fires series by series, so one bad process of many is named. Counters of rare events use only their bounded
labels, which stand at 0 from the moment an executor opens; the first event is therefore seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dashboards import recording as r
from dashboards.expressions import EXECUTOR_LABELS, count, events, label, match, series, without
from dashboards.options import LONG_FACTOR, PAGE_FACTOR, TICKET_FACTOR, RuleOptions, seconds
from glasspool.telemetry.catalog import (
    CONTEXT_LOSSES,
    EVENTLOOP_STALL,
    QUEUE_SIZE,
    QUEUE_WAIT,
    SHUTDOWN_DURATION,
    SUBMIT_OLDEST_AGE,
    TASK_ABANDONED,
    TASK_CANCELLATIONS,
    TASK_CANCELLING_OLDEST_AGE,
    TASK_COMPLETED,
    TASK_OLDEST_AGE,
    TASK_REJECTED,
    TELEMETRY_FAILURES,
    Key,
    Metric,
)

__all__ = ["DRILLDOWN_UID", "OVERVIEW_UID", "RUNTIME_UID", "Alert", "alerts"]

OVERVIEW_UID = "glasspool-overview"
DRILLDOWN_UID = "glasspool-executor"
RUNTIME_UID = "glasspool-runtime"

_NAME, _TYPE = (f"{{{{ $labels.{name} }}}}" for name in EXECUTOR_LABELS)
_WHO = f"{_NAME} ({_TYPE})"


@dataclass(frozen=True)
class Alert:
    """One alert. ``panel`` is the title of the panel to look at first; ``hold`` is Prometheus' ``for``."""

    name: str
    severity: Literal["page", "ticket"]
    expr: str
    hold: str
    summary: str
    dashboard: str
    panel: str

    @property
    def runbook(self) -> str:
        """Name of the runbook page, without suffix: the alert's name in words."""
        words = "".join(f"-{char.lower()}" if char.isupper() else char for char in self.name.removeprefix("Glasspool"))
        return words.lstrip("-")

    def link(self, options: RuleOptions) -> str:
        """The dashboard, filtered to what the alert is about."""
        executor = f"&var-executor={{{{ $labels.{EXECUTOR_LABELS[0]} | urlquery }}}}"
        chosen = "" if self.dashboard == RUNTIME_UID else executor
        instance = "{{ with $labels.instance }}&var-instance={{ . | urlquery }}{{ end }}"
        return f"{options.grafana_url.rstrip('/')}/d/{self.dashboard}?orgId=1{chosen}{instance}"


def alerts(options: RuleOptions) -> tuple[Alert, ...]:
    """All alerts, pages first."""
    return (*_pages(options), *_pressure_tickets(options), *_outcome_tickets(options), *_rare_tickets(options))


def _burning(factor: float, long: str, short: str, options: RuleOptions) -> str:
    limit = f"{factor * options.budget:.6g}"
    enough = f"{r.wait_rate(long)} * {seconds(long)} >= {options.wait_floor}"
    return f"{r.wait_slow(long)} > {limit} and {r.wait_slow(short)} > {limit} and {enough}"


def _pages(o: RuleOptions) -> tuple[Alert, ...]:
    late = f"tasks do not start within {o.wait_seconds:g} s"
    started = without((Key.QUEUE_OUTCOME,), f"increase({count(QUEUE_WAIT, match(Key.QUEUE_OUTCOME, 'started'))}[5m])")
    waiting = f"min_over_time({series(QUEUE_SIZE)}[5m]) > 0 and {series(QUEUE_SIZE)} offset 5m > 0"
    stall = series(EVENTLOOP_STALL)
    return (
        Alert(
            "GlasspoolWaitObjectiveBurning",
            "page",
            f"({_burning(PAGE_FACTOR, '1h', '5m', o)}) or ({_burning(LONG_FACTOR, '6h', '30m', o)})",
            "2m",
            f"{_WHO}: {{{{ $value | humanizePercentage }}}} of its {late}",
            DRILLDOWN_UID,
            "Waits against runs",
        ),
        Alert(
            "GlasspoolNotStarting",
            "page",
            f"{waiting} and {started} == 0",
            "0s",
            f"{_WHO}: {{{{ $value }}}} tasks or more have waited for 5 minutes and none was started",
            DRILLDOWN_UID,
            "Oldest queued and oldest running",
        ),
        Alert(
            "GlasspoolEventLoopBlocked",
            "page",
            f"max_over_time({stall}[1m]) > {o.stall_seconds:g}",
            "1m",
            f"Event loop {{{{ $labels.{label(Key.EVENTLOOP_NAME)} }}}}: blocked for"
            " {{ $value | humanizeDuration }}",
            RUNTIME_UID,
            "Event loop stalled now",
        ),
    )


def _pressure_tickets(o: RuleOptions) -> tuple[Alert, ...]:
    never_empty = f"min_over_time({series(QUEUE_SIZE)}[10m]) > 0"
    return (
        Alert(
            "GlasspoolWaitObjectiveBurningSlowly",
            "ticket",
            _burning(TICKET_FACTOR, "3d", "6h", o),
            "30m",
            f"{_WHO}: over three days {{{{ $value | humanizePercentage }}}} of its tasks did not start within"
            f" {o.wait_seconds:g} s",
            DRILLDOWN_UID,
            "Waits against runs",
        ),
        Alert(
            "GlasspoolSaturated",
            "ticket",
            f"{r.saturated_ratio('10m')} > {o.saturated_share:g} and {never_empty}",
            "5m",
            f"{_WHO}: at its limit {{{{ $value | humanizePercentage }}}} of the time, and the queue never empties",
            DRILLDOWN_UID,
            "Utilisation and time at the limit",
        ),
        Alert(
            "GlasspoolQueueFilling",
            "ticket",
            f"{r.QUEUE_FILL} > {o.queue_fill:g}",
            "5m",
            f"{_WHO}: {{{{ $value | humanizePercentage }}}} of the queue is taken",
            DRILLDOWN_UID,
            "Queue against capacity",
        ),
        Alert(
            "GlasspoolProducersStuck",
            "ticket",
            f"{series(SUBMIT_OLDEST_AGE)} > {o.producer_seconds:g}",
            "1m",
            f"{_WHO}: a producer has been blocked in submit for {{{{ $value | humanizeDuration }}}}",
            DRILLDOWN_UID,
            "Blocked producers",
        ),
        Alert(
            "GlasspoolTaskStuck",
            "ticket",
            f"{series(TASK_OLDEST_AGE)} > {o.task_seconds:g}",
            "5m",
            f"{_WHO}: a task has been running for {{{{ $value | humanizeDuration }}}}",
            DRILLDOWN_UID,
            "Oldest queued and oldest running",
        ),
        Alert(
            "GlasspoolCancelNotObeyed",
            "ticket",
            f"{series(TASK_CANCELLING_OLDEST_AGE)} > {o.cancel_seconds:g}",
            "1m",
            f"{_WHO}: a task was asked to end {{{{ $value | humanizeDuration }}}} ago and has not",
            DRILLDOWN_UID,
            "Oldest request not obeyed",
        ),
    )


def _outcome_tickets(o: RuleOptions) -> tuple[Alert, ...]:
    def enough(metric: Metric, matcher: str, *keys: str) -> str:
        return f"{without(keys, events(series(metric, matcher), '5m'))} >= {o.ratio_floor}"

    judged = match(Key.TASK_OUTCOME, "cancelled", negate=True)
    asked = match(Key.CANCEL_REASON, "explicit", "shutdown", negate=True)
    return (
        Alert(
            "GlasspoolErrorRatio",
            "ticket",
            f"{r.ERROR_RATIO} > {o.error_ratio:g} and "
            + enough(TASK_COMPLETED, judged, Key.TASK_OUTCOME, Key.ERROR_TYPE, Key.RUNNER),
            "5m",
            f"{_WHO}: {{{{ $value | humanizePercentage }}}} of its tasks end in an error or a timeout",
            DRILLDOWN_UID,
            "Error types",
        ),
        Alert(
            "GlasspoolCancelStorm",
            "ticket",
            f"{r.UNASKED_CANCELS} > {o.cancel_ratio:g} and "
            + enough(TASK_CANCELLATIONS, asked, Key.CANCEL_REASON, Key.TASK_PHASE),
            "5m",
            f"{_WHO}: {{{{ $value | humanizePercentage }}}} of its tasks are cancelled and nobody asked for it",
            DRILLDOWN_UID,
            "Cancellations by reason",
        ),
    )


def _rare_tickets(o: RuleOptions) -> tuple[Alert, ...]:
    def rare(name: str, selector: str, summary: str, dashboard: str, panel: str) -> Alert:
        return Alert(name, "ticket", f"{events(selector, o.event_window)} > 0", "0s", summary, dashboard, panel)

    def value_of(key: str) -> str:
        return f"{{{{ $labels.{label(key)} }}}}"

    cut = count(SHUTDOWN_DURATION, match(Key.SHUTDOWN_OUTCOME, "cut"))
    return (
        rare(
            "GlasspoolRejecting",
            series(TASK_REJECTED, match(Key.ERROR_TYPE, *o.reject_reasons)),
            f"{_WHO}: submissions are refused ({value_of(Key.ERROR_TYPE)})",
            DRILLDOWN_UID,
            "Rejected submissions",
        ),
        Alert(
            "GlasspoolAbandonedThreads",
            "ticket",
            f"{without((Key.RUNNER,), series(TASK_ABANDONED))} > 0",
            "2m",
            f"{_WHO}: {{{{ $value }}}} tasks have ended while their threads work on",
            RUNTIME_UID,
            "Abandoned threads",
        ),
        rare(
            "GlasspoolContextLosses",
            series(CONTEXT_LOSSES),
            f"{_WHO}: tasks run without their submitter's trace ({value_of(Key.LOSS_KIND)})",
            RUNTIME_UID,
            "Context losses",
        ),
        rare(
            "GlasspoolDrainCutTasks",
            cut,
            f"{_WHO}: a shutdown ran out of patience and cancelled tasks",
            RUNTIME_UID,
            "Shutdowns",
        ),
        rare(
            "GlasspoolTelemetryUnhealthy",
            series(TELEMETRY_FAILURES),
            f"{_WHO}: what you see may be incomplete ({value_of(Key.FAILURE_KIND)})",
            RUNTIME_UID,
            "Telemetry failures",
        ),
    )
