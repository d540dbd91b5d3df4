"""How long the telemetry of a pool's worker process may hold up its exit, whoever set it up.

Whoever leaves a pool waits for its workers to end, one after the other: a collector that is not there must not be felt.
"""

from __future__ import annotations

import logging
import math
import os
import time
from multiprocessing import process

from glasspool._foreign.starting import target_of

__all__ = ["exit_seconds", "is_worker", "runs_calls", "seconds_left"]

logger = logging.getLogger("glasspool")

_VARIABLE = "GLASSPOOL_WORKER_EXIT_SECONDS"
_EXIT_SECONDS = 0.5  # a collector that answers needs less
# Modules whose functions are all that a worker process of a pool runs; joblib has a copy of loky's.
_POOLS = ("concurrent.futures.process", "multiprocessing.pool", "loky.process_executor")

_runs_calls = False
_deadline: float | None = None  # of all that is flushed at this exit


def runs_calls() -> None:
    """This process runs calls that were sent to a pool: a worker, if it is no main process."""
    global _runs_calls
    _runs_calls = True


def is_worker() -> bool:
    """Whether this process is a pool's worker."""
    if process.parent_process() is None:
        return False
    target = target_of(process.current_process())  # of workers that have run nothing yet
    return _runs_calls or str(getattr(target, "__module__", "")).endswith(_POOLS)


def exit_seconds() -> float:
    """Half a second, or what ``GLASSPOOL_WORKER_EXIT_SECONDS`` says."""
    given = os.environ.get(_VARIABLE, "").strip()
    try:
        seconds = float(given) if given else _EXIT_SECONDS
    except ValueError:
        seconds = -1.0
    if math.isfinite(seconds) and seconds >= 0:
        return seconds
    logger.warning("%s=%r is not a number of seconds from 0 on; using %g", _VARIABLE, given, _EXIT_SECONDS)
    return _EXIT_SECONDS


def seconds_left() -> float:
    """What is left of that; the first call begins it."""
    global _deadline
    now = time.monotonic()
    if _deadline is None:
        _deadline = now + exit_seconds()
    return max(0.0, _deadline - now)


def _after_fork() -> None:
    global _runs_calls, _deadline
    _runs_calls = False
    _deadline = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
