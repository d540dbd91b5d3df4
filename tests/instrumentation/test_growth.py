"""The memory for users' objects is bounded, however many of them there are."""

from __future__ import annotations

import asyncio
import gc
import queue
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import anyio
import anyio.to_thread
import pytest

import glasspool_instrumentation as gi
from glasspool import HybridExecutor, _recorded_calls
from glasspool.telemetry.recording.registry import REGISTRY
from glasspool_instrumentation._observe import pools
from glasspool_instrumentation._observe.batched_recorder import BATCH, BatchedRecorder
from tests.telemetry.support import run_python

from .work import LIMIT, outcomes

ROUNDS = 3_000


def named(name: str) -> Callable[[], None]:
    def function() -> None: ...

    function.__qualname__ = name
    return function


async def executor(rounds: range) -> None:
    async with HybridExecutor("own", max_in_flight=8) as own:
        for number in rounds:
            await (await own.submit(named(f"own-{number}-{'x' * 100}")))


_open: dict[str, ThreadPoolExecutor] = {}  # pools that live as long as the test


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    for made in _open.values():
        made.shutdown()
    _open.clear()


async def pool(rounds: range, **options: Any) -> None:
    if not _open:
        _open["pool"] = gi.wrap_executor(ThreadPoolExecutor(1), "pool", **options)
    for number in rounds:
        _open["pool"].submit(named(f"pool-{number}-{'x' * 100}")).result(LIMIT)


async def pool_without_names(rounds: range) -> None:
    await pool(rounds, max_task_names=0)


async def executed_code(rounds: range) -> None:
    with ThreadPoolExecutor(1) as made:
        for number in rounds:
            # One file name: Python itself keeps each for good.
            code = compile(f"made.submit(int, {number}).result()", "<snippet>", "exec")
            exec(code, {"made": made, "__name__": f"snippet_{number}"})


async def tasks(rounds: range) -> None:
    async def work() -> None: ...

    for number in rounds:
        work.__qualname__ = f"task-{number}-{'x' * 100}"
        await asyncio.create_task(work())


async def errors(rounds: range) -> None:
    async with HybridExecutor("failing", max_in_flight=8) as own:
        for number in rounds:
            failure = type(f"Error{number}", (Exception,), {})

            async def fail(failure: Any = failure) -> None:
                raise failure

            assert await (await own.submit(fail)).outcome()


async def limiters(rounds: range) -> None:
    for number in rounds[: len(rounds) // 4]:
        limiter = gi.name_limiter(anyio.CapacityLimiter(1), f"limiter-{number}-{'x' * 100}")
        await anyio.to_thread.run_sync(int, limiter=limiter)


KINDS = {kind.__name__: kind for kind in (executor, pool, pool_without_names, executed_code, tasks, errors, limiters)}


def growth(kind: str) -> int:
    """The bytes that so many rounds leave behind when the tables are filled."""
    gi.AsyncioInstrumentor().instrument(monitor=False)
    gi.FuturesInstrumentor().instrument()
    if kind == "limiters":
        gi.AnyioInstrumentor().instrument(monitor=False)

    def kept(rounds: range) -> int:
        anyio.run(KINDS[kind], rounds)
        REGISTRY.collect()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()  # before the tables are filled: what leaves them later must be known
    kept(range(ROUNDS))
    before = kept(range(ROUNDS, ROUNDS + 100))
    return kept(range(2 * ROUNDS, 3 * ROUNDS)) - before


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_kept_does_not_grow(kind: str) -> None:
    # In a process of its own: what other tests have set up, such as a tracer that keeps all spans, grows.
    code = f"from tests.instrumentation.test_growth import growth; print('grown', growth({kind!r}))"
    (grown,) = run_python(code).lines("grown")
    # The table of code is emptied whenever it is full, so it may have nothing at first and be full at the end.
    table = _recorded_calls.MOST_KINDS * 2_000 if kind == "executed_code" else 0
    assert int(grown) < ROUNDS * 100 + table, "that is less than its name, or its code, for each"


def test_code_that_is_made_as_the_program_goes_is_not_remembered_for_good() -> None:
    gi.FuturesInstrumentor().instrument()
    anyio.run(executed_code, range(ROUNDS))
    assert len(_recorded_calls.code_kinds) <= 256


class LastFirst(ThreadPoolExecutor):
    def __init__(self) -> None:
        super().__init__(1)
        self._work_queue: Any = queue.LifoQueue()


def test_a_pool_that_runs_the_last_first_and_never_runs_dry() -> None:
    made = gi.wrap_executor(LastFirst(), "last first")
    state = pools.find(made)
    assert state is not None
    recorder = state.observed.recorder
    assert isinstance(recorder, BatchedRecorder)
    most = 0
    done: Future[None] = Future()

    def step(left: int) -> None:
        nonlocal most
        most = max(most, len(recorder.unstarted))
        if left:
            made.submit(step, left - 1)
        else:
            done.set_result(None)

    def begin() -> None:
        made.submit(int)  # waits until all others have run
        made.submit(step, ROUNDS)

    made.submit(begin)
    done.result(LIMIT)
    made.shutdown()
    assert outcomes("last first") == {"success": ROUNDS + 3}
    assert most <= 3 * BATCH
