"""One call is one task for every stack of up to three layers above a pool of each kind."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import copy_context
from itertools import chain, combinations
from multiprocessing import get_context
from typing import Any

import anyio
import pytest

import glasspool_instrumentation as gi
from glasspool import HybridExecutor
from glasspool._foreign.pool_parts import client_of
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.recording.registry import REGISTRY

from . import work

loky = pytest.importorskip("loky")
distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

CALLS = 4


def double(number: int) -> int:
    return 2 * number


@gi.instrumented(name="function")
def observed_double(number: int) -> int:
    return 2 * number


def passing(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return fn(*args, **kwargs)


def again(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    fn(*args, **kwargs)
    return fn(*args, **kwargs)


class _InContext:
    """Packs each call into the submitter's context."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        return super().submit(copy_context().run, fn, *args, **kwargs)  # type: ignore[misc]


class _Passing:
    """Calls the function in one of its own."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        return super().submit(passing, fn, *args, **kwargs)  # type: ignore[misc]


class _Again:
    """Runs each call twice."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        return super().submit(again, fn, *args, **kwargs)  # type: ignore[misc]


class Delegating(Executor):
    """Has another pool do the work."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        return self._pool.submit(passing, fn, *args, **kwargs)


SUBCLASSES: dict[str, type] = {"packs a context": _InContext, "passes on": _Passing, "runs again": _Again}


KINDS: dict[str, tuple[type, Callable[..., Any]]] = {
    "threads": (ThreadPoolExecutor, lambda cls: cls(2, "pool")),
    "processes": (ProcessPoolExecutor, lambda cls: cls(1, mp_context=get_context("fork"))),
    "loky": (loky.ProcessPoolExecutor, lambda cls: cls(1)),
    "own": (work.Inline, lambda cls: cls()),
    "dask": (distributed.cfexecutor.ClientExecutor, lambda cls: cls(distributed.Client(_cluster()))),
}


@functools.cache
def _cluster() -> Any:
    return distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0", protocol="inproc://"
    )


@pytest.fixture(scope="module")
def shared() -> Iterator[Callable[[str, str], Any]]:
    """A pool of each class for all tests, since processes take long to begin."""
    made: dict[tuple[str, str], Any] = {}

    def get(kind: str, subclass: str) -> Any:
        if (kind, subclass) not in made:
            cls, make = KINDS[kind]
            mixin = SUBCLASSES.get(subclass)
            made[kind, subclass] = make(type(mixin.__name__, (mixin, cls), {}) if mixin else cls)
        return made[kind, subclass]

    yield get
    for (kind, _), pool in made.items():
        pool.shutdown()
        if kind == "dask":
            client_of(pool).close()
    if _cluster.cache_info().currsize:
        _cluster().close()
        _cluster.cache_clear()


OBSERVING = ("wrapped", "patched", "instrumented", "hybrid", "wrapped inside")
WAYS = ("run_in_executor", "map", "hybrid")
LAYERS = (*OBSERVING, *SUBCLASSES, "delegating", "partial", "partial of a context", "run_in_executor", "map")
IN_PROCESS = ("threads", "own")


def _possible(kind: str, stack: tuple[str, ...]) -> bool:
    remote, observing = kind not in IN_PROCESS, {*stack} & {*OBSERVING}
    unknown = "delegating" in stack and "wrapped" not in stack  # a pool of which we know nothing
    return (
        sum(way in stack for way in WAYS) <= 1
        and sum(name in stack for name in SUBCLASSES) <= 1
        and any(layer in OBSERVING for layer in stack)
        and not ("wrapped inside" in stack and "delegating" not in stack)
        and not (remote and {"packs a context", "partial of a context"} & {*stack})
        # Instrumentors find custom pools where the loop uses them.
        and not (kind == "own" and observing <= {"patched", "instrumented"} and "run_in_executor" not in stack)
        # Each run of an instrumented function is one, if no layer counts the submission.
        and not (observing == {"instrumented"} and ("runs again" in stack or remote))
        # The task's context does not get there (Dask gets the plain function).
        and not ({"hybrid", "instrumented"} <= observing and ((unknown and kind == "threads") or kind == "dask"))
    )


def _stacks() -> Iterator[Any]:
    for kind in KINDS:
        for stack in chain.from_iterable(combinations(LAYERS, size) for size in (1, 2, 3)):
            if _possible(kind, stack):
                yield pytest.param(kind, stack, id=f"{kind}-{', '.join(stack)}")


async def _call(pool: Any, stack: tuple[str, ...]) -> list[int]:
    function: Any = observed_double if "instrumented" in stack else double
    together = [range(CALLS)]
    if "partial" in stack:
        function = functools.partial(function)
    if "partial of a context" in stack:
        function = functools.partial(copy_context().run, function)
        together = [range(number, number + 1) for number in range(CALLS)]  # two threads cannot enter one context
    if "map" in stack:
        return list(await anyio.to_thread.run_sync(lambda: [i for some in together for i in pool.map(function, some)]))
    if "run_in_executor" in stack:
        loop = asyncio.get_running_loop()
        return [await loop.run_in_executor(pool, function, number) for number in range(CALLS)]
    if "hybrid" in stack:
        async with HybridExecutor("hybrid", max_in_flight=2) as executor:
            return [await executor.run(function, number, runner=pool) for number in range(CALLS)]
    found: list[int] = []
    for some in together:
        futures = [pool.submit(function, number) for number in some]
        found += [await asyncio.wrap_future(future) for future in futures]
    return found


def counted() -> dict[tuple[str, str], int]:
    """Submitted calls by name and type of executor, tasks of event loops left out."""
    return {
        (point.attributes[Key.EXECUTOR_NAME], point.attributes[Key.EXECUTOR_TYPE]): int(point.value)
        for point in REGISTRY.collect().points.get(catalog.TASK_SUBMITTED.name, [])
        if point.value and point.attributes[Key.EXECUTOR_TYPE] not in ("asyncio", "anyio", "trio", "anyio_limiter")
    }


@pytest.mark.parametrize(("kind", "stack"), list(_stacks()))
def test_one_call_is_one_task(kind: str, stack: tuple[str, ...], shared: Callable[[str, str], Any]) -> None:
    pool = inner = shared(kind, next((layer for layer in stack if layer in SUBCLASSES), ""))
    if "patched" in stack:
        gi.instrument()
    if "delegating" in stack:
        pool = Delegating(inner)
    if "wrapped inside" in stack:
        gi.wrap_executor(inner, "inner")
    if "wrapped" in stack:
        gi.wrap_executor(pool, "outer")
    try:
        assert asyncio.run(_call(pool, stack)) == [2 * number for number in range(CALLS)]
    finally:
        gi.unwrap_executor(pool)
        gi.unwrap_executor(inner)
    assert sum(counted().values()) == CALLS, counted()


@pytest.mark.parametrize("runner", ["thread", "inline", "threads", "patched, delegating"])
def test_a_task_in_a_context_made_elsewhere_is_counted_once(runner: str) -> None:
    """The executor's task is not to be known by that context."""
    function = functools.partial(copy_context().run, observed_double)
    if "patched" in runner:
        gi.instrument()

    async def main() -> list[int]:
        with ThreadPoolExecutor(2) as pool:
            chosen: Any = {"threads": pool, "patched, delegating": Delegating(pool)}.get(runner, runner)
            async with HybridExecutor("hybrid", max_in_flight=2) as executor:
                return [await executor.run(function, number, runner=chosen) for number in range(CALLS)]

    assert asyncio.run(main()) == [2 * number for number in range(CALLS)]
    assert counted() == {("hybrid", "hybrid"): CALLS}
