"""The metrics of services. The catalog has them with all others."""

from __future__ import annotations

from typing import Final

from .attributes import Key
from .metric import WAIT_BUCKETS, Metric

__all__ = ["SERVICE_METRICS", "SERVICE_READY", "SERVICE_RESTARTS", "SERVICE_STATE"]

SERVICE_STATE: Final = Metric(
    "glasspool.service.state",
    "updowncounter",
    "{service}",
    "Services of open executors by their state. One that has failed, and ended its executor's block, stays in failed"
    " until a service of its name is ready again.",
    (Key.SERVICE_NAME, Key.SERVICE_STATE),
    rare=True,
)
SERVICE_RESTARTS: Final = Metric(
    "glasspool.service.restarts",
    "counter",
    "{restart}",
    "Services that have ended and were to be started again. error.type is absent for those that have ended normally.",
    (Key.SERVICE_NAME, Key.ERROR_TYPE),
    rare=True,
)
SERVICE_READY: Final = Metric(
    "glasspool.service.ready.duration",
    "histogram",
    "s",
    "From the call of a service's function to its readiness, at every start that was successful.",
    (Key.SERVICE_NAME,),
    WAIT_BUCKETS,
    rare=True,
)

SERVICE_METRICS: Final = (SERVICE_STATE, SERVICE_RESTARTS, SERVICE_READY)
