"""Every attribute of metrics and spans, and the values of those that have a fixed set of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = [
    "CANCEL_PHASES",
    "CANCEL_REASONS",
    "CAP_KINDS",
    "CONTEXT_LOSS_KINDS",
    "EXECUTOR_FAILURE_KINDS",
    "FAILURE_KINDS",
    "HOLD_REASONS",
    "LIMITER_TYPES",
    "LOOP_TYPES",
    "LOSS_KINDS",
    "OTHER",
    "OUTCOMES",
    "PORT_KINDS",
    "PROCESS",
    "QUEUE_OUTCOMES",
    "REJECT_REASONS",
    "RETRY_STOPS",
    "RUN_PHASES",
    "SERVICE_STATES",
    "SHUTDOWN_OUTCOMES",
    "SPAN_ATTRIBUTES",
    "SPAN_EVENTS",
    "SPAN_EVENT_HELD",
    "SPAN_EVENT_RELEASED",
    "SPAN_EVENT_STARTED",
    "WORKER_STATES",
    "Attribute",
    "Key",
    "prometheus_label",
]

OTHER: Final = "_OTHER"
"""The label value into which values beyond a cap are folded."""

PROCESS: Final = "_PROCESS"
"""The executor name of ``glasspool.telemetry.failures`` that belong to no single executor."""


class Key:
    """Attribute keys, as spans and OpenTelemetry metrics spell them."""

    EXECUTOR_NAME: Final = "glasspool.executor.name"
    EXECUTOR_TYPE: Final = "glasspool.executor.type"
    RUNNER: Final = "glasspool.runner"
    TASK_NAME: Final = "glasspool.task.name"
    TASK_ID: Final = "glasspool.task.id"
    TASK_OUTCOME: Final = "glasspool.task.outcome"
    TASK_PHASE: Final = "glasspool.task.phase"
    TASK_DURATION: Final = "glasspool.task.duration"
    TASK_ATTEMPT: Final = "glasspool.task.attempt"
    RETRY_STOP: Final = "glasspool.retry.stop.reason"
    QUEUE_OUTCOME: Final = "glasspool.queue.outcome"
    QUEUE_SIZE: Final = "glasspool.queue.size"
    QUEUE_WAIT: Final = "glasspool.queue.wait.duration"
    CANCEL_REASON: Final = "glasspool.cancel.reason"
    CANCEL_MESSAGE: Final = "glasspool.cancel.message"
    WORKER_STATE: Final = "glasspool.worker.state"
    SHUTDOWN_OUTCOME: Final = "glasspool.shutdown.outcome"
    LOSS_KIND: Final = "glasspool.context.loss.kind"
    FAILURE_KIND: Final = "glasspool.telemetry.failure.kind"
    HOLD_REASON: Final = "glasspool.hold.reason"
    HOLD_DURATION: Final = "glasspool.hold.duration"
    LIMIT_NAME: Final = "glasspool.limit.name"
    EVENTLOOP_NAME: Final = "glasspool.eventloop.name"
    SERVICE_NAME: Final = "glasspool.service.name"
    SERVICE_STATE: Final = "glasspool.service.state"
    ERROR_TYPE: Final = "error.type"
    CODE_FUNCTION: Final = "code.function.name"
    THREAD_ID: Final = "thread.id"
    THREAD_NAME: Final = "thread.name"
    PROCESS_PID: Final = "process.pid"
    PROCESS_NUMBER: Final = "glasspool.process.number"


OUTCOMES: Final[tuple[str, ...]] = ("success", "error", "timeout", "cancelled")
QUEUE_OUTCOMES: Final[tuple[str, ...]] = ("started", "cancelled", "timeout")
REJECT_REASONS: Final[tuple[str, ...]] = (
    "queue_full",
    "already_shutdown",
    "broken",
    "submit_cancelled",
    "submit_timeout",
)
CANCEL_REASONS: Final[tuple[str, ...]] = (
    "explicit",
    "sibling_failure",
    "shutdown",
    "parent_scope",
    "dependency",
    "deadline",
    "keyboard_interrupt",
    "unknown",
)
RUN_PHASES: Final[tuple[str, ...]] = ("queued", "running")
"""Where a cancellation may meet any task."""

CANCEL_PHASES: Final[tuple[str, ...]] = (*RUN_PHASES, "retry_wait")
"""Where a cancellation met a task; ``retry_wait``: an attempt had failed, and the next one had not begun."""

HOLD_REASONS: Final[tuple[str, ...]] = ("rate", "limit", "pause", "retry", "dependency")
"""Why a queued task may not start though a slot were free."""

RETRY_STOPS: Final[tuple[str, ...]] = ("attempts", "budget", "deadline", "closing")
"""Why a task was not tried again though its error was one to try again after."""

CONTEXT_LOSS_KINDS: Final[tuple[str, ...]] = ("missing", "stale", "unpicklable")
LOSS_KINDS: Final[tuple[str, ...]] = ("span_queue_full", "span_export", "span_shutdown", "point_export")
"""Failures that lose spans or metric points between the end of a task and a successful export."""

CAP_KINDS: Final[tuple[str, ...]] = ("name_cap", "label_cap")
"""Failures in which a label's value is folded into ``_OTHER``; all sums stay complete."""

EXECUTOR_FAILURE_KINDS: Final[tuple[str, ...]] = ("observer", "export", "callback", *CAP_KINDS)
"""Failures that may belong to one executor; the others always belong to the process."""

PORT_KINDS: Final[tuple[str, ...]] = ("port_taken", "process_silent")
"""Failures of the Prometheus endpoint: no scrape shows this process, or one did without another process."""

FAILURE_KINDS: Final[tuple[str, ...]] = (*EXECUTOR_FAILURE_KINDS, *LOSS_KINDS, *PORT_KINDS)
SHUTDOWN_OUTCOMES: Final[tuple[str, ...]] = ("drained", "cut")
WORKER_STATES: Final[tuple[str, ...]] = ("busy", "idle")
SERVICE_STATES: Final[tuple[str, ...]] = ("starting", "running", "backoff", "stopped", "failed")
"""States of a service; ``backoff``: it has ended, and waits to be started again."""

LOOP_TYPES: Final[tuple[str, ...]] = ("asyncio", "anyio", "trio")
"""Executor types that are event loops: their tasks are started, not submitted, and may run as long as the server."""
LIMITER_TYPES: Final[tuple[str, ...]] = ("anyio_limiter", "trio_limiter")
"""Executor types that are capacity limiters: the calls that wait for their tokens are mostly requests."""


def prometheus_label(key: str) -> str:
    """The Prometheus label of an attribute key: dots become underscores (OpenTelemetry's Prometheus rules)."""
    return key.replace(".", "_")


@dataclass(frozen=True)
class Attribute:
    """One attribute that a span may carry.

    :param key: its key.
    :param type: the type of its value.
    :param presence: which spans carry it, and from when.
    :param help: its meaning.
    """

    key: str
    type: str
    help: str
    presence: str


SPAN_EVENT_STARTED: Final = "glasspool.task.started"
"""The span event that marks the start of running; absent when the task never started."""

SPAN_EVENT_HELD: Final = "glasspool.task.held"
"""The span event that marks when a queued task began to be held. It has the hold's reason, and the limit's name."""

SPAN_EVENT_RELEASED: Final = "glasspool.task.released"
"""The span event that marks the end of a hold: the task starts, or leaves the queue. It has the seconds, too."""

SPAN_EVENTS: Final[dict[str, tuple[str, ...]]] = {
    SPAN_EVENT_STARTED: (),
    SPAN_EVENT_HELD: (Key.HOLD_REASON, Key.LIMIT_NAME),
    SPAN_EVENT_RELEASED: (Key.HOLD_REASON, Key.LIMIT_NAME, Key.HOLD_DURATION),
}
"""The events of spans, and the attributes of each; the limit's name only where a limit of the task's key holds it."""

_THREAD_KNOWN: Final = "if it started: `hybrid` on the event loop, thread pools, thread limiters"

SPAN_ATTRIBUTES: Final = (
    Attribute(Key.EXECUTOR_NAME, "string", "The executor's name.", "always"),
    Attribute(Key.EXECUTOR_TYPE, "string", "What kind of executor it is: hybrid, thread_pool, …", "always"),
    Attribute(Key.RUNNER, "string", "How the function is run: inline, thread, process, …", "always"),
    Attribute(Key.TASK_NAME, "string", "The task's name: name=, else the function's qualified name.", "always"),
    Attribute(Key.TASK_ID, "int", "Number of the task in its process, from 1.", "always"),
    Attribute(Key.TASK_OUTCOME, "string", "success, error, timeout or cancelled.", "at the end"),
    Attribute(Key.QUEUE_SIZE, "int", "Tasks queued when this one was submitted.", "always"),
    Attribute(Key.QUEUE_WAIT, "double", "Seconds from acceptance to start, or to leaving the queue.",
              "at the end, where there is a queue"),
    Attribute(Key.TASK_DURATION, "double", "Seconds of running, of all attempts together.",
              "at the end, if it started"),
    Attribute(Key.TASK_ATTEMPT, "int", "Number of the attempt, from 1; on a task's own span that of the last one.",
              "tasks that may be retried, if they started"),
    Attribute(Key.CANCEL_REASON, "string", "Who asked for the cancellation.", "cancelled tasks"),
    Attribute(Key.CANCEL_MESSAGE, "string", "The free text given to cancel().", "cancelled tasks with a message"),
    Attribute(Key.CODE_FUNCTION, "string", "Module and qualified name of the function.", "always"),
    Attribute(Key.THREAD_ID, "int", "Identifier of the thread that ran it.", _THREAD_KNOWN),
    Attribute(Key.THREAD_NAME, "string", "Name of the thread that ran it.", _THREAD_KNOWN),
    Attribute(Key.PROCESS_PID, "int", "Process that ran it.", "the CONSUMER span of a run in another process"),
    Attribute(Key.ERROR_TYPE, "string", "module.qualname of the exception (builtins bare), timeout or cancelled.",
              "all but successes"),
)  # fmt: skip
