"""One call is one task on every path through several layers, with all instrumentation on."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import anyio
import anyio.to_process
import anyio.to_thread
import pytest
from opentelemetry.instrumentation.asyncio import AsyncioInstrumentor as OtelAsyncio
from opentelemetry.instrumentation.threading import ThreadingInstrumentor as OtelThreading
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer

import glasspool_instrumentation as gi
from glasspool import HybridExecutor
from glasspool.telemetry import catalog

from . import work
from .work import LIMIT, value

trio = pytest.importorskip("trio")

CALLS = 1000

Call = Callable[[], Awaitable[Any]]


async def _to_thread() -> Any:
    return await asyncio.to_thread(work.seen)


async def _default_executor() -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, work.seen)


async def _anyio_thread() -> Any:
    return await anyio.to_thread.run_sync(work.seen)


async def _trio_thread() -> Any:
    return await trio.to_thread.run_sync(work.seen)


async def _submitted(pool: ThreadPoolExecutor) -> Any:
    return await asyncio.wrap_future(pool.submit(work.seen))


async def _in_executor(pool: ThreadPoolExecutor) -> Any:
    return await asyncio.get_running_loop().run_in_executor(pool, work.seen)


def _others(order: str) -> Iterator[None]:
    instrumentors = [OtelThreading(), OtelAsyncio()]
    if order == "theirs first":
        for instrumentor in instrumentors:
            instrumentor.instrument()
    gi.instrument()
    if order == "ours first":
        for instrumentor in instrumentors:
            instrumentor.instrument()
    try:
        yield
    finally:
        if order == "theirs first":
            gi.uninstrument()  # the last on is the first off: theirs cannot be taken off from beneath ours
        if order != "alone":
            for instrumentor in instrumentors:
                instrumentor.uninstrument()


@pytest.fixture(params=["alone", "theirs first", "ours first"])
def everything(request: pytest.FixtureRequest) -> Iterator[None]:
    """All of our instrumentors, without and with OpenTelemetry's on the same functions, in either order."""
    yield from _others(request.param)


PATHS = [
    pytest.param("asyncio", _to_thread, "asyncio", "thread_pool", id="asyncio.to_thread"),
    pytest.param("asyncio", _default_executor, "asyncio", "thread_pool", id="run_in_executor"),
    pytest.param("asyncio", _in_executor, "own", "thread_pool", id="run_in_executor-pool"),
    pytest.param("asyncio", _submitted, "own", "thread_pool", id="submit"),
    pytest.param("asyncio", _anyio_thread, "anyio.to_thread", "anyio_limiter", id="anyio.to_thread-asyncio"),
    pytest.param("trio", _anyio_thread, "anyio.to_thread", "anyio_limiter", id="anyio.to_thread-trio"),
    pytest.param("trio", _trio_thread, "trio.to_thread", "trio_limiter", id="trio.to_thread"),
]


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize(("backend", "path", "name", "type"), PATHS)
@pytest.mark.parametrize("parented", [True, False], ids=["traced", "untraced"])
def test_1000_calls_are_1000_tasks_and_1000_spans(
    backend: str, path: Any, name: str, type: str, parented: bool, tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    pool = ThreadPoolExecutor(4, "own")
    call: Call = functools.partial(path, pool) if path in (_in_executor, _submitted) else path

    async def main() -> list[Any]:
        with tracer.start_as_current_span("request") if parented else nullcontext():
            return [await call() for _ in range(CALLS)]

    seen = anyio.run(main, backend=backend)
    pool.shutdown()
    work.until(lambda: value(catalog.TASK_COMPLETED, name, executor_type=type) == CALLS, "all outcomes")
    assert value(catalog.TASK_SUBMITTED, name, executor_type=type) == CALLS
    others = {found for found in work.executors() if found[1] not in ("asyncio", "anyio", "trio")}
    assert others == {(name, type)}
    made = [span for span in spans.get_finished_spans() if span.name != "request"]
    if not parented:
        assert made == []
        assert {trace_id for trace_id, _, _ in seen} == {0}
        return
    assert len(made) == CALLS
    assert {span.name for span in made} == {f"{name} seen"}
    assert [span_id for _, span_id, _ in seen] == [span.context.span_id for span in made]


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_threads_of_an_executor_are_its_own_tasks_each_in_its_own_trace(
    backend: str, tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    async def main() -> list[tuple[Any, Any]]:
        found = []
        async with HybridExecutor("hybrid", max_in_flight=1) as executor:  # one thread does them all
            for _ in range(50):
                with tracer.start_as_current_span("request") as request:
                    found.append((request.get_span_context().trace_id, (await executor.run(work.seen))[0]))
            found.append((0, (await executor.run(work.seen, context="link"))[0]))
        return found

    *parented, (_, linked) = anyio.run(main, backend=backend)
    assert all(mine == seen for mine, seen in parented)
    assert linked not in {trace_id for trace_id, _ in parented}
    assert work.outcomes("hybrid") == {"success": 51}
    assert {found for found in work.executors() if found[1] not in ("asyncio", "anyio", "trio")} == {
        ("hybrid", "hybrid")
    }
    made = [span for span in spans.get_finished_spans() if span.name != "request"]
    assert [span.name for span in made] == ["hybrid seen"] * 51


@pytest.mark.usefixtures("everything")
def test_worker_processes_of_anyio_are_one_task_each(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    async def main() -> Any:
        with tracer.start_as_current_span("request") as request:
            trace_id, _, _ = await anyio.to_process.run_sync(work.seen)
            assert trace_id == request.get_span_context().trace_id
        with pytest.raises(KeyError):
            await anyio.to_process.run_sync(work.fail, "x")

    anyio.run(main)
    assert work.outcomes("anyio.to_process") == {"success": 1, "error": 1}
    assert [span.name for span in spans.get_finished_spans()] == ["anyio.to_process seen"] * 2 + ["request"]


@pytest.mark.parametrize("order", ["theirs first", "ours first"])
def test_taken_off_in_any_order_nothing_of_ours_acts(order: str) -> None:
    for _ in _others(order):
        gi.uninstrument()
        with ThreadPoolExecutor(1, "own") as pool:
            assert pool.submit(work.add, 1).result(LIMIT) == 2
        assert work.executors() == set()
        gi.instrument()
        with ThreadPoolExecutor(1, "own") as pool:
            assert pool.submit(work.add, 1).result(LIMIT) == 2
        assert work.outcomes("own") == {"success": 1}


def test_everything_comes_off() -> None:
    import concurrent.futures.process
    import concurrent.futures.thread

    import uvloop

    owners = [
        concurrent.futures.thread.ThreadPoolExecutor,
        concurrent.futures.process.ProcessPoolExecutor,
        asyncio.base_events.BaseEventLoop,
        asyncio.runners,
        uvloop.Loop,
        trio.to_thread,
        anyio.to_process,
        *([asyncio.TaskGroup] if hasattr(asyncio, "TaskGroup") else []),
    ]
    before = [dict(vars(owner)) for owner in owners]
    for _ in range(3):
        gi.instrument()
        gi.instrument()
        gi.uninstrument()
        gi.uninstrument()
    assert [dict(vars(owner)) for owner in owners] == before
