"""The metrics of event loops. The catalog has them with all others."""

from __future__ import annotations

from typing import Final

from .attributes import Key
from .metric import LOOP_BUCKETS, Metric

__all__ = ["EVENTLOOP_DELAY", "EVENTLOOP_STALL", "LOOP_METRICS"]

EVENTLOOP_DELAY: Final = Metric(
    "glasspool.eventloop.delay",
    "histogram",
    "s",
    "How late the event loop ran a timer that was due: time in which nothing else could run.",
    (Key.EVENTLOOP_NAME,),
    LOOP_BUCKETS,
    identity=False,
)
EVENTLOOP_STALL: Final = Metric(
    "glasspool.eventloop.stall",
    "gauge",
    "s",
    "Age of the overdue timer, read from another thread: how long the loop has been blocked now.",
    (Key.EVENTLOOP_NAME,),
    identity=False,
    rare=True,
)

LOOP_METRICS: Final = (EVENTLOOP_DELAY, EVENTLOOP_STALL)
