"""Limits of keys: permits, keys that are not named, places in the queue, sharing."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from functools import partial

import anyio
import pytest

from glasspool import HybridExecutor, Limit, QueueFull, Rate, TaskState
from glasspool._executor_block import block_of
from tests.core.support import Gate, until
from tests.stateful.virtual import quiet

from .support import Starts, both, in_virtual_time


@both
def test_so_many_of_a_key_run_at_a_time(backend):
    async def main():
        starts = Starts()
        limits = {"two": Limit(in_flight=2), "*": Limit(in_flight=1)}
        async with HybridExecutor("permits", max_in_flight=100, limits=limits) as executor:
            keys = ["two", "a", "b", ("a", 1), 7] * 6
            async for _ in executor.as_completed(starts.second, keys, key=lambda key: key):
                pass
            return starts.most, Counter(starts.keys), starts.now

    most, ran, seconds = in_virtual_time(backend, main)
    assert most == {"two": 2, "a": 1, "b": 1, ("a", 1): 1, 7: 1}
    assert set(ran.values()) == {6}
    assert seconds == pytest.approx(6)


@both
def test_a_held_task_blocks_nobody_of_another_key(backend):
    async def main():
        gate = Gate()
        async with HybridExecutor("passed", max_in_flight=3, limits={"slow": Limit(in_flight=1)}) as executor:
            for number in range(50):
                await executor.submit(gate.hold, f"slow {number}", key="slow")
            others = [await executor.submit(gate.hold, f"other {number}") for number in range(2)]
            await quiet()
            assert sorted(gate.started) == ["other 0", "other 1", "slow 0"]
            assert [handle.state for handle in others] == [TaskState.ACTIVE] * 2
            gate.open()
        return len(gate.ended)

    assert in_virtual_time(backend, main) == 52


@both
def test_of_those_that_may_start_the_oldest_does(backend):
    async def main():
        starts = Starts()
        async with HybridExecutor("oldest", max_in_flight=1, limits={"*": Limit(in_flight=1)}) as executor:
            await executor.submit(starts.note, "first", 1.0, key="z")
            for key in "abcabc":
                await executor.submit(starts.note, key, 1.0, key=key)
        return starts.keys

    assert in_virtual_time(backend, main) == ["first", *"abcabc"]


@both
def test_places_of_a_key(backend):
    """One slow upstream does not fill everybody's queue; its producers wait in a line of their own."""

    async def main():
        limits = {"slow": Limit(in_flight=1, max_queued=2)}
        gate = Gate()
        async with HybridExecutor("places", max_in_flight=2, max_queued=4, limits=limits) as executor:
            async with anyio.create_task_group() as group:

                async def slow(number):
                    await executor.submit(gate.hold, f"slow {number}", key="slow")

                for number in range(6):
                    group.start_soon(slow, number)
                    await quiet()
                assert (executor.stats().in_flight, executor.stats().queued, executor.stats().pending) == (1, 2, 3)
                with pytest.raises(QueueFull, match=r"key 'slow' has all 2 queue places of its Limit \('slow'\)"):
                    executor.submit_nowait(gate.hold, "refused", key="slow")
                executor.submit_nowait(gate.hold, "other")
                await quiet()
                assert sorted(gate.started) == ["other", "slow 0"]
                gate.open()
            await quiet()
        return sorted(gate.ended), executor.stats()

    ended, stats = in_virtual_time(backend, main)
    assert ended == ["other", *(f"slow {number}" for number in range(6))]
    assert (stats.succeeded, stats.rejected, stats.queued, stats.pending) == (7, 1, 0, 0)


@both
def test_a_producer_that_gives_up_leaves_its_place_in_the_line(backend):
    async def main():
        gate = Gate()
        limits = {"slow": Limit(in_flight=1, max_queued=1)}
        async with HybridExecutor("given up", max_in_flight=2, limits=limits) as executor:
            for number in range(2):
                await executor.submit(gate.hold, number, key="slow")
            with anyio.move_on_after(1) as scope:
                await executor.submit(gate.hold, "cancelled", key="slow")
            assert scope.cancelled_caught
            assert executor.stats().pending == 0
            async with anyio.create_task_group() as group:
                group.start_soon(partial(executor.submit, gate.hold, "last", key="slow"))
                await quiet()
                assert executor.stats().pending == 1
                gate.open()
        return gate.ended, executor.stats().rejected

    assert in_virtual_time(backend, main) == ([0, 1, "last"], 1)


@both
def test_a_free_slot_is_used_though_the_queue_is_full_of_held_tasks(backend):
    async def main():
        gate = Gate()
        async with HybridExecutor(
            "full", max_in_flight=2, max_queued=2, limits={"slow": Limit(in_flight=1)}
        ) as executor:
            for number in range(3):
                executor.submit_nowait(gate.hold, number, key="slow")
            with pytest.raises(QueueFull):
                executor.submit_nowait(gate.hold, "no room", key="slow")
            executor.submit_nowait(gate.hold, "other")
            await quiet()
            assert set(gate.started) == {0, "other"}
            gate.open()

    in_virtual_time(backend, main)


@both
def test_executors_share_a_limit(backend):
    async def main():
        starts, shared = Starts(), Limit(in_flight=2, rate=Rate(1, per=1.0, burst=2))
        async with (
            HybridExecutor("one", max_in_flight=9, limits={"api": shared}) as one,
            HybridExecutor("two", max_in_flight=9, limits={"upstream": shared}) as two,
        ):
            for _ in range(3):
                await one.submit(starts.note, "shared", 3.0, key="api")
                await two.submit(starts.note, "shared", 3.0, key="upstream")
            await anyio.sleep(0)
            assert one.stats().in_flight + two.stats().in_flight == 2
            assert one.stats().held == two.stats().held == {"limit": 2}
        return starts.most, starts.at

    assert in_virtual_time(backend, main) == ({"shared": 2}, [0, 0, 3, 3, 6, 6])


@both
def test_keys_under_the_star_share_it_across_executors(backend):
    async def main():
        starts, star = Starts(), Limit(in_flight=1)
        async with (
            HybridExecutor("one", max_in_flight=9, limits={"*": star}) as one,
            HybridExecutor("two", max_in_flight=9, limits={"*": star}) as two,
        ):
            for executor in (one, two):
                for key in "ab":
                    await executor.submit(starts.note, key, 1.0, key=key)
        return starts.most, starts.at

    assert in_virtual_time(backend, main) == ({"a": 1, "b": 1}, [0, 0, 1, 1])


@both
def test_resizing_a_limit(backend):
    async def main():
        gate, limit = Gate(), Limit(in_flight=1)
        async with HybridExecutor("resized", max_in_flight=9, limits={"*": limit}) as executor:
            for number in range(6):
                await executor.submit(gate.hold, number, key="k")
            limit.resize(in_flight=3)
            await quiet()
            assert sorted(gate.started) == [0, 1, 2]
            limit.resize(in_flight=1)
            assert limit.in_flight == 1
            limit.resize(in_flight=None, rate=Rate(1, per=5.0))
            await quiet()
            assert len(gate.started) == 4
            begun = anyio.current_time()
            gate.open()
        return anyio.current_time() - begun, limit.rate

    assert in_virtual_time(backend, main) == (pytest.approx(10), (Rate(1, per=5.0),))


@both
def test_a_cancelled_task_takes_no_permit_and_an_abandoned_thread_keeps_its_own(backend):
    async def main():
        gate, runs, release = Gate(), threading.Event(), threading.Event()

        def block() -> None:
            runs.set()
            release.wait()

        async with HybridExecutor("cancelled", max_in_flight=9, limits={"k": Limit(in_flight=1)}) as executor:
            running = await executor.submit(gate.hold, "running", key="k")
            queued = [await executor.submit(gate.hold, number, key="k") for number in range(3)]
            await until(lambda: gate.started)
            queued[0].cancel()
            running.cancel()
            await until(lambda: len(gate.started) == 2)
            assert gate.started == ["running", 1]
            queued[1].cancel()
            await queued[1].outcome()
            gate.open()
            await queued[2]
            left = await executor.submit(block, key="k")
            await until(runs.is_set)
            left.cancel()
            await left.outcome()
            behind = await executor.submit(gate.hold, "behind", key="k")
            assert behind.hold is not None
            assert (behind.hold.reason, executor.stats().abandoned) == ("limit", 1)
            release.set()
            await behind

    anyio.run(main, backend=backend)  # threads know no virtual time


@both
def test_keys_that_are_not_named_are_forgotten(backend):
    async def main():
        starts = Starts()
        limits = {"*": Limit(in_flight=1, rate=Rate(10, per=1.0, burst=10))}
        async with HybridExecutor("forgotten", max_in_flight=10, limits=limits) as executor:
            async for _ in executor.as_completed(starts.note, range(3000), key=lambda number: number):
                await anyio.sleep(0.01)
            gc.collect()
            gate = block_of(executor, "the test").engine.gate
            return len(gate.lanes)

    assert in_virtual_time(backend, main) < 40


def test_a_limit_belongs_to_one_event_loop_at_a_time():
    limit = Limit(in_flight=1)

    async def use():
        starts = Starts()
        async with HybridExecutor("in turn", max_in_flight=2, limits={"k": limit}) as executor:
            for _ in range(3):
                await executor.submit(starts.note, key="k")

    async def nested():
        async with HybridExecutor("outer", max_in_flight=2, limits={"k": limit}):
            await anyio.to_thread.run_sync(lambda: anyio.run(use))

    anyio.run(use)
    anyio.run(use, backend="trio")
    with pytest.raises(RuntimeError, match=r"the Limit of 'k' of executor 'in turn' is used by an open"):
        anyio.run(nested)
    anyio.run(use)


@both
def test_a_producer_on_its_way_has_its_place(backend):
    """It has left the line of its key, and is still in that of the executor."""

    async def main():
        gate = Gate()
        limits = {"slow": Limit(in_flight=1, max_queued=1)}
        async with HybridExecutor("on its way", max_in_flight=1, max_queued=3, limits=limits) as executor:
            async with anyio.create_task_group() as group:
                await executor.submit(gate.hold, "runs")
                queued = await executor.submit(gate.hold, "slow", key="slow")
                others = [await executor.submit(gate.hold, "other") for _ in range(2)]
                scopes = [anyio.CancelScope() for _ in range(4)]

                async def blocked(scope, key):
                    with scope:
                        await executor.submit(gate.hold, "blocked", key=key)

                for scope, key in zip(scopes, [None, "slow", "slow", "slow"], strict=True):
                    group.start_soon(blocked, scope, key)
                    await quiet()
                queued.cancel()  # its place in the queue goes to the first producer, that of its key to the second
                await quiet()
                assert (executor.stats().queued, executor.stats().pending) == (3, 3)
                scopes[3].cancel()
                for other in others:
                    other.cancel()
                await quiet()
                assert (executor.stats().queued, executor.stats().pending) == (2, 1)
                gate.open()
        return executor.stats().succeeded

    assert in_virtual_time(backend, main) == 4


@both
def test_who_comes_later_does_not_overtake_those_that_a_loop_turn_is_too_short_for(backend):
    async def main():
        starts = Starts()
        async with HybridExecutor("burst", max_in_flight=300, limits={"k": Limit(in_flight=1)}) as executor:
            executor.pause(1)
            for number in range(200):
                await executor.submit(starts.note, number, 1.0)
            executor.pause(0)
            while executor.stats().queued == 200:
                await anyio.lowlevel.checkpoint()
            assert executor.stats().queued > 0
            await executor.submit(starts.note, "last", key="k")
            await executor.submit(starts.note, "very last")
            assert executor.stats().in_flight < 200
        return starts.keys[-70:]

    assert {"last", "very last"} <= set(in_virtual_time(backend, main))
