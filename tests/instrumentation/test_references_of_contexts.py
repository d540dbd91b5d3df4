"""A call's context is released with the end of the call, even if its future is kept and no figures have been read."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.to_thread
import pytest

import glasspool_instrumentation as gi

from . import work
from .keeping import Thing
from .work import LIMIT

joblib = pytest.importorskip("joblib")

VARIABLE: contextvars.ContextVar[Any] = contextvars.ContextVar("variable")

CALLS = 20  # fewer than are noted before they are counted


@contextmanager
def _without_collection() -> Iterator[list[weakref.ref[Any]]]:
    gc.collect()
    gc.disable()
    try:
        yield []
    finally:
        gc.enable()


def _set(seen: list[weakref.ref[Any]]) -> None:
    thing = Thing()
    seen.append(weakref.ref(thing))
    VARIABLE.set(thing)


async def _to_thread() -> None:
    await asyncio.to_thread(int)


async def _in_executor() -> None:
    await asyncio.get_running_loop().run_in_executor(None, contextvars.copy_context().run, int)


async def _anyio() -> None:
    await anyio.to_thread.run_sync(int)


@pytest.mark.parametrize("call", [_to_thread, _in_executor, _anyio])
def test_requests_leave_nothing_behind(call: Callable[[], Any]) -> None:
    gi.instrument()

    async def main(seen: list[weakref.ref[Any]]) -> None:
        async def request() -> None:
            _set(seen)
            await call()

        for _ in range(CALLS):
            await asyncio.create_task(request())
        await call()  # a worker may keep its last call until the next one
        await asyncio.sleep(0)

        def gone() -> bool:
            return all(reference() is None for reference in seen)

        await asyncio.get_running_loop().run_in_executor(None, work.until, gone, "the contexts to go")

    with _without_collection() as seen:
        asyncio.run(main(seen))
    assert len(seen) == CALLS


@pytest.mark.parametrize("how", ["wrapped", "patched", "wrapped and patched"])
def test_a_future_that_is_kept_keeps_no_context(how: str) -> None:
    if "patched" in how:
        gi.instrument()
    kept: list[Future[int]] = []
    with _without_collection() as seen, ThreadPoolExecutor(1, "pool") as pool:
        if "wrapped" in how:
            gi.wrap_executor(pool, "pool")

        def request() -> None:
            _set(seen)
            kept.append(pool.submit(contextvars.copy_context().run, int))

        for _ in range(CALLS):
            contextvars.Context().run(request)
        assert [future.result(LIMIT) for future in kept] == [0] * CALLS
        pool.submit(int).result(LIMIT)
        work.until(lambda: all(reference() is None for reference in seen), "the contexts to go")


@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
def test_a_generator_of_joblib_leaves_nothing_behind(return_as: str) -> None:
    gi.instrument()

    def request(seen: list[weakref.ref[Any]]) -> int:
        _set(seen)
        parallel = joblib.Parallel(n_jobs=2, return_as=return_as, batch_size=1)
        return sum(parallel(joblib.delayed(abs)(-number) for number in range(10)))

    with _without_collection() as seen:
        assert contextvars.Context().run(request, seen) == 45
        joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(-number) for number in range(10))
        work.until(lambda: all(reference() is None for reference in seen), "the contexts to go")
