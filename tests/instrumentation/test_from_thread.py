"""Calls into an event loop from threads: anyio's from_thread and its blocking portals."""

from __future__ import annotations

import contextvars
import functools
import gc
import sys
import threading
import weakref
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from anyio.from_thread import start_blocking_portal
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer, get_current_span

import glasspool_instrumentation as gi
from glasspool import HybridExecutor
from glasspool._recorded_calls import within_task
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key

from . import work
from .work import BACKENDS, LIMIT, histogram, outcomes, run, value

pytest.importorskip("trio")

CALLS = 200
NAME = "anyio.from_thread"

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def _here() -> tuple[int, str]:
    return get_current_span().get_span_context().span_id, variable.get()


async def _there(amount: int = 0) -> tuple[int, str]:
    await anyio.sleep(0)
    return _here()


async def _boom() -> None:
    await anyio.sleep(0)
    raise KeyError("x")


def _boom_now() -> None:
    raise KeyError("x")


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", ["run", "run_sync"])
def test_a_call_is_one_task_with_its_span_current(
    backend: str, how: str, tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    def in_thread() -> list[Any]:
        variable.set("the thread's")
        if how == "run":
            return [anyio.from_thread.run(_there, 1) for _ in range(CALLS)]
        return [anyio.from_thread.run_sync(_here) for _ in range(CALLS)]

    async def main() -> list[Any]:
        with tracer.start_as_current_span("request"):
            return await anyio.to_thread.run_sync(in_thread)

    seen = run(main, backend=backend)
    assert outcomes(NAME) == {"success": CALLS}
    assert value(catalog.TASK_SUBMITTED, NAME, executor_type="anyio_from_thread") == CALLS
    function = "_there" if how == "run" else "_here"
    assert histogram(catalog.TASK_DURATION, NAME, task_name=function)[0] == CALLS
    assert histogram(catalog.QUEUE_WAIT, NAME, queue_outcome="started")[0] == CALLS
    assert value(catalog.TASK_ACTIVE, NAME) == value(catalog.QUEUE_SIZE, NAME) == 0
    assert value(catalog.TASK_SUBMITTED, "asyncio") <= 3  # main, and what closes asyncio's loop
    assert value(catalog.TASK_SUBMITTED, "anyio") == 0
    made = [span for span in spans.get_finished_spans() if span.name == f"{NAME} {function}"]
    assert seen == [(span.context.span_id, "the thread's") for span in made]
    (thread,) = [span for span in spans.get_finished_spans() if span.name.startswith("anyio.to_thread ")]
    assert {span.parent.span_id for span in made if span.parent} == {thread.context.span_id}


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("backend", BACKENDS)
def test_outcomes_are_the_functions(backend: str) -> None:
    def in_thread() -> None:
        with pytest.raises(KeyError, match="x") as caught:
            anyio.from_thread.run(_boom)
        assert caught.traceback[-1].name == "_boom"
        with pytest.raises(KeyError, match="x"):
            anyio.from_thread.run_sync(_boom_now)
        with pytest.raises(TypeError):
            anyio.from_thread.run(_here)  # type: ignore[arg-type]  # the mistake is meant

    run(anyio.to_thread.run_sync, in_thread, backend=backend)
    assert outcomes(NAME)["error"] == 3
    assert value(catalog.TASK_COMPLETED, NAME, error_type="KeyError") == 2
    assert value(catalog.TASK_ACTIVE, NAME) == 0


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_call_that_its_host_takes_along_is_cancelled(backend: str) -> None:
    def in_thread() -> None:
        anyio.from_thread.run(anyio.sleep_forever)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, in_thread)
            with anyio.move_on_after(LIMIT):
                while not value(catalog.TASK_ACTIVE, NAME):
                    await anyio.sleep(0.005)
            group.cancel_scope.cancel()

    run(main, backend=backend)
    assert outcomes(NAME) == {"cancelled": 1}
    assert value(catalog.TASK_CANCELLATIONS, NAME, cancel_reason="parent_scope", task_phase="running") == 1


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_that_wait_for_a_busy_loop_are_seen(backend: str) -> None:
    gate = threading.Barrier(4)

    def in_thread() -> None:
        gate.wait(LIMIT)
        anyio.from_thread.run(_there)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(anyio.to_thread.run_sync, in_thread)
            # A task is active from its token on, before its thread runs.
            with anyio.move_on_after(LIMIT):
                while gate.n_waiting < 3:
                    await anyio.sleep(0.005)
            gate.wait(LIMIT)
            # The loop does not turn while this waits.
            work.until(lambda: value(catalog.QUEUE_SIZE, NAME) == 3, "three threads")
            assert value(catalog.QUEUE_OLDEST_AGE, NAME) > 0

    run(main, backend=backend)
    assert outcomes(NAME) == {"success": 3}


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_whose_first_calls_meet_share_one_observation(backend: str) -> None:
    threads, rounds = 8, 40
    gate = threading.Barrier(threads)

    def in_thread() -> None:
        gate.wait(LIMIT)
        anyio.from_thread.run_sync(_here)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(threads):
                group.start_soon(anyio.to_thread.run_sync, in_thread)

    opened, closed = (value(each, NAME) for each in (catalog.EXECUTOR_OPENED, catalog.EXECUTOR_CLOSED))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(rounds):
            gi.instrument()
            run(main, backend=backend)
            gi.uninstrument()
    finally:
        sys.setswitchinterval(interval)
    assert value(catalog.EXECUTOR_OPENED, NAME) == opened + rounds
    assert value(catalog.EXECUTOR_CLOSED, NAME) == closed + rounds


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("backend", BACKENDS)
def test_from_a_hybrid_executors_thread(backend: str, tracer: Tracer, spans: InMemorySpanExporter) -> None:
    def in_thread() -> Any:
        return anyio.from_thread.run(_there)

    async def main() -> Any:
        with tracer.start_as_current_span("request"):
            async with HybridExecutor("hybrid", max_in_flight=2) as executor:
                return await executor.run(in_thread)

    span_id, _ = run(main, backend=backend)
    by_name = {span.name: span for span in spans.get_finished_spans()}
    called, task = by_name[f"{NAME} _there"], by_name[f"hybrid {in_thread.__qualname__}"]
    assert span_id == called.context.span_id
    assert called.parent is not None
    assert called.parent.span_id == task.context.span_id
    assert outcomes(NAME) == outcomes("hybrid") == {"success": 1}


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_portals_calls_are_tasks_of_its_group(backend: str) -> None:
    started = contextvars.copy_context()
    started.run(variable.set, "the caller's")
    with start_blocking_portal(**BACKENDS[backend]) as portal:
        assert started.run(portal.call, _there)[1] == "the caller's"
        assert portal.call(_here)[1] == "unset"
        assert portal.start_task_soon(_there, 1).result(LIMIT)[1] == "unset"
        with pytest.raises(KeyError, match="x"):
            portal.start_task_soon(_boom).result(LIMIT)
        waiting = portal.start_task_soon(anyio.sleep_forever)
        work.until(lambda: value(catalog.TASK_ACTIVE, "anyio") == 1, "the task to run")
        assert waiting.cancel()
        with pytest.raises(CancelledError):
            waiting.result(LIMIT)
        work.until(lambda: value(catalog.TASK_ACTIVE, "anyio") == 0, "the task to end")
    assert outcomes("anyio") == {"success": 3, "error": 1, "cancelled": 1}
    assert value(catalog.TASK_CANCELLATIONS, "anyio", cancel_reason="explicit") == 1
    assert value(catalog.TASK_COMPLETED, "anyio", error_type="KeyError") == 1
    for name, count in (("_there", 2), ("_here", 1), ("_boom", 1), ("sleep_forever", 1)):
        assert histogram(catalog.TASK_DURATION, "anyio", task_name=name)[0] == count
    assert value(catalog.TASK_SUBMITTED, NAME) == 0  # the portal's own way into the loop is no call of its own


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_portals_spans_are_in_the_callers_trace(backend: str, tracer: Tracer, spans: InMemorySpanExporter) -> None:
    gi.AnyioInstrumentor().instrument(spans="*_there")
    with start_blocking_portal(**BACKENDS[backend]) as portal, ThreadPoolExecutor(1) as pool:

        def call() -> tuple[int, int]:
            with tracer.start_as_current_span("request") as request:
                return request.get_span_context().span_id, portal.call(_there)[0]

        request_id, span_id = pool.submit(call).result(LIMIT)
    (made,) = [span for span in spans.get_finished_spans() if span.name == "anyio _there"]
    assert made.context.span_id == span_id
    assert made.parent is not None
    assert made.parent.span_id == request_id
    assert made.attributes is not None
    assert made.attributes[Key.CODE_FUNCTION] == f"{__name__}._there"


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_function_that_is_called_as_a_portals_own_is_the_users(backend: str) -> None:
    def _call_func() -> int:
        return 7

    def apply(function: Any) -> Any:
        return function()

    async def main() -> Any:
        return await anyio.to_thread.run_sync(lambda: anyio.from_thread.run_sync(apply, _call_func))

    assert run(main, backend=backend) == 7
    assert outcomes(NAME) == {"success": 1}


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_context_that_outlives_its_call_keeps_neither_function_nor_mark(backend: str) -> None:
    class Argument:
        pass

    kept: list[contextvars.Context] = []

    def keep(_argument: Argument) -> None:
        kept.append(contextvars.copy_context())

    async def keep_later(_argument: Argument) -> None:
        keep(_argument)

    def in_thread(argument: Argument) -> None:
        keep(argument)
        anyio.from_thread.run_sync(keep, argument)
        anyio.from_thread.run(keep_later, argument)

    async def main() -> weakref.ref[Argument]:
        argument = Argument()
        await anyio.to_thread.run_sync(in_thread, argument)
        await anyio.to_thread.run_sync(functools.partial(in_thread, argument))
        return weakref.ref(argument)

    reference = run(main, backend=backend)
    work.until(lambda: gc.collect() >= 0 and reference() is None, "the argument to be dropped")
    assert [context.run(within_task) for context in kept] == [False] * 6
