"""The catalog: the definitions of all metrics and attributes.

Exporters, documentation, dashboards, alert rules and tests read this file; no other file contains a metric name. Names
end like OpenTelemetry's proposed ``jvm.executor.*`` metrics, so adopting a later standard only changes the prefix.
Units are UCUM (``s`` or an annotation in braces); times are always in seconds.
"""

from __future__ import annotations

from typing import Final

from .attributes import (
    CANCEL_PHASES,
    CANCEL_REASONS,
    CAP_KINDS,
    CONTEXT_LOSS_KINDS,
    EXECUTOR_FAILURE_KINDS,
    FAILURE_KINDS,
    HOLD_REASONS,
    LIMITER_TYPES,
    LOOP_TYPES,
    LOSS_KINDS,
    OTHER,
    OUTCOMES,
    PORT_KINDS,
    PROCESS,
    QUEUE_OUTCOMES,
    REJECT_REASONS,
    RETRY_STOPS,
    RUN_PHASES,
    SERVICE_STATES,
    SHUTDOWN_OUTCOMES,
    SPAN_ATTRIBUTES,
    SPAN_EVENT_HELD,
    SPAN_EVENT_RELEASED,
    SPAN_EVENT_STARTED,
    SPAN_EVENTS,
    WORKER_STATES,
    Attribute,
    Key,
    prometheus_label,
)
from .loop_metrics import EVENTLOOP_DELAY, EVENTLOOP_STALL, LOOP_METRICS
from .metric import RUN_BUCKETS, WAIT_BUCKETS, Kind, Metric
from .policy_metrics import (
    ATTEMPT_DURATION,
    LIMIT_AVAILABLE,
    LIMIT_CAPACITY,
    LIMIT_USAGE,
    POLICY_METRICS,
    QUEUE_HELD,
    QUEUE_HOLD,
    RETRY_BUDGET,
    RETRY_STOPPED,
    SLOT_LENT,
    TASK_RETRIES,
)
from .port_metrics import PORT_METRICS, PROCESSES_ANSWERED, PROCESSES_KNOWN
from .service_metrics import SERVICE_METRICS, SERVICE_READY, SERVICE_RESTARTS, SERVICE_STATE

__all__ = [
    "ALL_METRICS", "ATTEMPT_DURATION", "BY_NAME", "CANCEL_DURATION", "CANCEL_PHASES", "CANCEL_REASONS", "CAP_KINDS",
    "CONTEXT_LOSSES", "CONTEXT_LOSS_KINDS", "EVENTLOOP_DELAY", "EVENTLOOP_STALL", "EXECUTOR_CLOSED",
    "EXECUTOR_FAILURE_KINDS", "EXECUTOR_OPENED", "EXECUTOR_TIME", "FAILURE_KINDS", "HOLD_REASONS", "LIMITER_TYPES",
    "LIMIT_AVAILABLE", "LIMIT_CAPACITY", "LIMIT_USAGE", "LOOP_TYPES", "LOSS_KINDS", "OTHER", "OUTCOMES",
    "PORT_KINDS", "PORT_METRICS", "PROCESS", "PROCESSES_ANSWERED", "PROCESSES_KNOWN", "QUEUE_CAPACITY",
    "QUEUE_HELD", "QUEUE_HOLD", "QUEUE_OLDEST_AGE", "QUEUE_OUTCOMES", "QUEUE_SIZE", "QUEUE_WAIT", "QUEUE_WAIT_LATE",
    "QUEUE_WAIT_OBJECTIVE", "REJECT_REASONS", "RETRY_BUDGET", "RETRY_STOPPED", "RETRY_STOPS", "RUN_PHASES",
    "SERVICE_READY",
    "SERVICE_RESTARTS", "SERVICE_STATE", "SERVICE_STATES", "SHUTDOWN_DURATION",
    "SHUTDOWN_OUTCOMES", "SLOT_LENT", "SLOT_LIMIT", "SLOT_LIMIT_TIME", "SLOT_SATURATED_TIME", "SLOT_TIME", "SLOT_USAGE",
    "SPAN_ATTRIBUTES", "SPAN_EVENTS", "SPAN_EVENT_HELD", "SPAN_EVENT_RELEASED", "SPAN_EVENT_STARTED",
    "SUBMIT_OLDEST_AGE", "SUBMIT_PENDING", "SUBMIT_WAIT", "TASK_ABANDONED", "TASK_ACTIVE", "TASK_CANCELLATIONS",
    "TASK_CANCELLING", "TASK_CANCELLING_OLDEST_AGE", "TASK_COMPLETED", "TASK_DURATION", "TASK_OLDEST_AGE",
    "TASK_OVERDUE_AGE", "TASK_OVERDUE_LONGEST", "TASK_REJECTED", "TASK_RETRIES", "TASK_SUBMITTED",
    "TASK_UNRETRIEVED", "TELEMETRY_FAILURES", "WAIT_BUCKETS", "WORKER_COUNT", "WORKER_LIMIT", "WORKER_STATES",
    "Attribute", "Key", "Kind", "Metric", "prometheus_label",
]  # fmt: skip

TASK_SUBMITTED: Final = Metric(
    "glasspool.task.submitted", "counter", "{task}", "Tasks accepted: queued or started at once."
)
TASK_COMPLETED: Final = Metric(
    "glasspool.task.completed",
    "counter",
    "{task}",
    "Tasks that reached their one outcome. error.type is absent for successes.",
    (Key.TASK_OUTCOME, Key.ERROR_TYPE, Key.RUNNER),
)
TASK_REJECTED: Final = Metric(
    "glasspool.task.rejected",
    "counter",
    "{task}",
    "Submissions that never became a task: queue full, executor closed or its workers dead, submitter cancelled or out "
    "of time.",
    (Key.ERROR_TYPE,),
    rare=True,
)
TASK_CANCELLATIONS: Final = Metric(
    "glasspool.task.cancellations",
    "counter",
    "{cancellation}",
    "Tasks that ended as cancelled, by who asked and where it met them. Timeouts are not cancellations.",
    (Key.CANCEL_REASON, Key.TASK_PHASE),
    rare=True,
)
TASK_ACTIVE: Final = Metric(
    "glasspool.task.active",
    "updowncounter",
    "{task}",
    "Tasks in flight. Where there are slots, each holds one.",
    (Key.RUNNER,),
)
TASK_ABANDONED: Final = Metric(
    "glasspool.task.abandoned",
    "updowncounter",
    "{task}",
    "Tasks that have ended (cancelled or timed out) while their thread is still busy.",
    (Key.RUNNER,),
    rare=True,
)
TASK_OLDEST_AGE: Final = Metric(
    "glasspool.task.oldest.age", "gauge", "s", "Age of the longest-running active task; 0 when none is active."
)
TASK_CANCELLING: Final = Metric(
    "glasspool.task.cancelling",
    "updowncounter",
    "{task}",
    "Tasks that were asked to end (cancelled, or out of time) and have not ended yet.",
    rare=True,
)
TASK_CANCELLING_OLDEST_AGE: Final = Metric(
    "glasspool.task.cancelling.oldest.age",
    "gauge",
    "s",
    "Age of the oldest request to end that has not been obeyed yet; 0 when there is none.",
    rare=True,
)
TASK_OVERDUE_AGE: Final = Metric(
    "glasspool.task.overdue.age",
    "gauge",
    "s",
    "Age of the oldest active task of this name that has run for a minute, and longer than any before it; absent"
    " while there is none, and on event loops.",
    (Key.TASK_NAME,),
    rare=True,
)
TASK_OVERDUE_LONGEST: Final = Metric(
    "glasspool.task.overdue.longest",
    "gauge",
    "s",
    "What task.overdue.age is to be compared with: no earlier run of its kind that ended by itself was longer.",
    (Key.TASK_NAME,),
    rare=True,
)
TASK_DURATION: Final = Metric(
    "glasspool.task.duration",
    "histogram",
    "s",
    "Running time of tasks that started: start to end, waiting excluded.",
    (Key.TASK_OUTCOME, Key.TASK_NAME, Key.RUNNER),
    RUN_BUCKETS,
    exemplars=True,
)
CANCEL_DURATION: Final = Metric(
    "glasspool.task.cancel.duration",
    "histogram",
    "s",
    "From the request to cancel to the end of the task: how long tasks take to obey.",
    (Key.CANCEL_REASON,),
    WAIT_BUCKETS,
    rare=True,
    exemplars=True,
)
QUEUE_SIZE: Final = Metric("glasspool.queue.size", "updowncounter", "{task}", "Tasks accepted and waiting for a slot.")
QUEUE_CAPACITY: Final = Metric(
    "glasspool.queue.capacity", "updowncounter", "{task}", "Places in the queue; absent when it is unbounded."
)
QUEUE_OLDEST_AGE: Final = Metric(
    "glasspool.queue.oldest.age", "gauge", "s", "Age of the longest-waiting queued task; 0 when none waits."
)
QUEUE_WAIT: Final = Metric(
    "glasspool.queue.wait.duration",
    "histogram",
    "s",
    "From acceptance to start, or to leaving the queue without starting (cancelled, timeout).",
    (Key.QUEUE_OUTCOME,),
    WAIT_BUCKETS,
    exemplars=True,
)
QUEUE_WAIT_LATE: Final = Metric(
    "glasspool.queue.wait.late",
    "counter",
    "{task}",
    "Tasks that waited longer than the executor's wait objective, or whose deadline passed in the queue; absent where"
    " no objective is declared.",
    rare=True,
)
QUEUE_WAIT_OBJECTIVE: Final = Metric(
    "glasspool.queue.wait.objective",
    "gauge",
    "s",
    "How long a task may wait before it is late; absent where no objective is declared.",
)
SUBMIT_PENDING: Final = Metric(
    "glasspool.submit.pending", "updowncounter", "{task}", "Producers blocked in submit now, for want of room."
)
SUBMIT_OLDEST_AGE: Final = Metric(
    "glasspool.submit.oldest.age", "gauge", "s", "How long the longest-blocked producer has waited; 0 when none is."
)
SUBMIT_WAIT: Final = Metric(
    "glasspool.submit.wait.duration",
    "histogram",
    "s",
    "How long submit blocked producers that found no room, until acceptance or until they gave up (backpressure).",
    (),
    WAIT_BUCKETS,
    rare=True,
    exemplars=True,
)
SLOT_USAGE: Final = Metric("glasspool.slot.usage", "updowncounter", "{slot}", "Slots held now.")
SLOT_LIMIT: Final = Metric("glasspool.slot.limit", "updowncounter", "{slot}", "Slots there are.")
SLOT_TIME: Final = Metric("glasspool.slot.time", "counter", "s", "Slot-seconds in use; grows while tasks run.")
SLOT_LIMIT_TIME: Final = Metric(
    "glasspool.slot.limit.time", "counter", "s", "Slot-seconds on offer: the limit over time."
)
SLOT_SATURATED_TIME: Final = Metric(
    "glasspool.slot.saturated.time", "counter", "s", "Seconds during which every slot was in use."
)
EXECUTOR_TIME: Final = Metric(
    "glasspool.executor.time", "counter", "s", "Seconds that executors of this name were open."
)
EXECUTOR_OPENED: Final = Metric("glasspool.executor.opened", "counter", "{executor}", "Executors opened.")
EXECUTOR_CLOSED: Final = Metric("glasspool.executor.closed", "counter", "{executor}", "Executors closed.")
WORKER_COUNT: Final = Metric(
    "glasspool.worker.count",
    "updowncounter",
    "{worker}",
    "Threads or processes alive, busy or idle.",
    (Key.RUNNER, Key.WORKER_STATE),
)
WORKER_LIMIT: Final = Metric(
    "glasspool.worker.limit", "updowncounter", "{worker}", "Threads or processes allowed.", (Key.RUNNER,)
)
SHUTDOWN_DURATION: Final = Metric(
    "glasspool.shutdown.duration",
    "histogram",
    "s",
    "Duration of closings: drained (everything finished) or cut (tasks were cancelled).",
    (Key.SHUTDOWN_OUTCOME,),
    WAIT_BUCKETS,
    rare=True,
)
CONTEXT_LOSSES: Final = Metric(
    "glasspool.context.losses",
    "counter",
    "{loss}",
    "Tasks whose submitter's trace context could not be carried to where they ran.",
    (Key.LOSS_KIND,),
    rare=True,
)
TASK_UNRETRIEVED: Final = Metric(
    "glasspool.task.unretrieved",
    "counter",
    "{task}",
    "Failed asyncio tasks that were thrown away with their error unseen. They are counted in task.completed, too.",
    rare=True,
)
TELEMETRY_FAILURES: Final = Metric(
    "glasspool.telemetry.failures",
    "counter",
    "{failure}",
    "What the telemetry itself got wrong: observers, exports and callbacks that failed, caps that were hit, spans and "
    "points that were lost on their way out.",
    (Key.FAILURE_KIND,),
    rare=True,
)
_elsewhere = (*LOOP_METRICS, *POLICY_METRICS, *SERVICE_METRICS, *PORT_METRICS)
_own = [value for value in list(globals().values()) if isinstance(value, Metric) and value not in _elsewhere]
ALL_METRICS: Final = (*_own, *LOOP_METRICS, *POLICY_METRICS, *SERVICE_METRICS)
"""Every metric of a process: in the order of this file, then those of event loops, of policies, and of services."""

BY_NAME: Final = {metric.name: metric for metric in ALL_METRICS}
