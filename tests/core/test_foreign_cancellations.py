"""Foreign cancellations: kept from elsewhere, raised by hand, or of the other backend, alone or in a group. They end
only the task that raises them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from glasspool import HybridExecutor, Outcome

from .support import Gate, conserved, echo, until

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

pytestmark = pytest.mark.anyio


async def kept() -> BaseException:
    """A cancellation that another scope has been ended by."""
    found: list[BaseException] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await checkpoint()
        except BaseException as error:
            found.append(error)
            raise
    return found[0]


async def by_hand() -> BaseException:
    kind = anyio.get_cancelled_exc_class()
    if kind is asyncio.CancelledError:
        return kind()
    return kind._create(source="explicit")  # type: ignore[attr-defined]  # private: trio makes it in no other way


async def in_a_group() -> BaseException:
    return BaseExceptionGroup("of a nursery", [await kept(), BaseExceptionGroup("of another", [await kept()])])


async def in_a_mixed_group() -> BaseException:
    return BaseExceptionGroup("of a nursery", [await kept(), ValueError("beside it")])


async def of_the_other_backend() -> BaseException:
    if anyio.get_cancelled_exc_class() is not asyncio.CancelledError:
        return asyncio.CancelledError()
    trio = pytest.importorskip("trio")
    return trio.Cancelled._create(source="explicit")  # type: ignore[no-any-return]  # private: as above


MADE = [kept, by_hand, in_a_group, in_a_mixed_group, of_the_other_backend]
AS_ERROR = (in_a_mixed_group, of_the_other_backend)
HOW = ("coroutine", "with a timeout", "inline", "thread")


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("make", MADE)
async def test_of_a_task(make, how):
    error = await make()
    gate = Gate()

    def plain() -> None:
        raise error

    async def raises() -> None:
        await checkpoint()
        raise error

    async with HybridExecutor("foreign", max_in_flight=3) as executor:
        sibling, queued = await executor.submit(gate.hold, "sibling"), None
        options = {"inline": {"runner": "inline"}, "thread": {"runner": "thread"}, "with a timeout": {"timeout": 1000}}
        handle = await executor.submit(plain if how in ("inline", "thread") else raises, **options.get(how, {}))
        completed = await handle.outcome()
        if make in AS_ERROR:
            assert completed.outcome is Outcome.ERROR
        else:
            assert (completed.outcome, completed.error.reason) == (Outcome.CANCELLED, "unknown")
        queued = await executor.submit(echo, "after it")
        assert await queued == "after it"
        assert not sibling.done
        gate.open()
        assert await sibling == "sibling"
        await until(lambda: executor.stats().slots_used == 0)
    conserved(executor, [sibling, handle, queued])


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    "make", [*MADE, lambda: echo(GeneratorExit()), lambda: echo(KeyboardInterrupt()), lambda: echo(SystemExit(1)),
             lambda: echo(StopAsyncIteration()), lambda: echo(BaseExceptionGroup("", [KeyboardInterrupt()]))],
)  # fmt: skip
@pytest.mark.parametrize("method", ["map", "as_completed"])
async def test_of_a_source(method, make, later):
    """Any other exception of it: raised to its consumer, after the outcomes; no other task is affected."""
    error = await make()
    gate = Gate()

    class Raises:
        def __iter__(self) -> Iterator[int]:
            return self

        def __next__(self) -> int:
            return self._next()

        def _next(self) -> int:
            if self.__dict__.setdefault("given", False):
                raise error
            self.given = True
            return 1

    class RaisesLater(Raises):
        __iter__ = None  # type: ignore[assignment]

        def __aiter__(self) -> AsyncIterator[int]:
            return self

        async def __anext__(self) -> int:
            await checkpoint()
            return self._next()

    if later and type(error) is StopAsyncIteration:
        return  # its end
    found: list[Any] = []
    async with HybridExecutor("foreign", max_in_flight=2) as executor:
        sibling = await executor.submit(gate.hold, "sibling")
        raised: list[BaseException] = []
        try:
            async for _ in getattr(executor, method)(echo, RaisesLater() if later else Raises()):
                found.append(1)
        except BaseException as one:
            raised.append(one)
        if type(error) is StopAsyncIteration:
            assert type(raised[0]) is RuntimeError
            assert raised[0].__cause__ is error
        else:
            assert raised == [error]
        immediate = "Interrupt" in repr(error) or "SystemExit" in repr(error)
        assert found == [1] or immediate
        assert not sibling.done
        gate.open()
        assert await sibling == "sibling"


@pytest.mark.parametrize("how", ["never asked for", "closed", "lost"])
async def test_an_interrupt_of_a_source_that_nobody_is_given_is_the_executors(how):
    ready = anyio.Event()

    async def source() -> AsyncIterator[int]:
        yield 1
        ready.set()
        raise KeyboardInterrupt

    found: list[BaseException] = []
    try:
        async with HybridExecutor("interrupted", max_in_flight=1) as executor:
            iteration = executor.as_completed(echo, source())
            await anext(iteration)
            await ready.wait()
            await anyio.wait_all_tasks_blocked()
            if how == "closed":
                await iteration.aclose()
            elif how == "lost":
                del iteration
                await anyio.sleep_forever()
    except KeyboardInterrupt as error:
        found.append(error)
    assert len(found) == 1


@pytest.mark.parametrize("make", MADE)
async def test_of_the_body(make):
    error = await make()
    gate = Gate()
    gate.open()
    found: list[BaseException] = []
    try:
        async with HybridExecutor("foreign", max_in_flight=1) as executor:
            handle = await executor.submit(gate.hold)
            raise error
    except BaseException as one:
        found.append(one)
    assert found == [error]
    conserved(executor, [handle])
