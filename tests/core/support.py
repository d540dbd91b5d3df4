"""Helpers of the core tests: tasks that wait for a signal, loop turns, figures that must be consistent."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from glasspool import ExecutorStats, HybridExecutor, TaskHandle

PATIENCE = 60.0
"""Seconds that a condition may take on a loaded machine."""


async def echo(value: Any) -> Any:
    """Return the argument after one checkpoint."""
    await checkpoint()
    return value


async def fail(error: BaseException) -> None:
    """Raise the argument after one checkpoint."""
    await checkpoint()
    raise error


async def forever() -> None:
    """Wait to be cancelled."""
    await anyio.sleep_forever()


class Gate:
    """Tasks that note their start and wait until the gate is opened."""

    def __init__(self) -> None:
        self.started: list[Any] = []
        self.ended: list[Any] = []
        self._open = anyio.Event()

    def open(self) -> None:
        """Let everyone pass."""
        self._open.set()

    async def hold(self, name: Any = None) -> Any:
        """Wait at the gate; returns ``name``."""
        self.started.append(name)
        try:
            await self._open.wait()
        finally:
            self.ended.append(name)
        return name


async def turns(count: int) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await checkpoint()


async def until(condition: Callable[[], Any]) -> None:
    """Wait for something that other threads or tasks bring about."""
    with anyio.fail_after(PATIENCE):
        while not condition():
            await anyio.sleep(0.001)


@asynccontextmanager
async def cancelled_once_blocked() -> AsyncIterator[anyio.CancelScope]:
    """A scope around the block that is cancelled when everything on the loop waits, however long that takes."""
    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:

            async def cancel() -> None:
                await anyio.wait_all_tasks_blocked()
                scope.cancel()

            group.start_soon(cancel)
            yield scope


def conserved(executor: HybridExecutor, handles: list[TaskHandle[Any]]) -> ExecutorStats:
    """The executor's statistics, which say the same as the handles do."""
    stats = executor.stats()
    states = Counter(handle.state.value for handle in handles)
    assert stats.submitted == len(handles)
    assert (stats.queued, stats.in_flight) == (states["queued"], states["active"])
    assert (stats.succeeded, stats.failed) == (states["success"], states["error"])
    assert (stats.timed_out, stats.cancelled) == (states["timeout"], states["cancelled"])
    return stats
