"""The state of pools of threads and processes, read from private parts of ``sys``, ``concurrent.futures`` and loky."""

from __future__ import annotations

import threading
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from glasspool._foreign.frames import stack_of
from glasspool._foreign.pool_classes import of_interpreters

__all__ = ["PoolParts"]


class PoolParts:
    """The needed parts of a pool, without the pool itself: it ends its idle workers when the last reference to it is
    lost.

    ``threads`` of a thread pool; of the process pools of concurrent.futures and loky ``processes`` by pid, and
    ``pending`` by number what has the future of a call. Each is None where the pool has no such thing.
    """

    def __init__(self, pool: Any) -> None:
        self.threads: Any = None
        self._queue: Any = None
        if isinstance(pool, ThreadPoolExecutor) and not of_interpreters(pool):  # whose workers must end before we do
            self.threads, self._queue = getattr(pool, "_threads", None), getattr(pool, "_work_queue", None)
        self.processes, self.pending = getattr(pool, "_processes", None), getattr(pool, "_pending_work_items", None)
        self.key = id(self.threads if self.pending is None else self.pending)  # is alive as long as this is

    def threads_of(self, calls: Collection[Future[Any]]) -> dict[threading.Thread, Future[Any]]:
        """The threads of a thread pool that are busy with one of these calls."""
        found = {}
        for thread in list(self.threads):
            for frame in stack_of(thread.ident):
                if frame.f_code.co_name == "run" and frame.f_globals.get("__name__") == "concurrent.futures.thread":
                    future = frame.f_locals["self"].future
                    if future in calls:
                        found[thread] = future
        return found

    def has_work(self) -> bool:
        """Whether calls wait in the queue of a thread pool, all of whose threads are busy."""
        items = []
        while not self._queue.empty():
            items.append(self._queue.get_nowait())
        for item in items:
            self._queue.put(item)
        return any(item is not None and not item.future.cancelled() for item in items)
