"""The overview's first screen: alerts, counts, and the table of executors in trouble or under pressure."""

from __future__ import annotations

from dashboards.generator.boards import Lines
from dashboards.generator.panels import Panel, Target
from dashboards.generator.tables import Column, firing_alerts
from dashboards.generator.worst import FEW, FILTER, WHICH, mean, recorded
from glasspool._monitoring import recording as r
from glasspool._monitoring.expressions import EXECUTOR_LABELS, SERVICE, any_of, firing, series, top, worst_executors
from glasspool.telemetry.catalog import (
    EXECUTOR_OPENED,
    QUEUE_OLDEST_AGE,
    SLOT_LIMIT,
    SUBMIT_PENDING,
    TASK_ABANDONED,
    TASK_CANCELLING_OLDEST_AGE,
    TASK_OVERDUE_AGE,
)

__all__ = ["pressure", "right_now"]

_ROWS = 7
"""Rows of the table; the first screen has room for no more."""

_ALERTS = firing(EXECUTOR_LABELS, *FILTER, f'{EXECUTOR_LABELS[0]}!=""', how="count")
"""The number of alerts about an executor; each process and each reason counts separately."""


def _now(expression: str) -> Target:
    """A column for the executors that alerts are about, then for those under most pressure."""
    rank, on = worst_executors(recorded(r.PRESSURE)), f"on ({', '.join(EXECUTOR_LABELS)})"
    ranked = f"topk({_ROWS}, {any_of(f'{rank} + {on} 2 * {_ALERTS}', f'2 * {_ALERTS}', rank)})"
    return Target(f"{worst_executors(expression)} and on ({', '.join(EXECUTOR_LABELS)}) {ranked}", WHICH)


def _or_none(expression: str, known: str) -> str:
    """The value, or 0 where ``known`` has series: without these the value is unknown, and the result has no series."""
    return f"{expression} or 0 * count({known})"


def right_now(lines: Lines) -> tuple[Panel, ...]:
    """The row of alerts and counts."""

    def stat(title: str, question: str, action: str, expr: str, warn: float | None, alarm: float | None) -> Panel:
        return Panel(
            title=title, question=question, action=action, targets=(Target(expr, title),), unit="locale",
            kind="stat", warn=warn, alarm=alarm, width=4, height=3, decimals=0,
        )  # fmt: skip

    limit = series(SLOT_LIMIT, *FILTER)
    return (
        Panel(
            title="Can this dashboard be trusted?",
            question="Are the recording rules evaluated? Nearly every panel here reads them.",
            action="Missing: write them with `glasspool rules export` and load them into Prometheus. No data: no"
            " executor of the chosen job, instance and type has slots, or nothing is scraped.",
            targets=(Target(_or_none(f"count({recorded(r.SATURATION)}) > bool 0", f"{limit} > 0"), "rules"),),
            unit="none",
            kind="stat",
            says={
                "0": (
                    "No: the recording rules are missing, only raw figures show. `glasspool rules export` writes them.",
                    "red",
                ),
                "1": ("Yes: the recording rules are evaluated", "transparent"),
            },
            empty="No data: no open executor matches the choice above, or nothing is scraped",
            width=24,
            height=2,
        ),
        Panel(
            title="Alerts",
            question="What is wrong, and with which executors?",
            action="The runbook of each alert says how to tell its causes apart. A click opens the executor, or the"
            " event loops. Pending: the condition holds, but not for long enough yet.",
            targets=(Target(firing_alerts(*SERVICE, f'{EXECUTOR_LABELS[1]}=~"$type|"'), "alerts"),),
            unit="none",
            kind="alerts",
            empty="No alert fires, or no data: the alert rules may be evaluated elsewhere",
            width=24,
            height=5,
        ),
        stat(
            "Executors open",
            "How many executors have slots?",
            'Fewer than expected: a process is gone, or an executor was closed (switch on "Executors closed" above).',
            _or_none(f"count({worst_executors(series(SLOT_LIMIT, *FILTER))} > 0)", series(EXECUTOR_OPENED, *FILTER)),
            None,
            None,
        ),
        stat(
            "At their limit",
            "How many executors have every slot in use at this moment?",
            "One at a time is normal under load; many at once have a common cause.",
            _or_none(f"count({worst_executors(recorded(r.SATURATION))} >= 1)", recorded(r.SATURATION)),
            1,
            5,
        ),
        stat(
            "Queues nearly full",
            "How many queues are over 80 % full?",
            "Find them in the table below; blocked producers or refused submissions come next.",
            # Not by the fill itself: executors with unbounded queues have no such series.
            _or_none(f"count({worst_executors(recorded(r.QUEUE_FILL))} > 0.8)", recorded(r.SATURATION)),
            1,
            3,
        ),
        stat(
            "Blocked producers",
            "How many callers are blocked in submit because there is no room?",
            "This is backpressure, normal for hours in a batch. Where requests wait, add slots or a rate limit.",
            _or_none(f"sum({series(SUBMIT_PENDING, *FILTER)})", series(EXECUTOR_OPENED, *FILTER)),
            1,
            50,
        ),
        stat(
            "Refused in 5 minutes",
            "How many submissions never became a task?",
            "The last row shows which executors refuse submissions, and why.",
            _or_none(f"sum({recorded(r.REJECTED_RATE)}) * 300", recorded(r.SATURATION)),
            1,
            100,
        ),
        Panel(
            title="Late starts, worst executor",
            question="What share of the tasks of the worst executor misses its wait objective?",
            action="Orange: if it lasts, the budget is used up too soon. Open the executor and compare waits with runs."
            " Executors that declare no objective are left out.",
            targets=(Target(f"max({recorded(r.wait_slow('5m'))})", "late starts"),),
            unit="percentunit",
            kind="stat",
            warn=lines["budget"],
            alarm=lines["page_burn"],
            width=4,
            height=3,
        ),
    )


def pressure(lines: Lines) -> tuple[Panel, ...]:
    """The row of executors in trouble, and of the pressure on each."""
    columns = (
        Column("Alerts", "none", alarm=1),
        Column("Pressure", "percentunit", 0.7, 0.9),
        Column("Slots in use", "percentunit", 1.0),
        Column("Time at limit 5m", "percentunit", 0.5, lines["saturated_share"]),
        Column("Queue full", "percentunit", 0.5, lines["queue_fill"]),
        Column("Oldest queued", "s", 1, 30),
        Column("Wait p95", "s", 0.5, 5),
        Column("Errors and timeouts", "percentunit", 0.01, lines["error_ratio"]),
        Column("Overdue task runs for", "s", 60, lines["task_seconds"]),
        Column("Cancel not obeyed for", "s", 10, lines["cancel_seconds"]),
        Column("Threads abandoned", "none", alarm=1),
    )
    targets = tuple(
        _now(expression)
        for expression in (
            _ALERTS,
            recorded(r.PRESSURE),
            recorded(r.SATURATION),
            recorded(r.saturated_share("5m")),
            recorded(r.QUEUE_FILL),
            series(QUEUE_OLDEST_AGE, *FILTER),
            recorded(r.WAIT_P95),
            recorded(r.ERROR_RATIO),
            series(TASK_OVERDUE_AGE, *FILTER),
            series(TASK_CANCELLING_OLDEST_AGE, *FILTER),
            series(TASK_ABANDONED, *FILTER),
        )
    )
    share, fill = worst_executors(recorded(r.saturated_share("5m"))), mean(r.QUEUE_FILL)
    return (
        Panel(
            title="Executors in trouble or under pressure",
            question="Which executors are in trouble or nearest to their limits, and why?",
            action="Those with alerts come first. Red in Time at limit: a batch at work, or too few slots or slow"
            " tasks. Red in Queue full: refusals and blocked producers are near. Click a name to open the executor.",
            targets=targets,
            unit="short",
            kind="table",
            columns=columns,
            width=24,
            height=10,
            link="executor",
        ),
        Panel(
            title="Pressure",
            question="Since when? The greater of an executor's time at the limit and its queue's fill, on the mean of"
            " 5 minutes.",
            action="A slope towards 1 leaves time to act; a step is an event: compare it with deployments.",
            targets=(Target(top(FEW, f"({share} > {fill} or {fill} or {share})", recorded(r.PRESSURE)), WHICH),),
            unit="percentunit",
            warn=0.7,
            alarm=0.9,
            maximum=1,
            width=24,
            link="executor",
        ),
    )
