"""The end of an iterator is not a failure of the call that advances it, whatever exception carries it."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer

import glasspool_instrumentation as gi

from .work import LIMIT, executors, outcomes

DOWNLOADS = 50


class Ended(Exception):
    """A failure of the application's, that it finds because an iterator has ended."""


def find(number: int) -> int:
    try:
        return next(found for found in [1, 2] if found == number)
    except StopIteration:
        raise Ended(number) from None


async def none() -> AsyncIterator[int]:
    for number in list[int]():
        yield number


def failures(spans: InMemorySpanExporter) -> list[str]:
    return [span.name for span in spans.get_finished_spans() if span.status.status_code is StatusCode.ERROR]


def errors() -> dict[str, int]:
    return {name: failed for name, _ in executors() if (failed := outcomes(name).get("error", 0))}


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_good_downloads_are_no_errors(backend: str, tracer: Tracer, spans: InMemorySpanExporter) -> None:
    responses = pytest.importorskip("starlette.responses")
    sent = []

    async def receive() -> dict[str, str]:
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message.get("body", b""))

    async def main() -> None:
        for _ in range(DOWNLOADS):
            with tracer.start_as_current_span("request"):
                response = responses.StreamingResponse(iter([b"some", b"more"]))
                await response({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send)

    anyio.run(main, backend=backend)
    assert b"".join(sent) == b"somemore" * DOWNLOADS
    assert outcomes("anyio.to_thread") == {"success": 3 * DOWNLOADS}
    assert errors() == {}
    assert failures(spans) == []


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("method", [None, "spawn"])
def test_nor_are_ended_iterators_in_pools(method: str | None, tracer: Tracer, spans: InMemorySpanExporter) -> None:
    context = multiprocessing.get_context(method or "spawn")
    pool = ThreadPoolExecutor(1) if method is None else ProcessPoolExecutor(1, mp_context=context)
    with pool, tracer.start_as_current_span("request"):
        assert type(pool.submit(next, iter([])).exception(LIMIT)) is StopIteration
        assert errors() == {}
        assert type(pool.submit(find, 3).exception(LIMIT)) is Ended
    assert list(errors().values()) == [1]
    assert {name.split()[-1] for name in failures(spans)} == {"find"}


@pytest.mark.usefixtures("everything")
def test_nor_in_tasks_and_from_threads(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    async def ended() -> None:
        await none().__anext__()

    def in_thread() -> None:
        with pytest.raises(StopAsyncIteration):
            anyio.from_thread.run(ended)

    async def main() -> None:
        with tracer.start_as_current_span("request"):
            with pytest.raises(StopAsyncIteration):
                await asyncio.create_task(ended())
            await anyio.to_thread.run_sync(in_thread)

    asyncio.run(main())
    assert errors() == {}
    assert failures(spans) == []


def test_nor_for_a_decorated_function(spans: InMemorySpanExporter, tracer: Tracer) -> None:
    step = gi.instrumented(next)

    with tracer.start_as_current_span("request"), pytest.raises(StopIteration):
        step(iter([]))
    assert errors() == {}
    assert failures(spans) == []
