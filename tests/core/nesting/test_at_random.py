"""Random trees of nested tasks, with few slots and places, cancelled at random: nothing hangs, nothing is lost.

On a loop with virtual time a program in which everything waits for nothing raises ``Stuck`` instead of hanging.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glasspool import HybridExecutor, Limit, QueueFull, Rate, Retry, TaskCancelled, TaskHandle, TaskTimeout
from glasspool._core import waits
from tests.core.policies.support import both, in_virtual_time

HOURS = 100 * 3600


class Program:
    """One tree after another; every wait is of a kind chosen at random."""

    def __init__(self, seed: int, gated: bool, retries: bool) -> None:
        self.chance = random.Random(seed)
        self.gated = gated
        self.retries = retries
        self.handles: list[TaskHandle[Any]] = []
        self.ends: Counter[int] = Counter()
        self.most = 0
        self.cancels = False
        self.asked = 0  # tasks that had been asked to end when no more slots were in use than there are
        self.executor: HybridExecutor

    def made(self) -> HybridExecutor:
        """The executor."""
        chance = self.chance
        limits = {"a": Limit(in_flight=1), "b": Limit(in_flight=2, rate=Rate(5, per=1.0, burst=2), max_queued=2)}
        places = [1, 2, 9] if self.gated else [0, 1, 2, 9, None]
        return HybridExecutor(
            "random", max_in_flight=chance.randint(1, 4), max_queued=chance.choice(places),
            isolate=chance.random() < 0.7, limits=limits if self.gated else None, observers=[self.observe],
        )  # fmt: skip

    def observe(self, event: Any) -> None:
        """Each outcome comes once, and no more tasks hold a slot than may, unless one was asked to end."""
        if event.kind == "settled":
            self.ends[event.task_id] += 1
        stats = self.executor.stats()
        assert 0 <= stats.lent <= stats.in_flight + stats.abandoned
        asked = stats.cancelled + stats.cancelling
        if stats.slots_used <= stats.slots_limit:
            self.asked = asked
        elif not self.cancels:  # a task that was asked to end, and who has closed its pile, go on at once
            assert asked > self.asked

    def options(self) -> dict[str, Any]:
        """Of one submission."""
        chance, found = self.chance, dict[str, Any]()
        if self.gated:
            found["key"] = chance.choice([None, "a", "b"])
        if self.retries:
            delay = chance.choice([0, 0.1, 2.0])
            found["retry"] = Retry(on=lambda error: delay if isinstance(error, (OSError, TaskTimeout)) else None)
        if self.cancels and chance.random() < 0.1:
            found["timeout"] = chance.choice([0, 0.5, 3])
        return found

    async def node(self, depth: int) -> int:
        """A task: it works, and has children in some way."""
        chance, executor = self.chance, self.executor
        if chance.random() < 0.3:
            await anyio.sleep(chance.choice([0.1, 1.0]))
        if self.retries and chance.random() < 0.3:
            raise OSError
        children = chance.randint(0, 3) if depth else 0
        if not children:
            return 1
        way = chance.randrange(8)
        with suppress(TaskCancelled, TaskTimeout, QueueFull, OSError):
            await self.wait(way, depth - 1, children)
        if chance.random() < 0.2:
            await executor.run(self.node, 0, **self.options())
        return 1

    async def wait(self, way: int, below: int, children: int) -> None:
        """Have children, and wait for them."""
        executor, options = self.executor, self.options()
        if way == 0:
            for _ in range(children):
                await executor.run(self.node, below, **options)
        elif way == 1:
            for handle in [await self.submit(below, options) for _ in range(children)]:
                await handle
        elif way == 2:
            async with anyio.create_task_group() as group:
                for _ in range(children):
                    group.start_soon(self.branch, below, options)
        elif way == 3:
            async with executor.pile() as pile:
                for _ in range(children):
                    self.handles.append(await pile.include(self.node, below, **options))
                if self.chance.random() < 0.5:
                    async for _ in pile:
                        await checkpoint()
        elif way == 4:
            async for _ in executor.as_completed(self.node, [below] * children, **options):
                await checkpoint()
        elif way == 5:
            async for _ in executor.map(self.node, self.source(below, children), **options):
                await checkpoint()
        elif way == 6:
            handles = [executor.submit_nowait(self.node, below, **options) for _ in range(min(children, 1))]
            self.handles += handles
            with anyio.move_on_after(self.chance.choice([0.2, 5]) if self.cancels else HOURS):
                for handle in handles:
                    await handle.outcome()
        else:
            async with executor.pile() as pile:
                self.handles.append(await pile.include(self.node, below, **options))
                if self.chance.random() < 0.5:
                    await pile.aclose()

    async def submit(self, below: int, options: dict[str, Any]) -> TaskHandle[Any]:
        """Submit a child."""
        handle = await self.executor.submit(self.node, below, **options)
        self.handles.append(handle)
        return handle

    async def branch(self, below: int, options: dict[str, Any]) -> None:
        """One of several branches of a task."""
        with suppress(TaskCancelled, TaskTimeout, OSError):
            await self.executor.run(self.node, below, **options)

    async def source(self, below: int, children: int) -> Any:
        """An asynchronous source that waits, too."""
        for _ in range(children):
            if self.chance.random() < 0.3:
                with suppress(TaskCancelled, TaskTimeout, OSError):
                    await self.executor.run(self.node, 0)
            yield below

    async def disturb(self) -> None:
        """Cancel tasks and change the number of slots."""
        while True:
            await anyio.sleep(self.chance.choice([0.05, 0.3, 1]))
            if self.handles:
                self.chance.choice(self.handles).cancel()
            if self.chance.random() < 0.2:
                self.executor.resize(self.chance.randint(1, 4))

    async def run(self, cancels: bool) -> None:
        """Outer tasks, from several producers."""
        async with self.made() as self.executor:
            self.cancels = cancels
            async with anyio.create_task_group() as group:
                if cancels:
                    group.start_soon(self.disturb)
                async with anyio.create_task_group() as producers:
                    for _ in range(3):
                        producers.start_soon(self.produce)
                with anyio.fail_after(HOURS):  # time that passes unused for so long is a hang, too
                    for handle in self.handles:
                        await handle.outcome()
                group.cancel_scope.cancel()
        stats = self.executor.stats()
        assert (stats.lent, stats.slots_used, stats.queued, stats.in_flight, stats.pending) == (0, 0, 0, 0, 0)
        assert sum(self.ends.values()) == len(self.ends) == stats.submitted
        errors = [error for handle in self.handles if (error := (await handle.outcome()).error) is not None]
        expected = (TaskCancelled, TaskTimeout, QueueFull, OSError)
        assert not [error for error in errors if not isinstance(error, expected)]
        graph = waits.WAITS
        assert (graph.waits, graph.waiting, graph.awaited, graph.lending) == ({}, {}, {}, {})

    async def produce(self) -> None:
        """Submit some outer tasks."""
        for _ in range(4):
            await self.submit(self.chance.randint(0, 4), self.options())


@both
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("cancels", [False, True])
@pytest.mark.parametrize("retries", [False, True])
def test_random_trees_end(backend: str, retries: bool, cancels: bool, gated: bool) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(seed=st.integers(0, 2**32))
    def run(seed: int) -> None:
        program = Program(seed, gated, retries)
        in_virtual_time(backend, lambda: program.run(cancels))

    run()
