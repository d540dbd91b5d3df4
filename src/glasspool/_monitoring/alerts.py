"""The alerts: pages, which need attention at once, and tickets, which can wait until the next working day.

Each fires for every series separately, so it names the one bad process of many. Alerts on counters of rare events use
only bounded labels, whose series are 0 from the moment an executor opens; the first event is therefore seen.

Waiting tasks alone are no trouble: a batch fills its slots and its queue and blocks its producers for hours. Alerts on
waiting cover executors with callers that wait (limiters, declared wait objectives) and executors that make no progress:
slots are free, or a task is stuck. Of tasks that something holds, only two alerts speak: for a pause that does not end,
and a limit under which nothing moves. The wait objective counts what is held before its first start as well: its
callers wait, whatever the reason. A failed attempt that another one follows is no failed task; of retries only the
alert on their budget speaks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from glasspool.telemetry.catalog import (
    CAP_KINDS,
    CONTEXT_LOSSES,
    EVENTLOOP_DELAY,
    EVENTLOOP_STALL,
    LIMITER_TYPES,
    LOOP_TYPES,
    QUEUE_SIZE,
    QUEUE_WAIT,
    SHUTDOWN_DURATION,
    SUBMIT_OLDEST_AGE,
    TASK_ABANDONED,
    TASK_CANCELLATIONS,
    TASK_CANCELLING_OLDEST_AGE,
    TASK_COMPLETED,
    TASK_REJECTED,
    TELEMETRY_FAILURES,
    Key,
    Metric,
)

from . import holds, retries, services
from . import recording as r
from .expressions import EXECUTOR_LABELS, any_of, bound, bucket, count, events, label, match, rate, series, without
from .options import LONG_FACTOR, PAGE_FACTOR, TICKET_FACTOR, RuleOptions, seconds

__all__ = ["DRILLDOWN_UID", "OVERVIEW_UID", "RUNTIME_UID", "Alert", "alerts"]

OVERVIEW_UID = "glasspool-overview"
DRILLDOWN_UID = "glasspool-executor"
RUNTIME_UID = "glasspool-runtime"

_NAME, _TYPE = (f"{{{{ $labels.{name} }}}}" for name in EXECUTOR_LABELS)
_WHO = f"{_NAME} ({_TYPE})"
_SERVICE = f"{{{{ $labels.{label(Key.SERVICE_NAME)} }}}}"
_LOOP = f"Event loop {{{{ $labels.{label(Key.EVENTLOOP_NAME)} }}}}"


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
        """The dashboard in the Grafana of the options, filtered to what the alert is about."""
        executor = f"&var-executor={{{{ $labels.{EXECUTOR_LABELS[0]} | urlquery }}}}"
        chosen = "" if self.dashboard == RUNTIME_UID else executor
        instance = "{{ with $labels.instance }}&var-instance={{ . | urlquery }}{{ end }}"
        return f"{options.grafana_url.rstrip('/')}/d/{self.dashboard}?orgId=1{chosen}{instance}"


def alerts(options: RuleOptions) -> tuple[Alert, ...]:
    """All alerts, pages first."""
    tickets = (_pressure_tickets, _hold_tickets, _service_tickets, _outcome_tickets, _rare_tickets)
    return (*_pages(options), *(alert for group in tickets for alert in group(options)))


def _burning(factor: float, long: str, short: str, options: RuleOptions) -> str:
    limit = f"{factor * options.budget:.6g}"
    enough = f"{r.wait_rate(long)} * {seconds(long)} >= {options.wait_floor}"
    return f"{r.wait_slow(long)} > {limit} and {r.wait_slow(short)} > {limit} and {enough}"


def _pages(o: RuleOptions) -> tuple[Alert, ...]:
    started = without((Key.QUEUE_OUTCOME,), f"increase({count(QUEUE_WAIT, match(Key.QUEUE_OUTCOME, 'started'))}[5m])")
    return (
        Alert(
            "GlasspoolWaitObjectiveBurning",
            "page",
            f"({_burning(PAGE_FACTOR, '1h', '5m', o)}) or ({_burning(LONG_FACTOR, '6h', '30m', o)})",
            "2m",
            f"{_WHO}: {{{{ $value | humanizePercentage }}}} of its tasks start later than its wait objective",
            DRILLDOWN_UID,
            "Waits against runs",
        ),
        Alert(
            "GlasspoolNotStarting",
            "page",
            f"{_waiting('5m')} and {started} == 0 unless {r.OWN_WORK} unless {holds.all_held('5m')}"
            f" unless {retries.goes_on('5m')}",
            "0s",
            f"{_WHO}: {{{{ $value }}}} tasks or more have waited for 5 minutes and none was started",
            DRILLDOWN_UID,
            "Oldest queued and oldest running",
        ),
        Alert(
            "GlasspoolEventLoopBlocked",
            "page",
            f"max_over_time({series(EVENTLOOP_STALL)}[1m]) > {o.stall_seconds:g}",
            "5m",
            f"{_LOOP}: blocked for {{{{ $value | humanizeDuration }}}} or more, repeatedly or still",
            RUNTIME_UID,
            "Event loop stalled now",
        ),
        Alert(
            "GlasspoolServiceGone",
            "page",
            services.gone(o),
            "0s",
            f"{_WHO}: the service {_SERVICE} has failed, or has not been ready for {o.service_window}",
            DRILLDOWN_UID,
            "Services by state",
        ),
    )


def _waiting(window: str) -> str:
    """Tasks were queued at every sample of the window, and at its beginning."""
    return f"min_over_time({series(QUEUE_SIZE)}[{window}]) > 0 and {series(QUEUE_SIZE)} offset {window} > 0"


def _pressure_tickets(o: RuleOptions) -> tuple[Alert, ...]:
    waited_for = any_of(series(QUEUE_SIZE, match(Key.EXECUTOR_TYPE, *LIMITER_TYPES)), r.judged(o))
    in_time = rate(bucket(EVENTLOOP_DELAY, bound(EVENTLOOP_DELAY, o.tick_seconds)), "2m")
    late_ticks = f"1 - {without(('le',), in_time)} / ({rate(count(EVENTLOOP_DELAY), '2m')} > 0)"
    return (
        Alert(
            "GlasspoolEventLoopBlocked",
            "ticket",
            f"{late_ticks} > {o.late_ticks:g}",
            "5m",
            f"{_LOOP}: {{{{ $value | humanizePercentage }}}} of its timers are more than {o.tick_seconds:g} s late",
            RUNTIME_UID,
            "Event loop delay",
        ),
        Alert(
            "GlasspoolWaitObjectiveBurningSlowly",
            "ticket",
            _burning(TICKET_FACTOR, "3d", "6h", o),
            "30m",
            f"{_WHO}: over three days {{{{ $value | humanizePercentage }}}} of its tasks started later than its wait"
            " objective",
            DRILLDOWN_UID,
            "Waits against runs",
        ),
        Alert(
            "GlasspoolSaturated",
            "ticket",
            f"{r.saturated_ratio(o.saturated_window)} > {o.saturated_share:g} and {_waiting(o.saturated_window)}"
            f" and ({waited_for}) unless {holds.all_held(o.saturated_window)}",
            "2m",
            f"{_WHO}: at its limit {{{{ $value | humanizePercentage }}}} of the time, and the queue never empties",
            DRILLDOWN_UID,
            "Utilisation and time at the limit",
        ),
        Alert(
            "GlasspoolQueueFilling",
            "ticket",
            f"{r.QUEUE_FILL} > {o.queue_fill:g} unless {r.OWN_WORK} unless {holds.mostly_held(o.queue_fill)}",
            "5m",
            f"{_WHO}: {{{{ $value | humanizePercentage }}}} of the queue is taken",
            DRILLDOWN_UID,
            "Queue against capacity",
        ),
        Alert(
            "GlasspoolProducersStuck",
            "ticket",
            f"{series(SUBMIT_OLDEST_AGE)} > {o.producer_seconds:g} unless {r.OWN_WORK}"
            f" unless ({holds.producers_held()})",
            "1m",
            f"{_WHO}: a producer has been blocked in submit for {{{{ $value | humanizeDuration }}}}",
            DRILLDOWN_UID,
            "Blocked producers",
        ),
        Alert(
            "GlasspoolTaskStuck",
            "ticket",
            r.stuck(o),
            "1m",
            f"{_WHO}: a task {{{{ $labels.{label(Key.TASK_NAME)} }}}} has been running for"
            f" {{{{ $value | humanizeDuration }}}}, {o.task_factor:g} times longer than any before it",
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


def _hold_tickets(o: RuleOptions) -> tuple[Alert, ...]:
    limit = f"{{{{ $labels.{label(Key.LIMIT_NAME)} }}}}"
    return (
        Alert(
            "GlasspoolPauseLasts",
            "ticket",
            holds.lasting("pause", o.pause_window),
            "0s",
            f"{_WHO}: {{{{ $value }}}} tasks or more have been held by a pause for {o.pause_window}",
            DRILLDOWN_UID,
            "Why tasks wait",
        ),
        Alert(
            "GlasspoolLimitStarved",
            "ticket",
            holds.starved(o),
            "0s",
            f"{_WHO}: every permit of the limit {limit} has been in use for {o.starved_window}, and of the tasks that"
            " wait for one none has started",
            DRILLDOWN_UID,
            "Limits",
        ),
    )


def _service_tickets(o: RuleOptions) -> tuple[Alert, ...]:
    return (
        Alert(
            "GlasspoolServiceRestarting",
            "ticket",
            services.restarting(o),
            "0s",
            f"{_WHO}: the service {_SERVICE} has crashed {{{{ $value | humanize }}}} times within {o.event_window} and"
            " was started again",
            DRILLDOWN_UID,
            "Service restarts",
        ),
    )


def _outcome_tickets(o: RuleOptions) -> tuple[Alert, ...]:
    def enough(metric: Metric, matcher: str, *keys: str) -> str:
        return f"{without(keys, events(series(metric, matcher), '5m'))} >= {o.ratio_floor}"

    judged = match(Key.TASK_OUTCOME, "cancelled", negate=True)
    asked = match(Key.CANCEL_REASON, "explicit", "shutdown", negate=True)
    # In tasks of event loops cancellation is normal: a client has disconnected, or another task has won a race.
    submitted = match(Key.EXECUTOR_TYPE, *LOOP_TYPES, negate=True)
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
            f"{r.UNASKED_CANCELS}{{{submitted}}} > {o.cancel_ratio:g} and "
            + enough(TASK_CANCELLATIONS, asked, Key.CANCEL_REASON, Key.TASK_PHASE),
            "5m",
            f"{_WHO}: {{{{ $value | humanizePercentage }}}} of its tasks are cancelled without a request",
            DRILLDOWN_UID,
            "Cancellations by reason",
        ),
        Alert(
            "GlasspoolRetryBudgetSpent",
            "ticket",
            retries.refused(),
            "5m",
            f"{_WHO}: in three minutes {{{{ $value | humanize }}}} tasks failed and were not tried again, since the"
            " retry budget is spent",
            DRILLDOWN_UID,
            "Retries against budget",
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
            f"{_WHO}: {{{{ $value }}}} tasks have ended while their threads still run",
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
            f"{_WHO}: a shutdown cancelled tasks that had not ended",
            RUNTIME_UID,
            "Shutdowns",
        ),
        rare(
            "GlasspoolTelemetryUnhealthy",
            series(TELEMETRY_FAILURES, match(Key.FAILURE_KIND, *CAP_KINDS, negate=True)),
            f"{_WHO}: telemetry may be incomplete ({value_of(Key.FAILURE_KIND)})",
            RUNTIME_UID,
            "Telemetry failures",
        ),
    )
