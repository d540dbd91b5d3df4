"""Pools as the runner of a HybridExecutor: each task and span once, and the pool's own workers."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry import baggage, context
from opentelemetry.instrumentation.threading import ThreadingInstrumentor as OtelThreading
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer

import glasspool_instrumentation as gi
from glasspool import HybridExecutor
from glasspool.telemetry import catalog

from . import work
from .work import LIMIT, outcomes, value

pytest.importorskip("trio")

CALLS = 1000
LOOP_TYPES = ("asyncio", "anyio", "trio")

Run = Callable[[Callable[[], Any]], Any]


def _runs() -> Iterator[Any]:
    yield pytest.param(functools.partial(anyio.run, backend="asyncio"), id="asyncio")
    uvloop = functools.partial(anyio.run, backend="asyncio", backend_options={"use_uvloop": True})
    yield pytest.param(uvloop, id="uvloop")
    yield pytest.param(functools.partial(anyio.run, backend="trio"), id="trio")


@pytest.fixture(params=_runs())
def run(request: pytest.FixtureRequest) -> Run:
    found: Run = request.param
    return found


@pytest.fixture(params=["off", "futures", "everything", "theirs first", "ours first"])
def instrumentors(request: pytest.FixtureRequest) -> Iterator[str]:
    """None of ours; the one for pools; all, without and with OpenTelemetry's in either order."""
    how: str = request.param
    if how == "theirs first":
        OtelThreading().instrument()
    if how == "futures":
        gi.FuturesInstrumentor().instrument()
    elif how != "off":
        gi.instrument()
    if how == "ours first":
        OtelThreading().instrument()
    yield how
    if how == "theirs first":
        gi.uninstrument()  # the last on is the first off
    if how in ("theirs first", "ours first"):
        OtelThreading().uninstrument()


def _pool(kind: str, wrapped: bool) -> Executor:
    processes = functools.partial(ProcessPoolExecutor, mp_context=get_context("fork"))
    made: Executor = ThreadPoolExecutor(2, "pool") if kind == "thread" else processes(2)
    return gi.wrap_executor(made, "pool") if wrapped else made


def _pool_name(kind: str, wrapped: bool) -> str:
    return "pool" if wrapped or kind == "thread" else __name__


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "wrapped"])
@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_pool_as_runner_doubles_nothing(
    run: Run, kind: str, wrapped: bool, instrumentors: str, tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    with tracer.start_as_current_span("stranger"):
        pool = _pool(kind, wrapped)
        pool.submit(work.add, 1).result(LIMIT)  # forked processes are born with a stranger's trace
    work.REGISTRY.reset()
    calls = CALLS if instrumentors == "everything" else 50

    async def main() -> list[Any]:
        with tracer.start_as_current_span("request"):
            token = context.attach(baggage.set_baggage("user", "eve"))
            async with HybridExecutor("hybrid", max_in_flight=4, max_queued=None) as executor:
                handles = [await executor.submit(work.seen, runner=pool) for _ in range(calls)]
                found = [await handle for handle in handles]
            context.detach(token)
            return found

    seen = run(main)
    pool.shutdown()
    assert outcomes("hybrid") == {"success": calls}
    assert value(catalog.TASK_SUBMITTED, "hybrid") == calls
    assert {found for found in work.executors() if found[1] not in LOOP_TYPES} == {("hybrid", "hybrid")}
    finished = [span for span in spans.get_finished_spans() if "stranger" not in span.name and "add" not in span.name]
    made = [span for span in finished if span.name != "request"]
    assert len(made) == calls
    assert {span.name for span in made} == {"hybrid seen"}
    trace_id = finished[-1].context.trace_id
    assert {(span.context.trace_id, span.context.span_id, "eve") for span in made} == set(seen)
    assert {span.context.trace_id for span in made} == {trace_id}


def _wait_for(path: str) -> bool:
    work.until(Path(path).exists, path)
    return True


def _workers(name: str) -> tuple[float, float, float]:
    busy = value(catalog.WORKER_COUNT, name, worker_state="busy")
    return busy, value(catalog.WORKER_COUNT, name, worker_state="idle"), value(catalog.WORKER_LIMIT, name)


@pytest.mark.parametrize("kind", ["thread", "process"])
@pytest.mark.parametrize("how", ["wrapped", "instrumented", "both"])
def test_its_workers_are_seen(run: Run, kind: str, how: str, tmp_path: Path) -> None:
    if how != "wrapped":
        gi.FuturesInstrumentor().instrument()
    pool = _pool(kind, how != "instrumented")
    name = _pool_name(kind, how != "instrumented")

    async def until(expected: tuple[float, float, float]) -> None:
        with anyio.fail_after(LIMIT):
            while _workers(name) != expected:
                await anyio.sleep(0.005)

    async def main() -> None:
        async with HybridExecutor("hybrid", max_in_flight=8) as executor:
            for calls, busy in ((3, (2, 0, 2)), (1, (1, 1, 2))):
                path = tmp_path / str(calls)
                handles = [await executor.submit(_wait_for, str(path), runner=pool) for _ in range(calls)]
                await until(busy)
                path.touch()
                assert all([await handle for handle in handles])
                await until((0, 2, 2))

    run(main)
    assert outcomes("hybrid") == {"success": 4}
    assert value(catalog.TASK_SUBMITTED, name) == 0
    assert value(catalog.SLOT_TIME, name) == 0
    pool.shutdown()
    assert _workers(name) == (0, 0, 0)


def test_shut_down_without_waiting_it_is_seen_until_its_last_call_has_ended(tmp_path: Path) -> None:
    pool = _pool("thread", wrapped=True)

    async def main() -> None:
        async with HybridExecutor("hybrid", max_in_flight=2) as executor:
            handle = await executor.submit(_wait_for, str(tmp_path / "go"), runner=pool)
            with anyio.fail_after(LIMIT):
                while _workers("pool")[0] != 1:
                    await anyio.sleep(0.005)
            pool.shutdown(wait=False)
            assert _workers("pool")[0] == 1
            (tmp_path / "go").touch()
            assert await handle

    anyio.run(main)
    work.until(lambda: _workers("pool") == (0, 0, 0), "the gauges to end")


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "wrapped"])
@pytest.mark.parametrize("kind", ["thread", "process"])
def test_errors_and_refusals_are_the_executors(run: Run, kind: str, wrapped: bool) -> None:
    pool = _pool(kind, wrapped)

    async def main() -> None:
        async with HybridExecutor("hybrid", max_in_flight=2) as executor:
            with pytest.raises(KeyError, match="x") as caught:
                await executor.run(work.fail, "x", runner=pool)
            assert caught.value.args == ("x",)
            pool.shutdown()
            with pytest.raises(RuntimeError, match="after shutdown"):
                await executor.run(work.fail, "x", runner=pool)

    run(main)
    assert outcomes("hybrid") == {"error": 2}
    assert value(catalog.TASK_REJECTED, "pool") == 0
    assert value(catalog.TASK_COMPLETED, "pool") == 0


class _OwnPool(Executor):
    """A custom pool: a thread for each call."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def work_off() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # the caller's
                future.set_exception(error)

        threading.Thread(target=work_off).start()
        return future


@pytest.mark.parametrize("kind", ["own", "loky"])
def test_context_through_pools_of_other_kinds_when_wrapped(
    kind: str, tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    made: Executor = _OwnPool() if kind == "own" else pytest.importorskip("loky").ProcessPoolExecutor(1)
    pool = gi.wrap_executor(made, "pool")

    async def main() -> Any:
        with tracer.start_as_current_span("request"):
            async with HybridExecutor("hybrid", max_in_flight=4) as executor:
                return await executor.run(work.seen, runner=pool)

    trace_id, span_id, _ = anyio.run(main)
    pool.shutdown()
    task, request = spans.get_finished_spans()
    assert (trace_id, span_id) == (request.context.trace_id, task.context.span_id)
    assert work.executors() == {("hybrid", "hybrid")}


def test_a_pool_serves_both(tmp_path: Path) -> None:
    pool = _pool("thread", wrapped=True)

    async def main() -> None:
        async with HybridExecutor("hybrid", max_in_flight=2) as executor:
            handle = await executor.submit(_wait_for, str(tmp_path / "go"), runner=pool)
            direct = pool.submit(_wait_for, str(tmp_path / "go"))
            with anyio.fail_after(LIMIT):
                while _workers("pool") != (2, 0, 2) or not value(catalog.TASK_ACTIVE, "pool"):
                    await anyio.sleep(0.005)
            assert value(catalog.SLOT_USAGE, "pool") == 1
            (tmp_path / "go").touch()
            assert await handle
            assert direct.result(LIMIT)

    anyio.run(main)
    pool.shutdown()
    assert outcomes("pool") == outcomes("hybrid") == {"success": 1}


def test_instrumented_functions_in_its_workers_count_nothing(run: Run) -> None:
    from .test_instrumented import counted

    for kind in ("thread", "process"):
        with _pool(kind, wrapped=False) as pool:

            async def main(pool: Executor = pool) -> float:
                async with HybridExecutor("hybrid", max_in_flight=2) as executor:
                    return await executor.run(counted, runner=pool)

            assert run(main) == 0
