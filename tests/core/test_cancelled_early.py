"""An executor that is cancelled from outside a few checkpoints after it was opened, while it is in use."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from glasspool import ExecutorClosed, HybridExecutor, QueueFull, TaskCancelled

from .support import turns

pytestmark = pytest.mark.anyio


class Users:
    """They call it again and again, until they are told to stop."""

    def __init__(self) -> None:
        self.events: Counter[tuple[str, int]] = Counter()
        self.executor = HybridExecutor("early", max_in_flight=2, max_queued=2, observers=[self._observe])
        self.opened = anyio.Event()
        self.told: list[BaseException] = []
        self.handles: list[Any] = []

    def _observe(self, event: Any) -> None:
        self.events[event.kind, event.task_id] += 1

    def all(self) -> list[Callable[[], Awaitable[None]]]:
        return [self.submits, self.submits_at_once, self.runs, self.runs_threads, self.maps, self.takes, self.includes]

    async def user(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            while True:
                await work()
                await checkpoint()
        except BaseException as error:
            self.told.append(error)
            if isinstance(error, anyio.get_cancelled_exc_class()):
                raise

    async def submits(self) -> None:
        self.handles.append(await self.executor.submit(turns, 2))

    async def submits_at_once(self) -> None:
        try:
            self.handles.append(self.executor.submit_nowait(turns, 1))
        except QueueFull:
            pass

    async def runs(self) -> None:
        await self.executor.run(turns, 1)

    async def runs_threads(self) -> None:
        await self.executor.run(len, "abc")

    async def maps(self) -> None:
        async with self.executor.map(turns, iter(range(100))) as values:
            async for _ in values:
                pass

    async def takes(self) -> None:
        async def source() -> AsyncIterator[int]:
            for number in range(100):
                await checkpoint()
                yield number % 3

        async with self.executor.as_completed(turns, source()) as outcomes:
            async for _ in outcomes:
                pass

    async def includes(self) -> None:
        async with self.executor.pile() as pile:
            await pile.include(turns, 1)
            await pile.next_completed()

    def check(self, *allowed: type[BaseException]) -> None:
        """They were told what has happened, and every accepted task has ended once."""
        assert {type(error) for error in self.told} <= {ExecutorClosed, *allowed}
        accepted = {task for kind, task in self.events if kind == "submitted"}
        assert [self.events["settled", task] for task in accepted] == [1] * len(accepted)
        stats = self.executor.stats()
        assert stats.submitted == len(accepted)
        assert (stats.queued, stats.in_flight, stats.pending) == (0, 0, 0)
        assert all(handle.done for handle in self.handles)


@pytest.mark.parametrize("after", range(30))
async def test_users_inside_are_cancelled_with_it(after):
    users = Users()
    with anyio.CancelScope() as scope:
        async with users.executor, anyio.create_task_group() as group:
            for work in users.all():
                group.start_soon(users.user, work)
            await turns(after)
            scope.cancel()
    users.check(anyio.get_cancelled_exc_class())


@pytest.mark.parametrize("after", range(30))
async def test_users_outside_are_refused(after):
    """Those that were not cancelled, but shielded or in another scope, are told that it has closed."""
    users = Users()
    scope = anyio.CancelScope()

    async def block() -> None:
        with scope:
            async with users.executor:
                users.opened.set()
                await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(block)
        await users.opened.wait()
        for work in users.all():
            group.start_soon(users.user, work)
        await turns(after)
        scope.cancel()
    users.check(TaskCancelled)


@pytest.mark.parametrize("after", range(30))
async def test_users_inside_that_are_shielded_are_refused(after):
    users = Users()

    async def shielded(work: Callable[[], Awaitable[None]]) -> None:
        with anyio.CancelScope(shield=True):
            await users.user(work)

    with anyio.CancelScope() as scope:
        async with users.executor, anyio.create_task_group() as group:
            for work in (users.submits, users.submits_at_once, users.runs, users.includes):
                group.start_soon(shielded, work)
            await turns(after)
            scope.cancel()
    users.check(TaskCancelled)
