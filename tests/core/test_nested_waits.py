"""A wait inside its own executor ends or raises NestedWait: every operation that waits, from every place.

Nothing here has a time limit of its own, and every task ends by itself: what hung would hang until the test's limit.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import anyio
import pytest
from anyio import from_thread

from glasspool import HybridExecutor, NestedWait
from glasspool.signals import shutdown_on_signals

from .support import PATIENCE, echo, until

pytestmark = pytest.mark.anyio

EXIT = (None, None, None)
FAILED = (LookupError, LookupError(), None)


class Place:
    """Two executors of one slot, a pile and an iteration of the first; ``call`` is made in one of their tasks."""

    def __init__(self, first: HybridExecutor, second: HybridExecutor, call: Callable[[Place], Awaitable[Any]]) -> None:
        self.first, self.second = first, second
        self._call = call
        self.pile = first.pile()
        self.iteration: Any = None
        self.own: Any = None
        self.result: Any = None

    async def call(self, _: object = None) -> None:
        try:
            await self._call(self)
        except BaseException as error:
            self.result = type(error)
            if isinstance(error, anyio.get_cancelled_exc_class()):
                raise
        else:
            self.result = "ended"


async def submit(place: Place) -> None:
    for _ in range(6):  # there is room for three
        await place.first.submit(echo, 1)


CALLS: dict[str, Callable[[Place], Awaitable[Any]]] = {
    "submit": submit,
    "run": lambda place: place.first.run(echo, 1),
    "await handle": lambda place: place.own.outcome(),
    "next_completed": lambda place: place.pile.next_completed(),
    "anext of a pile": lambda place: anext(place.pile),
    "drain": lambda place: place.pile.drain(),
    "close a pile": lambda place: place.pile.aclose(),
    "leave a pile": lambda place: place.pile.__aexit__(*EXIT),
    "leave a pile by an exception": lambda place: place.pile.__aexit__(*FAILED),
    "anext of an iteration": lambda place: anext(place.iteration),
    "close an iteration": lambda place: place.iteration.aclose(),
    "leave an iteration": lambda place: place.iteration.__aexit__(*EXIT),
    "leave an iteration by an exception": lambda place: place.iteration.__aexit__(*FAILED),
    "shutdown": lambda place: place.first.shutdown(),
    "shutdown with a grace": lambda place: place.first.shutdown(grace=0.01),
    "shutdown at once": lambda place: place.first.shutdown(grace=0),
    "leave the executor": lambda place: place.first.__aexit__(*EXIT),
    "leave the executor by an exception": lambda place: place.first.__aexit__(*FAILED),
}


async def a_task(place: Place) -> None:
    place.iteration = place.first.as_completed(place.call, [1])
    place.own = await place.pile.include(echo, 1)
    async for _ in place.iteration:
        pass


async def a_task_of_the_pile(place: Place) -> None:
    place.iteration = place.first.as_completed(echo, range(3))

    async def call() -> None:
        await anyio.wait_all_tasks_blocked()  # until the handle is there
        await place.call()

    place.own = await place.pile.include(call)
    await place.own.outcome()


async def a_thread(place: Place) -> None:
    place.iteration = place.first.map(echo, range(3))
    ready = threading.Event()

    def call() -> None:
        ready.wait(PATIENCE)
        from_thread.run(place.call)

    place.own = await place.pile.include(call)
    ready.set()
    await place.own.outcome()


async def a_thread_that_was_left_behind(place: Place) -> None:
    place.iteration = place.first.map(echo, range(3))
    started, left, ended = threading.Event(), threading.Event(), threading.Event()

    def call() -> None:
        started.set()
        left.wait(PATIENCE)
        try:
            from_thread.run(place.call)
        finally:
            ended.set()

    place.own = await place.pile.include(call)
    await until(started.is_set)
    place.own.cancel()
    left.set()
    await until(ended.is_set)


async def an_asynchronous_source(place: Place) -> None:
    place.own = await place.pile.include(echo, 1)

    async def source() -> AsyncIterator[int]:
        yield 1
        await place.call()
        yield 2

    place.iteration = place.first.as_completed(echo, source())
    with suppress(RuntimeError):  # the call has closed the executor
        async for _ in place.iteration:
            pass
    await until(lambda: place.result)


async def a_task_of_the_second(place: Place) -> None:
    place.iteration = place.first.as_completed(echo, range(3))

    async def outer() -> None:
        await anyio.wait_all_tasks_blocked()
        await (await place.second.submit(place.call)).outcome()

    place.own = await place.pile.include(outer)
    await place.own.outcome()


async def a_task_of_the_second_in_a_thread(place: Place) -> None:
    place.iteration = place.first.as_completed(echo, range(3))
    ready = threading.Event()

    def outer() -> None:
        ready.wait(PATIENCE)
        from_thread.run(place.second.run, lambda: from_thread.run(place.call))

    place.own = await place.pile.include(outer)
    ready.set()
    await place.own.outcome()


PLACES = [
    a_task, a_task_of_the_pile, a_thread, a_thread_that_was_left_behind, an_asynchronous_source, a_task_of_the_second,
    a_task_of_the_second_in_a_thread,
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("make", PLACES)
async def test_every_wait_ends_or_is_told(make: Callable[[Place], Awaitable[None]], call: str) -> None:
    place = await _made(make, CALLS[call])
    assert place.result is not None


async def _made(make: Callable[[Place], Awaitable[None]], call: Callable[[Place], Awaitable[Any]]) -> Place:
    first = HybridExecutor("first", max_in_flight=1, max_queued=2)
    second = HybridExecutor("second", max_in_flight=1, max_queued=2)
    async with second:
        try:
            async with first:
                place = Place(first, second, call)
                await make(place)
                await place.pile.aclose()
                await first.shutdown(grace=0)
        except LookupError:
            pass
        await until(lambda: first.stats().slots_used == second.stats().slots_used == 0)
    return place


@pytest.mark.parametrize("kind", ["pile", "iteration"])
async def test_an_observer_has_its_own_pile_or_iteration_closed(kind: str) -> None:
    closed = []

    def observe(event: Any) -> None:
        if event.kind == "started" and not closed:
            closed.append(event)
            group.start_soon(collection.aclose)

    async with anyio.create_task_group() as group:
        async with HybridExecutor("observed", max_in_flight=1, observers=[observe]) as executor:
            collection: Any = executor.pile() if kind == "pile" else executor.as_completed(echo, range(3))
            if kind == "pile":
                await collection.include(anyio.sleep_forever)
            else:
                with pytest.raises(StopAsyncIteration):
                    await anext(collection)
    assert closed


@pytest.mark.parametrize("grace", [None, 1])
async def test_a_task_that_waits_for_the_shutdown_by_a_signal_is_told(grace: float | None) -> None:
    async with AsyncExitStack() as stack:
        executor = await stack.enter_async_context(HybridExecutor("signals", max_in_flight=1))
        signals = await stack.enter_async_context(shutdown_on_signals(executor, signals=[signal.SIGUSR1], grace=grace))
        with pytest.raises(NestedWait, match="waiting for a signal's shutdown inside task"):
            await executor.run(signals.wait)


@pytest.mark.parametrize("what", ["anext", "aclose", "leave"])
@pytest.mark.parametrize("through", [False, True])
async def test_a_source_that_waits_for_its_own_iteration_is_told(what: str, through: bool) -> None:
    async def source() -> AsyncIterator[int]:
        yield 1
        made = {"aclose": iteration.aclose, "anext": iteration.__anext__, "leave": lambda: iteration.__aexit__(*EXIT)}
        if through:
            async with executor.map(echo, inner(made[what])) as values:
                async for value in values:
                    yield value
        else:
            await made[what]()

    async def inner(call: Callable[[], Awaitable[Any]]) -> AsyncIterator[int]:
        await call()
        yield 2

    async with HybridExecutor("source", max_in_flight=1) as executor:
        iteration = executor.as_completed(echo, source())
        with pytest.raises((NestedWait, StopAsyncIteration)) as told:
            while True:
                await anext(iteration)
        assert told.type is NestedWait or what != "anext"
