"""Threads for plain functions: the executor's own daemon threads on asyncio, anyio's threads elsewhere.

anyio's worker threads on asyncio are not daemons. The interpreter waits for them at exit, for ever if a call never
returns, even if its task was cancelled long ago. ``DaemonThreads`` runs the same calls with the same connection to the
loop (``anyio.from_thread``), and the interpreter does not wait for it. On trio anyio uses trio's threads, which are
daemons.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import math
import threading
from collections.abc import Callable
from contextlib import nullcontext
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, NamedTuple, cast

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

__all__ = ["AnyioThreads", "DaemonThreads", "ThreadParts", "thread_parts"]

IDLE = 10.0
"""Seconds after which an idle thread ends. A longer time keeps more threads, a shorter one starts them more often."""


class ThreadParts(NamedTuple):
    """The parts of anyio that make a thread one of its worker threads on asyncio."""

    claim: Callable[[Any, object], Any]  # a context manager: what runs in it may call back into the loop
    local: Any  # where a worker thread keeps the cancel scope of the call that it runs
    backend: Any
    library: ContextVar[str | None] | None  # sniffio's: a thread runs no event loop, whatever its context says


def thread_parts() -> ThreadParts | None:
    """anyio's parts, or None if they are not as expected."""
    try:
        from anyio._backends._asyncio import AsyncIOBackend
        from anyio._core._eventloop import claim_worker_thread, threadlocals

        threading.Thread(daemon=True)  # refused in an isolated subinterpreter
        claims = list(inspect.signature(claim_worker_thread).parameters)
        asked = cast("Any", AsyncIOBackend.check_cancelled).__code__.co_names
    except (ImportError, AttributeError, TypeError, ValueError, RuntimeError):
        return None
    if claims != ["backend_class", "token"] or not {"threadlocals", "current_cancel_scope"} <= set(asked):
        return None
    try:
        from sniffio import current_async_library_cvar
    except ImportError:
        return ThreadParts(claim_worker_thread, threadlocals, AsyncIOBackend, None)
    return ThreadParts(claim_worker_thread, threadlocals, AsyncIOBackend, current_async_library_cvar)


class AnyioThreads:
    """anyio's own worker threads, under a limiter without a bound: the executor's slots are the only queue."""

    alive = 0  # they are shared with others

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(math.inf)

    async def run(self, call: Callable[[], None], scope: Any, *, abandon: bool) -> None:
        """See Threads."""
        # In a second copy: a frame in the error's traceback has the thread's own copy of the context as a local.
        await anyio.to_thread.run_sync(
            lambda: copy_context().run(call), abandon_on_cancel=abandon, limiter=self._limiter
        )

    def end(self) -> None:
        """See Threads."""


class _Job(NamedTuple):
    context: Context
    call: Callable[[], None]
    scope: Any
    returned: asyncio.Future[None]


class DaemonThreads:
    """Threads of one executor on asyncio: started when none is idle, ended with the executor or after ``IDLE``."""

    def __init__(
        self, name: str, loop: asyncio.AbstractEventLoop, tell: Callable[[Callable[[], object]], bool],
        parts: ThreadParts,
    ) -> None:  # fmt: skip
        self.loop = loop
        self.tell = tell
        self.parts = parts
        self._name = name
        self._numbers = itertools.count(1)
        # Shared by the loop and the threads. Each change is one operation of a dict, and atomic.
        self._threads: dict[_Thread, None] = {}
        self._idle: dict[_Thread, None] = {}  # the last to become idle is used first, so that the others may end
        self._ended = False

    @property
    def alive(self) -> int:
        """See Threads."""
        return len(self._threads)

    async def run(self, call: Callable[[], None], scope: Any, *, abandon: bool) -> None:
        """See Threads."""
        await checkpoint_if_cancelled()
        context = copy_context()
        if self.parts.library is not None:
            context.run(self.parts.library.set, None)
        returned: asyncio.Future[None] = self.loop.create_future()
        self._idle_one().give(_Job(context, call, scope, returned))
        del context, call
        with nullcontext() if abandon else anyio.CancelScope(shield=True):
            await returned

    def _idle_one(self) -> _Thread:
        try:
            return self._idle.popitem()[0]
        except KeyError:
            thread = _Thread(self)
        self._threads[thread] = None
        try:
            thread.start(f"glasspool {self._name} {next(self._numbers)}")
        except BaseException:
            self.gone(thread)
            raise
        return thread

    def rest(self, thread: _Thread) -> bool:
        """The thread has finished its job and may get another one; False: it must end."""
        self._idle[thread] = None
        return not self._ended or not self.leave(thread)

    def leave(self, thread: _Thread) -> bool:
        """Whether the idle thread may end; False: it has just got a job, or was told to end."""
        try:
            del self._idle[thread]
        except KeyError:
            return False
        return True

    def gone(self, thread: _Thread) -> None:
        """The thread has ended."""
        self._threads.pop(thread, None)

    def end(self) -> None:
        """See Threads."""
        self._ended = True
        while True:
            try:
                thread = self._idle.popitem()[0]
            except KeyError:
                return
            thread.give(None)


class _Thread:
    """One worker thread."""

    __slots__ = ("_job", "_jobs", "_threads")

    def __init__(self, threads: DaemonThreads) -> None:
        self._threads = threads
        self._job: _Job | None = None
        self._jobs = threading.Lock()  # free when there is a job
        self._jobs.acquire()

    def start(self, name: str) -> None:
        """Start it, without a job."""
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        # In an empty context: an instrumented Thread.start() would otherwise tie a thread of many tasks to one of them.
        Context().run(thread.start)

    def give(self, job: _Job | None) -> None:
        """Do this job, or end. Called once each time that the thread is new or idle."""
        self._job = job
        self._jobs.release()

    def _work(self) -> None:
        threads = self._threads
        try:
            with threads.parts.claim(threads.parts.backend, threads.loop):
                while True:
                    if not self._jobs.acquire(timeout=IDLE):
                        if threads.leave(self):
                            return
                    elif self._job is None or not self._do():
                        return
        finally:
            threads.gone(self)

    def _do(self) -> bool:
        """Do the job; returns whether another one may follow."""
        context, call, scope, returned = cast("_Job", self._job)
        self._job = None
        threads, error = self._threads, None
        threads.parts.local.current_cancel_scope = scope
        try:
            context.run(call)
        except BaseException as raised:  # noqa: BLE001 - handed to the one who waits
            error = raised
        finally:
            del threads.parts.local.current_cancel_scope
        try:
            del context, call, scope  # before the waiters learn of the task's end
            stay = threads.rest(self)
            if not threads.tell(partial(_return, returned, error)):
                threads.end()
            return stay
        finally:
            del error


def _return(returned: asyncio.Future[None], error: BaseException | None) -> None:
    if not returned.done():
        if error is None:
            returned.set_result(None)
        else:
            returned.set_exception(error)
    elif error is not None:  # nothing waits for it any more: it goes to the loop's exception handler
        raise error
