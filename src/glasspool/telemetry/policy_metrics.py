"""The metrics of what holds queued tasks back: rates, limits and pauses. The catalog has them with all others."""

from __future__ import annotations

from typing import Final

from .attributes import Key
from .metric import WAIT_BUCKETS, Metric

__all__ = ["LIMIT_AVAILABLE", "LIMIT_CAPACITY", "LIMIT_USAGE", "POLICY_METRICS", "QUEUE_HELD", "QUEUE_HOLD"]

QUEUE_HELD: Final = Metric(
    "glasspool.queue.held",
    "updowncounter",
    "{task}",
    "Queued tasks that could not start though a slot were free, by what holds them: a rate, a limit on their key, a"
    " pause; absent where nothing holds tasks.",
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

POLICY_METRICS: Final = (QUEUE_HELD, QUEUE_HOLD, LIMIT_USAGE, LIMIT_CAPACITY, LIMIT_AVAILABLE)
