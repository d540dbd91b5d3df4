"""Threads for plain functions on trio: the executor's own daemon threads, connected to the run as trio's are.

``trio.to_thread.run_sync`` wakes a thread and the loop for each call; these are woken for several (daemon_threads.py).
``trio.from_thread`` and ``anyio.from_thread`` find in them what they find in trio's own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, NamedTuple, cast

import outcome
import trio

from .daemon_threads import DaemonThreads

__all__ = ["ThreadParts", "TrioThreads", "thread_parts"]


class ThreadParts(NamedTuple):
    """The parts of trio and anyio that make a thread one of their worker threads."""

    claim: Callable[[Any, object], Any]  # anyio's: a context manager, in which calls may call back into the run
    backend: Any
    local: Any  # trio's: where a thread keeps the task whose call it runs
    active: Callable[[], AbstractContextManager[None]]  # trio.testing counts the threads that work
    library: ContextVar[str | None]  # sniffio's: a thread runs no event loop, whatever its context says


def thread_parts() -> ThreadParts | None:
    """The parts, or None if they are not as expected."""
    try:
        from anyio._backends._trio import TrioBackend
        from anyio._core._eventloop import claim_worker_thread
        from sniffio import current_async_library_cvar
        from trio import _threads

        claims = list(inspect.signature(claim_worker_thread).parameters)
        local: Any = _threads.PARENT_TASK_DATA
        asked = set(cast("Any", type(local)).__annotations__)
        messages: tuple[Any, ...] = _threads.Run, _threads.RunSync
        fits = (
            claims == ["backend_class", "token"]
            and asked == {"token", "abandon_on_cancel", "cancel_register", "task_register"}
            and all(hasattr(message, "run_in_host_task") for message in messages)
            and hasattr(_threads.Run, "run")
            and hasattr(_threads.RunSync, "run_sync")
        )
        active: Any = _threads._track_active_thread
    except (ImportError, AttributeError, TypeError, ValueError):
        return None
    return ThreadParts(claim_worker_thread, TrioBackend, local, active, current_async_library_cvar) if fits else None


class TrioThreads(DaemonThreads):
    """Daemon threads of one executor, connected to the run as trio's worker threads are."""

    def __init__(
        self, name: str, token: trio.lowlevel.TrioToken, tell: Callable[[Callable[[], object]], bool],
        parts: ThreadParts,
    ) -> None:  # fmt: skip
        super().__init__(name, tell, partial(parts.claim, parts.backend, token))
        self._token = token
        self._parts = parts

    async def run(self, call: Callable[[], None], scope: Any, *, abandon: bool) -> None:
        """See Threads."""
        await trio.lowlevel.checkpoint_if_cancelled()
        context = copy_context()
        context.run(self._parts.library.set, None)
        job = _Job(self._token, self._parts.local, context, call, abandon)
        del context, call
        with self._parts.active():
            self.put(job)
            await job.wait()


class _Job:
    """See daemon_threads.Job."""

    __slots__ = ("_abandon", "_call", "_cancel_register", "_local", "_task_register", "_token")

    def __init__(
        self, token: trio.lowlevel.TrioToken, local: Any, context: Context, call: Callable[[], None], abandon: bool
    ) -> None:  # fmt: skip
        self._token = token
        self._local = local
        self._call: tuple[Context, Callable[[], None]] | None = context, call
        self._abandon = abandon
        # Each holds one item, which the task changes and the thread reads: the task while it waits, and what raises its
        # cancellation once it was cancelled.
        self._task_register: list[trio.lowlevel.Task | None] = [trio.lowlevel.current_task()]
        self._cancel_register: list[Any] = [None]

    async def wait(self) -> None:
        """Wait until the call has returned, or leave it. Called by the task."""
        while True:
            message: Any = await trio.lowlevel.wait_task_rescheduled(self._abort)
            if isinstance(message, outcome.Outcome):
                message.unwrap()
                return
            # By trio.from_thread: this task is asked to run something.
            if hasattr(message, "run_sync"):
                message.run_sync()
            else:
                await message.run()
            del message

    def _abort(self, raise_cancel: Any) -> trio.lowlevel.Abort:
        self._cancel_register[0] = raise_cancel
        if not self._abandon:
            return trio.lowlevel.Abort.FAILED
        self._task_register[0] = None
        return trio.lowlevel.Abort.SUCCEEDED

    def call(self) -> None:
        """See daemon_threads.Job."""
        local: Any = self._local
        call: Any = self._call
        self._call = None  # gone before the waiters learn of the task's end
        local.token = self._token
        local.abandon_on_cancel = self._abandon
        local.cancel_register = self._cancel_register
        local.task_register = self._task_register
        try:
            call[0].run(call[1])
        finally:
            del local.token, local.abandon_on_cancel, local.cancel_register, local.task_register
            del call  # the traceback of what the function raised may lead to this frame

    def returned(self, error: BaseException | None) -> None:
        """See daemon_threads.Job."""
        task, self._task_register[0] = self._task_register[0], None
        if task is not None:
            trio.lowlevel.reschedule(
                task, outcome.Value(outcome.Value(None) if error is None else outcome.Error(error))
            )
