"""Cleanup that awaits, written as docs/semantics.md recommends."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from anyio.lowlevel import checkpoint

from glasspool import HybridExecutor, Outcome
from glasspool.testing import run_out_of_time

pytestmark = pytest.mark.anyio


class Connection:
    def __init__(self) -> None:
        self.closed = False

    async def aclose(self) -> None:
        await checkpoint()
        self.closed = True


async def plain(connection: Connection) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        await connection.aclose()


async def shielded(connection: Connection) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.move_on_after(1000, shield=True):
            await connection.aclose()


@pytest.mark.parametrize("how", ["cancel", "timeout", "shutdown", "scope"])
@pytest.mark.parametrize(("work", "cleaned"), [(plain, False), (shielded, True)])
async def test_an_await_in_a_finally_needs_a_shield(work, cleaned, how):
    connection = Connection()
    with anyio.CancelScope() as scope:
        async with HybridExecutor("cleanup", max_in_flight=1) as executor:
            handle = await executor.submit(work, connection, timeout=1000)
            await anyio.wait_all_tasks_blocked()
            if how == "cancel":
                handle.cancel()
            elif how == "timeout":
                run_out_of_time(handle)
            elif how == "shutdown":
                await executor.shutdown(grace=0)
            else:
                scope.cancel()
    completed = await handle.outcome()
    assert completed.outcome is (Outcome.TIMEOUT if how == "timeout" else Outcome.CANCELLED)
    assert connection.closed is cleaned


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
def test_in_a_plain_asyncio_task_it_would_have_finished(anyio_backend):
    connection = Connection()

    async def main():
        task = asyncio.create_task(plain(connection))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())
    assert connection.closed
