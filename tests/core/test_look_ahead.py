"""Iterators take a bounded number of items ahead of their consumer, and this never delays a task that could run."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from glasspool import ExecutorClosed, HybridExecutor, Outcome, TaskTimeout

from .support import Gate, cancelled_once_blocked, echo, turns, until

pytestmark = pytest.mark.anyio

METHODS = pytest.mark.parametrize("method", ["map", "as_completed"])
SOURCES = pytest.mark.parametrize("kind", ["sync", "async"])


class Source:
    """Numbers from 0 on, and how many of them were taken that the consumer has not got: now, and at most so far."""

    def __init__(self, count: int | None = None) -> None:
        self.taken = self.got = self.most = 0
        self._numbers = itertools.count() if count is None else range(count)

    @property
    def ahead(self) -> int:
        return self.taken - self.got

    def _take(self) -> None:
        self.taken += 1
        self.most = max(self.most, self.ahead)

    def __iter__(self) -> Iterator[int]:
        for number in self._numbers:
            self._take()
            yield number

    async def later(self) -> AsyncIterator[int]:
        for number in self._numbers:
            await checkpoint()
            self._take()
            yield number

    def of(self, kind: str) -> Any:
        return iter(self) if kind == "sync" else self.later()


@METHODS
@SOURCES
@pytest.mark.parametrize("capacity", [0, 1024])
async def test_no_more_than_twice_the_slots_are_taken_ahead(method, kind, capacity):
    for limit in (1, 2, 3, 4, 5, 8, 64):
        async with HybridExecutor("ahead", max_in_flight=limit, max_queued=capacity) as executor:
            source = Source()
            async with getattr(executor, method)(echo, source.of(kind)) as iteration:
                async for _ in iteration:
                    source.got += 1
                    if source.got % 7 == 0:
                        await turns(4)  # a consumer that is busy with something else
                    if source.got == 5 * limit + 40:
                        break
            assert source.most <= 2 * limit, limit


@METHODS
@SOURCES
async def test_all_that_is_promised_is_taken(method, kind):
    limit, gate = 3, Gate()
    async with HybridExecutor("promised", max_in_flight=limit) as executor:
        source = Source()
        iteration = getattr(executor, method)(gate.hold, source.of(kind))
        async with cancelled_once_blocked():
            await anext(iteration)
        assert (source.ahead, len(gate.started)) == (2 * limit, limit)
        gate.open()
        await iteration.aclose()


@METHODS
@SOURCES
async def test_resizing_moves_the_bound_both_ways(method, kind):
    async with HybridExecutor("moved", max_in_flight=2) as executor:
        source = Source()
        iteration = getattr(executor, method)(echo, source.of(kind))

        async def some(count: int) -> None:
            for _ in range(count):
                await anext(iteration)
                source.got += 1
                await turns(3)

        await some(5)
        assert source.most <= 4
        executor.resize(10)
        await some(10)
        assert 10 < source.most <= 20
        executor.resize(1)
        ahead = source.ahead
        while ahead > 2:
            await some(1)
            assert source.ahead == ahead - 1  # nothing is taken while more is ahead than there may be
            ahead = source.ahead
        source.most = 0
        await some(30)
        assert source.most <= 2
        await iteration.aclose()


@METHODS
@SOURCES
async def test_a_consumer_that_waits_uses_slots_that_are_added(method, kind):
    async with HybridExecutor("added", max_in_flight=1) as executor:
        everyone, together = anyio.Event(), 0

        async def meets(number: int) -> int:
            nonlocal together
            together += 1
            if together == 5:
                everyone.set()
            await everyone.wait()
            return number

        async def grow() -> None:
            await anyio.wait_all_tasks_blocked()
            assert together == 1
            executor.resize(5)

        async with anyio.create_task_group() as group:
            group.start_soon(grow)
            values = [item async for item in getattr(executor, method)(meets, Source(5).of(kind))]
        assert len(values) == 5


@METHODS
@SOURCES
async def test_a_free_slot_is_not_left_idle_while_an_item_waits_for_one(method, kind):
    """Item 0 ends when item 1 has run, which finds no room at first."""
    second, foreign = anyio.Event(), Gate()

    async def dependent(number: int) -> int:
        if number == 0:
            await second.wait()
        else:
            second.set()
        return number

    async with HybridExecutor("idle", max_in_flight=2, max_queued=0) as executor:
        await executor.submit(foreign.hold)

        async def opens() -> None:
            await anyio.wait_all_tasks_blocked()
            assert executor.stats().pending == 1  # the item in hand is a call that waits for room
            foreign.open()

        async with anyio.create_task_group() as group:
            group.start_soon(opens)
            values = [item async for item in getattr(executor, method)(dependent, Source(2).of(kind))]
        assert len(values) == 2
        stats = executor.stats()
        assert (stats.succeeded, stats.rejected, stats.pending) == (3, 0, 0)


@METHODS
@SOURCES
async def test_the_item_in_hand_waits_its_turn_among_producers(method, kind):
    gate, order = Gate(), []

    async def note(name: Any) -> None:
        order.append(name)

    async with HybridExecutor("turn", max_in_flight=1, max_queued=0) as executor:
        await executor.submit(gate.hold)
        async with anyio.create_task_group() as group:
            group.start_soon(executor.submit, note, "before")
            await anyio.wait_all_tasks_blocked()
            iteration = getattr(executor, method)(note, Source(1).of(kind))
            group.start_soon(anext, iteration)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(executor.submit, note, "after")
            await anyio.wait_all_tasks_blocked()
            assert executor.stats().pending == 3
            gate.open()
    assert order == ["before", 0, "after"]


@METHODS
@SOURCES
@pytest.mark.parametrize("capacity", [0, 1024])
async def test_each_item_runs_once_and_arrives_once_with_several_consumers(method, kind, capacity):
    ran, got = Counter(), []

    async def item(number: int) -> int:
        ran[number] += 1
        await turns(number % 5)
        return number

    async with HybridExecutor("shared", max_in_flight=2, max_queued=capacity) as executor:
        blocker = Gate()
        foreign = await executor.submit(blocker.hold)
        iteration = getattr(executor, method)(item, Source(60).of(kind))

        async def consumer() -> None:
            async for found in iteration:
                got.append(found if method == "map" else found.value)
                await turns(len(got) % 3)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(consumer)
            await until(lambda: got)
            blocker.open()
        await foreign
        assert executor.stats().rejected == 0
    assert ran == Counter(range(60))
    assert sorted(got) == list(range(60))


async def test_a_consumer_that_is_cancelled_loses_no_item():
    gate = Gate()
    async with HybridExecutor("kept", max_in_flight=1, max_queued=0) as executor:
        await executor.submit(gate.hold)
        iteration = executor.as_completed(echo, range(3))
        for _ in range(3):
            async with cancelled_once_blocked():
                await anext(iteration)
        assert (executor.stats().pending, executor.stats().rejected) == (1, 0)
        gate.open()
        assert [completed.value async for completed in iteration] == [0, 1, 2]


@METHODS
async def test_an_iteration_that_is_closed_gives_up_the_item_in_hand(method):
    gate, ran = Gate(), []
    async with HybridExecutor("given up", max_in_flight=1, max_queued=0) as executor:
        await executor.submit(gate.hold)
        iteration = getattr(executor, method)(ran.append, range(3))
        async with cancelled_once_blocked():
            await anext(iteration)
        await iteration.aclose()
        stats = executor.stats()
        assert (stats.pending, stats.rejected) == (0, 1)
        gate.open()
    assert ran == []


@METHODS
@SOURCES
async def test_the_item_in_hand_is_refused_when_the_executor_closes(method, kind):
    gate = Gate()
    refused = []
    async with anyio.create_task_group() as group:
        async with HybridExecutor("closes", max_in_flight=1, max_queued=0) as executor:
            await executor.submit(gate.hold)

            async def consumer() -> None:
                with pytest.raises(ExecutorClosed, match="'closes'") as caught:
                    await anext(getattr(executor, method)(echo, Source(3).of(kind)))
                refused.append(caught.value)

            group.start_soon(consumer)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(_open_once_blocked, gate)
    assert len(refused) == 1
    stats = executor.stats()
    assert (stats.succeeded, stats.rejected, stats.pending) == (1, 1, 0)


async def _open_once_blocked(gate: Gate) -> None:
    await anyio.wait_all_tasks_blocked()
    gate.open()


@METHODS
@SOURCES
async def test_the_deadline_of_the_item_in_hand_counts_while_there_is_no_room(method, kind):
    gate = Gate()
    async with HybridExecutor("late", max_in_flight=1, max_queued=0) as executor:
        await executor.submit(gate.hold)
        deadline = anyio.current_time() + 0.05
        iteration = getattr(executor, method)(echo, Source(3).of(kind), deadline=deadline)
        with pytest.raises(TaskTimeout, match="waited for room; nothing was accepted"):
            await anext(iteration)
        stats = executor.stats()
        assert (stats.pending, stats.rejected, stats.timed_out) == (0, 1, 0)
        gate.open()


async def test_ready_outcomes_are_handed_out_before_more_is_taken():
    """A source that is slow to be read holds up only a consumer that has nothing to take."""
    reads = []

    def source() -> Iterator[int]:
        for number in range(100):
            reads.append(number)
            yield number

    async with HybridExecutor("ready", max_in_flight=8) as executor:
        iteration = executor.as_completed(echo, source())
        first = await anext(iteration)
        assert (first.outcome, len(reads)) == (Outcome.SUCCESS, 16)
        await until(lambda: executor.stats().succeeded == 16)
        before = len(reads)
        await anext(iteration)
        assert len(reads) == before
