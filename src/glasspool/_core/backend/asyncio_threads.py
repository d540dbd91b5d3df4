"""Threads for plain functions on asyncio: the executor's own daemon threads, connected to the loop as anyio's are.

anyio's worker threads on asyncio are not daemons. The interpreter waits for them at exit, for ever if a call never
returns, even if its task was cancelled long ago. ``AsyncioThreads`` runs the same calls with the same connection to the
loop (``anyio.from_thread``), and the interpreter does not wait for it.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, NamedTuple, cast

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from .daemon_threads import DaemonThreads

__all__ = ["AsyncioThreads", "ThreadParts", "thread_parts"]


class ThreadParts(NamedTuple):
    """The parts of anyio that make a thread one of its worker threads on asyncio, and what its scopes are known by."""

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
        is_cancelled(AsyncIOBackend.create_cancel_scope())
    except (ImportError, AttributeError, TypeError, ValueError, RuntimeError):
        return None
    if claims != ["backend_class", "token"] or not {"threadlocals", "current_cancel_scope"} <= set(asked):
        return None
    try:
        from sniffio import current_async_library_cvar
    except ImportError:
        return ThreadParts(claim_worker_thread, threadlocals, AsyncIOBackend, None)
    return ThreadParts(claim_worker_thread, threadlocals, AsyncIOBackend, current_async_library_cvar)


def is_cancelled(scope: Any) -> bool:
    """Whether this scope of anyio's, or one around it, is cancelled: what ``checkpoint_if_cancelled`` asks, without
    asking for the library, the loop and the task first."""
    while scope is not None:
        if scope._cancel_called:
            return True
        scope = None if scope._shield else scope._parent_scope
    return False


class AsyncioThreads(DaemonThreads):
    """Daemon threads of one executor, connected to the loop as anyio's worker threads are."""

    def __init__(
        self, name: str, loop: asyncio.AbstractEventLoop, tell: Callable[[Callable[[], object]], bool],
        parts: ThreadParts,
    ) -> None:  # fmt: skip
        super().__init__(name, tell, partial(parts.claim, parts.backend, loop))
        self._loop = loop
        self._parts = parts

    async def run(self, call: Callable[[], None], scope: Any, *, abandon: bool) -> None:
        """See Threads."""
        if is_cancelled(scope):
            await checkpoint_if_cancelled()
        context = copy_context()
        if self._parts.library is not None:
            context.run(self._parts.library.set, None)
        job = _Job(self._loop, self._parts.local, context, call, scope)
        del context, call
        self.put(job)
        try:
            if abandon:
                await job.future
            else:
                with anyio.CancelScope(shield=True):
                    await job.future
        except BaseException:
            self.look_again()
            raise


class _Job:
    """See daemon_threads.Job."""

    __slots__ = ("_call", "_local", "_loop", "_scope", "future")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, local: Any, context: Context, call: Callable[[], None], scope: Any
    ) -> None:  # fmt: skip
        self._loop = loop
        self._local = local
        self._call: tuple[Context, Callable[[], None]] | None = context, call
        self._scope = scope
        self.future: asyncio.Future[None] = loop.create_future()

    def call(self) -> None:
        """See daemon_threads.Job."""
        local: Any = self._local
        call: Any = self._call
        local.current_cancel_scope = self._scope
        self._call = self._scope = None  # gone before the waiters learn of the task's end
        try:
            call[0].run(call[1])
        finally:
            del local.current_cancel_scope, call  # the traceback of what the function raised may lead to this frame

    def returned(self, error: BaseException | None) -> None:
        """See daemon_threads.Job."""
        if not self.future.done():
            if error is None:
                self.future.set_result(None)
            else:
                self.future.set_exception(error)
        elif error is not None:  # nothing waits for it any more: it goes to the loop's exception handler
            self._loop.call_soon(_raise, error)


def _raise(error: BaseException) -> None:
    raise error
