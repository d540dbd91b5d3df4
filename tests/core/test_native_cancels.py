"""asyncio's own ``task.cancel()``, several times: a wait for cleanup lasts until the cleanup has finished, and the
cancellations are not lost."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

from glasspool import HybridExecutor

from .support import echo

TIMES = [1, 2, 3]


class Cleaning:
    """A task whose cleanup takes until it is told to go on."""

    def __init__(self) -> None:
        self.began, self.go_on, self.ended = anyio.Event(), anyio.Event(), False

    async def work(self, _: int = 0) -> None:
        try:
            self.began.set()
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await self.go_on.wait()
            self.ended = True


async def run(executor: HybridExecutor, cleaning: Cleaning) -> None:
    await executor.run(cleaning.work)


async def pile_is_left(executor: HybridExecutor, cleaning: Cleaning) -> None:
    async with executor.pile() as pile:
        await pile.include(cleaning.work)


async def pile_is_closed(executor: HybridExecutor, cleaning: Cleaning) -> None:
    pile = executor.pile()
    await pile.include(cleaning.work)
    await cleaning.began.wait()
    await pile.aclose()


async def pile_fails(executor: HybridExecutor, cleaning: Cleaning) -> None:
    async with executor.pile() as pile:
        await pile.include(cleaning.work)
        await cleaning.began.wait()
        raise ValueError


async def iterator_is_closed(executor: HybridExecutor, cleaning: Cleaning) -> None:
    async with executor.map(cleaning.work, range(1)) as values:
        await anext(values)


async def source_is_closed(executor: HybridExecutor, cleaning: Cleaning) -> None:
    async def source() -> AsyncIterator[int]:
        yield 1
        await cleaning.work()

    async with executor.as_completed(echo, source()) as outcomes:
        await anext(outcomes)
        await cleaning.began.wait()


async def block_is_left(executor: HybridExecutor, cleaning: Cleaning) -> None:
    async with HybridExecutor("inner", max_in_flight=1) as inner:
        await inner.submit(cleaning.work)


async def block_fails(executor: HybridExecutor, cleaning: Cleaning) -> None:
    async with HybridExecutor("inner", max_in_flight=1) as inner:
        await inner.submit(cleaning.work)
        await cleaning.began.wait()
        raise ValueError


WAITS = [
    run,
    pile_is_left,
    pile_is_closed,
    pile_fails,
    iterator_is_closed,
    source_is_closed,
    block_is_left,
    block_fails,
]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("wait", WAITS)
def test_nobody_leaves_before_the_cleanup_is_finished(wait: Callable[..., Any], times: int, loop: str) -> None:
    async def main() -> None:
        cleaning = Cleaning()
        async with HybridExecutor("native", max_in_flight=2) as executor:
            task = asyncio.create_task(wait(executor, cleaning))
            await cleaning.began.wait()
            for _ in range(times):
                await anyio.wait_all_tasks_blocked()
                task.cancel()
            await anyio.wait_all_tasks_blocked()
            assert not task.done()
            cleaning.go_on.set()
            await asyncio.wait([task])
            assert cleaning.ended
            if wait in (pile_fails, block_fails):
                assert type(task.exception()) is ValueError  # of the body
            else:
                assert task.cancelled()
            if sys.version_info >= (3, 11):
                assert task.cancelling() == times
            assert await executor.run(echo, 1) == 1

    anyio.run(main, backend="asyncio", backend_options={"use_uvloop": loop == "uvloop"})


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout is new there")
def test_a_timeout_around_it_is_told_apart_from_a_cancellation() -> None:
    async def main() -> None:
        cleaning = Cleaning()
        async with HybridExecutor("timeout", max_in_flight=2) as executor:
            found: list[str] = []

            async def runs() -> None:
                try:
                    async with asyncio.timeout(0.01):
                        await executor.run(cleaning.work)
                except TimeoutError:
                    found.append("timeout")

            task = asyncio.create_task(runs())
            await until_asked(executor)
            task.cancel()
            await anyio.wait_all_tasks_blocked()
            cleaning.go_on.set()
            await asyncio.wait([task])
            assert task.cancelled()
            assert found == []

    asyncio.run(main())


async def until_asked(executor: HybridExecutor) -> None:
    while not executor.stats().cancelling:
        await anyio.sleep(0.001)
