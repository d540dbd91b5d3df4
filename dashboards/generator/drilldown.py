"""Executor drill-down: one executor of one type, all its processes, from waits and runs to single tasks."""

from __future__ import annotations

from dashboards.generator.boards import Board, Lines, Row, executor_variable, task_variable, type_variable
from dashboards.generator.marks import OUTCOMES, limit, quantiles
from dashboards.generator.panels import NONE_SEEN, Panel, Target
from glasspool._monitoring.alerts import DRILLDOWN_UID
from glasspool._monitoring.expressions import (
    EXECUTOR,
    EXECUTOR_LABELS,
    INSTANCE_LABELS,
    PER_INSTANCE,
    SERVICE,
    bucket,
    by,
    events,
    grown,
    label,
    match,
    quantile,
    rate,
    series,
    top,
    total,
)
from glasspool.telemetry.catalog import (
    CANCEL_DURATION,
    EXECUTOR_OPENED,
    EXECUTOR_TIME,
    QUEUE_CAPACITY,
    QUEUE_OLDEST_AGE,
    QUEUE_SIZE,
    QUEUE_WAIT,
    QUEUE_WAIT_OBJECTIVE,
    SLOT_LIMIT,
    SLOT_LIMIT_TIME,
    SLOT_SATURATED_TIME,
    SLOT_TIME,
    SLOT_USAGE,
    SUBMIT_OLDEST_AGE,
    SUBMIT_PENDING,
    SUBMIT_WAIT,
    TASK_ACTIVE,
    TASK_CANCELLATIONS,
    TASK_CANCELLING,
    TASK_CANCELLING_OLDEST_AGE,
    TASK_COMPLETED,
    TASK_DURATION,
    TASK_OLDEST_AGE,
    TASK_OVERDUE_AGE,
    TASK_REJECTED,
    TASK_SUBMITTED,
    Key,
    Metric,
)

__all__ = ["drilldown"]

_FILTER = (*EXECUTOR, f'{EXECUTOR_LABELS[1]}="$type"')
_TASK = f'{label(Key.TASK_NAME)}=~"$task"'
_WINDOW = "$__rate_interval"
_INSTANCES = 15


def _of(metric: Metric, how: str = "sum") -> str:
    return f"{how}({series(metric, *_FILTER)})"


def _rate(metric: Metric, *matchers: str) -> str:
    return rate(series(metric, *_FILTER, *matchers), _WINDOW)


def _per_second(events_of_a_window: str) -> str:
    """Events of the last interval as a rate: the interval, and so a count, changes with the zoom."""
    return f"{events_of_a_window} / $__rate_interval_ms * 1000"


def drilldown(lines: Lines) -> Board:
    """The dashboard behind every executor's line."""
    return Board(
        DRILLDOWN_UID,
        "Glasspool / Executor",
        "One executor in depth: where its tasks spend their time, how they end, and which process differs.",
        _FILTER,
        (executor_variable(SERVICE, every=False), type_variable(EXECUTOR, every=False), task_variable(_FILTER)),
        (
            Row("At a glance", _glance(lines)),
            Row("Waiting and running", _distributions()),
            Row("Backpressure", _backpressure(lines)),
            Row("Capacity", _capacity()),
            Row("How tasks end", _outcomes()),
            Row("Tasks", _tasks()),
            Row("Instances", _instances()),
        ),
    )


def _waited() -> str:
    """Waits of the last interval that ended with a start, or with a timeout, whose series is born with the first."""
    started, timed_out = (
        bucket(QUEUE_WAIT, *_FILTER, match(Key.QUEUE_OUTCOME, outcome)) for outcome in ("started", "timeout")
    )
    return grown(started, timed_out, _WINDOW)


def _quantiles(name: str, growth: str, least: float | None = None) -> tuple[Target, ...]:
    """Three quantiles; none below ``least``, the first bound: what lies under it is a guess, half of the bound."""
    limited = "" if least is None else f" > {least:g}"
    # One of the three asks for exemplars: they are the series' own, whatever is made of it, and would come three times.
    return tuple(
        Target(quantile(level, growth) + limited, f"{name} p{level * 100:g}", exemplar=level == 0.95)
        for level in (0.5, 0.95, 0.99)
    )


def _glance(lines: Lines) -> tuple[Panel, ...]:
    """What the first screen has room for: for each kind of trouble the panel that tells it from the others."""
    used = f"max({_rate(SLOT_TIME)} / ({_rate(SLOT_LIMIT_TIME)} > 0))"
    limited = f"max({_rate(SLOT_SATURATED_TIME)} / ({_rate(EXECUTOR_TIME)} > 0))"
    name, error = label(Key.TASK_NAME), label(Key.ERROR_TYPE)
    # An error type's series is born with its first error, which a rate would not see.
    failed = events(series(TASK_COMPLETED, *_FILTER, match(Key.TASK_OUTCOME, "error", "timeout")), _WINDOW)
    return (
        Panel(
            title="Waits against runs",
            question="Do tasks spend their time waiting for a slot or running?",
            action="Waits up and runs flat: too few slots for the arrivals. Both up: tasks have become slower,"
            " find which"
            " below. Dots are exemplars: click one to open its trace.",
            targets=(*_quantiles("wait", _waited()),
                     *_quantiles("run", rate(bucket(TASK_DURATION, *_FILTER), _WINDOW)),
                     Target(_of(QUEUE_WAIT_OBJECTIVE, "min"), "wait objective")),
            unit="s",
            marks=(*quantiles("wait", "blue"), *quantiles("run", "purple"), limit("wait objective", "red")),
            link="traces",
        ),
        Panel(
            title="Oldest queued and oldest running",
            question="Is anything stuck?",
            action="Every line rises while the same task runs or waits, and falls when that ends. An overdue one has"
            " outlived every run of its name before; it hangs, or is meant to live.",
            targets=(
                Target(_of(QUEUE_OLDEST_AGE, "max"), "oldest queued"),
                Target(_of(TASK_OLDEST_AGE, "max"), "oldest running"),
                Target(by((name,), series(TASK_OVERDUE_AGE, *_FILTER), "max"), f"overdue {{{{{name}}}}}"),
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
            targets=(Target(_per_second(by((error,), failed)), f"{{{{{error}}}}}"),),
            empty=NONE_SEEN,
            unit="ops",
            width=8,
            bars=True,
            stacked=True,
            link="traces",
        ),
        Panel(
            title="Oldest request not obeyed",
            question="For how long has one of them not ended?",
            action="A line that rises and falls: cleanup that takes its time. One that goes on rising: a task that"
            " catches its cancellation. The log names it while an executor closes.",
            targets=(Target(_of(TASK_CANCELLING_OLDEST_AGE, "max"), "oldest"),),
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
            "How are waits distributed; is it a few tasks or all?",
            "Two bands: some tasks are admitted at once and others queue behind a burst. A rising band: the"
            " queue grows.",
            _waited(),
        ),
        _heatmap(
            "Run times",
            "How are run times distributed?",
            "Two bands: fast and slow runs share the slots. If they are two kinds of work, consider an executor for"
            " the slow one.",
            f"increase({bucket(TASK_DURATION, *_FILTER, _TASK)}[{_WINDOW}])",
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
            question="How long does submit hold those producers back that find no room?",
            action="A line means that the queue is full: producers now go at the executor's pace. None: nobody had to"
            " wait.",
            targets=_quantiles("submit", events(bucket(SUBMIT_WAIT, *_FILTER), _WINDOW), SUBMIT_WAIT.buckets[0]),
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
            targets=(Target(f"{_of(SUBMIT_PENDING)} or 0 * {_of(EXECUTOR_OPENED)}", "blocked"),),
            unit="short",
            width=8,
            warn=1,
        ),
        Panel(
            title="Longest-blocked producer",
            question="How long has the unluckiest caller been blocked?",
            action="A straight rise: nobody is admitted, or many came at once and are served in turn. Without"
            " completions look at the oldest running task.",
            targets=(Target(_of(SUBMIT_OLDEST_AGE, "max"), "oldest"),),
            unit="s",
            width=8,
            warn=10,
            alarm=lines["producer_seconds"],
        ),
    )


def _capacity() -> tuple[Panel, ...]:
    estimate = f"sum({rate(total(TASK_DURATION, *_FILTER), _WINDOW)})"
    return (
        Panel(
            title="In flight against the limit",
            question="How much work is in flight, and how much should be, judging by rate times mean run?",
            action="In flight far above the estimate: slots are held by what has not ended (long or stuck tasks,"
            " abandoned threads), since only ended tasks enter the estimate.",
            targets=(
                Target(_of(SLOT_USAGE), "slots in use"),
                Target(_of(TASK_ACTIVE), "active tasks"),
                Target(estimate, "rate × mean run"),
                Target(_of(SLOT_LIMIT), "limit"),
            ),
            unit="short",
            marks=(limit("limit", "red"),),
        ),
        Panel(
            title="Queue against capacity",
            question="How many tasks wait, and for how many is there room?",
            action="A full queue blocks or refuses producers. One that is never empty: a batch keeps it filled, or"
            " slots are too few for the arrivals.",
            targets=(Target(_of(QUEUE_SIZE), "queued"), Target(_of(QUEUE_CAPACITY), "capacity")),
            unit="short",
            marks=(limit("capacity", "red"),),
        ),
    )


def _outcomes() -> tuple[Panel, ...]:
    outcome, error, reason = label(Key.TASK_OUTCOME), label(Key.ERROR_TYPE), label(Key.CANCEL_REASON)
    phase = label(Key.TASK_PHASE)
    ended = events(series(TASK_COMPLETED, *_FILTER), _WINDOW)
    cancelled = events(series(TASK_CANCELLATIONS, *_FILTER), _WINDOW)
    obeyed = quantile(0.95, events(bucket(CANCEL_DURATION, *_FILTER), _WINDOW), reason)
    return (
        Panel(
            title="Arrivals against completions",
            question="Does the executor keep up?",
            action="Arrivals above completions: the queue grows by the difference every second.",
            targets=(
                Target(f"sum({_rate(TASK_SUBMITTED)})", "arrivals"),
                Target(f"sum({_rate(TASK_COMPLETED)})", "completions"),
            ),
            unit="ops",
            width=8,
        ),
        Panel(
            title="Outcomes",
            question="How do its tasks end, and how many a second?",
            action="timeout: they were too slow. error: see the types above. cancelled: see the reasons below.",
            targets=(Target(_per_second(by((outcome,), ended)), f"{{{{{outcome}}}}}"),),
            marks=OUTCOMES,
            unit="ops",
            width=8,
            stacked=True,
        ),
        Panel(
            title="Cancellations by reason",
            question="Who cancels its tasks, how often, and where does it meet them?",
            action="queued: cheap, the work never began. running: work was thrown away. unknown: cancelled from outside"
            " the executor.",
            targets=(Target(
                f"{_per_second(by((reason, phase), cancelled))} > 0", f"{{{{{reason}}}}}, {{{{{phase}}}}}"
            ),),
            empty=NONE_SEEN,
            unit="ops",
            width=8,
            bars=True,
            stacked=True,
        ),
        Panel(
            title="Time to obey a cancellation",
            question="How long do tasks take to end once cancelled?",
            action="Seconds mean cleanup that blocks, or threads that nobody can interrupt.",
            targets=(Target(obeyed, f"p95 {{{{{reason}}}}}", exemplar=True),),
            empty=NONE_SEEN,
            unit="s",
            width=8,
            warn=1,
            link="traces",
        ),
        Panel(
            title="Asked to end and still running",
            question="How many tasks were cancelled, or are out of time, and have not ended yet?",
            action="Each holds its slot, and holds up a shutdown. Back to 0 in a moment: cleanup. A level: tasks that"
            " catch their cancellation, or threads that are waited for (abandon=False).",
            targets=(Target(_of(TASK_CANCELLING), "asked to end"),),
            unit="short",
            width=8,
            warn=1,
        ),
        Panel(
            title="Rejected submissions",
            question="Which submissions never became tasks, and why?",
            action="queue_full: the caller must slow down or the queue grow. already_shutdown: a caller outlives the"
            " executor. broken: its workers have died; make a new pool.",
            targets=(Target(by((error,), _rate(TASK_REJECTED)), f"{{{{{error}}}}}"),),
            unit="ops",
            width=8,
            bars=True,
            stacked=True,
        ),
    )  # fmt: skip


def _tasks() -> tuple[Panel, ...]:
    name = label(Key.TASK_NAME)
    buckets = bucket(TASK_DURATION, *_FILTER, _TASK)
    return (
        Panel(
            title="Run time by task, p95",
            question="Which kind of task is slow?",
            action="A name that rises alone is your suspect; all rising together share a dependency or a starved CPU.",
            targets=(Target(
                quantile(0.95, rate(buckets, _WINDOW), name), f"{{{{{name}}}}}", exemplar=True
            ),),
            unit="s",
            link="traces",
        ),
        Panel(
            title="Slots used by task",
            question="Which kind of task uses up the slots? (rate times mean run, in slots)",
            action="Make the widest band shorter or rarer, or give it an executor of its own.",
            targets=(Target(
                by((name,), rate(total(TASK_DURATION, *_FILTER, _TASK), _WINDOW)), f"{{{{{name}}}}}"
            ),),
            unit="short",
            stacked=True,
        ),
    )  # fmt: skip


def _instances() -> tuple[Panel, ...]:
    usage, limit = series(SLOT_USAGE, *_FILTER), series(SLOT_LIMIT, *_FILTER)
    submitted = series(TASK_SUBMITTED, *_FILTER)
    waits = quantile(0.95, _waited(), *INSTANCE_LABELS)

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
            question="Does every process do its share?",
            action="A process that accepts and does not complete is stuck: take it out of rotation and look at it.",
            targets=worst(by(INSTANCE_LABELS, _rate(TASK_COMPLETED)), submitted),
            unit="ops",
            width=8,
        ),
        Panel(
            title="Queue wait by instance, p95",
            question="Do tasks wait longer in one process?",
            action="One slow process drags the objective down for all; compare its event loop in the runtime"
            " dashboard.",
            targets=worst(waits, submitted),
            unit="s",
            warn=0.5,
            width=8,
        ),
    )
