"""What a pool of ``concurrent.futures``, loky's or Dask's has no public name for: its workers, its queue, its name."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing import connection
from typing import Any

__all__ = [
    "alive_workers",
    "call_when_done",
    "client_of",
    "has_queue",
    "is_shut_down",
    "most_workers",
    "name_prefix",
    "queue_size",
    "state_of",
]


def name_prefix(pool: Any) -> str:
    """The ``thread_name_prefix`` that a pool of threads was given, or gave itself; "" if there is none."""
    prefix = getattr(pool, "_thread_name_prefix", "")
    return prefix if isinstance(prefix, str) else ""


def most_workers(pool: Any) -> int | None:
    """How many workers the pool may have; None if it does not say."""
    limit = getattr(pool, "_max_workers", None)
    return limit if isinstance(limit, int) and limit > 0 else None


def alive_workers(pool: Any) -> int:
    """How many of a pool's processes, or threads, are alive. This waits for none of them."""
    processes = getattr(pool, "_processes", None)
    if not processes:
        return sum(thread.is_alive() for thread in list(getattr(pool, "_threads", None) or ()))
    sentinels = []
    for process in list(processes.values()):
        try:
            sentinels.append(process.sentinel)
        except ValueError:  # closed
            pass
    try:
        return len(sentinels) - len(connection.wait(sentinels, timeout=0))
    except (OSError, ValueError):  # one of them was closed meanwhile
        return 0


def is_shut_down(pool: Any) -> bool:
    """Whether the pool takes no more calls; False where it does not say."""
    return bool(
        getattr(pool, "_shutdown", False)
        or getattr(pool, "_shutdown_thread", False)
        or getattr(getattr(pool, "_flags", None), "shutdown", False)
    )


def has_queue(pool: Any) -> bool:
    """Does the pool keep calls that wait in a queue that can be looked at?"""
    return hasattr(pool, "_work_queue")


def queue_size(pool: Any) -> int:
    """How many calls wait in the queue of such a pool."""
    return 0 if pool is None else int(pool._work_queue.qsize())


def client_of(pool: Any) -> Any:
    """The Dask client behind its ``get_executor()``."""
    return pool._client


def state_of(future: Any) -> Any:
    """What futures of one Dask client for one key share: their status, and the error if they failed."""
    return future._state


_PLAIN: Any = Future
_UNDER_WAY = ("PENDING", "RUNNING")


def call_when_done(future: Any, callback: Callable[[Any], object]) -> None:
    """``future.add_done_callback``, without its lock for a plain future. The callback may be called twice.

    The callback list is read after the state is set, so either the one that ends the future finds the callback in the
    list, or the state is seen here.
    """
    if type(future) is not _PLAIN:
        future.add_done_callback(callback)
        return
    future._done_callbacks.append(callback)
    if future._state not in _UNDER_WAY:
        callback(future)
