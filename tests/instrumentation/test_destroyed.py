"""Coroutines that are destroyed elsewhere than they ran: they count as cancelled, their span ends, nothing is logged.

Loops that are closed with tasks pending, coroutines that somebody else closes or that the collector finds in another
context or thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer, get_current_span

import glasspool_instrumentation as gi
from glasspool import HybridExecutor
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key

from . import work
from .work import LIMIT, outcomes, value

trio = pytest.importorskip("trio")
testing = pytest.importorskip("trio.testing")

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # asyncio's own, about these tasks
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@gi.instrumented(name="decorated")
async def listen() -> None:
    await asyncio.sleep(LIMIT)


@gi.instrumented(name="decorated")
async def nested() -> None:
    await listen()


@gi.instrumented(name="decorated")
async def stream() -> int:
    async for _ in _numbers():
        await asyncio.sleep(LIMIT)
    return 1


async def _numbers() -> AsyncIterator[int]:
    yield 1
    yield 2


async def fetch() -> None:
    await anyio.sleep(LIMIT)


async def in_group() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(fetch)


async def hybrid() -> None:
    async with HybridExecutor("hybrid", max_in_flight=2) as executor:
        await executor.submit(fetch)
        async for _ in executor.as_completed(lambda _: None, range(2)):
            await asyncio.sleep(LIMIT)


def _abandoned(*mains: Callable[[], Any], shared: bool = False) -> None:
    """A loop that is closed while these run."""
    loop = asyncio.new_event_loop()
    options = {"context": contextvars.copy_context()} if shared else {}
    tasks = [loop.create_task(main(), **options) for main in mains]
    for _ in range(5):
        loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    del tasks


def _abandoned_in_thread(*mains: Callable[[], Any]) -> None:
    thread = threading.Thread(target=_abandoned, args=mains)
    thread.start()
    thread.join()


def _begun(coro: Any) -> Any:
    loop = asyncio.new_event_loop()
    try:
        loop.call_soon(coro.send, None)
        loop.call_soon(loop.stop)
        loop.run_forever()
    finally:
        loop.close()
    return coro


def _closed_in_another_context() -> None:
    context = contextvars.copy_context()
    coro = context.run(_begun, nested())
    coro.close()


def _closed_in_another_thread() -> None:
    coro = contextvars.copy_context().run(_begun, nested())
    thread = threading.Thread(target=coro.close)
    thread.start()
    thread.join()


def _thrown_into_in_another_context() -> None:
    context = contextvars.copy_context()
    coro = context.run(_begun, nested())
    with pytest.raises(asyncio.CancelledError):
        coro.throw(asyncio.CancelledError())


def _trio_that_breaks_down() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetch)
            await testing.wait_all_tasks_blocked()
            trio.lowlevel.current_task()._runner.runq = "broken"  # private: nothing else breaks a run down
            await trio.sleep(LIMIT)

    with pytest.raises(trio.TrioInternalError) as caught:
        trio.run(main)
    del caught


WAYS: dict[str, tuple[Callable[[], None], str, int]] = {
    "@instrumented": (lambda: _abandoned(listen, listen, listen), "decorated", 3),
    "@instrumented, nested": (lambda: _abandoned(nested, nested), "decorated", 4),
    "@instrumented, in a shared context": (lambda: _abandoned(nested, nested, shared=True), "decorated", 4),
    "@instrumented, in another thread": (lambda: _abandoned_in_thread(nested), "decorated", 2),
    "@instrumented, over an async generator": (lambda: _abandoned(stream), "decorated", 1),
    "@instrumented, closed": (_closed_in_another_context, "decorated", 2),
    "@instrumented, closed in a thread": (_closed_in_another_thread, "decorated", 2),
    "@instrumented, cancelled": (_thrown_into_in_another_context, "decorated", 2),
    "asyncio": (lambda: _abandoned(fetch, fetch), "asyncio", 2),
    "asyncio, in a shared context": (lambda: _abandoned(fetch, fetch, shared=True), "asyncio", 2),
    "trio": (_trio_that_breaks_down, "trio", 1),
    # anyio itself keeps what was pending in a task group, so these never end.
    "anyio": (lambda: _abandoned(in_group), "anyio", 0),
    "HybridExecutor": (lambda: _abandoned(hybrid), "hybrid", 0),
}


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_said(way: str, tracer: Tracer, spans: InMemorySpanExporter, log: pytest.LogCaptureFixture) -> None:
    run, name, count = WAYS[way]
    if "shared" in way and not hasattr(asyncio, "TaskGroup"):
        pytest.skip("context= of tasks came with Python 3.11")
    gi.AsyncioInstrumentor().instrument(monitor=False, spans="*fetch*")
    gi.AnyioInstrumentor().instrument(monitor=False, spans="*fetch*")
    gi.TrioInstrumentor().instrument(monitor=False, spans="*fetch*")
    with tracer.start_as_current_span("request") as request:
        run()
        gc.collect()
        assert get_current_span() is request
    said = [f"{r.name}: {r.getMessage()}" for r in log.records if r.name.startswith(("opentelemetry", "glasspool"))]
    assert said == []
    if count == 0:
        return
    assert value(catalog.TASK_ACTIVE, name) == 0
    made = [span for span in spans.get_finished_spans() if span.name.startswith(f"{name} ")]
    cancelled = [span for span in made if (span.attributes or {}).get(Key.TASK_OUTCOME) == "cancelled"]
    assert len(cancelled) == count, [(span.name, dict(span.attributes or {})) for span in made]
    assert outcomes(name)["cancelled"] >= count
    assert outcomes(name).get("error", 0) == 0
    if way != "@instrumented, cancelled":
        assert {(span.attributes or {})[Key.CANCEL_REASON] for span in cancelled} == {"shutdown"}


def test_who_is_there_when_a_coroutine_is_destroyed_keeps_his_span(
    tracer: Tracer, spans: InMemorySpanExporter, log: pytest.LogCaptureFixture
) -> None:
    # Destroyed in a context that was copied while its span was current.
    async def main() -> None:
        coro: Any = nested()
        _step_within(coro)
        inside: list[Any] = []

        async def child() -> None:
            inside.append(get_current_span())
            held.clear()
            gc.collect()
            assert get_current_span() is inside[0]

        held = [coro]
        del coro
        await asyncio.create_task(child())

    def _step_within(coro: Any) -> None:
        coro.send(None)

    with tracer.start_as_current_span("request"):
        asyncio.run(main())
    assert [record for record in log.records if record.name.startswith("opentelemetry")] == []
    assert outcomes("decorated") == {"cancelled": 2}
    assert work.executors() == {("decorated", "function")}
