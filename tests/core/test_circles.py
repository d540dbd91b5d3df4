"""Circles of waits across executors, threads and event loops: the wait that closes one is refused, and no other
wait."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest
from anyio import from_thread, to_thread
from anyio.lowlevel import checkpoint

from glasspool import HybridExecutor, NestedWait, TaskCancelled, TaskHandle, TaskTimeout
from glasspool._core import waits
from glasspool.testing import run_out_of_time

from .support import PATIENCE, Gate, cancelled_once_blocked, echo, turns, until

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def no_wait_is_left() -> Iterator[None]:
    """A wait that has ended has left the graph."""
    yield
    graph = waits.WAITS
    assert (graph.waits, graph.waiting, graph.awaited, graph.lending) == ({}, {}, {}, {})


# -- the ways in which a task can wait for another executor ------------------------------------------------------------

Way = Callable[..., Awaitable[Any]]
WAYS: dict[str, Way] = {}


def way(function: Way) -> Way:
    WAYS[function.__name__] = function
    return function


@way
async def run(executor: HybridExecutor, fn: Any, *arguments: Any) -> Any:
    return await executor.run(fn, *arguments)


@way
async def handle(executor: HybridExecutor, fn: Any, *arguments: Any) -> Any:
    return await (await executor.submit(fn, *arguments))


@way
async def outcome(executor: HybridExecutor, fn: Any, *arguments: Any) -> Any:
    return (await (await executor.submit(fn, *arguments)).outcome()).unwrap()


@way
async def pile_next(executor: HybridExecutor, fn: Any, *arguments: Any) -> Any:
    async with executor.pile() as pile:
        await pile.include(fn, *arguments)
        return (await pile.next_completed()).unwrap()


@way
async def pile_drain(executor: HybridExecutor, fn: Any, *arguments: Any) -> Any:
    async with executor.pile() as pile:
        await pile.include(fn, *arguments)
        (completed,) = await pile.drain()
        return completed.unwrap()


@way
async def pile_left(executor: HybridExecutor, fn: Any, *arguments: Any) -> Any:
    async with executor.pile() as pile:
        included = await pile.include(fn, *arguments)
    return await included


@way
async def map_(executor: HybridExecutor, fn: Any, *arguments: Any) -> Any:
    async with executor.map(partial(_spread, fn), [arguments]) as iteration:
        return await anext(iteration)


@way
async def as_completed(executor: HybridExecutor, fn: Any, *arguments: Any) -> Any:
    async with executor.as_completed(partial(_spread, fn), [arguments]) as iteration:
        return (await anext(iteration)).unwrap()


@way
async def as_completed_later(executor: HybridExecutor, fn: Any, *arguments: Any) -> Any:
    async def source() -> AsyncIterator[Any]:
        yield arguments

    async with executor.as_completed(partial(_spread, fn), source()) as iteration:
        return (await anext(iteration)).unwrap()


@way
async def in_a_nursery(executor: HybridExecutor, fn: Any, *arguments: Any) -> Any:
    found: list[Any] = []

    async def branch() -> None:
        try:
            found.append(await executor.run(fn, *arguments))
        except NestedWait as error:
            found.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(branch)
    if isinstance(found[0], NestedWait):
        raise found[0]
    return found[0]


async def _spread(fn: Any, arguments: tuple[Any, ...]) -> Any:
    return await fn(*arguments)


@asynccontextmanager
async def entered(*executors: HybridExecutor) -> AsyncIterator[tuple[HybridExecutor, ...]]:
    """All of them open, one within the other."""
    async with AsyncExitStack() as stack:
        for executor in executors:
            await stack.enter_async_context(executor)
        yield executors


def opened(*names: str, slots: int = 1, places: int | None = 1024) -> AbstractAsyncContextManager[Any]:
    return entered(*(HybridExecutor(name, max_in_flight=slots, max_queued=places) for name in names))


# -- chains: refused the first time, whether there are slots or not ----------------------------------------------------


@pytest.mark.parametrize("outer", WAYS)
async def test_a_task_that_waits_for_the_executor_of_who_waits_for_it_is_told(outer):
    for inner in WAYS:
        await _chain_of_two(outer, inner)


async def _chain_of_two(outer: str, inner: str) -> None:
    async with opened("outer", "inner", slots=5) as (a, b):
        refused = []

        async def leaf() -> int:
            return 1

        async def mid() -> None:
            try:
                await WAYS[inner](a, leaf)
            except NestedWait as error:
                refused.append(error)
                raise

        async def top() -> None:
            await WAYS[outer](b, mid)

        with pytest.raises(NestedWait):
            await a.run(top)
        (error,) = refused
        chain = r"task '.*top' of 'outer' waits for task '.*(mid|_spread.*)' of 'inner', which would wait for 'outer'"
        assert "would close a circle of waits" in str(error)
        assert_matches(chain, error)
        assert "call the function itself, without an executor" in str(error)


def assert_matches(pattern: str, error: BaseException) -> None:
    with pytest.raises(type(error), match=pattern):
        raise error


async def test_the_programs_that_hung_end():
    async with opened("outer", "inner", slots=2) as (a, b):

        async def leaf(number: int) -> int:
            return number

        async def mid(number: int) -> int:
            return await a.run(leaf, number)

        async def top(number: int) -> int:
            return await b.run(mid, number)

        refused = []

        async def caller(number: int) -> None:
            with pytest.raises(NestedWait):
                await a.run(top, number)
            refused.append(number)

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(caller, number)
        assert sorted(refused) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("length", [2, 3, 6])
async def test_a_chain_is_named_from_end_to_end(length):
    names = [f"e{number}" for number in range(length)]
    async with opened(*names, slots=3) as executors:

        async def step(number: int) -> Any:
            return await executors[(number + 1) % length].run(step, number + 1, name=f"step{number + 1}")

        with pytest.raises(NestedWait) as caught:
            await executors[0].run(step, 0, name="step0")
        links = " waits for ".join(f"task 'step{number}' of 'e{number}'" for number in range(length))
        assert f"{links}, which would wait for 'e0'" in str(caught.value)
        assert executors[0].stats().submitted == 1  # `run` submits nothing that it may not wait for


@pytest.mark.parametrize("where", ["outer", "inner", "both"])
async def test_threads_are_links_of_a_chain(where):
    async with opened("outer", "inner", slots=3) as (a, b):

        async def mid() -> Any:
            return await a.run(echo, 1)

        async def top() -> Any:
            return await b.run(mid_in_thread if where != "outer" else mid)

        def mid_in_thread() -> Any:
            return from_thread.run(a.run, echo, 1)

        def top_in_thread() -> Any:
            return from_thread.run(b.run, mid_in_thread if where != "outer" else mid)

        with pytest.raises(NestedWait, match=r"'outer' waits for task '.*mid.*' of 'inner', which would wait for 'out"):
            await a.run(top if where == "inner" else top_in_thread)


async def test_executors_of_other_event_loops_are_links_of_a_chain(anyio_backend):
    """A task's thread runs an event loop of its own with an executor, whose task asks for the outer one again."""
    backend, options = anyio_backend
    async with from_thread.BlockingPortal() as portal, opened("outer", slots=3) as (a,):

        def back() -> Any:
            return portal.call(a.run, echo, 1)

        async def mid() -> Any:
            return await to_thread.run_sync(back)

        async def within() -> Any:
            async with HybridExecutor("inner", max_in_flight=3) as b:
                return await b.run(mid)

        def top() -> Any:
            return anyio.run(within, backend=backend, backend_options=options)

        with pytest.raises(NestedWait, match=r"'.*top' of 'outer' waits for task '.*mid' of 'inner', which would wait"):
            await a.run(top)


async def test_submit_without_room_is_a_wait():
    async with opened("a", "b", places=0) as (a, b):
        gate = Gate()

        async def mid() -> None:
            await a.submit(echo, 1)

        async def top() -> None:
            await b.run(mid)

        with pytest.raises(NestedWait, match=r"submit without room .*circle.* 'a' holds 0 of 0 queued"):
            await a.run(top)
        assert a.stats().rejected == 1
        a.resize(2)

        async def mid_with_room() -> TaskHandle[Any]:
            return await a.submit(echo, 2)

        async def top_with_room() -> Any:
            return await b.run(mid_with_room)

        assert await (await a.run(top_with_room)) == 2  # no task has waited
        gate.open()


async def test_shutdown_is_a_wait():
    async with opened("a", "b", slots=2) as (a, b):

        async def mid() -> None:
            await a.shutdown()

        async def top() -> None:
            await b.run(mid)

        with pytest.raises(NestedWait, match=r"shutdown inside task '.*mid' of executor 'b'"):
            await a.run(top)
        assert await a.run(echo, 3) == 3  # nothing has been touched


async def test_whoever_waits_for_an_executor_to_close_waits_for_its_tasks():
    async with opened("a", slots=2) as (a,):
        refused = []

        async def mid() -> None:
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(NestedWait, match=r"'.*top' of 'a' waits for task '.*mid' of 'b', which would wait for"):
                await a.run(echo, 1)
            refused.append(True)

        async def top() -> None:
            async with HybridExecutor("b", max_in_flight=1) as b:
                await b.submit(mid)

        await a.run(top)
        assert refused == [True]


async def test_a_pile_is_waited_for_by_who_waits_for_any_of_it():
    async with opened("a", "b", slots=4) as (a, b):
        gate = Gate()

        async def mid() -> None:
            await a.run(echo, 1)

        async def top() -> Any:
            async with b.pile() as pile:
                await pile.include(gate.hold)
                await pile.include(mid, name="mid")
                first = await pile.next_completed()
                gate.open()
                return first.error

        error = await a.run(top)
        assert isinstance(error, NestedWait)
        assert "waits for task 'mid' of 'b'" in str(error)


@pytest.mark.parametrize("inner", WAYS)
async def test_a_chain_through_another_executor_is_refused_though_the_first_lends_its_slot(inner):
    async with opened("outer", "inner", slots=3) as (a, b):

        async def low() -> None:
            await WAYS[inner](a, echo, 1)

        async def mid() -> None:
            await b.run(low, name="low")

        async def top() -> None:
            await WAYS[inner](a, mid)

        with pytest.raises(NestedWait, match="task 'low' of 'inner', which would wait for 'outer'"):
            await a.run(top)
        assert (a.stats().lent, a.stats().slots_used) == (0, 0)


async def test_a_task_that_waits_for_itself_is_told():
    async with opened("own", slots=3) as (executor,):
        handles: list[TaskHandle[Any]] = []

        async def itself() -> None:
            await anyio.wait_all_tasks_blocked()
            await handles[0]

        handles.append(await executor.submit(itself, name="itself"))
        with pytest.raises(NestedWait, match="'itself' of 'own', which would wait for itself"):
            await handles[0]


@pytest.mark.parametrize("timeout", [None, 3600])
async def test_a_task_that_waits_for_who_waits_for_it_is_told(timeout):
    """Of its own executor, where the waits of others lend their slots."""
    async with opened("own", slots=3) as (executor,):
        told = []

        async def child() -> None:
            await anyio.wait_all_tasks_blocked()
            try:
                await handle
            except NestedWait as error:
                told.append(error)

        async def middle() -> None:
            await executor.run(child, name="child", timeout=timeout)

        async def parent() -> None:
            await executor.run(middle, name="middle")

        handle = await executor.submit(parent, name="parent", timeout=timeout)
        await handle
    (error,) = told
    assert_matches(
        "would close a circle of waits, which could hang for ever: task 'parent' of 'own' waits for task 'middle' of "
        "'own' waits for task 'child' of 'own', which would wait for task 'parent' of 'own'",
        error,
    )


@pytest.mark.parametrize("through", [False, True])
async def test_a_dependency_counts_as_a_wait(through):
    async with opened("own", "other", slots=3) as (executor, other):
        told = []

        async def parent() -> None:
            dependent = await executor.submit(echo, 1, after=[handles[0]], name="dependent")
            try:
                await (other.run(dependent.outcome) if through else dependent)
            except NestedWait as error:
                told.append(error)
            handles.append(dependent)

        handles: list[TaskHandle[Any]] = []
        go = Gate()

        async def starts() -> None:
            await go.hold()
            await parent()

        handles.append(await executor.submit(starts, name="parent"))
        go.open()
        await handles[0]
        assert await handles[1] == 1
    (error,) = told
    if not through:
        assert_matches(
            "would hang for ever: task 'parent' of 'own' would wait for task 'dependent' of 'own', which is queued; "
            "task 'dependent' of 'own' depends on task 'parent' of 'own'",
            error,
        )


@pytest.mark.parametrize("what", ["drain", "pile", "map"])
async def test_a_task_that_waits_for_a_collection_with_itself_in_it_is_told(what):
    async with opened("own", slots=3) as (executor,):
        told = []

        async def waits(_: int = 0) -> None:
            await anyio.wait_all_tasks_blocked()
            try:
                await (collection.drain() if what == "drain" else anext(collection))
            except NestedWait as error:
                told.append(error)

        collection: Any = executor.map(waits, [0]) if what == "map" else executor.pile()
        if what == "map":
            assert [value async for value in collection] == [None]
        else:
            await (await collection.include(waits)).outcome()
    (error,) = told
    assert "would hang for ever" in str(error)


async def test_a_circle_that_closes_with_the_wait_of_a_task_that_has_lent_its_slot():
    """r lends a's slot to x and needs it again; x waits for y of b, which waits for r."""
    async with opened("a", "b") as (a, b):
        told = []

        async def y() -> None:
            await r_handle

        async def x() -> None:
            await anyio.wait_all_tasks_blocked()
            try:
                await y_handle
            except NestedWait as error:
                told.append(error)

        async def r() -> None:
            await a.run(x, name="x")

        r_handle = await a.submit(r, name="r")
        y_handle = await b.submit(y, name="y")
        await y_handle
        assert len(told) == 1


# -- standstills: found by the wait that closes them -------------------------------------------------------------------


async def test_a_ring_that_closes_from_its_other_end_is_found():
    """x waits for the running task y already when y begins to wait for x."""
    async with opened("a", "b", slots=3) as (a, b):
        ready = anyio.Event()

        async def y() -> None:
            await ready.wait()
            await x_handle

        async def x() -> None:
            await y_handle

        y_handle = await a.submit(y, name="y")
        x_handle = await b.submit(x, name="x")
        await anyio.wait_all_tasks_blocked()
        ready.set()
        with pytest.raises(NestedWait) as caught:
            await y_handle
        assert "would close a circle" in str(caught.value) or "would hang for ever" in str(caught.value)
        with pytest.raises(NestedWait):
            await x_handle  # the error of y, which it has awaited


@pytest.mark.parametrize("place", ["loop", "thread"])
@pytest.mark.parametrize("inner", WAYS)
async def test_a_circle_through_slots_is_found(inner, place):
    """t holds a's slot and waits for x, queued in b; y holds b's slot and waits for z, queued in a."""
    async with opened("a", "b") as (a, b):
        ready, done = anyio.Event(), []

        async def y() -> None:
            await ready.wait()
            await WAYS[inner](a, z)

        def y_in_thread() -> None:
            from_thread.run(y)

        async def x() -> None:
            done.append("x")

        async def z() -> None:
            done.append("z")

        async def t() -> None:
            await b.run(x, name="x")

        y_handle = await b.submit(y if place == "loop" else y_in_thread, name="y")
        t_handle = await a.submit(t, name="t")
        await until(lambda: b.stats().queued == 1)
        ready.set()
        with pytest.raises(NestedWait) as caught:
            await y_handle
        assert_matches(
            r"would hang for ever: task 'y' of 'b' would wait for task '.*(z|_spread.*)' of 'a', which is queued; "
            r"every slot of 'a' is held by a task that waits, such as task 't' of 'a'; "
            r"task 't' of 'a' waits for task 'x' of 'b', which is queued; "
            r"every slot of 'b' is held by a task that waits, such as task 'y' of 'b'\. Within a task call",
            caught.value,
        )
        await t_handle  # it goes on, and so does everything else
        assert done[0] == "x"
        assert await a.run(echo, 1) == 1


async def test_a_circle_through_blocked_producers_is_found():
    async with opened("a", "b", places=0) as (a, b):
        ready = anyio.Event()

        async def y() -> None:
            await ready.wait()
            await a.submit(echo, 1)

        async def t() -> None:
            await b.submit(echo, 2)

        y_handle = await b.submit(y, name="y")
        t_handle = await a.submit(t, name="t")
        await until(lambda: b.stats().pending == 1)
        ready.set()
        with pytest.raises(NestedWait, match="task 'y' of 'b' would wait for room in 'a'; every slot of 'a' is held"):
            await y_handle
        await t_handle
        assert (a.stats().rejected, a.stats().pending) == (1, 0)


async def test_a_circle_through_an_item_in_hand_is_found():
    """An iteration with nothing but an item that finds no room waits for that room."""
    for later in (False, True):
        async with opened("a", "b", places=0) as (a, b):
            ready = anyio.Event()

            async def source() -> AsyncIterator[int]:
                yield 1

            async def y(a: HybridExecutor = a, ready: anyio.Event = ready) -> None:
                await ready.wait()
                await a.submit(echo, 1)

            async def t(b: HybridExecutor = b, later: bool = later) -> list[Any]:
                return [value async for value in b.map(echo, source() if later else [1])]

            y_handle = await b.submit(y, name="y")
            t_handle = await a.submit(t, name="t")
            await until(lambda b=b: b.stats().pending == 1)
            await anyio.wait_all_tasks_blocked()
            ready.set()
            with pytest.raises(NestedWait, match="task 't' of 'a' waits for room in 'b'"):
                await y_handle
            assert await t_handle == [1]


@pytest.mark.parametrize("waits_for", ["all", "any"])
async def test_a_circle_through_several_slots_and_tasks_is_found_by_the_last(waits_for):
    async with opened("a", "b", slots=3) as (a, b):
        doors = [anyio.Event() for _ in range(3)]
        refused = []

        async def y(number: int) -> None:
            await doors[number].wait()
            try:
                async with a.pile() as pile:
                    for _ in range(2):
                        await pile.include(echo, number)
                    await (pile.drain() if waits_for == "all" else pile.next_completed())
            except NestedWait:
                refused.append(number)

        async def t(number: int) -> int:
            return await b.run(echo, number)

        ys = [await b.submit(y, number) for number in range(3)]
        ts = [await a.submit(t, number) for number in range(3)]
        for number in (0, 1, 2):
            await until(lambda: b.stats().queued == 3)
            assert refused == []
            doors[number].set()
            await turns(5)
        for handle in ys:
            await handle
        assert refused == [2]
        assert [await handle for handle in ts] == [0, 1, 2]


async def test_a_circle_across_event_loops_and_threads_is_found(anyio_backend):
    """The executors live in event loops of two threads; each one's only slot waits for a task queued in the other."""
    backend, options = anyio_backend
    ready = anyio.Event()
    b_open: list[HybridExecutor] = []

    async with from_thread.BlockingPortal() as here, opened("a") as (a,):

        async def second_loop() -> None:
            async with from_thread.BlockingPortal() as there, HybridExecutor("b", max_in_flight=1) as b:
                stop = anyio.Event()
                b_open.extend((b, there, stop))
                await stop.wait()

        async with anyio.create_task_group() as group:
            group.start_soon(
                partial(to_thread.run_sync, partial(anyio.run, second_loop, backend=backend, backend_options=options))
            )
            await until(lambda: len(b_open) == 3)
            b, there, stop = b_open

            def y() -> Any:
                here.call(ready.wait)
                return here.call(a.run, echo, "z")

            def t() -> Any:
                return there.call(b.run, echo, "x")

            async def submit_there() -> Any:
                return b.submit_nowait(y, name="y")

            y_handle = await to_thread.run_sync(there.call, submit_there)
            t_handle = await a.submit(t, name="t")
            await until(lambda: b.stats().queued == 1)
            ready.set()
            error = await to_thread.run_sync(there.call, _error_of, y_handle)
            assert isinstance(error, NestedWait)
            assert_matches("'y' of 'b' would wait for task .* of 'a', which is queued; every slot of 'a'", error)
            assert await t_handle == "x"
            await to_thread.run_sync(there.call, stop.set)


async def _error_of(handle: TaskHandle[Any]) -> BaseException | None:
    return (await handle.outcome()).error


@pytest.mark.parametrize("kind", ["pile", "sync", "async"])
async def test_a_task_that_closes_its_own_pile_or_iteration_is_told(kind):
    told: list[BaseException] = []

    async def later() -> AsyncIterator[int]:
        yield 1
        await anyio.sleep_forever()

    async def worker(_: int = 0) -> None:
        await turns(3)
        try:
            await collection.aclose()
        except NestedWait as error:
            told.append(error)

    async with opened("own", slots=2) as (executor,):
        collection: Any
        if kind == "pile":
            collection = executor.pile()
            await (await collection.include(worker)).outcome()
        else:
            collection = executor.as_completed(worker, later() if kind == "async" else [1])
            with pytest.raises(StopAsyncIteration):  # it is closed
                await anext(collection)
        assert not (await executor.shutdown(grace=30)).cut
    (error,) = told
    assert_matches(r"closing .* inside task '.*worker' .* would hang for ever", error)


async def test_a_thread_that_was_left_behind_holds_its_slot_and_lends_it():
    started, left, ended = threading.Event(), threading.Event(), []

    def nested() -> None:
        started.set()
        left.wait(PATIENCE)
        ended.append(from_thread.run(a.run, echo, 1))

    async with opened("a") as (a,):
        handle = await a.submit(nested)
        await until(started.is_set)
        handle.cancel()
        await handle.outcome()
        assert a.stats().abandoned == 1
        left.set()
        await until(lambda: a.stats().slots_used == 0)
    assert ended == [1]


# -- no alarm where something can move ---------------------------------------------------------------------------------


@pytest.mark.parametrize("first", WAYS)
async def test_pipelines_of_one_slot_each_are_left_alone(first):
    for second in WAYS:
        await _pipeline(first, second)


async def _pipeline(first: str, second: str) -> None:
    async with opened("a", "b", "c") as (a, b, c):

        async def mid(number: int) -> Any:
            return await WAYS[second](c, echo, number)

        async def top(number: int) -> Any:
            return await WAYS[first](b, mid, number)

        assert [value async for value in a.map(top, range(10))] == list(range(10))


async def test_fans_and_diamonds_are_left_alone():
    async with opened("a", "b", "c", slots=2) as (a, b, c):

        async def low(number: int) -> int:
            return await c.run(echo, number)

        async def top(number: int) -> int:
            async with b.pile() as pile:
                for part in range(3):
                    await pile.include(low, part)
                direct = await c.run(echo, number)
                return sum((await pile.drain()).values()) + direct

        values = [value async for value in a.map(top, range(20))]
        assert values == [3 + number for number in range(20)]


async def test_many_waiters_of_one_task_are_left_alone():
    async with opened("a", "b", "c", slots=50) as (a, b, c):
        gate = Gate()

        async def shared() -> Any:
            await c.run(gate.hold)
            return await c.run(echo, 5)

        shared_handle = await b.submit(shared)

        async def waiter() -> Any:
            return await shared_handle

        handles = [await a.submit(waiter) for _ in range(100)]
        await anyio.wait_all_tasks_blocked()
        gate.open()
        assert [await handle for handle in handles] == [5] * 100


async def test_a_circle_of_executors_that_can_move_is_left_alone_when_it_closes_from_its_other_end():
    """x of b waits for y of a, which runs; then another task of a waits for x."""
    async with opened("a", "b", slots=2) as (a, b):
        gate = Gate()
        y_handle = await a.submit(gate.hold, "y")

        async def x() -> Any:
            return await y_handle

        x_handle = await b.submit(x)
        await anyio.wait_all_tasks_blocked()

        async def t() -> Any:
            return await x_handle

        t_handle = await a.submit(t)
        await anyio.wait_all_tasks_blocked()
        gate.open()
        assert await t_handle == "y"


async def test_full_slots_of_which_one_can_move_are_left_alone():
    async with opened("a", "b", "c", slots=2) as (a, b, c):
        gate, ready = Gate(), anyio.Event()

        async def waits_for_c() -> Any:
            return await c.run(gate.hold, "c")

        async def waits_for_a() -> Any:
            await ready.wait()
            return await a.run(echo, "a")

        async def waits_for_b(name: str) -> Any:
            return await b.run(echo, name)

        low = [await b.submit(waits_for_c), await b.submit(waits_for_a)]
        top = [await a.submit(waits_for_b, name) for name in "xy"]
        await until(lambda: b.stats().queued == 2)
        ready.set()
        await anyio.wait_all_tasks_blocked()
        assert (a.stats().queued, a.stats().failed, b.stats().failed) == (1, 0, 0)
        gate.open()
        assert [await handle for handle in low] == ["c", "a"]
        assert [await handle for handle in top] == ["x", "y"]


@pytest.mark.parametrize("gone", ["scope", "handle", "timeout"])
@pytest.mark.parametrize("settled", [True, False])
async def test_a_waiter_that_has_gone_waits_no_more(gone, settled):
    for slots in (1, 2):
        for inner in WAYS:
            await _waiter_gone(gone, settled, slots, inner)


async def _waiter_gone(gone: str, settled: bool, slots: int, inner: str) -> None:
    """top of a waits for mid of b and is cancelled; then mid waits for a, perhaps in the same turn of the loop."""
    async with opened("a", "b", slots=slots) as (a, b):
        go, scopes = anyio.Event(), []

        async def mid() -> Any:
            await go.wait()
            return await WAYS[inner](a, echo, 7)

        mid_handle = await b.submit(mid)

        async def top() -> Any:
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                return await mid_handle
            return "left"

        top_handle = await a.submit(top, timeout=3600 if gone == "timeout" else None)
        await anyio.wait_all_tasks_blocked()

        def leave() -> None:
            if gone == "scope":
                scopes[0].cancel()
            elif gone == "handle":
                top_handle.cancel()
            else:
                run_out_of_time(top_handle)

        if settled:
            leave()
            await anyio.wait_all_tasks_blocked()
            go.set()
        else:
            go.set()
            leave()
        assert await mid_handle == 7
        assert (await top_handle.outcome()).outcome.value == {"scope": "success", "handle": "cancelled"}.get(gone, gone)


async def test_tasks_that_end_by_their_own_time_limit_do_not_stand_still():
    async with opened("a", "b") as (a, b):
        ready = anyio.Event()

        async def y() -> Any:
            await ready.wait()
            return await a.run(echo, "z")

        async def t() -> Any:
            return await b.run(echo, "x")

        y_handle = await b.submit(y)
        t_handle = await a.submit(t, timeout=3600)
        await until(lambda: b.stats().queued == 1)
        ready.set()
        await anyio.wait_all_tasks_blocked()
        assert not y_handle.done
        run_out_of_time(t_handle)
        with pytest.raises(TaskTimeout):
            await t_handle
        assert await y_handle == "z"


async def test_a_background_task_of_a_task_that_has_ended_belongs_to_nobody():
    async with opened("a") as (a,):
        async with anyio.create_task_group() as group:
            found = []
            go = anyio.Event()

            async def background() -> None:
                await go.wait()
                found.append(await a.run(echo, 4))

            async def starts() -> None:
                group.start_soon(background)

            await a.run(starts)
            go.set()
        assert found == [4]


async def test_cancelled_waits_leave_and_may_be_tried_again():
    async with opened("a", "b", slots=2) as (a, b):
        gate = Gate()

        async def top() -> Any:
            low = await b.submit(gate.hold, 3)
            for _ in range(3):
                async with cancelled_once_blocked():
                    await low
            gate.open()
            return await low

        assert await a.run(top) == 3


async def test_run_within_a_task_that_is_cancelled_still_waits_for_the_cleanup():
    async with opened("a", "b") as (a, b):
        events = []

        async def slow_to_leave() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await turns(5)
                    events.append("cleaned up")

        async def top() -> None:
            try:
                await b.run(slow_to_leave)
            finally:
                events.append("left")

        handle = await a.submit(top)
        await anyio.wait_all_tasks_blocked()
        handle.cancel()
        with pytest.raises(TaskCancelled):
            await handle
        assert events == ["cleaned up", "left"]


async def test_tasks_that_do_not_wait_are_never_looked_at():
    calls = []

    def count(frame: Any, event: str, _argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename == waits.__file__:
            calls.append(frame.f_code.co_name)

    async with opened("a", slots=8) as (a,):
        sys.setprofile(count)
        try:
            async for completed in a.as_completed(echo, range(100)):
                completed.unwrap()
            await a.run(echo, 1)
            async with a.pile() as pile:
                await pile.include(echo, 1)
        finally:
            sys.setprofile(None)
    assert calls == []


# -- programs at random ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
async def test_random_pipelines_are_never_refused(seed):
    """Tasks wait for executors further down only, in whatever way: however few the slots, nothing is refused."""
    chance = random.Random(seed)
    names = ["e0", "e1", "e2", "e3"]
    async with entered(
        *(HybridExecutor(n, max_in_flight=chance.randint(1, 2), max_queued=chance.choice([0, 1, 9])) for n in names)
    ) as executors:

        async def work(level: int) -> int:
            done = 1
            for _ in range(chance.randint(0, 2)):
                if level == 3:
                    await turns(chance.randint(0, 3))
                else:
                    below = chance.randint(level + 1, 3)
                    done += await WAYS[chance.choice(list(WAYS))](executors[below], work, below)
            return done

        async def caller() -> None:
            for _ in range(4):
                assert await executors[0].run(work, 0) >= 1

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(caller)
        assert [executor.stats().failed for executor in executors] == [0] * 4


@pytest.mark.parametrize("seed", range(24))
async def test_random_circles_always_end(seed):
    """Tasks wait for whatever executor and task they like; some are refused, and none is left."""
    chance = random.Random(seed)
    names = ["e0", "e1", "e2"]
    async with entered(
        *(HybridExecutor(n, max_in_flight=chance.randint(1, 3), max_queued=chance.choice([0, 2, 50])) for n in names)
    ) as executors:
        handles: list[TaskHandle[Any]] = []

        async def work(depth: int) -> None:
            await turns(chance.randint(0, 5))
            for _ in range(chance.randint(0, 3)):
                try:
                    if depth < 5 and chance.random() < 0.6:
                        await WAYS[chance.choice(list(WAYS))](chance.choice(executors), work, depth + 1)
                    elif handles:
                        await chance.choice(handles).outcome()
                except NestedWait:
                    await checkpoint()

        def in_thread(depth: int) -> None:
            from_thread.run(work, depth)

        async def caller() -> None:
            for _ in range(6):
                executor = chance.choice(executors)
                handles.append(await executor.submit(chance.choice([work, work, in_thread]), 0))
                await turns(chance.randint(0, 4))

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(caller)
        for task in handles:
            await task.outcome()
    assert all(task.done for task in handles)
