"""The runner that uses any ``concurrent.futures`` executor; the pool should have room for the calls sent to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import anyio

from glasspool._core.task_state import Task, current
from glasspool._foreign.frames import queued_by
from glasspool._foreign.pool_classes import of_interpreters, of_processes
from glasspool._recorded_calls import CALLERS, SUBMITTERS, run_counted

from .base import HIDDEN, Freed, Raised
from .exiting import RunningCall, leave_in_pool

__all__ = ["FuturesRunner"]


class FuturesRunner:
    """Runs functions on ``pool``. In a ThreadPoolExecutor they run in the task's context.

    A ProcessPoolExecutor or InterpreterPoolExecutor gets the function wrapped by ``carry``. Pools of other kinds may
    run it where this package is not installed, so they get the plain function.
    """

    name = "futures"

    def __init__(
        self,
        executor: str,
        pool: Executor,
        call_soon_threadsafe: Callable[[Callable[[], object]], bool],
        carry: Callable[..., Callable[..., Any]],
    ) -> None:
        self._executor = executor
        self._pool = pool
        self._remote = of_processes(pool) or of_interpreters(pool)
        self._carry = carry
        self._call_soon = call_soon_threadsafe

    async def run(self, task: Task, freed: Freed) -> Any:
        """See Runner. A call that the pool has begun cannot be stopped: it is left behind like a thread."""
        item, since = task.item, time.monotonic()
        try:
            if self._remote:
                future = self._pool.submit(self._carry(item.function, task=current()), *item.arguments)
            elif isinstance(self._pool, ThreadPoolExecutor):
                future = self._pool.submit(copy_context().run, run_counted, item.function, *item.arguments)
            else:
                future = self._pool.submit(item.function, *item.arguments)
        except Exception as error:  # noqa: BLE001 - a closed or broken pool is how this task failed
            queued = queued_by(error)
            if queued is None or queued.cancel():  # else it would run although the task has failed
                return Raised(error)
            future = queued
        ended = anyio.Event()
        future.add_done_callback(lambda _: self._call_soon(ended.set))
        try:
            with anyio.CancelScope(shield=not task.plan.abandon):
                await ended.wait()
        except BaseException:
            if not future.cancel() and not future.done():
                task.leave_running()
                future.add_done_callback(lambda _: freed(task))
                leave_in_pool(self._pool, future, RunningCall(self._executor, item.name, since))
            if future.cancelled() or task.left_running:
                raise
        return _result(future)


def _result(future: Future[Any]) -> Any:
    # Read and not raised: an exception that was raised here would form a reference cycle with the future.
    try:
        error = future.exception()
    except BaseException as cancelled:  # noqa: BLE001 - by the pool; handed to the executor, which decides
        return Raised(cancelled)
    return future.result() if error is None else Raised(error)


CALLERS.add(FuturesRunner.run.__code__)  # a pool of the application's own may run its calls within submit()
SUBMITTERS.add(FuturesRunner.run.__code__)
HIDDEN.update((FuturesRunner.run.__code__, _result.__code__))
