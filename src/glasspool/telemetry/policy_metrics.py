"""The metrics of policies: what holds queued tasks back, what runs again, and slots that waiting tasks have lent. The
catalog has them with all others."""

from __future__ import annotations

from typing import Final

from .attributes import Key
from .metric import RUN_BUCKETS, WAIT_BUCKETS, Metric

__all__ = [
    "ATTEMPT_DURATION",
    "LIMIT_AVAILABLE",
    "LIMIT_CAPACITY",
    "LIMIT_USAGE",
    "POLICY_METRICS",
    "QUEUE_HELD",
    "QUEUE_HOLD",
    "RETRY_BUDGET",
    "RETRY_STOPPED",
    "SLOT_LENT",
    "TASK_RETRIES",
]

QUEUE_HELD: Final = Metric(
    "glasspool.queue.held",
    "updowncounter",
    "{task}",
    "Queued tasks that could not start though a slot were free, by what holds them: a rate, a limit on their key, a"
    " pause, a retry's delay, a dependency; absent where nothing holds tasks.",
    (Key.HOLD_REASON,),
    rare=True,
)
QUEUE_HOLD: Final = Metric(
    "glasspool.queue.hold.duration",
    "histogram",
    "s",
    "How long a task was held in all for this reason: a part of its wait in the queue. Tasks that were not held are not"
    " counted.",
    (Key.HOLD_REASON,),
    WAIT_BUCKETS,
    rare=True,
    exemplars=True,
)
LIMIT_USAGE: Final = Metric(
    "glasspool.limit.usage",
    "updowncounter",
    "{task}",
    'Tasks in flight under a limit, of all executors that share it; for "*" those of the key that has most.',
    (Key.LIMIT_NAME,),
    rare=True,
)
LIMIT_CAPACITY: Final = Metric(
    "glasspool.limit.capacity",
    "updowncounter",
    "{task}",
    'Tasks that may be in flight under a limit, for "*" of each key; absent where a limit does not bound them.',
    (Key.LIMIT_NAME,),
    rare=True,
)
LIMIT_AVAILABLE: Final = Metric(
    "glasspool.limit.available",
    "gauge",
    "{task}",
    "Tasks of cost 1 that could start now under a limit: what is left of its bound and of its rates; 0 while it is"
    ' paused; for "*" those of the key that has least.',
    (Key.LIMIT_NAME,),
    rare=True,
)
TASK_RETRIES: Final = Metric(
    "glasspool.task.retries",
    "counter",
    "{attempt}",
    "Attempts that failed and after which the task is to run again, by the error. The task itself has not ended.",
    (Key.ERROR_TYPE,),
    rare=True,
)
RETRY_STOPPED: Final = Metric(
    "glasspool.retry.stopped",
    "counter",
    "{task}",
    "Tasks that failed though their error was one to try again after: no attempts left, the retry budget spent, the"
    " deadline too near, the executor closing.",
    (Key.RETRY_STOP,),
    rare=True,
)
RETRY_BUDGET: Final = Metric(
    "glasspool.retry.budget.available",
    "gauge",
    "{attempt}",
    "Retries that the budget allows now; absent where no task may be retried, or where there is no budget.",
    rare=True,
)
ATTEMPT_DURATION: Final = Metric(
    "glasspool.attempt.duration",
    "histogram",
    "s",
    "Running time of each attempt of tasks that may be retried; task.duration has the sum of a task's attempts.",
    (Key.TASK_OUTCOME,),
    RUN_BUCKETS,
    rare=True,
    exemplars=True,
)

SLOT_LENT: Final = Metric(
    "glasspool.slot.lent",
    "updowncounter",
    "{slot}",
    "Tasks in flight that have lent their slot while they wait for a task of their own executor, or for room in it;"
    " absent where no task has ever done so.",
    rare=True,
)

POLICY_METRICS: Final = (
    QUEUE_HELD, QUEUE_HOLD, LIMIT_USAGE, LIMIT_CAPACITY, LIMIT_AVAILABLE, TASK_RETRIES, RETRY_STOPPED, RETRY_BUDGET,
    ATTEMPT_DURATION, SLOT_LENT,
)  # fmt: skip
