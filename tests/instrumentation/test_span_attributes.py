"""Spans have the attributes that the catalog, and so docs/metrics.md, documents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer

from glasspool import HybridExecutor
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key
from glasspool_instrumentation import AnyioInstrumentor, AsyncioInstrumentor, instrumented, wrap_executor

ALWAYS = {attribute.key for attribute in catalog.SPAN_ATTRIBUTES if attribute.presence == "always"}
AT_THE_END = {Key.TASK_OUTCOME, Key.TASK_DURATION}
QUEUE, THREAD = {Key.QUEUE_WAIT}, {Key.THREAD_ID, Key.THREAD_NAME}


def work() -> None:
    """Any function."""


async def work_later() -> None:
    """Any coroutine function."""


def _hybrid(function: Callable[[], Any]) -> None:
    async def main() -> None:
        async with HybridExecutor("spans", max_in_flight=1) as executor:
            await executor.run(function)

    anyio.run(main)


def _pool() -> None:
    with wrap_executor(ThreadPoolExecutor(1), "spans") as pool:
        pool.submit(work).result()


def _limiter() -> None:
    AnyioInstrumentor().instrument(monitor=False)
    anyio.run(anyio.to_thread.run_sync, work)


def _asyncio() -> None:
    async def main() -> None:
        await asyncio.create_task(work_later())

    AsyncioInstrumentor().instrument(monitor=False, spans="*work_later")
    asyncio.run(main())


KINDS: dict[str, tuple[Callable[[], Any], set[str]]] = {
    "hybrid, on the loop": (lambda: _hybrid(work_later), QUEUE | THREAD),
    "hybrid, in a thread": (lambda: _hybrid(work), QUEUE),
    "a thread pool": (_pool, QUEUE | THREAD),
    "a thread limiter": (_limiter, QUEUE | THREAD),
    "a task of asyncio": (_asyncio, set()),
    "an instrumented function": (lambda: instrumented(work)(), set()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_attributes_of_a_success(kind: str, tracer: Tracer, spans: InMemorySpanExporter) -> None:
    run, more = KINDS[kind]
    try:
        with tracer.start_as_current_span("request"):
            run()
    finally:
        AnyioInstrumentor().uninstrument()
        AsyncioInstrumentor().uninstrument()
    (span,) = [span for span in spans.get_finished_spans() if Key.TASK_NAME in (span.attributes or {})]
    assert set(span.attributes or {}) == ALWAYS | AT_THE_END | more
