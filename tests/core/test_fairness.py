"""Fairness: the executor yields to the loop after a limited number of task starts, and can be cancelled there."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from glasspool import HybridExecutor

from .support import echo

pytestmark = pytest.mark.anyio

BURST = 64


async def nothing() -> None:
    """A task without a single checkpoint."""


class Heartbeat:
    """Counts loop turns, and how many tasks ended between two of them."""

    def __init__(self, executor: HybridExecutor) -> None:
        self.executor = executor
        self.turns = self.most = 0

    async def beat(self, *, task_status) -> None:
        task_status.started()
        before = self.executor.stats().submitted, self.executor.stats().succeeded
        while True:
            await checkpoint()
            stats = self.executor.stats()
            self.turns += 1
            self.most = max(self.most, stats.succeeded - before[1], stats.submitted - before[0])
            before = stats.submitted, stats.succeeded


@pytest.mark.parametrize("how", ["submit", "as_completed", "map", "pile"])
async def test_a_heartbeat_beside_a_hundred_thousand_tiny_tasks(how):
    total = {"submit": 40_000, "as_completed": 30_000, "map": 15_000, "pile": 15_000}[how]
    async with HybridExecutor("tiny", max_in_flight=1000, max_queued=None) as executor:
        heartbeat = Heartbeat(executor)
        async with anyio.create_task_group() as group:
            await group.start(heartbeat.beat)
            if how == "submit":
                for _ in range(total):
                    await executor.submit(nothing)
                await executor.shutdown()
            elif how == "pile":
                async with executor.pile() as pile:
                    for _ in range(total):
                        await pile.include(nothing)
                    assert len(await pile.drain()) == total
            else:
                count = 0
                async for _ in getattr(executor, how)(lambda _: None, range(total), runner="inline"):
                    count += 1
                assert count == total
            group.cancel_scope.cancel()
    assert executor.stats().succeeded == total
    # Starts and submits are both bounded between two turns; a turn may see the end of one burst and of the next.
    assert heartbeat.most <= 3 * BURST
    assert heartbeat.turns >= total / (3 * BURST)


async def test_many_free_slots_are_filled_in_bursts():
    async with HybridExecutor("bursts", max_in_flight=1, max_queued=None) as executor:
        blocker = anyio.Event()
        executor.submit_nowait(blocker.wait)
        for _ in range(10_000):
            executor.submit_nowait(nothing)
        heartbeat = Heartbeat(executor)
        async with anyio.create_task_group() as group:
            await group.start(heartbeat.beat)
            executor.resize(10_000)
            blocker.set()
            await executor.shutdown()
            group.cancel_scope.cancel()
    assert executor.stats().succeeded == 10_001
    assert heartbeat.most <= 3 * BURST


async def test_an_endless_producer_ends_under_a_time_limit():
    async with HybridExecutor("endless", max_in_flight=4, max_queued=None) as executor:
        with anyio.move_on_after(0.05) as scope:
            while True:
                await executor.submit(nothing)
        assert scope.cancelled_caught
        assert await executor.run(echo, 1) == 1


async def test_submit_lets_the_loop_turn_every_64_calls():
    async with HybridExecutor("yield", max_in_flight=10_000) as executor:
        heartbeat = Heartbeat(executor)
        async with anyio.create_task_group() as group:
            await group.start(heartbeat.beat)
            for _ in range(640):
                await executor.submit(nothing)
            assert heartbeat.turns >= 9
            group.cancel_scope.cancel()
