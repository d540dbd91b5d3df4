"""A thread for jobs that its owner must not wait for: exports and shutdowns of exporters.

It is started early, because no thread can be started at interpreter exit, and is a daemon: the exit of a process does
not wait for an exporter that keeps retrying.
"""

from __future__ import annotations

import functools
import logging
import queue
import threading
from collections.abc import Callable
from typing import Literal

__all__ = ["Aside", "Request"]

logger = logging.getLogger("glasspool")


class Request(threading.Event):
    """A requested job. It is set when the job has ended; ``ok`` says whether the job succeeded."""

    def __init__(self, job: Callable[[], bool]) -> None:
        super().__init__()
        self.job = job
        self.ok = False


class Aside:
    """Runs requested jobs one after the other, and ``work`` every ``interval`` seconds and when woken.

    ``work`` gets whether the interval has passed (else it was woken). An exception is logged and counts as a failure.
    """

    def __init__(
        self, name: str, work: Callable[[bool], object] = lambda _: None, interval: float | None = None
    ) -> None:
        self._name = name
        self._work = work
        self._interval = interval
        self.start()

    def start(self) -> None:
        """Start the thread; again in a forked child, where earlier requests belong to the parent."""
        # Its put() may be entered again by a garbage collection or a signal handler within put(); Event.set() may not.
        self._inbox: queue.SimpleQueue[Request | Literal["work", "end"]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(self._inbox,), name=self._name, daemon=True)
        self._thread.start()

    @property
    def here(self) -> bool:
        """Whether the caller runs in this thread."""
        return threading.current_thread() is self._thread

    def wake(self) -> None:
        """Call ``work`` soon."""
        self._inbox.put("work")

    def ask(self, job: Callable[[], bool]) -> Request:
        """Request ``job``."""
        request = Request(job)
        self._inbox.put(request)
        return request

    def end(self) -> None:
        """End the thread when all requested jobs are done."""
        self._inbox.put("end")

    def _run(self, inbox: queue.SimpleQueue[Request | Literal["work", "end"]]) -> None:
        while True:
            try:
                request = inbox.get(timeout=self._interval)
            except queue.Empty:
                self._guarded(functools.partial(self._work, True))
                continue
            if request == "end":
                return
            if isinstance(request, Request):
                request.ok = bool(self._guarded(request.job))
                request.set()
            else:
                self._guarded(functools.partial(self._work, False))

    def _guarded(self, job: Callable[[], object]) -> object:
        try:
            return job()
        except Exception:
            logger.exception("%s failed", self._name)
            return False
