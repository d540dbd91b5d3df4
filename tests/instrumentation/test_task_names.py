"""``max_task_names`` can be set wherever executors are observed; names beyond the cap raise no alert."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import anyio.to_thread
import pytest

import glasspool_instrumentation as gi
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import OTHER, Key
from glasspool.telemetry.recording.registry import REGISTRY

from .work import LIMIT

NAMES = 30


def shown(type: str) -> set[str]:
    """The task names that executors of this type show."""
    return {
        str(series.attributes.get(Key.TASK_NAME))
        for series in REGISTRY.collect().histograms[catalog.TASK_DURATION.name]
        if series.attributes[Key.EXECUTOR_TYPE] == type
    }


def folded() -> float:
    return sum(
        point.value
        for point in REGISTRY.collect().points[catalog.TELEMETRY_FAILURES.name]
        if point.attributes[Key.FAILURE_KIND] == "name_cap"
    )


def named(number: int, make: Callable[[], Any] = lambda: lambda: None) -> Any:
    function = make()
    function.__qualname__ = f"work-{number}"
    return function


def coroutine_function() -> Any:
    async def function() -> None: ...

    return function


async def tasks_of_asyncio() -> None:
    for number in range(NAMES):
        await asyncio.create_task(named(number, coroutine_function)())


async def tasks_of_a_group() -> None:
    async with anyio.create_task_group() as group:
        for number in range(NAMES):
            group.start_soon(named(number, coroutine_function))


async def tasks_in_threads() -> None:
    for number in range(NAMES):
        await anyio.to_thread.run_sync(named(number))


def in_a_pool(pool: ThreadPoolExecutor) -> None:
    with pool:
        for number in range(NAMES):
            pool.submit(named(number)).result(LIMIT)


def on(backend: str, function: Callable[[], Any]) -> Callable[[], None]:
    return lambda: anyio.run(function, backend=backend)


WAYS: dict[str, tuple[str, Callable[..., Any], Callable[[], None]]] = {
    "asyncio": ("asyncio", gi.AsyncioInstrumentor().instrument, on("asyncio", tasks_of_asyncio)),
    "anyio on asyncio": ("anyio", gi.AnyioInstrumentor().instrument, on("asyncio", tasks_of_a_group)),
    "anyio on trio": ("anyio", gi.AnyioInstrumentor().instrument, on("trio", tasks_of_a_group)),
    "trio": ("trio", gi.TrioInstrumentor().instrument, on("trio", tasks_of_a_group)),
    "limiter": ("anyio_limiter", gi.AnyioInstrumentor().instrument, on("asyncio", tasks_in_threads)),
    "futures": (
        "thread_pool",
        gi.FuturesInstrumentor().instrument,
        lambda: in_a_pool(ThreadPoolExecutor(1, "pool")),
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_instrumentor_shows_as_many_task_names_as_it_is_told(way: str) -> None:
    kind, instrument, run = WAYS[way]
    instrument(max_task_names=NAMES + 20)
    run()
    assert {f"work-{number}" for number in range(NAMES)} <= shown(kind)
    assert folded() == 0


@pytest.mark.parametrize("way", WAYS)
def test_it_shows_25_unless_it_is_told(way: str) -> None:
    kind, instrument, run = WAYS[way]
    instrument()
    run()
    assert len(shown(kind) - {OTHER}) == 25
    assert OTHER in shown(kind)
    assert folded() >= NAMES - 25


def test_a_wrapped_pool_shows_as_many_as_it_is_told() -> None:
    in_a_pool(gi.wrap_executor(ThreadPoolExecutor(1), "pool", max_task_names=2))
    assert shown("thread_pool") == {"work-0", "work-1", OTHER}


@pytest.mark.parametrize(("value", "error"), [(-1, ValueError), ("9", TypeError), (True, TypeError), (2.0, TypeError)])
def test_what_is_no_number_of_names_is_refused(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"max_task_names= must be .*" + repr(value)):
        gi.wrap_executor(ThreadPoolExecutor(1), "pool", max_task_names=value)
    for instrumentor in (
        gi.AsyncioInstrumentor, gi.AnyioInstrumentor, gi.TrioInstrumentor, gi.FuturesInstrumentor,
        gi.LokyInstrumentor, gi.DaskInstrumentor,
    ):  # fmt: skip
        with pytest.raises(error, match="max_task_names"):
            instrumentor().instrument(max_task_names=value)
