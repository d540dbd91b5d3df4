"""Limits the time for which telemetry may delay the exit of a pool's worker process, whatever code set it up.

Leaving a pool waits for the end of each worker, one after the other, so a missing collector must not delay them.
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
    """Note that this process runs calls of a pool: it is a worker, unless it is a main process."""
    global _runs_calls
    _runs_calls = True


def is_worker() -> bool:
    """Whether this process is a pool's worker."""
    if process.parent_process() is None:
        return False
    target = target_of(process.current_process())  # of workers that have run nothing yet
    return _runs_calls or str(getattr(target, "__module__", "")).endswith(_POOLS)


def exit_seconds() -> float:
    """Half a second, or the value of ``GLASSPOOL_WORKER_EXIT_SECONDS``."""
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
    """The rest of that time, which begins with the first call."""
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
