"""Executors overview: every executor of a service at a glance, and who is about to fall over.

Everything reads recording rules, one line an executor (its worst process), at most `SHOWN` lines a panel: with
hundreds of executors the panels stay readable and answer at once.
"""

from __future__ import annotations

from dashboards.generator.boards import Board, Lines, Row, type_variable
from dashboards.generator.marks import OUTCOMES
from dashboards.generator.panels import NONE_SEEN, Panel, Target
from dashboards.generator.tables import Column, firing_alerts
from glasspool._monitoring import recording as r
from glasspool._monitoring.alerts import OVERVIEW_UID
from glasspool._monitoring.expressions import (
    EXECUTOR_LABELS,
    INSTANCE_LABELS,
    SERVICE,
    any_of,
    by,
    firing,
    label,
    series,
    top,
    worst_executors,
)
from glasspool.telemetry.catalog import (
    EXECUTOR_OPENED,
    QUEUE_OLDEST_AGE,
    SLOT_LIMIT,
    SUBMIT_PENDING,
    TASK_ABANDONED,
    TASK_CANCELLING_OLDEST_AGE,
    TASK_OVERDUE_AGE,
    TASK_REJECTED,
    Key,
)

__all__ = ["SHOWN", "overview"]

SHOWN = 15
"""Lines a panel draws at most; below the 20 that an eye can still tell apart."""

_FEW = 8
"""Lines of what goes up and down all the time."""

_ROWS = 7
"""Rows of the table: what the first screen has room for."""

_FILTER = (*SERVICE, f'{EXECUTOR_LABELS[1]}=~"$type"')
_EXECUTOR = "{{" + EXECUTOR_LABELS[0] + "}} ({{" + EXECUTOR_LABELS[1] + "}})"


_ALERTS = firing(EXECUTOR_LABELS, *_FILTER, f'{EXECUTOR_LABELS[0]}!=""', how="count")
"""How many alerts there are about an executor, those of each process and each reason counted."""


def _recorded(name: str, *matchers: str) -> str:
    return f"{name}{{{', '.join((*_FILTER, *matchers))}}}"


def _worst(name: str, most: int = SHOWN) -> tuple[Target, ...]:
    """The executors that were highest on average in the range shown."""
    rank = _recorded(name)
    return (Target(top(most, worst_executors(rank), rank), _EXECUTOR),)


def _mean(name: str) -> str:
    """Executors on the mean of five minutes: what goes up and down all the time cannot be read otherwise."""
    return worst_executors(f"avg_over_time({_recorded(name)}[5m])")


def _lines(
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


def _now(expression: str) -> Target:
    """A column for the executors of which an alert speaks, and for those under most pressure."""
    pressure, on = worst_executors(_recorded(r.PRESSURE)), f"on ({', '.join(EXECUTOR_LABELS)})"
    ranked = f"topk({_ROWS}, {any_of(f'{pressure} + {on} 2 * {_ALERTS}', f'2 * {_ALERTS}', pressure)})"
    return Target(f"{worst_executors(expression)} and on ({', '.join(EXECUTOR_LABELS)}) {ranked}", _EXECUTOR)


def _or_none(expression: str, known: str) -> str:
    """The value, or 0 where ``known`` has series: without those nothing is known, and nothing is the answer."""
    return f"{expression} or 0 * count({known})"


def overview(lines: Lines) -> Board:
    """The first dashboard to open."""
    filters = _FILTER
    rows = (
        Row("Right now", _stats(lines)),
        Row("Who is about to fall over", _pressure(lines)),
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


def _stats(lines: Lines) -> tuple[Panel, ...]:
    def stat(title: str, question: str, action: str, expr: str, warn: float | None, alarm: float | None) -> Panel:
        return Panel(
            title=title, question=question, action=action, targets=(Target(expr, title),), unit="locale",
            kind="stat", warn=warn, alarm=alarm, width=4, height=3, decimals=0,
        )  # fmt: skip

    limit = series(SLOT_LIMIT, *_FILTER)
    return (
        Panel(
            title="Can this dashboard be trusted?",
            question="Are the recording rules evaluated, which nearly every panel here reads?",
            action="Missing: write them with `glasspool rules export` and load them into Prometheus. No data: no"
            " executor of the chosen job, instance and type has slots, or nothing is scraped.",
            targets=(Target(_or_none(f"count({_recorded(r.SATURATION)}) > bool 0", f"{limit} > 0"), "rules"),),
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
            question="What is wrong, and with whom?",
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
            "How many executors have slots to give?",
            'Fewer than expected: a process is gone, or an executor was closed (switch on "Executors closed" above).',
            _or_none(f"count({worst_executors(series(SLOT_LIMIT, *_FILTER))} > 0)", series(EXECUTOR_OPENED, *_FILTER)),
            None,
            None,
        ),
        stat(
            "At their limit",
            "How many executors have every slot in use at this moment?",
            "One at a time is normal under load; many at once means a common cause behind them.",
            _or_none(f"count({worst_executors(_recorded(r.SATURATION))} >= 1)", _recorded(r.SATURATION)),
            1,
            5,
        ),
        stat(
            "Queues nearly full",
            "How many queues are over 80 % full?",
            "Find them in the table below; blocked producers or rejects come next.",
            # Not by the fill itself: executors whose queues have no bound have none.
            _or_none(f"count({worst_executors(_recorded(r.QUEUE_FILL))} > 0.8)", _recorded(r.SATURATION)),
            1,
            3,
        ),
        stat(
            "Blocked producers",
            "How many callers are blocked in submit for want of room?",
            "This is backpressure at work, in a batch for hours. Where requests wait, add slots or a rate limit.",
            _or_none(f"sum({series(SUBMIT_PENDING, *_FILTER)})", series(EXECUTOR_OPENED, *_FILTER)),
            1,
            50,
        ),
        stat(
            "Refused in 5 minutes",
            "How many submissions never became a task?",
            "See which executor and why in the last row, and what that meant for the caller.",
            _or_none(f"sum({_recorded(r.REJECTED_RATE)}) * 300", _recorded(r.SATURATION)),
            1,
            100,
        ),
        Panel(
            title="Late starts, worst executor",
            question="What share of the tasks of the worst executor misses its wait objective?",
            action="Orange: the budget burns, if it lasts. Open the executor and compare waits with runs. Executors"
            " that declare no objective are left out.",
            targets=(Target(f"max({_recorded(r.wait_slow('5m'))})", "late starts"),),
            unit="percentunit",
            kind="stat",
            warn=lines["budget"],
            alarm=lines["page_burn"],
            width=4,
            height=3,
        ),
    )


def _pressure(lines: Lines) -> tuple[Panel, ...]:
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
            _recorded(r.PRESSURE),
            _recorded(r.SATURATION),
            _recorded(r.saturated_share("5m")),
            _recorded(r.QUEUE_FILL),
            series(QUEUE_OLDEST_AGE, *_FILTER),
            _recorded(r.WAIT_P95),
            _recorded(r.ERROR_RATIO),
            series(TASK_OVERDUE_AGE, *_FILTER),
            series(TASK_CANCELLING_OLDEST_AGE, *_FILTER),
            series(TASK_ABANDONED, *_FILTER),
        )
    )
    share, fill = worst_executors(_recorded(r.saturated_share("5m"))), _mean(r.QUEUE_FILL)
    return (
        Panel(
            title="Executors in trouble or under pressure",
            question="Which executors are in trouble or will fall over first, and from what?",
            action="Those with alerts come first. Red in Time at limit: a batch at work, or too few slots or too slow"
            " tasks. Red in Queue full: rejects and blocked producers are near. Click a name to open the executor.",
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
            action="A slope that nears 1 leaves time to act; a step is an event: compare it with deployments.",
            targets=(Target(top(_FEW, f"({share} > {fill} or {fill} or {share})", _recorded(r.PRESSURE)), _EXECUTOR),),
            unit="percentunit",
            warn=0.7,
            alarm=0.9,
            maximum=1,
            width=24,
            link="executor",
        ),
    )


def _saturation(lines: Lines) -> tuple[Panel, ...]:
    return (
        _lines(
            "Slots in use",
            "How much of its concurrency does each executor use, on the mean of 5 minutes?",
            "Near 1 new tasks wait most of the time. Raise the limit only if what is behind it can take more.",
            _worst(r.utilization("5m"), _FEW),
            warn=0.9,
        ),
        _lines(
            "Share of time at the limit",
            "For how much of the last 5 minutes was every slot taken?",
            "Near 1 it is no burst: a batch at work or, where somebody waits, too few slots, or tasks too slow.",
            _worst(r.saturated_share("5m")),
            warn=0.5,
            alarm=lines["saturated_share"],
        ),
    )


def _queues(lines: Lines) -> tuple[Panel, ...]:
    oldest = series(QUEUE_OLDEST_AGE, *_FILTER)
    return (
        _lines(
            "Queue against capacity",
            "How full is each queue, on the mean of 5 minutes? Unbounded queues have no line.",
            "Above 0.8 producers are about to block or be refused: a batch, or arrivals rose, or work slowed.",
            (Target(top(_FEW, _mean(r.QUEUE_FILL), _recorded(r.QUEUE_FILL)), _EXECUTOR),),
            warn=0.5,
            alarm=lines["queue_fill"],
        ),
        Panel(
            title="Oldest queued task",
            question="How long has the longest-waiting task been waiting?",
            action="A straight rise: nothing starts any more, or many tasks came at once and are worked off."
            " Completions tell which; without any, look for stuck tasks in the executor.",
            targets=(Target(top(SHOWN, worst_executors(oldest), oldest), _EXECUTOR),),
            unit="s",
            warn=1,
            alarm=30,
            link="executor",
        ),
        _lines(
            "Queue wait, p95",
            "How long do 19 of 20 tasks wait at most before they start?",
            "Compare with the objective; if it rises with flat arrivals, tasks have become slower.",
            _worst(r.WAIT_P95),
            unit="s",
            warn=0.5,
            alarm=5,
        ),
        _lines(
            "Tasks that start late",
            "What share of tasks misses its executor's wait objective? Executors without one have no line.",
            "At the lower line a month's budget of late starts lasts a month; at the upper one it is gone in two days,"
            " and a page comes.",
            _worst(r.wait_slow("5m")),
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
                Target(by((kind,), _recorded(r.SUBMITTED_RATE)), f"arrivals {{{{{kind}}}}}"),
                Target(by((kind,), _recorded(r.COMPLETED_RATE)), f"completions {{{{{kind}}}}}"),
            ),
            unit="ops",
            width=8,
        ),
        Panel(
            title="Outcomes",
            question="How do tasks end?",
            action="A growing share of error, timeout or cancelled: find the executor in the next panel.",
            targets=(Target(by((outcome,), _recorded(r.COMPLETED_RATE)), f"{{{{{outcome}}}}}"),),
            unit="ops",
            marks=OUTCOMES,
            width=8,
            stacked=True,
        ),
        _lines(
            "Errors and timeouts",
            "What share of each executor's tasks ends in an error or a timeout?",
            "Open the executor: its error types and run times tell a broken dependency from a slow one.",
            _worst(r.ERROR_RATIO),
            warn=0.01,
            alarm=lines["error_ratio"],
            whole=False,
            width=8,
        ),
    )


def _refused() -> tuple[Panel, ...]:
    why = label(Key.ERROR_TYPE)
    reason = label(Key.CANCEL_REASON)
    rejected = worst_executors(by((*INSTANCE_LABELS, *EXECUTOR_LABELS), _recorded(r.REJECTED_RATE)))
    return (
        Panel(
            title="Rejected submissions by executor",
            question="Which executors refuse work?",
            action="queue_full: shed load earlier or add capacity. already_shutdown: something submits after closing."
            " broken: a pool's workers have died.",
            targets=(Target(f"{top(SHOWN, rejected, _recorded(r.REJECTED_RATE))} > 0", _EXECUTOR),),
            unit="ops",
            width=8,
            empty=NONE_SEEN,
            link="executor",
        ),
        Panel(
            title="Rejected submissions by reason",
            question="Why are submissions refused?",
            action=f"Every reason but submit_cancelled is an exception in a caller ({TASK_REJECTED.name}).",
            targets=(Target(by((why,), _recorded(r.REJECTED_RATE)), f"{{{{{why}}}}}"),),
            unit="ops",
            width=8,
            stacked=True,
            bars=True,
        ),
        Panel(
            title="Cancellations by reason",
            question="Who cancels tasks?",
            action="explicit and shutdown were asked for. sibling_failure follows an error; parent_scope and deadline a"
            " caller that gave up.",
            targets=(Target(by((reason,), _recorded(r.CANCELLED_RATE)), f"{{{{{reason}}}}}"),),
            unit="ops",
            width=8,
            empty=NONE_SEEN,
            stacked=True,
            bars=True,
        ),
    )
