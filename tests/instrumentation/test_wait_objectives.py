"""Wait objectives of observed executors: passed to the wrapper, or matched by name by an instrumentor."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import anyio
import pytest

import glasspool_instrumentation as gi
from glasspool.telemetry import catalog
from glasspool_instrumentation import FuturesInstrumentor, wrap_executor

from . import work
from .work import LIMIT, value

AT_ONCE = 1e-9
"""An objective that every call misses."""


def declared(name: str) -> tuple[float, bool, float]:
    """The objective shown, whether late calls are counted, and how many there were."""
    shown = any(
        point.attributes["glasspool.executor.name"] == name
        for point in work.REGISTRY.collect().points.get(catalog.QUEUE_WAIT_LATE.name, ())
    )
    return value(catalog.QUEUE_WAIT_OBJECTIVE, name), shown, value(catalog.QUEUE_WAIT_LATE, name)


@pytest.mark.parametrize("make", [ThreadPoolExecutor, ProcessPoolExecutor])
@pytest.mark.parametrize(("objective", "late"), [(AT_ONCE, 4), (3600, 0)])
def test_wrapped_pools(make: Callable[[int], Executor], objective: float, late: int) -> None:
    pool = wrap_executor(make(1), "web", wait_objective=objective)
    assert declared("web") == (objective, True, 0)
    for future in [pool.submit(work.add, number) for number in range(4)]:
        future.result(LIMIT)
    pool.shutdown()
    assert declared("web")[1:] == (True, late)


def test_a_wrapped_pool_without_one() -> None:
    pool = wrap_executor(ThreadPoolExecutor(1), "etl")
    assert pool.submit(work.add, 1).result(LIMIT) == 2
    pool.shutdown()
    assert declared("etl") == (0, False, 0)


def test_pools_by_name() -> None:
    FuturesInstrumentor().instrument(wait_objectives={"web-*": AT_ONCE, "web": 5, "*-late": 7})
    for prefix, expected in (("web-api", (0, True, 1)), ("etl", (0, False, 0))):
        with ThreadPoolExecutor(1, thread_name_prefix=prefix) as pool:
            pool.submit(work.add, 1).result(LIMIT)
        assert declared(prefix) == expected
    with ThreadPoolExecutor(1, thread_name_prefix="web") as pool:
        pool.submit(work.add, 1).result(LIMIT)
        assert declared("web") == (5, True, 0)
    gi.uninstrument()
    FuturesInstrumentor().instrument()  # what an earlier instrument() was given does not stay
    with ThreadPoolExecutor(1, thread_name_prefix="web-new") as pool:
        pool.submit(work.add, 1).result(LIMIT)
    assert declared("web-new") == (0, False, 0)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_limiters_by_name(backend: str) -> None:
    gi.AnyioInstrumentor().instrument(wait_objectives={"anyio.to_thread": 0.5, "uploads": AT_ONCE})
    gate = threading.Event()

    async def main() -> None:
        assert await anyio.to_thread.run_sync(work.add, 1) == 2
        assert declared("anyio.to_thread") == (0.5, True, 0)
        uploads = gi.name_limiter(anyio.CapacityLimiter(1), "uploads")
        others = gi.name_limiter(anyio.CapacityLimiter(1), "others")
        async with anyio.create_task_group() as group:
            for _ in range(3):
                for limiter in (uploads, others):
                    group.start_soon(
                        lambda limiter=limiter: anyio.to_thread.run_sync(gate.wait, LIMIT, limiter=limiter)
                    )
            gate.set()
        assert declared("uploads") == (AT_ONCE, True, 3)
        assert declared("others") == (0, False, 0)

    anyio.run(main, backend=backend)


def test_trios_limiters_by_name() -> None:
    trio = pytest.importorskip("trio")
    gi.TrioInstrumentor().instrument(wait_objectives={"trio.*": AT_ONCE})

    async def main() -> None:
        await trio.to_thread.run_sync(work.add, 1)
        assert declared("trio.to_thread") == (AT_ONCE, True, 1)

    trio.run(main)


def test_the_pool_of_an_asyncio_loop_is_a_pool_by_name() -> None:
    FuturesInstrumentor().instrument(wait_objectives={"asyncio*": AT_ONCE})

    async def main() -> None:
        await asyncio.to_thread(work.add, 1)

    gi.AsyncioInstrumentor().instrument(monitor=False)
    asyncio.run(main())
    assert declared("asyncio")[1:] == (True, 1)


@pytest.mark.filterwarnings("ignore")  # loky's forks and sockets
def test_loky_by_name() -> None:
    loky = pytest.importorskip("loky")
    gi.LokyInstrumentor().instrument(wait_objectives={__name__: 3600})
    pool = loky.ProcessPoolExecutor(1)
    assert pool.submit(work.add, 1).result(LIMIT) == 2
    assert declared(__name__) == (3600, True, 0)
    pool.shutdown()


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (-1, ValueError, "wait_objective must be above 0 and finite, got -1"),
        (math.nan, ValueError, "wait_objective must be above 0 and finite, got nan"),
        (False, TypeError, "wait_objective must be a number of seconds or None, not False"),
    ],
)
def test_wrap_executor_refuses_what_cannot_be_one(wrong: Any, error: type[Exception], message: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(error, match=message):
            wrap_executor(pool, "etl", wait_objective=wrong)
        assert type(pool) is ThreadPoolExecutor
        assert work.executors() == set()


INSTRUMENTORS = [gi.FuturesInstrumentor, gi.AnyioInstrumentor, gi.TrioInstrumentor, gi.LokyInstrumentor,
                 gi.DaskInstrumentor]  # fmt: skip


@pytest.mark.parametrize("instrumentor", INSTRUMENTORS)
@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (0.5, TypeError, r"wait_objectives= takes a dict such as \{'web-\*': 0.25\}; got 0.5"),
        ({"": 1}, TypeError, r"wait_objectives= takes name patterns, such as 'web-\*'; got ''"),
        ({3: 1}, TypeError, r"wait_objectives= takes name patterns, such as 'web-\*'; got 3"),
        ({"web": "1"}, TypeError, r"wait_objectives\['web'\] must be a number of seconds or None, not '1'"),
        ({"web": 0}, ValueError, r"wait_objectives\['web'\] must be above 0 and finite, got 0"),
    ],
)
def test_instrumentors_refuse_what_cannot_be_one(
    instrumentor: type[gi.Instrumentor], wrong: Any, error: type[Exception], message: str
) -> None:
    if not instrumentor.available():
        pytest.skip("its library is not installed")
    with pytest.raises(error, match=message):
        instrumentor().instrument(wait_objectives=wrong)
    assert not instrumentor().is_instrumented_by_opentelemetry
