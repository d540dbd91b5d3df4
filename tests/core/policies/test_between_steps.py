"""What happens within a step of the executor, or between two of them: clocks go on, observers call back."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from functools import partial
from typing import Any

import anyio
import prometheus_client
import pytest

from glasspool import HybridExecutor, Limit, NestedWait, QueueFull, Rate, TaskState, WrongThread
from glasspool._executor_block import block_of
from glasspool.telemetry import catalog, prometheus
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.recording.registry import REGISTRY
from glasspool.telemetry.recording.snapshot_queries import total
from tests.core.support import Gate, conserved, echo, turns, until
from tests.stateful.virtual import VirtualLoop, quiet

from .support import Starts, both, in_virtual_time


class Creeping(VirtualLoop):
    """A loop whose clock goes on at every reading, as a real one does."""

    def time(self) -> float:
        self._now += 3e-5
        return self._now


@pytest.mark.parametrize("where", ["executor", "key"])
@pytest.mark.parametrize("count", [100, 1_000, 10_000])
def test_no_wake_up_is_lost_when_a_token_comes_between_two_readings_of_the_clock(where, count):
    async def main():
        rate = Rate(count, per=1.0)
        options: dict[str, Any] = {"rate": rate} if where == "executor" else {"limits": {"k": Limit(rate=rate)}}
        key = None if where == "executor" else "k"
        async with HybridExecutor("creeping", max_in_flight=4, max_queued=None, **options) as executor:
            for _ in range(300):
                executor.submit_nowait(echo, 1, key=key)
                if executor.stats().submitted % 7 == 0:
                    await executor.run(echo, 2, key=key)
        return executor.stats().succeeded

    assert anyio.run(main, backend_options={"loop_factory": Creeping}) >= 300


@both
@pytest.mark.parametrize("options", [{"limits": {"k": Limit(in_flight=1)}}, {"limits": {"k": Limit(in_flight=9)}}])
def test_an_observer_of_an_acceptance_that_makes_room_for_the_task(backend, options):
    async def main():
        holder: list[Any] = []

        def observe(event):
            if event.kind == "submitted" and event.name == "second":
                holder[0].cancel()

        async with HybridExecutor("room", max_in_flight=1, observers=[observe], **options) as executor:
            holder.append(await executor.submit(anyio.sleep_forever, key="k"))
            await quiet()
            second = await executor.submit(echo, 2, key="k", name="second")
            assert await second == 2
            return conserved(executor, [holder[0], second])

    assert in_virtual_time(backend, main).cancelled == 1


def test_an_observer_of_an_acceptance_that_takes_its_time():
    async def main():
        loop: Any = asyncio.get_running_loop()

        def observe(event):
            if event.kind == "submitted" and event.name == "second":
                loop._now += 0.02  # meanwhile a token has come

        async with HybridExecutor("slow", max_in_flight=2, rate=Rate(100, per=1.0), observers=[observe]) as executor:
            await executor.run(echo, 1)
            return await executor.run(echo, 2, name="second")

    assert in_virtual_time("asyncio", main) == 2


@both
def test_tasks_accepted_within_an_acceptance_come_after_it(backend):
    async def main():
        starts = Starts()

        def observe(event):
            if event.kind == "submitted" and event.name == "outer":
                stats = executor.stats()
                assert (stats.queued, stats.held) == (1, {"pause": 1})
                executor.submit_nowait(starts.note, "inner")

        async with HybridExecutor("within", max_in_flight=1, observers=[observe]) as executor:
            executor.pause(1)
            await executor.submit(starts.note, "outer", name="outer")
        return starts.keys

    assert in_virtual_time(backend, main) == ["outer", "inner"]


@both
def test_producers_of_a_key_go_on_when_a_task_needs_no_place(backend):
    async def main():
        starts = Starts()
        limits = {"k": Limit(max_queued=1)}
        async with HybridExecutor("producers", max_in_flight=9, limits=limits) as executor:
            executor.pause(1, key="k")
            async with anyio.create_task_group() as group:
                for number in range(5):
                    group.start_soon(partial(executor.submit, starts.note, number, key="k"))
                    await quiet()
                assert (executor.stats().queued, executor.stats().pending) == (1, 4)
            assert executor.submit_nowait(starts.note, 5, key="k") is not None
        return sorted(starts.keys)

    assert in_virtual_time(backend, main) == list(range(6))


@both
def test_places_are_kept_for_producers_in_the_executors_line(backend):
    async def main():
        gate = Gate()
        limits = {"k": Limit(in_flight=1, max_queued=1)}
        async with HybridExecutor("kept", max_in_flight=1, max_queued=2, limits=limits) as executor:
            others = [await executor.submit(gate.hold, number) for number in range(3)]
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(partial(executor.submit, gate.hold, "k", key="k"))
                    await quiet()
                for handle in others[1:]:
                    handle.cancel()
                await quiet()
                assert (executor.stats().queued, executor.stats().pending) == (1, 4)
                gate.open()
        return executor.stats().succeeded

    assert in_virtual_time(backend, main) == 6


@both
def test_a_promise_is_given_back_when_the_task_ends_while_it_is_accepted(backend):
    async def main():
        gate, handles = Gate(), []

        def observe(event):
            if event.kind == "submitted" and event.name == "victim":
                handles[0].cancel()

        async with HybridExecutor(
            "given back", max_in_flight=1, limits={"k": Limit(in_flight=1, max_queued=1)}, observers=[observe]
        ) as executor:
            handles.append(await executor.submit(gate.hold, "queued", key="k"))
            await executor.submit(gate.hold, "queued", key="k")
            async with anyio.create_task_group() as group:
                group.start_soon(partial(executor.submit, gate.hold, "victim", key="k", name="victim"))
                await quiet()
                assert executor.stats().pending == 1
                gate.open()
            await quiet()
            assert executor.submit_nowait(echo, 1, key="k") is not None
        return executor.stats().pending

    assert in_virtual_time(backend, main) == 0


@both
def test_a_place_that_becomes_free_while_a_task_starts_does_not_exceed_the_slots(backend):
    async def main():
        starts = Starts()
        async with HybridExecutor("slots", max_in_flight=1, limits={"k": Limit(max_queued=1)}) as executor:
            executor.pause(0.5)
            found = [value async for value in executor.map(partial(starts.note, seconds=1.0), range(6), key="k")]
        return found, starts.at

    assert in_virtual_time(backend, main) == (list(range(6)), [0.5, 1.5, 2.5, 3.5, 4.5, 5.5])


@both
def test_a_producer_does_not_wait_while_its_task_could_start(backend):
    async def main():
        starts = Starts()
        limits = {"slow": Limit(in_flight=1), "other": Limit(in_flight=1)}
        async with HybridExecutor("eligible", max_in_flight=2, max_queued=2, limits=limits) as executor:
            executor.pause(60, key="slow")
            for _ in range(2):
                await executor.submit(starts.note, "slow", key="slow")
            await executor.submit(starts.note, "runs", 1.0)
            await executor.submit(starts.note, "runs", 5.0)
            await executor.submit(starts.note, "other", key="other")
            return starts.now

    assert in_virtual_time(backend, main) == pytest.approx(1)


@both
def test_an_executor_without_queue_places_refuses_to_hold(backend):
    async def main():
        async with HybridExecutor("rendezvous", max_in_flight=1, max_queued=0) as executor:
            handle = await executor.submit(echo, 1)
            for call in (
                partial(executor.pause, 1),
                partial(executor.resize, rate=Rate(1)),
                partial(executor.submit_nowait, echo, 1, after=[handle]),
            ):
                with pytest.raises(ValueError, match="max_queued must be at least 1"):
                    call()
            executor.pause(0)

    in_virtual_time(backend, main)


@both
def test_tokens_are_not_spent_on_tasks_that_end(backend):
    async def main():
        starts, rate = Starts(), Rate(1, per=10.0)
        limit = Limit(rate=rate)
        async with HybridExecutor("expired", max_in_flight=9, limits={"k": limit}) as executor:
            executor.pause(5, key="k")
            for _ in range(3):
                await executor.submit(starts.note, "late", key="k", deadline=anyio.current_time() + 5)
            await anyio.sleep(6)
            await executor.run(starts.note, "in time", key="k")
        async with HybridExecutor("cut", max_in_flight=9, limits={"k": limit}) as executor:
            for _ in range(3):
                await executor.submit(starts.note, "cut", key="k")
            await executor.shutdown(grace=0)
        return starts.keys, starts.at

    assert in_virtual_time(backend, main) == (["in time"], [6])


@both
def test_what_functions_of_the_item_may_do(backend):
    async def main():
        starts = Starts()
        limits = {"*": Limit(in_flight=1)}

        async def asynchronous(item):
            return item

        def stop(item):
            if item == 2:
                raise StopIteration
            return item

        async with HybridExecutor("functions", max_in_flight=9, limits=limits) as executor:
            with pytest.raises(TypeError, match="key must be a plain function of the item, not the coroutine function"):
                executor.map(starts.note, [1], key=asynchronous)
            found = []
            with pytest.raises(RuntimeError, match="the key= or cost= of map raised StopIteration"):
                async for value in executor.map(starts.note, range(5), key=stop):
                    found.append(value)
            assert found == [0, 1]
            iteration: Any = None

            def close(item):
                if item == 1:
                    closing = iteration.aclose()
                    with contextlib.suppress(StopIteration):
                        closing.send(None)
                    closing.close()
                return item

            starts = Starts()
            iteration = executor.map(starts.note, range(5), key=close)
            assert [value async for value in iteration] == []
        return starts.keys

    assert in_virtual_time(backend, main) == []


@both
def test_keys_that_were_only_asked_for_are_forgotten(backend):
    async def main():
        gate = Gate()
        async with HybridExecutor("asked", max_in_flight=1, max_queued=1, limits={"*": Limit(in_flight=1)}) as executor:
            for number in range(2):
                executor.submit_nowait(gate.hold, key=number)
            for number in range(500):
                with pytest.raises(QueueFull):
                    executor.submit_nowait(gate.hold, key=f"refused {number}")
                executor.pause(0, key=f"paused {number}")
            known = len(block_of(executor, "the test").engine.gate.lanes)
            gate.open()
        return known

    assert in_virtual_time(backend, main) < 20


def test_an_abandoned_executor_forgets_producers_in_the_lines_of_keys():
    async def main():
        limits = {"k": Limit(in_flight=1, max_queued=1)}
        executor = HybridExecutor("abandoned", max_in_flight=9, limits=limits)
        await executor.__aenter__()
        executor.pause(60, key="k")
        iteration = executor.map(echo, range(5), key="k")
        consumer = asyncio.ensure_future(anext(iteration))
        await quiet()
        engine = block_of(executor, "the test").engine
        assert executor.stats().pending == 1
        engine.finalize()
        counts = engine.reporter.counts()
        consumer.cancel()
        return counts.queued, engine.queue.tasks()

    loop = VirtualLoop()
    try:
        assert loop.run_until_complete(main()) == (0, [])
    finally:
        loop.close()
        gc.collect()


def test_a_limit_outlives_loops_and_threads_that_were_left_behind():
    limit, release = Limit(in_flight=1), threading.Event()

    async def leave() -> None:
        async with HybridExecutor("first", max_in_flight=2, limits={"k": limit}) as executor:
            handle = await executor.submit(release.wait, key="k", timeout=0.05)
            await handle.outcome()
            assert executor.stats().abandoned == 1

    async def go_on() -> None:
        gate = Gate()
        async with HybridExecutor("second", max_in_flight=9, limits={"k": limit}) as executor:
            for number in range(2):
                await executor.submit(gate.hold, number, key="k")
            release.set()
            await until(lambda: gate.started)
            await turns(20)
            assert gate.started == [0]
            gate.open()

    anyio.run(leave)
    anyio.run(go_on)

    async def forget() -> None:
        await HybridExecutor("never left", max_in_flight=2, limits={"k": limit}).__aenter__()

    loop = asyncio.new_event_loop()
    with pytest.raises(RuntimeError):
        loop.run_until_complete(asyncio.wait_for(forget(), 5))
        loop.close()
        raise RuntimeError
    anyio.run(go_on)


@pytest.mark.anyio
async def test_a_limit_is_resized_on_its_own_loop_only():
    limit = Limit(in_flight=1)
    limit.resize(in_flight=2)
    async with HybridExecutor("own", max_in_flight=9, limits={"k": limit}):
        with pytest.raises(WrongThread, match="resize on a Limit was called from another thread or event loop"):
            await anyio.to_thread.run_sync(lambda: limit.resize(in_flight=3))
        assert limit.in_flight == 2
        limit.resize(in_flight=3)
    with pytest.raises(TypeError, match=r"resize\(\) changes nothing: give in_flight= or rate="):
        limit.resize()


@both
def test_a_circle_of_waits_through_a_shared_limit(backend):
    async def main():
        shared = Limit(in_flight=1)
        async with (
            HybridExecutor("one", max_in_flight=9, limits={"k": shared}) as one,
            HybridExecutor("two", max_in_flight=9, limits={"k": shared}) as two,
        ):

            async def parent():
                return await two.run(echo, 1, key="k")

            handle = await one.submit(parent, key="k", name="parent")
            with pytest.raises(NestedWait, match=r"every permit of its Limit is held by a task that waits, such as"):
                await handle
            shared.resize(in_flight=2)
            assert await one.run(parent, key="k") == 1
            return handle.state

    assert in_virtual_time(backend, main) is TaskState.FAILED


@both
def test_names_of_limits(backend):
    class Sly(str):
        def __str__(self):
            return "of a customer"

    async def main():
        REGISTRY.reset()
        limit = Limit(in_flight=2)
        limits = {"with \ud800 in it": Limit(in_flight=1), "a": limit, "b": limit}
        async with HybridExecutor("names", max_in_flight=9, limits=limits) as executor:
            gate = Gate()
            handles = [await executor.submit(gate.hold, key=Sly("a")) for _ in range(3)]
            assert handles[2].hold is not None
            assert handles[2].hold.limit == "a"
            client = prometheus_client.CollectorRegistry()
            prometheus.register(client)
            text = prometheus_client.generate_latest(client).decode()
            found = REGISTRY.collect()
            gate.open()
        return text, [total(found, catalog.LIMIT_USAGE, {Key.LIMIT_NAME: name}) for name in "ab"]

    text, usage = in_virtual_time(backend, main)
    assert 'glasspool_limit_name="with \N{REPLACEMENT CHARACTER} in it"' in text
    assert usage == [2, 2]


@pytest.mark.anyio
async def test_readings_from_another_thread_while_keys_come_and_go():
    client = prometheus_client.CollectorRegistry()
    prometheus.register(client)
    done, read = threading.Event(), []

    def scrape() -> None:
        while not done.is_set() or len(read) < 3:
            read.append(len(prometheus_client.generate_latest(client)))

    thread = threading.Thread(target=scrape)
    async with HybridExecutor("read", max_in_flight=9, limits={"*": Limit(in_flight=1)}) as executor:
        thread.start()
        try:
            async for _ in executor.as_completed(echo, range(3000), key=lambda number: number):
                pass
        finally:
            done.set()
            await anyio.to_thread.run_sync(thread.join)
    assert len(read) >= 3
