"""The drill-down's rows about tasks: how they end, and which tasks are slow or use most slots."""

from __future__ import annotations

from dashboards.generator.chosen import FILTER, TASK, WINDOW, of_executor, per_second, rate_of
from dashboards.generator.marks import OUTCOMES
from dashboards.generator.panels import NONE_SEEN, Panel, Target
from glasspool._monitoring.expressions import bucket, by, events, label, quantile, rate, series, total
from glasspool.telemetry.catalog import (
    CANCEL_DURATION,
    TASK_CANCELLATIONS,
    TASK_CANCELLING,
    TASK_COMPLETED,
    TASK_DURATION,
    TASK_REJECTED,
    TASK_SUBMITTED,
    Key,
)

__all__ = ["outcomes", "tasks"]


def outcomes() -> tuple[Panel, ...]:
    """How fast tasks end, with which outcomes, and how requests to end are obeyed."""
    outcome, error, reason = label(Key.TASK_OUTCOME), label(Key.ERROR_TYPE), label(Key.CANCEL_REASON)
    phase = label(Key.TASK_PHASE)
    ended = events(series(TASK_COMPLETED, *FILTER), WINDOW)
    cancelled = events(series(TASK_CANCELLATIONS, *FILTER), WINDOW)
    obeyed = quantile(0.95, events(bucket(CANCEL_DURATION, *FILTER), WINDOW), reason)
    return (
        Panel(
            title="Arrivals against completions",
            question="Does the executor keep up?",
            action="Arrivals above completions: the queue grows by the difference every second.",
            targets=(
                Target(f"sum({rate_of(TASK_SUBMITTED)})", "arrivals"),
                Target(f"sum({rate_of(TASK_COMPLETED)})", "completions"),
            ),
            unit="ops",
            width=8,
        ),
        Panel(
            title="Outcomes",
            question="How do its tasks end, and how many a second?",
            action="timeout: they were too slow. error: see the types above. cancelled: see the reasons below.",
            targets=(Target(per_second(by((outcome,), ended)), f"{{{{{outcome}}}}}"),),
            marks=OUTCOMES,
            unit="ops",
            width=8,
            stacked=True,
        ),
        Panel(
            title="Cancellations by reason",
            question="Why are its tasks cancelled, how often, and in which phase?",
            action="queued: cheap, the work never began. running: work was discarded. unknown: cancelled from outside"
            " the executor.",
            targets=(Target(
                f"{per_second(by((reason, phase), cancelled))} > 0", f"{{{{{reason}}}}}, {{{{{phase}}}}}"
            ),),
            empty=NONE_SEEN,
            unit="ops",
            width=8,
            bars=True,
            stacked=True,
        ),
        Panel(
            title="Time to obey a cancellation",
            question="How long do tasks take to end after they were cancelled?",
            action="Seconds mean cleanup that blocks, or threads that cannot be interrupted.",
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
            action="Each holds its slot and delays a shutdown. If it returns to 0 soon, it is cleanup. If it stays:"
            " tasks that catch their cancellation, or threads that are waited for (abandon=False).",
            targets=(Target(of_executor(TASK_CANCELLING), "asked to end"),),
            unit="short",
            width=8,
            warn=1,
        ),
        Panel(
            title="Rejected submissions",
            question="Which submissions never became tasks, and why?",
            action="queue_full: slow the callers down or enlarge the queue. already_shutdown: a caller outlives the"
            " executor. broken: its workers have died; make a new pool.",
            targets=(Target(by((error,), rate_of(TASK_REJECTED)), f"{{{{{error}}}}}"),),
            unit="ops",
            width=8,
            bars=True,
            stacked=True,
        ),
    )  # fmt: skip


def tasks() -> tuple[Panel, ...]:
    """The row of tasks by name."""
    name = label(Key.TASK_NAME)
    buckets = bucket(TASK_DURATION, *FILTER, TASK)
    return (
        Panel(
            title="Run time by task, p95",
            question="Which kind of task is slow?",
            action="If one name rises alone, look at it; if all rise together, at a shared dependency or CPU.",
            targets=(Target(
                quantile(0.95, rate(buckets, WINDOW), name), f"{{{{{name}}}}}", exemplar=True
            ),),
            unit="s",
            link="traces",
        ),
        Panel(
            title="Slots used by task",
            question="Which kind of task uses most slots? (rate times mean run, in slots)",
            action="Make the widest band shorter or rarer, or give it an executor of its own.",
            targets=(Target(
                by((name,), rate(total(TASK_DURATION, *FILTER, TASK), WINDOW)), f"{{{{{name}}}}}"
            ),),
            unit="short",
            stacked=True,
        ),
    )  # fmt: skip
