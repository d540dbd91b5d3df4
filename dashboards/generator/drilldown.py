"""Executor drill-down: one executor of one type, all its processes, from waits and runs to single tasks."""

from __future__ import annotations

from dashboards.generator.boards import Board, Lines, Row, executor_variable, task_variable, type_variable
from dashboards.generator.chosen import FILTER, TASK, WINDOW, of_executor, per_second, rate_of, three_quantiles, waited
from dashboards.generator.held import held
from dashboards.generator.marks import limit, quantiles
from dashboards.generator.panels import NONE_SEEN, Panel, Target
from dashboards.generator.retried import retried
from dashboards.generator.services import services
from dashboards.generator.task_rows import outcomes, tasks
from glasspool._monitoring.alerts import DRILLDOWN_UID
from glasspool._monitoring.expressions import (
    EXECUTOR,
    INSTANCE_LABELS,
    PER_INSTANCE,
    SERVICE,
    bucket,
    by,
    events,
    label,
    match,
    quantile,
    rate,
    series,
    top,
    total,
)
from glasspool._monitoring.retries import taking_places
from glasspool.telemetry.catalog import (
    EXECUTOR_OPENED,
    EXECUTOR_TIME,
    QUEUE_CAPACITY,
    QUEUE_OLDEST_AGE,
    QUEUE_WAIT_OBJECTIVE,
    SLOT_LENT,
    SLOT_LIMIT,
    SLOT_LIMIT_TIME,
    SLOT_SATURATED_TIME,
    SLOT_TIME,
    SLOT_USAGE,
    SUBMIT_OLDEST_AGE,
    SUBMIT_PENDING,
    SUBMIT_WAIT,
    TASK_ACTIVE,
    TASK_CANCELLING_OLDEST_AGE,
    TASK_COMPLETED,
    TASK_DURATION,
    TASK_OLDEST_AGE,
    TASK_OVERDUE_AGE,
    TASK_SUBMITTED,
    Key,
)

__all__ = ["drilldown"]

_INSTANCES = 15


def drilldown(lines: Lines) -> Board:
    """The dashboard that a click on an executor opens."""
    return Board(
        DRILLDOWN_UID,
        "Glasspool / Executor",
        "One executor in depth: where its tasks spend their time, how they end, and which process differs.",
        FILTER,
        (executor_variable(SERVICE, every=False), type_variable(EXECUTOR, every=False), task_variable(FILTER)),
        (
            Row("At a glance", _glance(lines)),
            Row("Waiting and running", _distributions()),
            Row("Backpressure", _backpressure(lines)),
            Row("What holds tasks", held()),
            Row("Retries", retried()),
            Row("Capacity", _capacity()),
            Row("How tasks end", outcomes()),
            Row("Tasks", tasks()),
            Row("Services", services()),
            Row("Instances", _instances()),
        ),
    )


def _glance(lines: Lines) -> tuple[Panel, ...]:
    """The first screen: for each kind of trouble, the panel that distinguishes it from the others."""
    used = f"max({rate_of(SLOT_TIME)} / ({rate_of(SLOT_LIMIT_TIME)} > 0))"
    limited = f"max({rate_of(SLOT_SATURATED_TIME)} / ({rate_of(EXECUTOR_TIME)} > 0))"
    name, error = label(Key.TASK_NAME), label(Key.ERROR_TYPE)
    # An error type's series is born with its first error, which a rate would not see.
    failed = events(series(TASK_COMPLETED, *FILTER, match(Key.TASK_OUTCOME, "error", "timeout")), WINDOW)
    return (
        Panel(
            title="Waits against runs",
            question="Do tasks spend their time waiting for a slot or running?",
            action="Waits up and runs flat: too few slots for the arrivals. Both up: tasks have become slower,"
            " find which"
            " below. Dots are exemplars: click one to open its trace.",
            targets=(*three_quantiles("wait", waited()),
                     *three_quantiles("run", rate(bucket(TASK_DURATION, *FILTER), WINDOW)),
                     Target(of_executor(QUEUE_WAIT_OBJECTIVE, "min"), "wait objective")),
            unit="s",
            marks=(*quantiles("wait", "blue"), *quantiles("run", "purple"), limit("wait objective", "red")),
            link="traces",
        ),
        Panel(
            title="Oldest queued and oldest running",
            question="Is anything stuck?",
            action="Every line rises while the same task runs or waits, and falls when that ends. An overdue task has"
            " run longer than every earlier run of its name; it hangs, or is meant to run on.",
            targets=(
                Target(of_executor(QUEUE_OLDEST_AGE, "max"), "oldest queued"),
                Target(of_executor(TASK_OLDEST_AGE, "max"), "oldest running"),
                Target(by((name,), series(TASK_OVERDUE_AGE, *FILTER), "max"), f"overdue {{{{{name}}}}}"),
            ),
            unit="s",
            link="traces",
        ),
        Panel(
            title="Utilisation and time at the limit",
            question="Is the executor busy on average, and how often is it out of slots? (the worst process)",
            action="High utilisation, little time at the limit: well sized. Low utilisation, much time at the limit:"
            " bursts; a longer queue helps more than more slots.",
            targets=(Target(used, "mean utilisation"), Target(limited, "time at the limit")),
            unit="percentunit",
            warn=0.7,
            alarm=lines["saturated_share"],
            maximum=1,
            width=8,
        ),
        Panel(
            title="Error types",
            question="What goes wrong, and how often?",
            action="Follow a trace of the type that has grown; timeout means the task's own timeout or deadline.",
            targets=(Target(per_second(by((error,), failed)), f"{{{{{error}}}}}"),),
            empty=NONE_SEEN,
            unit="ops",
            width=8,
            bars=True,
            stacked=True,
            link="traces",
        ),
        Panel(
            title="Oldest request not obeyed",
            question="How old is the oldest request to end that has not been obeyed?",
            action="A line that rises and falls: long cleanup. A line that keeps rising: a task that catches its"
            " cancellation. The log names it while an executor closes.",
            targets=(Target(of_executor(TASK_CANCELLING_OLDEST_AGE, "max"), "oldest"),),
            unit="s",
            width=8,
            warn=10,
            alarm=lines["cancel_seconds"],
        ),
    )  # fmt: skip


def _distributions() -> tuple[Panel, ...]:
    return (
        _heatmap(
            "Queue waits",
            "How are waits distributed: do a few tasks wait, or all?",
            "Two bands: some tasks are admitted at once and others queue behind a burst. A rising band: the"
            " queue grows.",
            waited(),
        ),
        _heatmap(
            "Run times",
            "How are run times distributed?",
            "Two bands: fast and slow runs share the slots. If they are two kinds of work, consider an executor for"
            " the slow one.",
            f"increase({bucket(TASK_DURATION, *FILTER, TASK)}[{WINDOW}])",
        ),
    )  # fmt: skip


def _heatmap(title: str, question: str, action: str, growth: str) -> Panel:
    return Panel(
        title=title, question=question, action=action, targets=(Target(by(("le",), growth), "{{le}}", exemplar=True),),
        unit="s", kind="heatmap", link="traces",
    )  # fmt: skip


def _backpressure(lines: Lines) -> tuple[Panel, ...]:
    return (
        Panel(
            title="Submit wait",
            question="How long does submit block producers that find no room?",
            action="A line means that the queue is full: producers are slowed down to the executor's pace. None: no"
            " producer had to wait.",
            targets=three_quantiles("submit", events(bucket(SUBMIT_WAIT, *FILTER), WINDOW), SUBMIT_WAIT.buckets[0]),
            marks=quantiles("submit", "orange"),
            empty=NONE_SEEN,
            unit="s",
            width=8,
            link="traces",
        ),
        Panel(
            title="Blocked producers",
            question="How many callers are blocked in submit?",
            action="A constant number is a steady producer loop; a growing one is callers piling up behind a"
            " full queue.",
            targets=(Target(f"{of_executor(SUBMIT_PENDING)} or 0 * {of_executor(EXECUTOR_OPENED)}", "blocked"),),
            unit="short",
            width=8,
            warn=1,
        ),
        Panel(
            title="Longest-blocked producer",
            question="How long has the longest-blocked caller waited?",
            action="A straight rise: no producer is admitted, or many came at once and are served in turn. Without"
            " completions, look at the oldest running task.",
            targets=(Target(of_executor(SUBMIT_OLDEST_AGE, "max"), "oldest"),),
            unit="s",
            width=8,
            warn=10,
            alarm=lines["producer_seconds"],
        ),
    )


def _capacity() -> tuple[Panel, ...]:
    estimate = f"sum({rate(total(TASK_DURATION, *FILTER), WINDOW)})"
    return (
        Panel(
            title="In flight against the limit",
            question="How much work is in flight, and how much should be, judging by rate times mean run?",
            action="In flight far above the estimate: long or stuck tasks or abandoned threads hold slots, since only"
            " tasks that have ended enter the estimate. Lent: tasks that wait for tasks of their own executor; their"
            " slots are in use by others. As many lent as there are slots: most of what is in flight is waiting.",
            targets=(
                Target(of_executor(SLOT_USAGE), "slots in use"),
                Target(of_executor(TASK_ACTIVE), "active tasks"),
                Target(estimate, "rate × mean run"),
                Target(of_executor(SLOT_LIMIT), "limit"),
                Target(of_executor(SLOT_LENT), "lent"),
            ),
            unit="short",
            marks=(limit("limit", "red"),),
        ),
        Panel(
            title="Queue against capacity",
            question="How many tasks wait, and for how many is there room?",
            action="A full queue blocks or refuses producers. A queue that is never empty: a batch keeps it filled, or"
            " there are too few slots for the arrivals. Tasks between two attempts are left out: they take no place.",
            targets=(
                Target(f"sum({taking_places(*FILTER)})", "queued"),
                Target(of_executor(QUEUE_CAPACITY), "capacity"),
            ),
            unit="short",
            marks=(limit("capacity", "red"),),
        ),
    )


def _instances() -> tuple[Panel, ...]:
    usage, limit = series(SLOT_USAGE, *FILTER), series(SLOT_LIMIT, *FILTER)
    submitted = series(TASK_SUBMITTED, *FILTER)
    waits = quantile(0.95, waited(), *INSTANCE_LABELS)

    def worst(expression: str, rank: str) -> tuple[Target, ...]:
        return (Target(top(_INSTANCES, expression, rank, INSTANCE_LABELS), PER_INSTANCE),)

    return (
        Panel(
            title="Slots in use by instance",
            question="Is one process fuller than the others?",
            action="One at 1 and the rest idle: work is not spread; look at the load balancer or at a stuck process.",
            targets=worst(by(INSTANCE_LABELS, f"{usage} / ({limit} > 0)", "max"), usage),
            unit="percentunit",
            alarm=1,
            width=8,
        ),
        Panel(
            title="Completions by instance",
            question="Does every process complete its share of tasks?",
            action="A process that accepts tasks and completes none is stuck: take it out of rotation and examine it.",
            targets=worst(by(INSTANCE_LABELS, rate_of(TASK_COMPLETED)), submitted),
            unit="ops",
            width=8,
        ),
        Panel(
            title="Queue wait by instance, p95",
            question="Do tasks wait longer in one process?",
            action="One slow process can violate the objective for all; look at its event loop in the runtime"
            " dashboard.",
            targets=worst(waits, submitted),
            unit="s",
            warn=0.5,
            width=8,
        ),
    )
