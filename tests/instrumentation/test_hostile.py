"""Hostile objects in observed calls: exceptions that cannot be changed, objects that cannot be examined. The calls end
in the same way with and without observation, and are counted."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer

import glasspool_instrumentation as gi
from glasspool.telemetry import catalog
from tests.hostile import REFUSALS, Frozen, hostile

from . import work
from .work import LIMIT, value

trio = pytest.importorskip("trio")

Call = Callable[..., Any]


class Ended:
    """What a call returned or raised. Opaque: a loop shows the results of its tasks, and these do not like it."""

    def __init__(self, how: str, what: Any) -> None:
        self.how = how
        self.what = what


def ended(run: Call, *args: Any) -> Ended:
    try:
        return Ended("returned", run(*args))
    except BaseException as error:
        return Ended("raised", error)


async def ended_async(run: Call, *args: Any) -> Ended:
    try:
        return Ended("returned", await run(*args))
    except BaseException as error:
        return Ended("raised", error)


class _Inline(Executor):
    def submit(self, fn: Call, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        found = ended(fn, *args)
        future.set_result(found.what) if found.how == "returned" else future.set_exception(found.what)
        return future


def _pool(make: Callable[[], Executor], wrap: bool) -> Callable[[Call, Any], Ended]:
    def way(fn: Call, argument: Any) -> Ended:
        with gi.wrap_executor(make(), "pool") if wrap else make() as pool:
            future = pool.submit(fn, argument)
            error = future.exception(LIMIT)  # result() asks whether the error is true
            return Ended("returned", future.result()) if error is None else Ended("raised", error)

    return way


def _async_of(fn: Call) -> Call:
    async def work_async(argument: Any) -> Any:
        await anyio.sleep(0)
        return fn(argument)

    return work_async


def _run(backend: str, main: Call, *args: Any) -> Ended:
    found: Ended = anyio.run(functools.partial(ended_async, main), *args, backend=backend)
    return found


def _task(fn: Call, argument: Any) -> Ended:
    async def main() -> Any:
        return await asyncio.create_task(_async_of(fn)(argument))

    return _run("asyncio", main)


def _to_thread_of_asyncio(fn: Call, argument: Any) -> Ended:
    return _run("asyncio", asyncio.to_thread, fn, argument)


def _in_executor(fn: Call, argument: Any) -> Ended:
    async def main() -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, fn, argument)

    return _run("asyncio", main)


def _child(backend: str) -> Callable[[Call, Any], Ended]:
    """A child of a group that keeps what it ends with, so that no library has to group it."""

    def way(fn: Call, argument: Any) -> Ended:
        found: list[Ended] = []

        async def child() -> None:
            found.append(await ended_async(within, argument))

        async def within(given: Any) -> Any:
            return await _async_of(fn)(given)

        async def main() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(child)

        anyio.run(main, backend=backend)
        return found[0]

    return way


def _to_thread(backend: str) -> Callable[[Call, Any], Ended]:
    return lambda fn, argument: _run(backend, anyio.to_thread.run_sync, fn, argument)


def _from_thread(backend: str, run: Call, wrap: Callable[[Call], Call]) -> Callable[[Call, Any], Ended]:
    return lambda fn, argument: _run(backend, anyio.to_thread.run_sync, run, wrap(fn), argument)


def _portal(fn: Call, argument: Any) -> Ended:
    with anyio.from_thread.start_blocking_portal() as portal:
        return ended(portal.call, fn, argument)


def _decorated(fn: Call, argument: Any) -> Ended:
    return ended(gi.instrumented(name="decorated")(fn), argument)


def _decorated_async(fn: Call, argument: Any) -> Ended:
    return _run("asyncio", gi.instrumented(name="decorated")(_async_of(fn)), argument)


WAYS: dict[str, Callable[[Call, Any], Ended]] = {
    "a wrapped pool": _pool(lambda: ThreadPoolExecutor(1), True),
    "a patched pool": _pool(lambda: ThreadPoolExecutor(1), False),
    "a custom executor": _pool(_Inline, True),
    "asyncio's tasks": _task,
    "asyncio.to_thread": _to_thread_of_asyncio,
    "run_in_executor": _in_executor,
    "anyio's children": _child("asyncio"),
    "trio's children": _child("trio"),
    "anyio.to_thread on asyncio": _to_thread("asyncio"),
    "anyio.to_thread on trio": _to_thread("trio"),
    "from_thread.run_sync on asyncio": _from_thread("asyncio", anyio.from_thread.run_sync, lambda fn: fn),
    "from_thread.run_sync on trio": _from_thread("trio", anyio.from_thread.run_sync, lambda fn: fn),
    "from_thread.run on asyncio": _from_thread("asyncio", anyio.from_thread.run, _async_of),
    "from_thread.run on trio": _from_thread("trio", anyio.from_thread.run, _async_of),
    "trio.to_thread": lambda fn, argument: ended(trio.run, trio.to_thread.run_sync, fn, argument),
    "a portal": _portal,
    "@instrumented, sync": _decorated,
    "@instrumented, async": _decorated_async,
}


TOUCHY = frozenset(way for way in WAYS if "trio" in way or "thread" in way or "anyio" in way or "portal" in way)
"""Whose libraries themselves look at what is raised and returned."""
TOUCHY -= {"asyncio.to_thread"}


def observe() -> None:
    for instrumentor in (gi.AsyncioInstrumentor, gi.AnyioInstrumentor, gi.TrioInstrumentor):
        instrumentor().instrument(monitor=False, spans="*")
    gi.FuturesInstrumentor().instrument()


def returns(argument: Any) -> Any:
    return argument


def raises(argument: Any) -> Any:
    raise argument


_REFUSING = list(REFUSALS.items())

THINGS: dict[str, tuple[Call, Callable[[], Any]]] = {
    "a frozen exception": (raises, lambda: Frozen(503)),
    **{f"an exception with {name}": (raises, lambda r=r: hostile(Exception, r)("error")) for name, r in _REFUSING},
    **{f"a value with {name}": (returns, lambda r=r: hostile(object, r)()) for name, r in _REFUSING},
    **{
        f"a function with {name}": (hostile(object, r, __call__=lambda _, argument: argument)(), object)
        for name, r in _REFUSING
    },
}


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("way", WAYS)
def test_it_goes_the_same_way_as_without_observation(
    way: str, thing: str, tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    if way in TOUCHY and thing != "a frozen exception":
        pytest.skip("anyio or trio does not bear it, observed or not")
    if way == "@instrumented, sync" and "function" in thing:
        pytest.skip("functools.wraps does not bear it")
    fn, make = THINGS[thing]
    bare, seen = make(), make()
    without = ended(WAYS[way], fn, bare)
    observe()
    with tracer.start_as_current_span("request"):
        within = ended(WAYS[way], fn, seen)
    assert _told(within, seen) == _told(without, bare)
    if way not in TOUCHY:
        assert _told(within, seen) == f"{'raised' if fn is raises else 'returned'} what was given"
    names = {name for name, _ in work.executors()}
    work.until(lambda: all(value(catalog.TASK_ACTIVE, name) == 0 for name in names), "the end of all")
    found = [work.outcomes(name) for name in names]
    kept = fn is not raises or way in ("anyio's children", "trio's children")
    assert any(("success" if kept else "error") in outcomes for outcomes in found), found


def _told(found: Ended, given: Any) -> str:
    """How a way has ended, in words."""
    while type(found.what) is Ended:
        found = found.what
    return f"{found.how} what was given" if found.what is given else f"{found.how} {type(found.what).__name__}"
