"""Executors overview: every executor of a service at a glance, and which of them are near their limits.

Nearly everything reads recording rules, with one line for each executor (its worst process) and at most `SHOWN` lines
in a panel: with hundreds of executors the panels stay readable and load quickly.
"""

from __future__ import annotations

from dashboards.generator.boards import Board, Lines, Row, type_variable
from dashboards.generator.first_screen import pressure, right_now
from dashboards.generator.marks import OUTCOMES
from dashboards.generator.panels import NONE_SEEN, Panel, Target
from dashboards.generator.worst import FEW, FILTER, SHOWN, WHICH, lines_of, mean, recorded, worst
from glasspool._monitoring import recording as r
from glasspool._monitoring.alerts import OVERVIEW_UID
from glasspool._monitoring.expressions import (
    EXECUTOR_LABELS,
    INSTANCE_LABELS,
    SERVICE,
    by,
    label,
    series,
    top,
    worst_executors,
)
from glasspool.telemetry.catalog import QUEUE_OLDEST_AGE, TASK_REJECTED, Key

__all__ = ["overview"]


def overview(lines: Lines) -> Board:
    """The first dashboard to open."""
    filters = FILTER
    rows = (
        Row("Right now", right_now(lines)),
        Row("Who is about to fall over", pressure(lines)),
        Row("Saturation", _saturation(lines)),
        Row("Queues and waits", _queues(lines)),
        Row("Work", _work(lines)),
        Row("Refused and cancelled", _refused()),
    )
    return Board(
        OVERVIEW_UID,
        "Glasspool / Executors overview",
        "Every executor of a service at a glance, worst first. Needs Glasspool's recording rules.",
        filters,
        (type_variable(SERVICE, every=True),),
        rows,
        marks=False,
    )


def _saturation(lines: Lines) -> tuple[Panel, ...]:
    return (
        lines_of(
            "Slots in use",
            "How much of its concurrency does each executor use, on the mean of 5 minutes?",
            "Near 1, new tasks wait most of the time. Raise the limit only if the resources behind it can take more.",
            worst(r.utilization("5m"), FEW),
            warn=0.9,
        ),
        lines_of(
            "Share of time at the limit",
            "For how much of the last 5 minutes was every slot taken?",
            "Near 1 it is not a burst: a batch at work or, where callers wait, too few slots or slow tasks.",
            worst(r.saturated_share("5m")),
            warn=0.5,
            alarm=lines["saturated_share"],
        ),
    )


def _queues(lines: Lines) -> tuple[Panel, ...]:
    oldest = series(QUEUE_OLDEST_AGE, *FILTER)
    return (
        lines_of(
            "Queue against capacity",
            "How full is each queue, on the mean of 5 minutes? Unbounded queues have no line.",
            "Above 0.8, producers will soon be blocked or refused: a batch, or more arrivals, or slower work.",
            (Target(top(FEW, mean(r.QUEUE_FILL), recorded(r.QUEUE_FILL)), WHICH),),
            warn=0.5,
            alarm=lines["queue_fill"],
        ),
        Panel(
            title="Oldest queued task",
            question="How long has the longest-waiting task been waiting?",
            action="A straight rise: nothing starts any more, or many tasks came at once and are worked off."
            " Completions tell which; if there are none, look for stuck tasks in the executor.",
            targets=(Target(top(SHOWN, worst_executors(oldest), oldest), WHICH),),
            unit="s",
            warn=1,
            alarm=30,
            link="executor",
        ),
        lines_of(
            "Queue wait, p95",
            "How long do 95 % of the tasks wait at most before they start?",
            "Compare with the objective; if it rises with flat arrivals, tasks have become slower.",
            worst(r.WAIT_P95),
            unit="s",
            warn=0.5,
            alarm=5,
        ),
        lines_of(
            "Tasks that start late",
            "What share of tasks misses its executor's wait objective? Executors without one have no line.",
            "At the lower line a month's budget of late starts lasts a month; at the upper one it lasts two days, and"
            " an alert pages.",
            worst(r.wait_slow("5m")),
            warn=lines["budget"],
            alarm=lines["page_burn"],
            whole=False,
        ),
    )


def _work(lines: Lines) -> tuple[Panel, ...]:
    kind = EXECUTOR_LABELS[1]
    outcome = label(Key.TASK_OUTCOME)
    return (
        Panel(
            title="Arrivals against completions",
            question="Does the service finish as many tasks as it accepts?",
            action="Arrivals above completions for minutes: queues grow somewhere; the pressure table says where.",
            targets=(
                Target(by((kind,), recorded(r.SUBMITTED_RATE)), f"arrivals {{{{{kind}}}}}"),
                Target(by((kind,), recorded(r.COMPLETED_RATE)), f"completions {{{{{kind}}}}}"),
            ),
            unit="ops",
            width=8,
        ),
        Panel(
            title="Outcomes",
            question="How do tasks end?",
            action="A growing share of error, timeout or cancelled: find the executor in the next panel.",
            targets=(Target(by((outcome,), recorded(r.COMPLETED_RATE)), f"{{{{{outcome}}}}}"),),
            unit="ops",
            marks=OUTCOMES,
            width=8,
            stacked=True,
        ),
        lines_of(
            "Errors and timeouts",
            "What share of each executor's tasks ends in an error or a timeout?",
            "Open the executor: its error types and run times distinguish a broken dependency from a slow one.",
            worst(r.ERROR_RATIO),
            warn=0.01,
            alarm=lines["error_ratio"],
            whole=False,
            width=8,
        ),
    )


def _refused() -> tuple[Panel, ...]:
    why = label(Key.ERROR_TYPE)
    reason = label(Key.CANCEL_REASON)
    rejected = worst_executors(by((*INSTANCE_LABELS, *EXECUTOR_LABELS), recorded(r.REJECTED_RATE)))
    return (
        Panel(
            title="Rejected submissions by executor",
            question="Which executors refuse submissions?",
            action="queue_full: shed load earlier or add capacity. already_shutdown: something submits after closing."
            " broken: a pool's workers have died.",
            targets=(Target(f"{top(SHOWN, rejected, recorded(r.REJECTED_RATE))} > 0", WHICH),),
            unit="ops",
            width=8,
            empty=NONE_SEEN,
            link="executor",
        ),
        Panel(
            title="Rejected submissions by reason",
            question="Why are submissions refused?",
            action=f"Every reason but submit_cancelled is an exception in a caller ({TASK_REJECTED.name}).",
            targets=(Target(by((why,), recorded(r.REJECTED_RATE)), f"{{{{{why}}}}}"),),
            unit="ops",
            width=8,
            stacked=True,
            bars=True,
        ),
        Panel(
            title="Cancellations by reason",
            question="Who cancels tasks?",
            action="explicit and shutdown were requested. sibling_failure follows an error; parent_scope and deadline"
            " mean that a caller gave up.",
            targets=(Target(by((reason,), recorded(r.CANCELLED_RATE)), f"{{{{{reason}}}}}"),),
            unit="ops",
            width=8,
            empty=NONE_SEEN,
            stacked=True,
            bars=True,
        ),
    )
