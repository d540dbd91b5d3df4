"""map and as_completed: order, errors, endless and asynchronous sources, leaving early."""

from __future__ import annotations

import gc
import itertools
import logging
import threading

import anyio
import pytest

from glasspool import ExecutorClosed, HybridExecutor, Outcome

from .support import Gate, echo, forever, turns, until

pytestmark = pytest.mark.anyio


async def crooked(number: int) -> int:
    """Later items end earlier."""
    await turns(2 * (7 - number % 8))  # more than the turns in which a source may be slower
    return number


async def countdown(values):
    for value in values:
        await anyio.lowlevel.checkpoint()
        yield value


SOURCES = {"sync": lambda count: range(count), "async": lambda count: countdown(range(count))}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
async def test_map_keeps_the_order_of_the_source(source):
    async with HybridExecutor("map", max_in_flight=4) as executor:
        assert [value async for value in executor.map(crooked, source(200))] == list(range(200))
        assert executor.stats().succeeded == 200


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
async def test_as_completed_gives_everything_once(source):
    async with HybridExecutor("completed", max_in_flight=8) as executor:
        values = [completed.unwrap() async for completed in executor.as_completed(crooked, source(200))]
        assert sorted(values) == list(range(200))
        assert values != sorted(values)


@pytest.mark.parametrize("method", ["map", "as_completed"])
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
async def test_empty_sources(method, source):
    async with HybridExecutor("empty", max_in_flight=1) as executor:
        iteration = getattr(executor, method)(echo, source(0))
        assert [item async for item in iteration] == []
        with pytest.raises(StopAsyncIteration):
            await anext(iteration)


async def test_a_small_queue_and_other_producers_do_not_starve_an_iteration():
    async with HybridExecutor("small", max_in_flight=1, max_queued=0) as executor:
        async with anyio.create_task_group() as group:

            async def producer():
                for _ in range(50):
                    await executor.submit(echo, 1)

            for _ in range(3):
                group.start_soon(producer)
            assert [value async for value in executor.map(echo, range(50))] == list(range(50))
    assert executor.stats().succeeded == 200


async def test_map_raises_the_first_error_and_cancels_the_rest():
    closed = []

    def source():
        try:
            yield from itertools.count()
        finally:
            closed.append(True)

    async def fails_at_five(number):
        if number == 5:
            raise ValueError("five")
        if number > 5:
            await anyio.sleep_forever()
        return number

    async with HybridExecutor("first", max_in_flight=3) as executor:
        foreign = await executor.submit(forever)
        seen = []
        iteration = executor.map(fails_at_five, source())
        with pytest.raises(ValueError, match="five"):
            async for value in iteration:
                seen.append(value)
        assert seen == [0, 1, 2, 3, 4]
        assert closed == [True]
        with pytest.raises(StopAsyncIteration):
            await anext(iteration)
        await iteration.aclose()
        assert executor.stats().in_flight == 1  # the call's own are gone
        assert not foreign.done
        foreign.cancel()


async def test_as_completed_gives_errors_as_outcomes():
    async with HybridExecutor("outcomes", max_in_flight=3) as executor:
        outcomes = [
            completed.outcome async for completed in executor.as_completed(lambda number: 1 // number, [1, 0, 1])
        ]
        assert sorted(outcomes) == [Outcome.ERROR, Outcome.SUCCESS, Outcome.SUCCESS]


@pytest.mark.parametrize("method", ["map", "as_completed"])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_sources_error_comes_after_the_outcomes_accepted_before(method, kind):
    def broken():
        yield from range(5)
        raise LookupError("the source broke")

    async def broken_later():
        for value in broken():
            yield value

    async with HybridExecutor("broken", max_in_flight=2) as executor:
        seen = []
        with pytest.raises(LookupError, match="the source broke"):
            async for item in getattr(executor, method)(crooked, broken() if kind == "sync" else broken_later()):
                seen.append(item if method == "map" else item.value)
        assert sorted(seen) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("method", ["map", "as_completed"])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_break_is_safe_and_cancels_the_calls_own_tasks(method, kind):
    closed = []

    def endless():
        try:
            yield from itertools.count()
        finally:
            closed.append("closed")

    async def endless_later():
        try:
            for value in itertools.count():
                yield value
        finally:
            closed.append("closed")

    async def first_only(number):
        if number:
            await anyio.sleep_forever()
        return number

    async with HybridExecutor("break", max_in_flight=4) as executor:
        async for _ in getattr(executor, method)(first_only, endless() if kind == "sync" else endless_later()):
            break
        gc.collect()
        await until(lambda: executor.stats().in_flight == 0 and closed)
        assert executor.stats().queued == 0
        assert await executor.run(echo, 1) == 1
    assert closed == ["closed"]


@pytest.mark.parametrize("method", ["map", "as_completed"])
async def test_a_break_cancels_what_runs_and_what_waits(method):
    begun, ended = [], []

    async def first_only(number):
        begun.append(number)
        try:
            if number:
                await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            ended.append(number)
            raise
        return number

    async with HybridExecutor("break", max_in_flight=2, max_queued=1) as executor:
        async for _ in getattr(executor, method)(first_only, range(20)):
            await until(lambda: len(begun) == 3)
            break
        await until(lambda: executor.stats().in_flight == executor.stats().queued == 0)
        stats = executor.stats()
    assert (stats.succeeded, stats.cancelled) == (1, stats.submitted - 1)
    assert {1, 2} <= set(begun)
    assert sorted(ended) == sorted(set(begun) - {0})


@pytest.mark.parametrize("method", ["map", "as_completed"])
@pytest.mark.parametrize("way", ["break", "async with"])
async def test_threads_that_an_iteration_leaves_behind_run_to_their_end(method, way):
    release, begun, ended = threading.Event(), [], []

    def first_only(number):
        begun.append(number)
        if number:
            release.wait()
            ended.append(number)

    try:
        async with HybridExecutor("break", max_in_flight=2) as executor:
            iteration = getattr(executor, method)(first_only, range(20))
            if way == "break":
                async for _ in iteration:
                    await until(lambda: len(begun) == 3)
                    break
                del iteration
            else:
                async with iteration:
                    await anext(iteration)
                    await until(lambda: len(begun) == 3)
            await until(lambda: executor.stats().in_flight == executor.stats().queued == 0)
            assert executor.stats().abandoned == 2
            assert not ended
            release.set()
            await until(lambda: executor.stats().abandoned == 0)
    finally:
        release.set()
    assert sorted(ended) == [1, 2]


@pytest.mark.parametrize("method", ["map", "as_completed"])
async def test_async_with_closes(method):
    async with HybridExecutor("with", max_in_flight=4) as executor:
        async with getattr(executor, method)(turns, itertools.repeat(3)) as iteration:
            async for _ in iteration:
                break
        assert executor.stats().in_flight == executor.stats().queued == 0
        with pytest.raises(StopAsyncIteration):
            await anext(iteration)
        await iteration.aclose()


async def test_look_ahead_is_bounded():
    taken = []

    def source():
        for number in itertools.count():
            taken.append(number)
            yield number

    async def source_later():
        for number in source():
            yield number

    async with HybridExecutor("ahead", max_in_flight=5, max_queued=None) as executor:
        for made in (source(), source_later()):
            taken.clear()
            async with executor.as_completed(echo, made) as iteration:
                async for _ in iteration:
                    break
                await anyio.wait_all_tasks_blocked()
                assert 10 <= len(taken) <= 2 * 5 + 1  # one of them is the consumer's already


async def test_a_slow_source_never_delays_a_ready_completion():
    gate = Gate()

    async def slow():
        yield 1
        yield 2
        await gate.hold()
        yield 3

    async with HybridExecutor("slow", max_in_flight=2) as executor:
        iteration = executor.as_completed(echo, slow())
        assert {(await anext(iteration)).value, (await anext(iteration)).value} == {1, 2}
        assert gate.ended == []
        gate.open()
        assert (await anext(iteration)).value == 3


async def test_an_endless_source_under_a_time_limit_ends():
    async with HybridExecutor("endless", max_in_flight=4) as executor:
        with anyio.move_on_after(0.05) as scope:
            async for _ in executor.as_completed(echo, itertools.count()):
                pass
        assert scope.cancelled_caught
        with anyio.move_on_after(0.05) as scope:
            while True:
                await executor.submit(echo, 1)
        assert scope.cancelled_caught


async def test_a_consumer_that_never_consumes_holds_nobody_up():
    async with HybridExecutor("never", max_in_flight=2, max_queued=2) as executor:
        iteration = executor.as_completed(echo, range(100))
        await anext(iteration)
        assert [value async for value in executor.map(echo, range(50))] == list(range(50))
        assert await executor.run(echo, 1) == 1
        await executor.shutdown()


async def test_an_iteration_in_another_task_is_told_when_the_executor_closes():
    errors = []

    async def source():
        yield 1
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group, HybridExecutor("closes", max_in_flight=2) as executor:

        async def consume():
            with pytest.raises(ExecutorClosed, match="'closes' closed before as_completed had read its source"):
                async for completed in executor.as_completed(echo, source()):
                    errors.append(completed.value)

        group.start_soon(consume)
        await until(lambda: errors)
    assert errors == [1]


@pytest.mark.parametrize("method", ["map", "as_completed"])
@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("state", ["draining", "closed"])
async def test_an_iteration_that_is_begun_when_the_executor_closes_can_be_closed(method, kind, state):
    gate, source, reports = Gate(), SOURCES[kind](3), []
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group, HybridExecutor("closes", max_in_flight=1) as executor:
            await executor.submit(gate.hold)
            await until(lambda: gate.started)
            iteration = getattr(executor, method)(echo, source)

            async def shutdown():
                reports.append(await executor.shutdown())

            group.start_soon(shutdown)
            await anyio.wait_all_tasks_blocked()
            if state == "closed":
                gate.open()
                await until(lambda: reports)
            with pytest.raises(ExecutorClosed, match=f"'closes' closed before {method} had read its source"):
                await anext(iteration)
            await iteration.aclose()
            await iteration.aclose()
            gate.open()
    if kind == "async":
        assert [value async for value in source] == [], "the source was not closed"


def ours(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "glasspool"]  # asyncio's debug mode logs as well


async def test_a_source_that_fails_to_close_is_logged_when_the_iteration_is_lost(caplog):
    def source():
        try:
            yield from itertools.count()
        finally:
            raise LookupError("while closing")

    async with HybridExecutor("badly", max_in_flight=1) as executor:
        async for _ in executor.map(echo, source()):
            break
        gc.collect()
        await until(lambda: ours(caplog))
        assert await executor.run(echo, 1) == 1
        iteration = executor.map(echo, source())
        await anext(iteration)
        with pytest.raises(LookupError, match="while closing"):
            await iteration.aclose()
        assert executor.stats().in_flight == 0
    (record,) = ours(caplog)
    assert "closing the source of map of executor 'badly' failed" in record.getMessage()


async def test_options_apply_to_every_task():
    async with HybridExecutor("options", max_in_flight=2) as executor:
        done = [item async for item in executor.as_completed(forever_with, range(3), timeout=0.01, name="slow")]
        assert [completed.outcome for completed in done] == [Outcome.TIMEOUT] * 3
        assert {completed.item.name for completed in done} == {"slow"}
        with pytest.raises(TypeError, match="no option 'speed'"):
            executor.map(echo, [1], speed=3)
        with pytest.raises(TypeError, match="source must be an iterable or an async iterable, not 5"):
            executor.map(echo, 5)


async def forever_with(_: int) -> None:
    await anyio.sleep_forever()


@pytest.mark.parametrize("method", ["map", "as_completed"])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_losing_an_iteration_whose_source_has_failed_cancels_at_once(method, kind):
    """The source's error has not been raised yet; its traceback leads to the iteration."""

    def broken():
        yield 0
        yield 1
        raise LookupError

    async def broken_later():
        for number in broken():
            yield number

    async def work(number):
        if number:
            await anyio.sleep_forever()

    gc.disable()
    try:
        async with HybridExecutor("lost", max_in_flight=2) as executor:
            async for _ in getattr(executor, method)(work, broken() if kind == "sync" else broken_later()):
                break
            await until(lambda: executor.stats().cancelled == 1)
    finally:
        gc.enable()
