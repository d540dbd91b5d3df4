"""Asynchronous sources: the context in which they run, and that their closing is awaited and can be cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

from glasspool import HybridExecutor

from .support import echo, forever

pytestmark = pytest.mark.anyio

REQUEST: ContextVar[str] = ContextVar("request", default="nobody's")


class Closing:
    """How a source closes: it says that it does, and waits until it may, or is cancelled."""

    def __init__(self) -> None:
        self.began, self.may_end, self.ended = anyio.Event(), anyio.Event(), ""

    async def slowly(self) -> None:
        self.began.set()
        try:
            await self.may_end.wait()
        except BaseException:
            self.ended = "cut"
            raise
        self.ended = "closed"

    async def generator(self) -> AsyncIterator[int]:
        try:
            for item in range(100):
                yield item
        finally:
            await self.slowly()

    def cursor(self) -> AsyncIterator[int]:
        return Cursor(self)

    def cursor_that_waits(self) -> AsyncIterator[int]:
        return Cursor(self, items=1)


class Cursor:
    """A source that is no generator."""

    def __init__(self, closing: Closing, items: int = 100) -> None:
        self._closing, self._items = closing, iter(range(items))

    def __aiter__(self) -> Cursor:
        return self

    async def __anext__(self) -> int:
        for item in self._items:
            return item
        await anyio.sleep_forever()
        raise AssertionError

    async def aclose(self) -> None:
        await self._closing.slowly()


SOURCES = [Closing.generator, Closing.cursor, Closing.cursor_that_waits]


async def by_a_scope_around_the_iteration(executor: HybridExecutor, source: Any, closing: Closing) -> None:
    async with anyio.create_task_group() as group:

        async def cancel() -> None:
            await closing.began.wait()
            group.cancel_scope.cancel()

        group.start_soon(cancel)
        async with executor.map(echo, source) as iteration:
            async for _ in iteration:
                break
        raise AssertionError


async def by_aclose_in_a_scope(executor: HybridExecutor, source: Any, closing: Closing) -> None:
    iteration = executor.as_completed(echo, source)
    await anext(iteration)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await iteration.aclose()
        raise AssertionError
    assert closing.ended == "cut"


async def by_leaving_the_executor_by_an_exception(executor: HybridExecutor, source: Any, closing: Closing) -> None:
    iteration = executor.map(echo, source)
    await anext(iteration)
    del iteration
    await closing.began.wait()
    raise LookupError


async def by_a_shutdown_at_once(executor: HybridExecutor, source: Any, closing: Closing) -> None:
    iteration = executor.map(echo, source)
    await anext(iteration)
    del iteration
    await closing.began.wait()
    await executor.submit(forever)
    await executor.shutdown(grace=0)


Way = Callable[[HybridExecutor, Any, Closing], Awaitable[None]]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    "way",
    [
        by_a_scope_around_the_iteration, by_aclose_in_a_scope, by_leaving_the_executor_by_an_exception,
        by_a_shutdown_at_once,
    ],
)  # fmt: skip
async def test_a_slow_closing_is_cut(way: Way, source: Callable[[Closing], Any]) -> None:
    closing = Closing()
    try:
        async with HybridExecutor("cut", max_in_flight=2) as executor:
            await way(executor, source(closing), closing)
    except LookupError:
        pass
    assert closing.ended == "cut"


@pytest.mark.parametrize("source", SOURCES)
async def test_a_slow_closing_is_cut_with_the_scope_around_the_executor(source: Callable[[Closing], Any]) -> None:
    closing = Closing()
    async with anyio.create_task_group() as group:

        async def cancel() -> None:
            await closing.began.wait()
            group.cancel_scope.cancel()

        group.start_soon(cancel)
        async with HybridExecutor("cut", max_in_flight=2) as executor:
            async with executor.map(echo, source(closing)) as iteration:
                await anext(iteration)
    assert closing.ended == "cut"


@pytest.mark.parametrize("source", SOURCES)
async def test_a_slow_closing_that_nobody_cancels_is_waited_for(source: Callable[[Closing], Any]) -> None:
    closing = Closing()

    async def let() -> None:
        await closing.began.wait()
        await anyio.wait_all_tasks_blocked()
        closing.may_end.set()

    async with HybridExecutor("slow", max_in_flight=2) as executor, anyio.create_task_group() as group:
        group.start_soon(let)
        async with executor.map(echo, source(closing)) as iteration:
            await anext(iteration)
        assert closing.ended == "closed"


async def test_a_source_that_nobody_has_asked_is_closed_and_cut() -> None:
    closing = Closing()
    async with HybridExecutor("unasked", max_in_flight=2) as executor:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await executor.map(echo, closing.cursor()).aclose()
            raise AssertionError
        assert closing.ended == "cut"
        closing.may_end.set()
        await executor.map(echo, closing.cursor()).aclose()
        assert closing.ended == "closed"


@pytest.mark.parametrize("source", SOURCES)
async def test_what_the_block_of_an_iteration_raises_leaves_it_though_its_closing_is_cut(source: Any) -> None:
    closing = Closing()
    async with HybridExecutor("raises", max_in_flight=2) as executor:
        with anyio.CancelScope() as scope:
            with pytest.raises(LookupError):
                async with executor.map(echo, source(closing)) as iteration:
                    await anext(iteration)
                    scope.cancel()
                    raise LookupError
    assert closing.ended == "cut"


@pytest.mark.parametrize("kind", ["map", "as_completed"])
async def test_a_source_sees_the_context_of_its_consumer(kind: str) -> None:
    def now() -> list[str]:
        return [REQUEST.get()]

    def plain() -> Any:
        yield REQUEST.get()
        yield REQUEST.get()

    async def later() -> AsyncIterator[str]:
        yield REQUEST.get()
        await anyio.lowlevel.checkpoint()
        yield REQUEST.get()

    async def consume(executor: HybridExecutor, name: str, source: Callable[[], Any], found: dict[str, Any]) -> None:
        REQUEST.set(name)
        async with getattr(executor, kind)(echo, source()) as iteration:
            found[name] = [item if kind == "map" else item.value async for item in iteration]

    async with HybridExecutor("context", max_in_flight=1) as executor, anyio.create_task_group() as group:
        found: dict[str, Any] = {}
        for source in (now, plain, later):
            for number in range(2):
                group.start_soon(consume, executor, f"{source.__name__} {number}", source, found)
    assert found == {
        f"{source.__name__} {number}": [f"{source.__name__} {number}"] * (1 if source is now else 2)
        for source in (now, plain, later)
        for number in range(2)
    }
