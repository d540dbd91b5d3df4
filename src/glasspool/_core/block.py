"""Block: an executor between the entry and the exit of its ``async with`` block."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial

import anyio
from anyio.abc import TaskGroup

from glasspool.stats import ShutdownReport

from .admission import Submission
from .backend import current_backend, to_the_end
from .block_exit import left_by, reason_for
from .engine import Engine
from .interfaces import NOTHING
from .policies.keys import Keys
from .services import Services
from .settings import Settings
from .task_body import run_task
from .task_context import context_without_span

__all__ = ["Block"]


class Block:
    """The entered block: the engine, the task group around it, and the task that entered it."""

    def __init__(self, settings: Settings) -> None:
        backend = current_backend()
        self.engine = Engine(settings, backend, context_without_span(), run_task)
        keys = Keys(settings.limits, settings.rates)
        self.work = Submission(self.engine, keys, isolate=settings.isolate, retry=settings.retry)
        self.services = Services(self.engine)
        self._owner: object = backend.task()  # None when the block has been left
        self._group: TaskGroup = anyio.create_task_group()
        self.watch_drain: Callable[[], AbstractAsyncContextManager[object]] | None = None
        """What is open while the block is left by waiting for its tasks: it may shut the executor down."""

    @property
    def left(self) -> bool:
        """Whether the block has been left."""
        return self._owner is None

    async def enter(self) -> None:
        """Enter the task group; from now on tasks can run."""
        await self._group.__aenter__()
        self.engine.nursery.open(self._group)
        self.engine.reporter.open()

    async def leave(self, exc: BaseException | None) -> BaseException | None:
        """Drain, or cancel everything if ``exc`` leaves the block. Returns the exception that the block raises instead.

        :raises WrongThread: the executor's own event loop does not run the caller.
        :raises RuntimeError: another task than this one has entered the block.
        """
        engine = self.engine
        engine.host.check_caller("leaving")
        if engine.backend.task() is not self._owner:
            await self._leave_elsewhere()
        leaving = exc
        try:
            if leaving is None:
                leaving = await self._drain()
            if leaving is not None:
                engine.abort(reason_for(leaving, engine.backend))
            engine.nursery.end()
            leaving = await left_by(self._group, leaving, engine.backend)
            self._owner = None
            for feed in list(engine.feeds):
                feed.pass_interrupt()
            engine.finish()
            self.services.pass_on()
            return engine.failures.left_by(leaving)
        finally:
            del leaving, exc  # see Completed.unwrap

    async def _drain(self) -> BaseException | None:
        """Wait for all accepted tasks; returns the exception that interrupted the wait."""
        try:
            async with nullcontext() if self.watch_drain is None else self.watch_drain():
                await self.shutdown(None)
        except BaseException as interrupted:  # noqa: BLE001 - cancelled while draining: leaves the block
            return interrupted
        return None

    async def _leave_elsewhere(self) -> None:
        engine = self.engine
        engine.abort("shutdown")
        engine.nursery.end()
        await to_the_end(
            partial(engine.host.wait, "leaving", engine.idle.wait, engine.idle.needs, engine.host, closing=True)
        )
        await to_the_end(self.services.until_ended)
        engine.finish()
        raise RuntimeError(
            f"executor {engine.name!r} was entered in one task and left in another, which structured concurrency "
            f"forbids; everything in it has been cancelled. Enter and leave it in one task: an async fixture of the "
            f"anyio pytest plugin, an ASGI lifespan, or a task of its own that waits for an event"
        )

    async def shutdown(self, grace: float | None) -> ShutdownReport:
        """See HybridExecutor.shutdown."""
        engine = self.engine
        self.services.check_outside("shutdown")
        needs = engine.idle.needs if grace is None else lambda: NOTHING
        return await engine.host.wait("shutdown", partial(self._shut_down, grace), needs, engine.host)

    async def _shut_down(self, grace: float | None) -> ShutdownReport:
        engine = self.engine
        engine.begin_closing()
        deadline = math.inf if grace is None else anyio.current_time() + grace
        if grace != 0:
            with anyio.CancelScope(deadline=deadline):
                await engine.idle.wait()
        if engine.queue.waiting or engine.active:
            engine.abort("shutdown")
            await engine.idle.wait()
        await self.services.until_ended()
        return engine.finish()
