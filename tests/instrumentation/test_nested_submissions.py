"""A submission within a submission does not affect how the outer one is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

import glasspool_instrumentation as gi
from glasspool import HybridExecutor

from .work import BACKENDS, LIMIT, outcomes, run, seen


class LogsFirst(ThreadPoolExecutor):
    """Logs through the event loop before it takes a call itself."""

    def __init__(self, log: ThreadPoolExecutor) -> None:
        super().__init__(1, "outer")
        self._log = log

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        asyncio.get_running_loop().run_in_executor(self._log, seen)
        return super().submit(fn, *args, **kwargs)


def test_a_pool_that_uses_run_in_executor_in_its_submit_is_observed_all_the_same() -> None:
    gi.AsyncioInstrumentor().instrument()

    async def main(outer: LogsFirst) -> None:
        await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(outer, seen), LIMIT)

    with ThreadPoolExecutor(1, "log") as log, LogsFirst(log) as outer:
        asyncio.run(main(outer))
    assert (outcomes("log"), outcomes("outer")) == ({"success": 1}, {"success": 1})


class RunsInline(ThreadPoolExecutor):
    """Runs each call within its submit, and hands a note of it to another pool."""

    def __init__(self, notes: ThreadPoolExecutor) -> None:
        super().__init__(1, "inline")
        self._notes = notes

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        self._notes.submit(seen).result(LIMIT)
        return future


def test_what_a_pool_of_somebodys_own_submits_after_a_call_ran_inline_is_part_of_its_submit() -> None:
    notes = gi.wrap_executor(ThreadPoolExecutor(1), "notes")
    inline = gi.wrap_executor(RunsInline(notes), "inline")
    with notes, inline:
        inline.submit(seen).result(LIMIT)
        assert (outcomes("notes"), outcomes("inline")) == ({}, {"success": 1})


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("runner", ["thread", "inline", "pool"])
def test_a_task_that_is_a_pools_own_submit_hands_that_pool_a_call_of_its_own(runner: str, backend: str) -> None:
    gi.FuturesInstrumentor().instrument()

    async def main(pool: ThreadPoolExecutor, carrier: ThreadPoolExecutor) -> Future[Any]:
        async with HybridExecutor("outer", max_in_flight=1) as executor:
            task = await executor.submit(pool.submit, seen, runner=carrier if runner == "pool" else runner)
            future = await task
            assert isinstance(future, Future)
            return future

    with ThreadPoolExecutor(1, "handed to") as pool, ThreadPoolExecutor(1, "carries tasks") as carrier:
        run(main, pool, carrier, backend=backend).result(LIMIT)
    assert (outcomes("handed to"), outcomes("outer")) == ({"success": 1}, {"success": 1})
