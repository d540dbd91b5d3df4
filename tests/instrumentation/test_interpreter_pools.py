"""Interpreter pools (Python 3.14): they behave like process pools, but within one process."""

from __future__ import annotations

import concurrent.futures
import site
import threading
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry import baggage, context
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Tracer

from glasspool import HybridExecutor
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key
from glasspool_instrumentation import FuturesInstrumentor, wrap_executor

from . import work
from .work import LIMIT, histogram, outcomes, value

InterpreterPool: Any = getattr(concurrent.futures, "InterpreterPoolExecutor", None)

pytestmark = pytest.mark.skipif(InterpreterPool is None, reason="InterpreterPoolExecutor came with Python 3.14")


def fresh(workers: int, **options: Any) -> Any:
    """A pool whose interpreters find the tests' own modules, as this one does."""
    tests = str(Path(__file__).parents[1])
    return InterpreterPool(workers, initializer=site.addsitedir, initargs=(tests,), **options)


@pytest.fixture
def pool() -> Iterator[Executor]:
    made = wrap_executor(fresh(2), "jobs")
    yield made
    made.shutdown(wait=True, cancel_futures=True)


def test_context_baggage_and_a_true_span(pool: Executor, tracer: Tracer, spans: InMemorySpanExporter) -> None:
    with tracer.start_as_current_span("request") as request:
        token = context.attach(baggage.set_baggage("user", "eve"))
        trace_id, span_id, user = pool.submit(work.seen).result(LIMIT)
        context.detach(token)
    parent = request.get_span_context()
    assert (trace_id, user) == (parent.trace_id, "eve")
    assert pool.submit(work.seen).result(LIMIT) == (0, 0, "None")
    work.until(lambda: outcomes("jobs") == {"success": 2}, "the outcomes")
    by_kind = {span.kind: span for span in spans.get_finished_spans() if span.name == "jobs seen"}
    producer, consumer = by_kind[SpanKind.PRODUCER], by_kind[SpanKind.CONSUMER]
    assert producer.parent is not None
    assert producer.parent.span_id == parent.span_id
    assert producer.attributes is not None
    assert producer.attributes[Key.EXECUTOR_TYPE] == "interpreter_pool"
    assert producer.attributes[Key.RUNNER] == "interpreter"
    assert consumer.parent is not None
    assert consumer.parent.span_id == producer.context.span_id == span_id


def test_outcomes_times_and_workers(pool: Executor) -> None:
    assert list(pool.map(work.add, range(10))) == list(range(1, 11))
    with pytest.raises(KeyError, match="not there"):
        pool.submit(work.fail, "not there").result(LIMIT)
    work.until(lambda: outcomes("jobs") == {"success": 10, "error": 1}, "the outcomes")
    count, seconds = histogram(catalog.TASK_DURATION, "jobs")
    assert (count, seconds > 0) == (11, True)
    assert value(catalog.SLOT_LIMIT, "jobs") == value(catalog.WORKER_LIMIT, "jobs") == 2
    assert value(catalog.WORKER_COUNT, "jobs", worker_state="busy") == 0
    assert value(catalog.WORKER_COUNT, "jobs", worker_state="idle") == 2
    pool.shutdown()
    assert value(catalog.WORKER_COUNT, "jobs", worker_state="idle") == 0
    assert value(catalog.EXECUTOR_CLOSED, "jobs") == 1
    with pytest.raises(RuntimeError):
        pool.submit(work.add, 1)


def test_what_is_cancelled_in_the_queue(pool: Executor) -> None:
    running = [pool.submit(work.hold, 0.2) for _ in range(2)]
    waiting = [pool.submit(work.add, number) for number in range(3)]
    cancelled = [future.cancel() for future in waiting]
    for future in (*running, *(kept for kept, gone in zip(waiting, cancelled, strict=True) if not gone)):
        future.result(LIMIT)
    gone = sum(cancelled)
    expected = {"success": 5 - gone, **({"cancelled": gone} if gone else {})}
    work.until(lambda: outcomes("jobs") == expected, "the outcomes")
    assert value(catalog.QUEUE_SIZE, "jobs") == 0


def test_what_cannot_be_sent_is_an_error_as_without_us(pool: Executor) -> None:
    lock = threading.Lock()
    with fresh(1) as bare:
        plain = bare.submit(work.add, lock).exception(LIMIT)
    assert type(pool.submit(work.add, lock).exception(LIMIT)) is type(plain)
    work.until(lambda: outcomes("jobs") == {"error": 1}, "the outcome")


def test_all_of_the_process_are_seen() -> None:
    FuturesInstrumentor().instrument()
    with fresh(1, thread_name_prefix="etl") as pool:
        assert pool.submit(work.add, 1).result(LIMIT) == 2
    work.until(lambda: outcomes("etl") == {"success": 1}, "the outcome")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_as_a_runner(tracer: Tracer, backend: str, wrapped: bool) -> None:
    async def main(pool: Executor) -> tuple[int, int]:
        async with HybridExecutor("app", max_in_flight=2) as executor:
            with tracer.start_as_current_span("request") as request:
                trace_id, _, _ = await executor.run(work.seen, runner=pool)
        return trace_id, request.get_span_context().trace_id

    with fresh(1) as pool:
        seen, current = anyio.run(main, wrap_executor(pool, "jobs") if wrapped else pool, backend=backend)
    assert seen == current
    assert outcomes("app") == {"success": 1}
    assert outcomes("jobs") == {}
