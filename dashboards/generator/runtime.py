"""Runtime: the parts that all executors of a process share: event loops, thread limiters, workers, telemetry."""

from __future__ import annotations

from dashboards.generator.boards import Board, Lines, Row, executor_variable
from dashboards.generator.marks import limit
from dashboards.generator.panels import NONE_SEEN, Panel, Target
from glasspool._monitoring.alerts import RUNTIME_UID
from glasspool._monitoring.expressions import (
    EXECUTOR_LABELS,
    EXECUTORS,
    INSTANCE_LABELS,
    PER_INSTANCE,
    SERVICE,
    bucket,
    by,
    count,
    label,
    match,
    quantile,
    rate,
    series,
    top,
    total,
)
from glasspool.telemetry.catalog import (
    CONTEXT_LOSSES,
    EVENTLOOP_DELAY,
    EVENTLOOP_STALL,
    EXECUTOR_CLOSED,
    EXECUTOR_OPENED,
    QUEUE_SIZE,
    QUEUE_WAIT,
    SHUTDOWN_DURATION,
    SLOT_LIMIT,
    SLOT_USAGE,
    TASK_ABANDONED,
    TASK_UNRETRIEVED,
    TELEMETRY_FAILURES,
    WORKER_COUNT,
    WORKER_LIMIT,
    Key,
    Metric,
)

__all__ = ["runtime"]

_WINDOW = "$__rate_interval"
_SHOWN = 10
_NAME, _TYPE = EXECUTOR_LABELS
_LOOP, _RUNNER, _STATE = label(Key.EVENTLOOP_NAME), label(Key.RUNNER), label(Key.WORKER_STATE)
_EXECUTOR = f"{{{{{_NAME}}}}} ({{{{{_TYPE}}}}})"

_LIMITERS = match(Key.EXECUTOR_TYPE, "anyio_limiter", "trio_limiter")
_PROCESS_POOLS = match(Key.EXECUTOR_TYPE, "process_pool", "loky")


def runtime(lines: Lines) -> Board:
    """The dashboard for problems of a process as a whole."""
    return Board(
        RUNTIME_UID,
        "Glasspool / Runtime",
        "Event loops, thread limiters, workers, shutdowns, and whether the telemetry can be trusted.",
        EXECUTORS,
        (executor_variable(SERVICE, every=True),),
        (
            Row("Event loops", _loops(lines)),
            Row("Thread limiters", _limiters()),
            Row("Workers", _workers()),
            Row("Lifecycle", _lifecycle()),
            Row("Trust in the telemetry", _trust()),
        ),
        marks=False,
    )


def _loops(lines: Lines) -> tuple[Panel, ...]:
    stall = series(EVENTLOOP_STALL, *SERVICE)
    delay = bucket(EVENTLOOP_DELAY, *SERVICE)
    where = (_LOOP, *INSTANCE_LABELS)
    return (
        Panel(
            title="Event loop stalled now",
            question="Is an event loop blocked at this moment, and for how long?",
            action="Nothing else in that process runs meanwhile. Take a stack dump of its main thread (py-spy"
            " dump): the"
            " blocking call is on top. Move it to a thread.",
            targets=(Target(top(_SHOWN, by(where, stall, "max"), stall, where), f"{{{{{_LOOP}}}}} {PER_INSTANCE}"),),
            unit="s",
            warn=0.25,
            alarm=lines["stall_seconds"],
            width=8,
        ),
        Panel(
            title="Event loop delay",
            question="How late do timers run?",
            action="Milliseconds are normal. A p99 of 100 ms and more: callbacks compute too long, or the CPU"
            " is starved.",
            targets=tuple(
                Target(quantile(level, rate(delay, _WINDOW), _LOOP), f"{{{{{_LOOP}}}}} p{level * 100:g}")
                for level in (0.5, 0.95, 0.99)
            ),
            unit="s",
            warn=lines["tick_seconds"],
            alarm=1,
            width=8,
        ),
        Panel(
            title="Event loop delays",
            question="How are the delays distributed over time?",
            action="A thin high band beside a low one: a periodic job blocks the loop. A smear: general overload.",
            targets=(Target(by(("le",), f"increase({delay}[{_WINDOW}])"), "{{le}}"),),
            unit="s",
            kind="heatmap",
            width=8,
        ),
    )


def _limiters() -> tuple[Panel, ...]:
    def of(metric: Metric) -> str:
        return by((_NAME,), series(metric, *EXECUTORS, _LIMITERS), "max")

    waits = rate(bucket(QUEUE_WAIT, *EXECUTORS, _LIMITERS, match(Key.QUEUE_OUTCOME, "started")), _WINDOW)
    rank = series(SLOT_USAGE, *EXECUTORS, _LIMITERS)

    def shown(expression: str) -> str:
        return top(_SHOWN, expression, rank, (_NAME,))

    return (
        Panel(
            title="Thread tokens in use",
            question="How near is a thread limiter to its limit? anyio's default one has 40 tokens an event loop,"
            " and FastAPI and Starlette run every sync endpoint on it.",
            action="In use at the limit: every further call under this limiter waits. Make endpoints async where"
            " they need not block, raise total_tokens, or give slow work a limiter of its own. (the fullest process)",
            targets=(
                Target(shown(of(SLOT_USAGE)), f"{{{{{_NAME}}}}} in use"),
                Target(shown(of(SLOT_LIMIT)), f"{{{{{_NAME}}}}} limit"),
            ),
            unit="short",
            marks=(limit(" limit", ending=True),),
            width=8,
        ),
        Panel(
            title="Waiting for a thread",
            question="How many calls, and coroutines, wait for a thread token?",
            action="They include requests to sync endpoints, whose code has not begun to run.",
            targets=(Target(shown(of(QUEUE_SIZE)), f"{{{{{_NAME}}}}}"),),
            unit="short",
            warn=1,
            width=8,
        ),
        Panel(
            title="Wait for a thread, p95",
            question="How long does a sync call wait for its thread?",
            action="It is part of the latency of requests to sync endpoints; 95 % of the calls wait no longer.",
            targets=(Target(quantile(0.95, waits, _NAME), f"{{{{{_NAME}}}}}"),),
            unit="s",
            warn=0.1,
            width=8,
        ),
    )


def _workers() -> tuple[Panel, ...]:
    pools = series(WORKER_COUNT, *EXECUTORS, _PROCESS_POOLS)
    pool = f"{{{{{_TYPE}}}}} {{{{{_RUNNER}}}}}"
    abandoned = by((*EXECUTOR_LABELS, _RUNNER), series(TASK_ABANDONED, *EXECUTORS))
    return (
        Panel(
            title="Workers busy and idle",
            question="Are threads and processes working or waiting?",
            action="All busy at the limit: further work waits. Many idle for long: the pool is larger than needed.",
            targets=(
                Target(by((_TYPE, _RUNNER, _STATE), series(WORKER_COUNT, *EXECUTORS)), f"{pool} {{{{{_STATE}}}}}"),
                Target(by((_TYPE, _RUNNER), series(WORKER_LIMIT, *EXECUTORS)), f"{pool} limit"),
            ),
            unit="short",
            marks=(limit(" limit", ending=True),),
            log=True,
            width=8,
        ),
        Panel(
            title="Process pools",
            question="Are the worker processes alive?",
            action="A pool that falls to none is broken (a worker was killed, often for memory) or was shut down.",
            targets=(Target(
                top(_SHOWN, by((_NAME, _STATE), pools), pools, (_NAME,)), f"{{{{{_NAME}}}}} {{{{{_STATE}}}}}"
            ),),
            unit="short",
            width=8,
        ),
        Panel(
            title="Abandoned threads",
            question="How many threads still run calls of tasks that were cancelled or timed out?",
            action="Each keeps a slot while its executor is open. Give the blocking call a timeout of its own, or have"
            " it call check_cancelled.",
            targets=(Target(f"{abandoned} > 0", f"{_EXECUTOR} {{{{{_RUNNER}}}}}"),),
            empty=NONE_SEEN,
            unit="short",
            warn=1,
            width=8,
            link="executor",
        ),
    )  # fmt: skip


def _so_far(metric: Metric) -> str:
    return by((_TYPE,), series(metric, *EXECUTORS))


def _lifecycle() -> tuple[Panel, ...]:
    how = label(Key.SHUTDOWN_OUTCOME)
    took, closings = (by((how,), part(SHUTDOWN_DURATION, *EXECUTORS)) for part in (total, count))
    return (
        Panel(
            title="Executors opened and closed",
            question="Are executors made and closed as expected? (counted since the processes started)",
            action="A steady climb: executors are made repeatedly, for example one per request; share one. A widening"
            " gap: some are not closed.",
            targets=(
                Target(_so_far(EXECUTOR_OPENED), f"{{{{{_TYPE}}}}} opened"),
                Target(_so_far(EXECUTOR_CLOSED), f"{{{{{_TYPE}}}}} closed"),
            ),
            unit="short",
            width=8,
        ),
        Panel(
            title="Shutdowns",
            question="Do executors drain, or do they cut tasks off? (counted since the processes started)",
            action="cut: the grace period is too short for the work, or the executor's block was left by an exception.",
            targets=(Target(
                by((how,), count(SHUTDOWN_DURATION, *EXECUTORS)), f"{{{{{how}}}}}"
            ),),
            unit="short",
            width=8,
        ),
        Panel(
            title="Shutdown duration, mean",
            question="How long does closing take, on the mean of all closings of the processes shown?",
            action="Compare it with the time after which your orchestrator kills the process: tasks that take longer"
            " are lost.",
            targets=(Target(f"{took} / ({closings} > 0)", f"{{{{{how}}}}}"),),
            unit="s",
            warn=25,
            width=8,
        ),
    )  # fmt: skip


def _trust() -> tuple[Panel, ...]:
    kind, loss = label(Key.FAILURE_KIND), label(Key.LOSS_KIND)
    failures, losses = series(TELEMETRY_FAILURES, *SERVICE), series(CONTEXT_LOSSES, *EXECUTORS)
    unseen = series(TASK_UNRETRIEVED, *EXECUTORS)
    return (
        Panel(
            title="Telemetry failures",
            question="What does the telemetry itself miss?",
            action="observer: your hook raised, see the log. callback: figures could not be read. export: the"
            " collector refuses or cannot be reached."
            " span_queue_full, span_export, span_shutdown, point_export: lost on the way out, see the log."
            " name_cap, label_cap: too many values of a label; later ones are folded into _OTHER (no alert)."
            " port_taken, process_silent: a process behind a shared Prometheus port is not shown.",
            targets=(Target(by((kind, _NAME), failures) + " > 0", f"{{{{{kind}}}}} {{{{{_NAME}}}}}"),),
            empty=NONE_SEEN,
            unit="short",
            warn=1,
            width=8,
        ),
        Panel(
            title="Context losses",
            question="Which tasks ran without their caller's trace?",
            action="missing, stale: the pool's worker had no or another task's context. unpicklable: a"
            " function or arguments that cannot cross a process boundary.",
            targets=(Target(by((loss, _NAME), losses) + " > 0", f"{{{{{loss}}}}} {{{{{_NAME}}}}}"),),
            empty=NONE_SEEN,
            unit="short",
            warn=1,
            width=8,
        ),
        Panel(
            title="Errors nobody retrieved",
            question="How many asyncio tasks failed and were destroyed before their error was retrieved?",
            action="Each is in the log as 'Task exception was never retrieved': await the task, or use a task group.",
            targets=(Target(f"sum({unseen}) or 0 * sum({series(EXECUTOR_OPENED, *EXECUTORS)})", "tasks"),),
            unit="short",
            warn=1,
            width=8,
        ),
    )
