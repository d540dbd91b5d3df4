"""The recording rules: series that panels and alerts share, or that take longer than a second to compute on request.

Every rule keeps all labels of its series but the attributes it sums over, so processes stay separate and the rules work
with the labels of any path. Both sides of a ratio are computed in one expression: in Prometheus a rule sees what
earlier rules of the group have just written, in other evaluators what was written an interval ago.
"""

from __future__ import annotations

from dataclasses import dataclass

from glasspool.telemetry.catalog import (
    EXECUTOR_TIME,
    LIMITER_TYPES,
    QUEUE_CAPACITY,
    QUEUE_SIZE,
    QUEUE_WAIT,
    QUEUE_WAIT_LATE,
    SLOT_LIMIT,
    SLOT_LIMIT_TIME,
    SLOT_SATURATED_TIME,
    SLOT_TIME,
    SLOT_USAGE,
    TASK_ACTIVE,
    TASK_CANCELLATIONS,
    TASK_COMPLETED,
    TASK_OVERDUE_AGE,
    TASK_OVERDUE_LONGEST,
    TASK_REJECTED,
    TASK_SUBMITTED,
    Key,
)

from .expressions import any_of, bound, bucket, count, events, grown, match, matching, rate, series, without
from .holds import HELD_SHARE, held_share
from .options import RuleOptions, seconds
from .retries import taking_places

__all__ = [
    "CANCELLED_RATE",
    "COMPLETED_RATE",
    "ERROR_RATIO",
    "OWN_WORK",
    "PRESSURE",
    "QUEUE_FILL",
    "REJECTED_RATE",
    "SATURATION",
    "SUBMITTED_RATE",
    "UNASKED_CANCELS",
    "WAIT_P95",
    "WAIT_WINDOWS",
    "Group",
    "Rule",
    "judged",
    "recording_groups",
    "saturated_ratio",
    "saturated_share",
    "stuck",
    "utilization",
    "wait_rate",
    "wait_slow",
]

SATURATION = "glasspool:slot_utilization:ratio"
QUEUE_FILL = "glasspool:queue_fill:ratio"
PRESSURE = "glasspool:executor_pressure:ratio"
SUBMITTED_RATE = "glasspool:task_submitted:rate5m"
COMPLETED_RATE = "glasspool:task_completed:rate5m"
REJECTED_RATE = "glasspool:task_rejected:rate5m"
CANCELLED_RATE = "glasspool:task_cancellations:rate5m"
ERROR_RATIO = "glasspool:task_error:ratio_rate5m"
UNASKED_CANCELS = "glasspool:task_unasked_cancel:ratio_rate5m"
WAIT_P95 = "glasspool:queue_wait:p95_rate5m"
OWN_WORK = "glasspool:executor_own_work:tasks"
_SLOW_RATE = "glasspool:queue_wait_slow:rate5m"

WAIT_WINDOWS = ("5m", "30m", "1h", "6h", "3d")
_STARTED, _TIMED_OUT = (match(Key.QUEUE_OUTCOME, outcome) for outcome in ("started", "timeout"))
_SUMMED_WINDOW = "3d"
"""This window is too long to read every bucket; it is computed from the samples of the five-minute rules."""


def utilization(window: str) -> str:
    """Name of the mean utilisation over 5m or 1h."""
    return f"glasspool:slot_utilization:ratio_rate{window}"


def saturated_share(window: str) -> str:
    """Name of the share of time at the limit over 5m or 1h."""
    return f"glasspool:slot_saturated:ratio_rate{window}"


def wait_rate(window: str) -> str:
    """Name of the rate of tasks that started or timed out in the queue."""
    return f"glasspool:queue_wait:rate{window}"


def wait_slow(window: str) -> str:
    """Name of the share of tasks that did not start in time."""
    return f"glasspool:queue_wait_slow:ratio_rate{window}"


@dataclass(frozen=True)
class Rule:
    """One recording rule; ``help`` goes into the documentation."""

    record: str
    expr: str
    help: str


@dataclass(frozen=True)
class Group:
    """Rules evaluated in order, at the server's interval unless one is given."""

    name: str
    rules: tuple[Rule, ...]
    interval: str | None = None


def saturated_ratio(window: str) -> str:
    """Share of time at the limit over any window."""
    return f"{rate(series(SLOT_SATURATED_TIME), window)} / ({rate(series(EXECUTOR_TIME), window)} > 0)"


def recording_groups(options: RuleOptions) -> tuple[Group, ...]:
    """All recording rules, in the order in which they depend on each other."""
    return (
        Group("glasspool-executors", (*_states(), _own_work(options), *_rates())),
        Group("glasspool-wait-objective", tuple(_wait_objective(options)), options.long_interval),
    )


def _fill() -> str:
    return f"({taking_places()}) / ({series(QUEUE_CAPACITY)} > 0)"


def _states() -> list[Rule]:
    rules = [
        Rule(
            SATURATION,
            f"{series(SLOT_USAGE)} / ({series(SLOT_LIMIT)} > 0)",
            "Share of the slots that are in use now.",
        ),
        Rule(
            QUEUE_FILL,
            _fill(),
            "Share of the queue's places that are taken now; no series for an unbounded queue. A task between two"
            " attempts takes none.",
        ),
    ]
    rules.append(
        Rule(
            HELD_SHARE,
            held_share(),
            "Share of the queued tasks that are held (rate, limit, pause, retry, dependency); no series while nothing"
            " is queued, nor for executors that cannot hold tasks.",
        )
    )
    for window in ("5m", "1h"):
        busy, offered = rate(series(SLOT_TIME), window), rate(series(SLOT_LIMIT_TIME), window)
        rules += [
            Rule(utilization(window), f"{busy} / ({offered} > 0)", f"Mean utilisation of the slots over {window}."),
            Rule(saturated_share(window), saturated_ratio(window), f"Share of the last {window} spent at the limit."),
        ]
    share, fill = saturated_ratio("5m"), _fill()
    rules.append(
        Rule(
            PRESSURE,
            f"({share}) > ({fill}) or {fill} or {share}",
            "How near an executor is to its limits: the greater of its time at the limit (5m) and its queue's fill.",
        )
    )
    return rules


def _rates() -> list[Rule]:
    ended = (Key.TASK_OUTCOME, Key.ERROR_TYPE, Key.RUNNER)
    # The series of an error type begins with its first error, which a rate would miss.
    failed = without(ended, events(series(TASK_COMPLETED, match(Key.TASK_OUTCOME, "error", "timeout")), "5m"))
    judged = without(ended, events(series(TASK_COMPLETED, match(Key.TASK_OUTCOME, "cancelled", negate=True)), "5m"))
    unasked = without(
        (Key.CANCEL_REASON, Key.TASK_PHASE),
        events(series(TASK_CANCELLATIONS, match(Key.CANCEL_REASON, "explicit", "shutdown", negate=True)), "5m"),
    )
    waited = without((Key.QUEUE_OUTCOME,), grown(bucket(QUEUE_WAIT, _STARTED), bucket(QUEUE_WAIT, _TIMED_OUT), "5m"))
    return [
        Rule(SUBMITTED_RATE, f"{events(series(TASK_SUBMITTED), '5m')} / 300", "Tasks accepted per second."),
        Rule(
            COMPLETED_RATE,
            f"{without((Key.ERROR_TYPE, Key.RUNNER), events(series(TASK_COMPLETED), '5m'))} / 300",
            "Tasks that ended per second, by outcome.",
        ),
        Rule(REJECTED_RATE, rate(series(TASK_REJECTED), "5m"), "Submissions refused per second, by reason."),
        Rule(
            CANCELLED_RATE,
            f"{without((Key.TASK_PHASE,), events(series(TASK_CANCELLATIONS), '5m'))} / 300",
            "Cancellations per second, by reason.",
        ),
        Rule(
            ERROR_RATIO,
            f"{failed} / ({judged} > 0)",
            "Share of errors and timeouts in the tasks that were not cancelled.",
        ),
        Rule(
            UNASKED_CANCELS,
            f"{unasked} / ({without(ended, events(series(TASK_COMPLETED), '5m'))} > 0)",
            "Share of cancellations other than explicit and shutdown in all tasks that ended.",
        ),
        Rule(
            WAIT_P95,
            f"histogram_quantile(0.95, {waited}) >= 0",
            "Wait that 95 % of the tasks did not exceed; no series without tasks.",
        ),
    ]


def _every(window: str, *matchers: str) -> str:
    """Tasks per second that started, or whose deadline passed in the queue."""
    ended = grown(count(QUEUE_WAIT, *matchers, _STARTED), count(QUEUE_WAIT, *matchers, _TIMED_OUT), window)
    return f"{without((Key.QUEUE_OUTCOME,), ended)} / {seconds(window)}"


def judged(options: RuleOptions) -> str:
    """A vector with one series for each executor that has a wait objective: declared, or by an option of the rules."""
    named = [pattern for pattern, _ in options.wait_objectives]
    declared = series(QUEUE_WAIT_LATE)
    return any_of(declared, series(QUEUE_SIZE, matching(Key.EXECUTOR_NAME, *named))) if named else declared


def _late(options: RuleOptions, window: str) -> str:
    """Tasks per second that missed their executor's objective: the declared objective's counter, else from the
    buckets."""
    vectors = [f"increase({series(QUEUE_WAIT_LATE)}[{window}]) / {seconds(window)}"]
    for pattern, limit in options.wait_objectives:
        name = matching(Key.EXECUTOR_NAME, pattern)
        within = f"increase({bucket(QUEUE_WAIT, name, _STARTED, bound(QUEUE_WAIT, limit))}[{window}])"
        good = f"{without((Key.QUEUE_OUTCOME, 'le'), within)} / {seconds(window)}"
        vectors.append(f"clamp_min({_every(window, name)} - {good}, 0)")
    return any_of(*vectors)


def _wait_objective(options: RuleOptions) -> list[Rule]:
    rates: list[Rule] = []
    ratios: list[Rule] = []
    slow = "Share of the tasks of the last {} that missed their executor's wait objective."
    asked = "Tasks per second, over {}, that started or whose deadline passed in the queue, if there is an objective."
    for window in WAIT_WINDOWS:
        if window == _SUMMED_WINDOW:
            summed = f"sum_over_time({wait_rate('5m')}[{window}])"
            step = f"{seconds(options.long_interval)} / {seconds(window)}"
            rates.append(Rule(wait_rate(window), f"{summed} * {step}", asked.format(window)))
            ratio = f"sum_over_time({_SLOW_RATE}[{window}]) / ({summed} > 0)"
            ratios.append(Rule(wait_slow(window), ratio, slow.format(window)))
            continue
        every, late = _every(window), _late(options, window)
        rates.append(Rule(wait_rate(window), f"({every}) and ({judged(options)})", asked.format(window)))
        ratios.append(Rule(wait_slow(window), f"({late}) / ({every} > 0)", slow.format(window)))
        if window == "5m":
            rates.append(Rule(_SLOW_RATE, late, "Tasks per second that missed their executor's wait objective."))
    return rates + ratios


def stuck(options: RuleOptions) -> str:
    """Ages of tasks that have run far longer than any before them."""
    free = (matching(Key.EXECUTOR_NAME, options.long_lived, negate=True),) if options.long_lived else ()
    age, longest = series(TASK_OVERDUE_AGE, *free), series(TASK_OVERDUE_LONGEST, *free)
    return f"{age} > {options.task_seconds:g} and {age} > {options.task_factor:g} * {longest}"


def _own_work(options: RuleOptions) -> Rule:
    others = match(Key.EXECUTOR_TYPE, *LIMITER_TYPES, negate=True)
    active = without((Key.RUNNER,), series(TASK_ACTIVE, others))
    free = f"{series(SLOT_LIMIT)} > {series(SLOT_USAGE)}"
    overdue = without((Key.TASK_NAME,), stuck(options), "max")
    return Rule(
        OWN_WORK,
        f"{active} > 0 and {series(QUEUE_SIZE)} unless {free} unless ({judged(options)}) unless {overdue}",
        "Active tasks of executors that are busy with work of their own, as a batch is: no slot free, no limiter, no"
        " wait objective, no task stuck. Tasks that wait there raise no alert.",
    )
