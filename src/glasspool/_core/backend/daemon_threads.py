"""Daemon threads of one executor, which take its calls from a queue. What connects them to a loop is elsewhere."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import Context
from typing import Any, Protocol

__all__ = ["DaemonThreads", "Job"]

IDLE = 10.0
"""Seconds after which an idle thread ends. A longer time keeps more threads, a shorter one starts them more often."""


class Job(Protocol):
    """One call, and the backend task that waits for it."""

    def call(self) -> None:
        """Call the function. On a thread; keeps no reference to it."""

    def returned(self, error: BaseException | None) -> None:
        """The call has returned, or raised. On the loop; may be called again if it was interrupted."""


class DaemonThreads:
    """Threads that are started when none is idle. They end with their executor, or when idle for ``IDLE``.

    To wake a thread, or the loop, costs more than a short call. So at most one idle thread is being woken at any time.
    Before it runs the first call that it finds, it wakes the next one if there are more, which goes on with them if
    that call blocks. A thread that has finished a call takes the next one itself. The loop is woken once for all calls
    that return until it looks.

    :param name: the executor's.
    :param tell: calls a function on the loop; False if the loop is gone.
    :param claim: makes a thread one of the library's worker threads, while it lives.
    """

    def __init__(
        self, name: str, tell: Callable[[Callable[[], object]], bool],
        claim: Callable[[], AbstractContextManager[object]],
    ) -> None:  # fmt: skip
        self.claim = claim
        self._tell = tell
        self._name = name
        self._numbers = itertools.count(1)
        # Shared by the loop and the threads. Each change is one operation of a dict or deque, and atomic.
        self._threads: dict[_Thread, None] = {}
        self._idle: dict[_Thread, None] = {}  # the last to become idle is used first, so that the others may end
        self._jobs: deque[Job] = deque()
        self._coming = False  # a thread is on its way to the jobs
        self._returns: deque[tuple[Job, BaseException | None]] = deque()
        self._told = False  # the loop will look at them
        self._ended = False

    @property
    def alive(self) -> int:
        """The number of threads, busy or idle."""
        return len(self._threads)

    def put(self, job: Job) -> None:
        """Have a thread do this job. Called on the loop."""
        self._jobs.append(job)
        if not self._coming:
            self._coming = True
            try:
                self._send_one()
            except BaseException:  # Ctrl-C: perhaps none was woken
                self._coming = False
                raise

    def look_again(self) -> None:
        """Look at what has returned, although the loop was told to: Ctrl-C may have come instead. Only on the loop."""
        self._told = False
        if self._returns:
            self._wake()

    def end(self) -> None:
        """End idle threads now and busy ones after their calls. From any thread."""
        self._ended = True
        while True:
            try:
                thread = self._idle.popitem()[0]
            except KeyError:
                return
            thread.wake()

    # -- jobs ------------------------------------------------------------------------------------------------------

    def _send_one(self) -> None:
        """Have one more thread come for the jobs. Jobs for which none can be started fail."""
        while True:
            try:
                thread = self._idle.popitem()[0]
            except KeyError:
                thread = _Thread(self)
            else:
                thread.wake()
                return
            self._threads[thread] = None
            try:
                thread.start(f"glasspool {self._name} {next(self._numbers)}")
                return
            except BaseException as error:
                self.gone(thread)
                try:
                    refused = self._jobs.pop()
                except IndexError:  # a thread that has finished was faster
                    refused = None
                if not isinstance(error, Exception):
                    raise
                if refused is not None:
                    self.returns(refused, error)
            if not self._looked():
                return

    def _looked(self) -> bool:
        """The one that was coming has looked at the jobs; returns whether another one must come."""
        self._coming = False
        if self._jobs and not self._coming:  # looked at after that: who added a job before saw that one was coming
            self._coming = True
            return True
        return False

    def next_job(self, *, came: bool) -> Job | None:
        """The next job, if there is one. Called on a thread, which either ``came`` for it or has finished another."""
        try:
            job = self._jobs.popleft()
        except IndexError:
            job = None
        if came and self._looked():
            self._send_one()
        return job

    def returns(self, job: Job, error: BaseException | None) -> None:
        """The call has returned, or raised. Called on its thread."""
        self._returns.append((job, error))
        self._wake()

    def _wake(self) -> None:
        if not self._told:
            self._told = True
            if not self._tell(self._look):
                self.end()

    def _look(self) -> None:
        self._told = False
        waiting = self._returns
        try:
            while waiting:
                job, error = waiting[0]
                job.returned(error)
                del job, error
                waiting.popleft()
        finally:
            if waiting:  # Ctrl-C
                self._wake()

    # -- threads ---------------------------------------------------------------------------------------------------

    def rest(self, thread: _Thread) -> bool:
        """The thread becomes idle; False: it must end."""
        self._idle[thread] = None
        return not self._ended or not self.leave(thread)

    def leave(self, thread: _Thread) -> bool:
        """Whether the idle thread may end; False: it is being woken."""
        try:
            del self._idle[thread]
        except KeyError:
            return False
        return True

    def gone(self, thread: _Thread) -> None:
        """The thread has ended."""
        self._threads.pop(thread, None)


class _Thread:
    """One worker thread."""

    __slots__ = ("_job", "_sleep", "_threads")

    def __init__(self, threads: DaemonThreads) -> None:
        self._threads = threads
        self._job: Job | None = None
        self._sleep = threading.Lock()  # free when it has been woken
        self._sleep.acquire()

    def start(self, name: str) -> None:
        """Start it. It comes for a job."""
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        # In an empty context: an instrumented Thread.start() would otherwise tie a thread of many tasks to one of them.
        Context().run(thread.start)

    def wake(self) -> None:
        """Come for a job, or end. Called once each time that the thread is idle."""
        self._sleep.release()

    def _work(self) -> None:
        threads = self._threads
        try:
            with threads.claim():
                stays = self._next(came=True)
                while stays:
                    if self._job is not None:
                        stays = self._do()
                    elif self._sleep.acquire(timeout=IDLE):
                        stays = self._next(came=True)
                    elif threads.leave(self):
                        return
                    else:
                        self._sleep.acquire()  # it is being woken
                        stays = self._next(came=True)
        finally:
            threads.gone(self)

    def _next(self, *, came: bool) -> bool:
        """Take the next job, or be idle from now on. False: it must end."""
        self._job = self._threads.next_job(came=came)
        return self._job is not None or self._threads.rest(self)

    def _do(self) -> bool:
        """Do the job, then the same."""
        job: Any = self._job
        error = None
        try:
            job.call()
        except BaseException as raised:  # noqa: BLE001 - handed to the one who waits
            error = raised
        try:
            stays = self._next(came=False)  # so the next call of one who waits for this one finds this thread idle
            self._threads.returns(job, error)
            return stays
        finally:
            del job, error
