"""Bounded everywhere: slots, queue, blocked submitters in their order, resizing."""

from __future__ import annotations

import asyncio
import random
from functools import partial

import anyio
import pytest

from glasspool import ExecutorClosed, HybridExecutor, QueueFull, TaskState

from .support import Gate, conserved, echo, turns

pytestmark = pytest.mark.anyio


class Meter:
    """How many are inside, and how many ever were at once."""

    def __init__(self) -> None:
        self.inside = self.most = self.ended = 0

    async def work(self, length: int) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await turns(length)
        self.inside -= 1
        self.ended += 1


async def test_ten_thousand_tasks_never_exceed_the_bound():
    meter, dice = Meter(), random.Random(4)
    async with HybridExecutor("bound", max_in_flight=17, max_queued=40) as executor:
        for _ in range(10_000):
            await executor.submit(meter.work, dice.randrange(6))
            stats = executor.stats()
            assert stats.in_flight <= 17
            assert stats.queued <= 40
    assert (meter.most, meter.ended) == (17, 10_000)
    assert executor.stats().succeeded == 10_000


def test_ten_thousand_tasks_keep_every_slot_busy_on_a_mock_clock():
    trio, testing = pytest.importorskip("trio"), pytest.importorskip("trio.testing")
    dice = random.Random(5)
    lengths = [dice.random() for _ in range(10_000)]

    async def main():
        began = trio.current_time()
        async with HybridExecutor("mock", max_in_flight=10, max_queued=None) as executor:
            for seconds in lengths:
                executor.submit_nowait(trio.sleep, seconds)
        # Never more than ten at a time, and never fewer but for the last ones.
        assert sum(lengths) / 10 <= trio.current_time() - began < sum(lengths) / 10 + 1
        assert executor.stats().succeeded == 10_000

    trio.run(main, clock=testing.MockClock(autojump_threshold=0))


async def test_blocked_submitters_are_served_in_order():
    gate, accepted = Gate(), []

    def observe(event):
        if event.kind == "submitted":
            accepted.append(event.name)

    async with HybridExecutor("fifo", max_in_flight=1, max_queued=1, observers=[observe]) as executor:
        for name in ("first", "second"):
            executor.submit_nowait(gate.hold, name=name)
        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(partial(executor.submit, gate.hold, name=str(number)))
                await anyio.wait_all_tasks_blocked()
            assert executor.stats().pending == 50
            executor.resize(8)  # several are granted room in one turn, and keep their order whichever wakes first
            gate.open()
    assert accepted == ["first", "second", *map(str, range(50))]


async def test_nobody_overtakes_a_blocked_submitter():
    gate, accepted = Gate(), []

    def observe(event):
        if event.kind == "submitted":
            accepted.append(event.name)

    async with HybridExecutor("queue", max_in_flight=1, max_queued=1, observers=[observe]) as executor:

        async def submit(name):
            await executor.submit(gate.hold, name=name)

        executor.submit_nowait(gate.hold, name="first")
        queued = executor.submit_nowait(gate.hold, name="queued")
        async with anyio.create_task_group() as group:
            group.start_soon(submit, "blocked")
            await anyio.wait_all_tasks_blocked()
            queued.cancel()  # its place is granted to the blocked one, who has not woken yet
            assert executor.stats().pending == 1
            with pytest.raises(QueueFull):
                executor.submit_nowait(gate.hold, name="overtaker")
            executor.resize(3)  # and now there is room for more
            with pytest.raises(QueueFull):
                executor.submit_nowait(gate.hold, name="overtaker")
            await submit("late")
            assert executor.submit_nowait(gate.hold, name="last")
            gate.open()
    assert accepted == ["first", "queued", "blocked", "late", "last"]


async def test_a_grant_is_passed_on_when_its_submitter_is_cancelled():
    gate = Gate()
    async with HybridExecutor("pass", max_in_flight=1, max_queued=1) as executor:
        executor.submit_nowait(gate.hold, "first")
        queued = executor.submit_nowait(gate.hold, "queued")
        async with anyio.create_task_group() as group:
            scopes = [anyio.CancelScope() for _ in range(3)]

            async def producer(number):
                with scopes[number]:
                    await executor.submit(gate.hold, number)

            for number in range(3):
                group.start_soon(producer, number)
                await anyio.wait_all_tasks_blocked()
            scopes[1].cancel()  # gives up its turn long before it comes
            await anyio.wait_all_tasks_blocked()
            assert executor.stats().pending == 2
            scopes[0].cancel()
            queued.cancel()  # the place is granted to the first in line, who has not left it yet
            await anyio.wait_all_tasks_blocked()
            stats = executor.stats()
            assert (stats.pending, stats.queued, stats.rejected) == (0, 1, 2)
            gate.open()
    assert gate.started == ["first", 2]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_native_cancellation_passes_the_grant_on(anyio_backend):
    gate = Gate()
    async with HybridExecutor("native", max_in_flight=1, max_queued=1) as executor:
        executor.submit_nowait(gate.hold, "first")
        queued = executor.submit_nowait(gate.hold, "queued")
        producers = []
        for number in range(2):
            producers.append(asyncio.ensure_future(executor.submit(gate.hold, number)))
            await anyio.wait_all_tasks_blocked()
        queued.cancel()
        producers[0].cancel()  # granted, and cancelled all the same
        with pytest.raises(asyncio.CancelledError):
            await producers[0]
        await producers[1]
        gate.open()
    assert gate.started == ["first", 1]
    assert executor.stats().rejected == 1


async def test_cancelled_tasks_free_their_queue_place_at_once():
    gate = Gate()
    async with HybridExecutor("free", max_in_flight=1, max_queued=1) as executor:
        executor.submit_nowait(gate.hold)
        for _ in range(100):
            queued = executor.submit_nowait(gate.hold)
            assert queued.state is TaskState.QUEUED
            assert queued.cancel()
            assert queued.state is TaskState.CANCELLED
        gate.open()
    assert len(gate.started) == 1


async def test_growing_starts_queued_tasks_at_once():
    gate = Gate()
    async with HybridExecutor("grow", max_in_flight=1) as executor:
        handles = [executor.submit_nowait(gate.hold) for _ in range(10)]
        executor.resize(4)
        stats = conserved(executor, handles)
        assert (stats.in_flight, stats.queued, stats.slots_limit) == (4, 6, 4)
        await anyio.wait_all_tasks_blocked()
        assert len(gate.started) == 4
        gate.open()


async def test_shrinking_lets_the_started_finish_and_starts_none_above_the_limit():
    gates = [Gate() for _ in range(8)]
    async with HybridExecutor("shrink", max_in_flight=4) as executor:
        handles = [executor.submit_nowait(gate.hold) for gate in gates]
        await anyio.wait_all_tasks_blocked()
        executor.resize(2)
        for ended, in_flight, queued in ((1, 3, 4), (2, 2, 4), (3, 2, 3), (4, 2, 2)):
            gates[ended - 1].open()
            await anyio.wait_all_tasks_blocked()
            stats = conserved(executor, handles)
            assert (stats.in_flight, stats.queued, stats.slots_used) == (in_flight, queued, in_flight)
        for gate in gates:
            gate.open()


async def test_growing_makes_room_for_blocked_submitters():
    gate = Gate()
    async with HybridExecutor("room", max_in_flight=1, max_queued=0) as executor:
        executor.submit_nowait(gate.hold, 0)
        async with anyio.create_task_group() as group:
            group.start_soon(executor.submit, gate.hold, 1)
            group.start_soon(executor.submit, gate.hold, 2)
            await anyio.wait_all_tasks_blocked()
            executor.resize(2)
            await anyio.wait_all_tasks_blocked()
            assert (executor.stats().pending, executor.stats().in_flight) == (1, 2)
            gate.open()
    assert executor.stats().succeeded == 3


@pytest.mark.parametrize("places", [0, 1])
async def test_room_that_a_resize_takes_back_before_its_producer_has_come_for_it(places):
    """The queue's bound holds all the same, and the producers keep their turn until there is room again."""
    gate, accepted, refused = Gate(), [], []

    def observe(event):
        if event.kind == "submitted":
            accepted.append(event.name)

    async with HybridExecutor("back", max_in_flight=1, max_queued=places, observers=[observe]) as executor:
        for _ in range(1 + places):
            executor.submit_nowait(gate.hold)
        accepted.clear()
        scopes = [anyio.CancelScope() for _ in range(4)]

        async def producer(number):
            with scopes[number]:
                try:
                    await executor.submit(gate.hold, name=str(number))
                except ExecutorClosed:
                    refused.append(str(number))

        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(producer, number)
                await anyio.wait_all_tasks_blocked()
            executor.resize(4)  # room for three of them,
            executor.resize(1)  # gone before they wake
            await anyio.wait_all_tasks_blocked()
            stats = executor.stats()
            assert (stats.queued, stats.pending) == (places, 4 - places)  # growing has started what was queued before
            with pytest.raises(QueueFull):
                executor.submit_nowait(gate.hold, name="overtaker")
            scopes[1].cancel()
            await anyio.wait_all_tasks_blocked()
            executor.resize(2 + places)
            await anyio.wait_all_tasks_blocked()
            stats = executor.stats()
            assert (stats.in_flight, stats.queued, stats.pending) == (2 + places, places, 2 - places)
            group.start_soon(executor.shutdown)
            await anyio.wait_all_tasks_blocked()
            gate.open()
    assert accepted == ["0", "2"][: 1 + places]
    assert sorted(refused) == ["2", "3"][places:]  # trio wakes them in any order


async def test_many_producers_and_a_tight_bound():
    meter = Meter()
    async with HybridExecutor("many", max_in_flight=3, max_queued=2) as executor:

        async def producer():
            for length in range(40):
                await executor.submit(meter.work, length % 4)

        async with anyio.create_task_group() as group:
            for _ in range(25):
                group.start_soon(producer)
    assert (meter.most, meter.ended) == (3, 1000)
    assert executor.stats().succeeded == 1000


async def test_more_tasks_than_a_burst_all_start():
    gate = Gate()
    async with HybridExecutor("burst", max_in_flight=1000, max_queued=0) as executor:
        handles = [executor.submit_nowait(gate.hold) for _ in range(1000)]
        assert conserved(executor, handles).in_flight == 1000
        await anyio.wait_all_tasks_blocked()
        assert len(gate.started) == 1000
        gate.open()
        assert [await handle for handle in handles] == [None] * 1000
        assert await executor.run(echo, 1) == 1
