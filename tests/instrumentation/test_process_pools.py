"""Process pools, by every start method: context, outcomes, times, and the effects of fork."""

from __future__ import annotations

import copyreg
import functools
import multiprocessing
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from opentelemetry import baggage, context
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Span, SpanKind, Tracer, use_span

import glasspool
import glasspool_instrumentation
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key
from glasspool_instrumentation import FuturesInstrumentor, wrap_executor

from . import work
from .work import LIMIT, histogram, outcomes, value

METHODS = ("fork", "forkserver", "spawn")
OURS = tuple(Path(package.__file__).parent for package in (glasspool, glasspool_instrumentation))

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture(params=METHODS)
def pool(request: pytest.FixtureRequest) -> Iterator[ProcessPoolExecutor]:
    made = wrap_executor(
        ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(request.param)), "jobs", spans="parented"
    )
    yield made
    made.shutdown(wait=True, cancel_futures=True)


def test_context_baggage_and_a_true_span(
    pool: ProcessPoolExecutor, tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    with tracer.start_as_current_span("request") as request:
        token = context.attach(baggage.set_baggage("user", "eve"))
        future = pool.submit(work.seen)
        trace_id, span_id, user = future.result(LIMIT)
        context.detach(token)
    parent = request.get_span_context()
    assert (trace_id, user) == (parent.trace_id, "eve")
    assert pool.submit(work.seen).result(LIMIT) == (0, 0, "None")
    work.until(lambda: outcomes("jobs") == {"success": 2}, "the outcomes")
    by_kind = {span.kind: span for span in spans.get_finished_spans() if span.name == "jobs seen"}
    producer = by_kind[SpanKind.PRODUCER]
    assert producer.parent is not None
    assert producer.parent.span_id == parent.span_id
    assert producer.attributes is not None
    if SpanKind.CONSUMER in by_kind:  # made here: the worker has no SDK
        consumer = by_kind[SpanKind.CONSUMER]
        assert consumer.parent is not None
        assert consumer.parent.span_id == producer.context.span_id == span_id
        assert producer.start_time is not None
        assert consumer.start_time is not None
        assert consumer.end_time is not None
        assert producer.start_time <= consumer.start_time <= consumer.end_time
        assert consumer.attributes is not None
        assert consumer.attributes[Key.PROCESS_PID] != 0
    else:  # a forked worker inherits the SDK and makes its own, a child of ours
        assert span_id not in (0, producer.context.span_id)
    assert value(catalog.CONTEXT_LOSSES, "jobs") == 0


def _rebuild_stubborn(error: work.Stubborn) -> tuple[type[work.Stubborn], tuple[str, int]]:
    return work.Stubborn, (str(error), error.second)


def test_an_error_with_a_registered_reducer_comes_back_without_a_trace_of_ours() -> None:
    copyreg.pickle(work.Stubborn, _rebuild_stubborn)  # as tblib does for every exception there is
    try:
        with wrap_executor(ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")), "jobs") as pool:
            error = pool.submit(work.fail_stubbornly).exception(LIMIT)
    finally:
        del copyreg.dispatch_table[work.Stubborn]
    assert isinstance(error, work.Stubborn)
    assert set(vars(error)) == {"second"}
    assert outcomes("jobs") == {"error": 1}


def _files(cause: BaseException | None) -> list[Path]:
    """The files that a traceback from a worker names."""
    found = [Path(file) for file in re.findall(r'File "([^"]+)"', str(cause))]
    assert Path(work.__file__) in found
    return found


def test_outcomes_and_exceptions(pool: ProcessPoolExecutor) -> None:
    assert list(pool.map(work.add, [1, 2, 3, 4], chunksize=2, timeout=LIMIT)) == [2, 3, 4, 5]
    failed = pool.submit(work.fail, "x").exception(LIMIT)
    assert isinstance(failed, KeyError)
    assert vars(failed) == {}
    assert "in fail" in str(failed.__cause__)
    if sys.version_info >= (3, 11):
        assert not [path for path in _files(failed.__cause__) if any(map(path.is_relative_to, OURS))]
    stubborn = pool.submit(work.fail_stubbornly).exception(LIMIT)
    assert isinstance(stubborn, work.Stubborn)
    assert (str(stubborn), stubborn.second, vars(stubborn)) == ("no", 7, {"second": 7})
    assert isinstance(pool.submit(work.time_out).exception(LIMIT), TimeoutError)
    assert pool.submit(lambda: 1).exception(LIMIT) is not None
    assert pool.submit(work.unpicklable).exception(LIMIT) is not None
    expected = {"success": 2, "error": 5}
    work.until(lambda: outcomes("jobs") == expected, "the outcomes")
    assert value(catalog.TASK_COMPLETED, "jobs", error_type=f"{work.__name__}.Stubborn") == 1
    assert histogram(catalog.TASK_DURATION, "jobs", task_name="add")[0] == 2  # chunks go by the user's function
    assert value(catalog.TASK_ACTIVE, "jobs") == value(catalog.QUEUE_SIZE, "jobs") == 0


def test_running_time_is_the_workers(pool: ProcessPoolExecutor) -> None:
    before = time.perf_counter()
    assert pool.submit(work.hold, 0.2).result(LIMIT) == 0.2
    spent = time.perf_counter() - before
    work.until(lambda: outcomes("jobs") == {"success": 1}, "the outcome")  # counted a moment after the result
    _, ran = histogram(catalog.TASK_DURATION, "jobs", task_name="hold")
    count, waited = histogram(catalog.QUEUE_WAIT, "jobs", queue_outcome="started")
    assert 0.2 <= ran <= spent
    assert count == 1
    assert waited > 0


def test_a_killed_worker_is_an_outcome(pool: ProcessPoolExecutor) -> None:
    assert pool.submit(work.add, 1).result(LIMIT) == 2
    assert isinstance(pool.submit(work.die).exception(LIMIT), BrokenProcessPool)
    broken = "concurrent.futures.process.BrokenProcessPool"
    work.until(lambda: value(catalog.TASK_COMPLETED, "jobs", error_type=broken) == 1, "the outcome")
    assert value(catalog.TASK_ACTIVE, "jobs") == 0
    with pytest.raises(BrokenProcessPool):
        pool.submit(work.add, 1)
    assert value(catalog.TASK_REJECTED, "jobs") == 1
    assert value(catalog.TASK_SUBMITTED, "jobs") == 2


def test_cancelled_while_queued(pool: ProcessPoolExecutor, tmp_path: Path) -> None:
    release = tmp_path / "release"
    held = [pool.submit(work.wait_for_file, str(release)) for _ in range(2)]
    queued = [pool.submit(work.add, 1) for _ in range(10)]
    assert value(catalog.QUEUE_SIZE, "jobs") == 10
    assert value(catalog.TASK_ACTIVE, "jobs") == 2
    assert queued[-1].cancel()
    assert value(catalog.QUEUE_SIZE, "jobs") == 9
    assert value(catalog.TASK_CANCELLATIONS, "jobs", cancel_reason="explicit", task_phase="queued") == 1
    release.touch()
    assert [future.result(LIMIT) for future in held] == ["found", "found"]
    assert [future.result(LIMIT) for future in queued[:-1]] == [2] * 9
    work.until(lambda: outcomes("jobs") == {"success": 11, "cancelled": 1}, "the outcomes")
    assert value(catalog.SLOT_LIMIT, "jobs") == 2
    pool.shutdown()
    assert value(catalog.SLOT_LIMIT, "jobs") == 0
    assert value(catalog.WORKER_COUNT, "jobs") == 0


def test_two_traces_through_one_forked_pool_never_mix(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    context_of = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(2, mp_context=context_of) as made:
        pool = wrap_executor(made, "mixed")
        first, second = tracer.start_span("first"), tracer.start_span("second")
        submitted = []
        for number in range(40):
            parent = (first, second)[number % 2]
            with use(parent):
                submitted.append((parent.get_span_context().trace_id, pool.submit(work.seen)))
        for trace_id, future in submitted:
            assert future.result(LIMIT)[0] == trace_id
        first.end()
        second.end()
        assert pool.submit(work.seen).result(LIMIT)[0] == 0  # nor does the trace it was forked in remain


def test_workers_forked_before_are_cleared_and_counted(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        with tracer.start_as_current_span("stranger") as stranger:
            inherited = pool.submit(work.seen).result(LIMIT)[0]  # forked here, unobserved
        assert inherited == stranger.get_span_context().trace_id
        assert pool.submit(work.seen).result(LIMIT)[0] == inherited  # what plain Python does
        wrap_executor(pool, "late")
        assert pool.submit(work.seen).result(LIMIT)[0] == 0
        with tracer.start_as_current_span("request") as request:
            assert pool.submit(work.seen).result(LIMIT)[0] == request.get_span_context().trace_id
    assert value(catalog.CONTEXT_LOSSES, "late", context_loss_kind="stale") == 1


def test_what_cannot_be_carried_is_counted(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as made:
        pool = wrap_executor(made, "lambdas")
        with tracer.start_as_current_span("request"):
            assert pool.submit(lambda: 1).exception(LIMIT) is not None
    # Counted by a callback, which may come a moment after the result.
    losses = functools.partial(value, catalog.CONTEXT_LOSSES, "lambdas", context_loss_kind="unpicklable")
    work.until(lambda: losses() > 0, "the loss to be counted")
    assert losses() == 1


def test_the_instrumentor_sees_process_pools(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    FuturesInstrumentor().instrument()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        with tracer.start_as_current_span("request") as request:
            assert pool.submit(work.seen).result(LIMIT)[0] == request.get_span_context().trace_id
        assert list(pool.map(work.add, range(20), chunksize=5, timeout=LIMIT)) == list(range(1, 21))
    assert outcomes(__name__) == {"success": 5}


def use(span: Span) -> AbstractContextManager[Span]:

    return use_span(span)
