"""@instrumented within tasks that are already observed: a child span, but no second count of the same work."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import anyio
import anyio.from_thread
import anyio.to_process
import anyio.to_thread
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer, get_current_span

import glasspool_instrumentation as gi
from glasspool import HybridExecutor
from glasspool.telemetry import catalog

from . import work
from .work import BACKENDS, LIMIT, histogram, outcomes, run, value

trio = pytest.importorskip("trio")


@gi.instrumented(name="shop")
def charge(amount: int) -> int:
    if amount < 0:
        raise ValueError("negative")
    return get_current_span().get_span_context().span_id


@gi.instrumented(name="shop")
async def ship(amount: int) -> int:
    await anyio.sleep(0)
    return charge(amount)


def counted(_: int = 0) -> float:
    """What ``shop`` counts of one call, where it is made."""
    before = value(catalog.TASK_SUBMITTED, "shop")
    charge(1)
    return value(catalog.TASK_SUBMITTED, "shop") - before


def _fail_inside() -> None:
    with pytest.raises(ValueError, match="negative"):
        charge(-1)


def _from_thread() -> int:
    return anyio.from_thread.run(ship, 1)


async def _hybrid_inline() -> None:
    async with HybridExecutor("outer", max_in_flight=2) as executor:
        await executor.run(ship, 1)


async def _hybrid_thread() -> None:
    async with HybridExecutor("outer", max_in_flight=2) as executor:
        await executor.run(charge, 1)


async def _hybrid_group() -> None:
    async def fan_out() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(ship, 1)

    async with HybridExecutor("outer", max_in_flight=2) as executor:
        await executor.run(fan_out)


async def _thread_pool() -> None:
    with ThreadPoolExecutor(1, "outer") as pool:
        pool.submit(charge, 1).result(LIMIT)


async def _thread_pool_with_a_context() -> None:
    await asyncio.to_thread(charge, 1)


async def _limiter() -> None:
    await anyio.to_thread.run_sync(charge, 1)


async def _from_a_limiters_thread() -> None:
    await anyio.to_thread.run_sync(_from_thread)


async def _trio_limiter() -> None:
    await trio.to_thread.run_sync(charge, 1)


PATHS = [
    *(pytest.param(b, _hybrid_inline, 2, id=f"hybrid-inline-{b}") for b in BACKENDS),
    *(pytest.param(b, _hybrid_thread, 1, id=f"hybrid-thread-{b}") for b in BACKENDS),
    *(pytest.param(b, _hybrid_group, 2, id=f"hybrid-group-{b}") for b in BACKENDS),
    pytest.param("asyncio", _thread_pool, 1, id="thread-pool"),
    pytest.param("asyncio", _thread_pool_with_a_context, 1, id="asyncio.to_thread"),
    *(pytest.param(b, _limiter, 1, id=f"anyio.to_thread-{b}") for b in BACKENDS),
    *(pytest.param(b, _from_a_limiters_thread, 2, id=f"anyio.from_thread-{b}") for b in BACKENDS),
    pytest.param("trio", _trio_limiter, 1, id="trio.to_thread"),
]


def _is_below(span: ReadableSpan, ancestor: str, all_spans: tuple[ReadableSpan, ...]) -> bool:
    by_id = {found.context.span_id: found for found in all_spans}
    while span.parent is not None and span.parent.span_id in by_id:
        span = by_id[span.parent.span_id]
        if span.name == ancestor:
            return True
    return False


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize(("backend", "path", "calls"), PATHS)
def test_inside_a_task_it_is_a_child_span_and_no_count(
    backend: str, path: Callable[[], Awaitable[None]], calls: int, tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    async def main() -> None:
        with tracer.start_as_current_span("request"):
            await path()

    run(main, backend=backend)
    assert value(catalog.TASK_SUBMITTED, "shop") == 0
    assert outcomes("shop") == {}
    assert histogram(catalog.TASK_DURATION, "shop") == (0, 0.0)
    finished = spans.get_finished_spans()
    own = [span for span in finished if span.name.startswith("shop ")]
    assert len(own) == calls
    assert all(_is_below(span, "request", finished) for span in own)
    assert all(span.attributes and span.attributes["glasspool.task.outcome"] == "success" for span in own)
    # Once outside of it, calls are counted again.
    charge(1)
    assert outcomes("shop") == {"success": 1}


@pytest.mark.parametrize("pool", ["wrapped", "anyio"])
def test_inside_another_processs_task(pool: str) -> None:
    if pool == "wrapped":
        with gi.wrap_executor(ProcessPoolExecutor(1, mp_context=get_context("spawn")), "outer") as wrapped:
            assert wrapped.submit(counted).result(LIMIT) == 0
    else:
        gi.AnyioInstrumentor().instrument()
        assert anyio.run(anyio.to_process.run_sync, counted) == 0
    assert counted() == 1


def test_a_process_that_is_forked_within_a_task_is_outside_of_it() -> None:
    def fork() -> float:
        with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
            return pool.submit(counted).result(LIMIT)

    async def main() -> float:
        async with HybridExecutor("outer", max_in_flight=1) as executor:
            return await executor.run(fork, runner="inline")

    assert anyio.run(main) == 1
    with gi.wrap_executor(ThreadPoolExecutor(1), "pool") as pool:
        assert pool.submit(fork).result(LIMIT) == 1


def test_an_error_inside_a_task_is_on_the_span(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    pool = gi.wrap_executor(ThreadPoolExecutor(1), "outer")
    with tracer.start_as_current_span("request"):
        pool.submit(_fail_inside).result(LIMIT)
    pool.shutdown()
    span = next(found for found in spans.get_finished_spans() if found.name == "shop charge")
    assert span.attributes is not None
    assert span.attributes["error.type"] == "ValueError"
    assert span.attributes["glasspool.task.duration"] >= 0  # type: ignore[operator]  # a number
    assert outcomes("shop") == {}
    assert outcomes("outer") == {"success": 1}


@pytest.mark.parametrize("context", ["thread's", "caller's"])
def test_a_thread_is_outside_again_when_its_task_has_ended(context: str) -> None:
    import contextvars

    pool = gi.wrap_executor(ThreadPoolExecutor(1), "outer")
    own = contextvars.copy_context()
    function = charge if context == "thread's" else functools.partial(own.run, charge)
    for _ in range(2):
        pool.submit(function, 1).result(LIMIT)
    gi.unwrap_executor(pool)
    pool.submit(function, 1).result(LIMIT)
    pool.shutdown()
    assert outcomes("shop") == {"success": 1}


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_task_leaves_behind_is_no_part_of_it(backend: str) -> None:
    async def main() -> None:
        async with anyio.create_task_group() as group:
            ended = anyio.Event()

            async def afterwards() -> None:
                await ended.wait()
                await ship(1)

            async def leave_behind() -> None:
                group.start_soon(afterwards)

            async with HybridExecutor("outer", max_in_flight=2) as executor:
                await executor.run(leave_behind)
                ended.set()

    run(main, backend=backend)
    assert outcomes("shop") == {"success": 2}


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("backend", BACKENDS)
def test_tasks_of_an_event_loop_are_not_submitted_calls(backend: str) -> None:
    # Otherwise nothing would be counted in a program that runs under the instrumentor of its loop.
    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(ship, 1)

    run(main, backend=backend)
    assert outcomes("shop") == {"success": 2}


def test_instrumented_functions_within_each_other_are_each_counted() -> None:
    assert anyio.run(ship, 1) >= 0
    assert histogram(catalog.TASK_DURATION, "shop", task_name="ship")[0] == 1
    assert histogram(catalog.TASK_DURATION, "shop", task_name="charge")[0] == 1
    assert work.executors() == {("shop", "function")}


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_outlives_an_abandoned_thread_is_outside_of_its_task(backend: str) -> None:
    kept: list[contextvars.Context] = []
    gate = threading.Event()

    def stubborn() -> None:
        kept.append(contextvars.copy_context())
        assert gate.wait(LIMIT)

    async def main() -> None:
        async with HybridExecutor("hybrid", max_in_flight=1) as executor:
            await (await executor.submit(stubborn, timeout=0.01)).outcome()
            if kept:  # it has begun: its thread was left behind
                assert executor.stats().abandoned == 1
                assert kept[0].run(counted) == 0
            gate.set()
            with anyio.fail_after(LIMIT):
                while executor.stats().abandoned:
                    await anyio.sleep(0.001)

    while not kept:
        gate.clear()
        run(main, backend=backend)
    assert kept[0].run(counted) == 1
