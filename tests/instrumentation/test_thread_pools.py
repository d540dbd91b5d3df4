"""Wrapped thread pools: what is recorded, and what does not change."""

from __future__ import annotations

import concurrent.futures
import contextvars
import functools
import gc
import sys
import threading
import time
import traceback
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import baggage, context
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key
from glasspool_instrumentation import FuturesInstrumentor, unwrap_executor, wrap_executor
from glasspool_instrumentation._observe import batched_recorder

from . import work
from .work import LIMIT, histogram, outcomes, value


class Gate:
    """A task that has started and waits to be let through."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.open = threading.Event()

    def __call__(self) -> str:
        self.started.set()
        assert self.open.wait(LIMIT)
        return "through"


def test_queue_slots_and_threads_are_seen_while_tasks_run() -> None:
    pool = wrap_executor(ThreadPoolExecutor(2), "etl")
    gates = [Gate() for _ in range(5)]
    futures = [pool.submit(gate) for gate in gates[:2]]
    assert gates[0].started.wait(LIMIT)
    assert gates[1].started.wait(LIMIT)
    futures += [pool.submit(gate) for gate in gates[2:]]
    assert value(catalog.QUEUE_SIZE, "etl") == 3
    assert value(catalog.TASK_ACTIVE, "etl") == 2
    assert (value(catalog.SLOT_USAGE, "etl"), value(catalog.SLOT_LIMIT, "etl")) == (2, 2)
    assert value(catalog.WORKER_COUNT, "etl", worker_state="busy") == 2
    assert value(catalog.WORKER_COUNT, "etl", worker_state="idle") == 0
    now = work.REGISTRY.collect()
    assert value(catalog.TASK_OLDEST_AGE, "etl", now) > value(catalog.QUEUE_OLDEST_AGE, "etl", now) > 0
    assert value(catalog.SLOT_SATURATED_TIME, "etl") > 0
    assert futures[4].cancel()
    assert value(catalog.QUEUE_SIZE, "etl") == 2
    for gate in gates:
        gate.open.set()
    assert [future.result(LIMIT) for future in futures[:4]] == ["through"] * 4
    work.until(lambda: value(catalog.TASK_ACTIVE, "etl") == 0, "the slots to be free")
    assert value(catalog.WORKER_COUNT, "etl", worker_state="idle") == 2
    assert outcomes("etl") == {"success": 4, "cancelled": 1}
    assert value(catalog.TASK_CANCELLATIONS, "etl", cancel_reason="explicit", task_phase="queued") == 1
    assert value(catalog.TASK_SUBMITTED, "etl") == 5
    pool.shutdown()
    for gauge in (catalog.SLOT_LIMIT, catalog.SLOT_USAGE, catalog.WORKER_COUNT, catalog.WORKER_LIMIT):
        assert value(gauge, "etl") == 0
    assert outcomes("etl") == {"success": 4, "cancelled": 1}
    assert histogram(catalog.SHUTDOWN_DURATION, "etl", shutdown_outcome="drained")[0] == 1


def test_wait_and_run_are_measured() -> None:
    pool = wrap_executor(ThreadPoolExecutor(1), "timed")
    gate = Gate()
    before = time.perf_counter()
    first = pool.submit(gate)
    assert gate.started.wait(LIMIT)
    started = time.perf_counter()
    second = pool.submit(work.hold, 0.1)
    submitted = time.perf_counter()
    time.sleep(0.2)
    opened = time.perf_counter()
    gate.open.set()
    assert (first.result(LIMIT), second.result(LIMIT)) == ("through", 0.1)
    ended = time.perf_counter()
    pool.shutdown()
    count, held = histogram(catalog.TASK_DURATION, "timed", task_outcome="success", task_name="hold")
    assert count == 1
    assert 0.1 <= held <= ended - opened
    count, ran = histogram(catalog.TASK_DURATION, "timed", task_outcome="success")
    assert count == 2
    assert opened - started + 0.1 <= ran <= ended - before
    count, waited = histogram(catalog.QUEUE_WAIT, "timed", queue_outcome="started")
    assert count == 2
    assert opened - submitted <= waited <= ended - before
    # A slot is in use from when a call can have it; test_saturation.py holds the figures exactly.
    assert ran <= value(catalog.SLOT_TIME, "timed") <= ended - before
    assert value(catalog.SLOT_SATURATED_TIME, "timed") == value(catalog.SLOT_TIME, "timed")


def test_a_span_per_call_current_in_it_and_child_of_the_submitters(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    pool = wrap_executor(ThreadPoolExecutor(1), "etl")
    with tracer.start_as_current_span("request") as request:
        token = context.attach(baggage.set_baggage("user", "eve"))
        trace_id, span_id, user = pool.submit(work.seen).result(LIMIT)
        context.detach(token)
    assert pool.submit(work.seen).result(LIMIT) == (0, 0, "None")
    pool.shutdown()
    task = next(span for span in spans.get_finished_spans() if span.name == "etl seen")
    parent = request.get_span_context()
    assert (trace_id, span_id, user) == (parent.trace_id, task.context.span_id, "eve")
    assert task.parent is not None
    assert task.parent.span_id == parent.span_id
    assert task.attributes is not None
    assert task.attributes[Key.CODE_FUNCTION] == f"{work.__name__}.seen"
    assert task.attributes[Key.TASK_OUTCOME] == "success"
    assert task.attributes[Key.THREAD_NAME].startswith("ThreadPoolExecutor")  # type: ignore[union-attr]  # a string
    assert [event.name for event in task.events] == [catalog.SPAN_EVENT_STARTED]
    assert len(spans.get_finished_spans()) == 2  # no span for the call without a parent


def test_outcomes_on_spans(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    pool = wrap_executor(ThreadPoolExecutor(1), "etl")
    gate = Gate()
    with tracer.start_as_current_span("request"):
        running = pool.submit(gate)
        assert gate.started.wait(LIMIT)
        cancelled = pool.submit(work.add, 1)
        assert cancelled.cancel()
        gate.open.set()
        failed = pool.submit(work.fail, "x")
        timed = pool.submit(work.time_out)
        assert running.result(LIMIT) == "through"
        assert isinstance(failed.exception(LIMIT), KeyError)
        assert isinstance(timed.exception(LIMIT), TimeoutError)
    pool.shutdown()
    by_name = {span.name: span for span in spans.get_finished_spans()}
    assert by_name["etl Gate"].status.status_code is StatusCode.UNSET
    assert by_name["etl fail"].status.status_code is StatusCode.ERROR
    assert by_name["etl fail"].attributes[Key.ERROR_TYPE] == "KeyError"  # type: ignore[index]  # it has attributes
    assert by_name["etl time_out"].attributes[Key.TASK_OUTCOME] == "error"  # type: ignore[index]  # see above
    assert by_name["etl add"].status.status_code is StatusCode.UNSET
    assert by_name["etl add"].attributes[Key.TASK_OUTCOME] == "cancelled"  # type: ignore[index]  # see above
    assert not by_name["etl add"].events
    assert outcomes("etl") == {"success": 1, "error": 2, "cancelled": 1}


def test_the_context_run_idiom_keeps_its_context_and_gets_the_span(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    pool = wrap_executor(ThreadPoolExecutor(1), "etl")

    def read() -> tuple[str, int]:
        return work.plain_variable.get(), work.seen()[1]

    with tracer.start_as_current_span("request"):
        copied = contextvars.copy_context()
        copied.run(work.plain_variable.set, "carried")
        plain, span_id = pool.submit(copied.run, read).result(LIMIT)
        again, other_id = pool.submit(functools.partial(copied.run, read)).result(LIMIT)
    pool.shutdown()
    first, second = (span for span in spans.get_finished_spans() if span.name.startswith("etl"))
    assert first.name == second.name == f"etl {read.__qualname__}"
    assert (plain, span_id) == ("carried", first.context.span_id)
    assert (again, other_id) == ("carried", second.context.span_id)
    assert copied.run(work.seen)[1] not in (span_id, other_id)  # the span has left the user's context


def test_1000_submitters_are_counted_exactly() -> None:
    interval = sys.getswitchinterval()
    pool = wrap_executor(ThreadPoolExecutor(8), "crowd")
    submitters = ThreadPoolExecutor(50)
    sys.setswitchinterval(1e-6)
    try:
        submitted = [submitters.submit(pool.submit, work.add, number) for number in range(1000)]
        results = [future.result(LIMIT).result(LIMIT) for future in submitted]
    finally:
        sys.setswitchinterval(interval)
        submitters.shutdown()
        pool.shutdown()
    assert sorted(results) == list(range(1, 1001))
    assert outcomes("crowd") == {"success": 1000}
    assert value(catalog.TASK_SUBMITTED, "crowd") == 1000
    waits, waited = histogram(catalog.QUEUE_WAIT, "crowd")
    runs, ran = histogram(catalog.TASK_DURATION, "crowd")
    assert (waits, runs) == (1000, 1000)
    # What runs holds a slot; and so does, of what waits, as much as there are free workers on their way to it.
    assert ran - 1e-6 <= value(catalog.SLOT_TIME, "crowd") <= ran + waited + 1e-6


def test_readers_never_see_half_a_task() -> None:
    pool = wrap_executor(ThreadPoolExecutor(4), "torn")
    stop = threading.Event()
    torn: list[str] = []

    def read() -> None:
        while not stop.is_set():
            submitted = value(catalog.TASK_SUBMITTED, "torn")
            active = value(catalog.TASK_ACTIVE, "torn")
            if not 0 <= active <= 4 or submitted < 0:
                torn.append(f"{submitted} {active}")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for future in [pool.submit(work.add, number) for number in range(2000)]:
            future.result(LIMIT)
    finally:
        stop.set()
        reader.join(LIMIT)
        pool.shutdown()
    assert torn == []
    assert outcomes("torn") == {"success": 2000}


def test_errors_keep_type_cause_and_traceback() -> None:
    def lines(error: BaseException | None) -> list[str]:
        assert error is not None
        return [frame.name for frame in traceback.extract_tb(error.__traceback__)]

    with ThreadPoolExecutor(1) as bare:
        expected = lines(bare.submit(work.fail_stubbornly).exception(LIMIT))
    assert expected[-1] == "fail_stubbornly"
    with wrap_executor(ThreadPoolExecutor(1), "etl") as pool:
        error = pool.submit(work.fail_stubbornly).exception(LIMIT)
        assert isinstance(error, work.Stubborn)
        assert isinstance(error.__cause__, ValueError)
        if sys.version_info < (3, 11):  # our frame is taken out by a callback, which comes after the result
            work.until(lambda: lines(error) == expected, "the function's own frames")
        assert lines(error) == expected


def test_it_stays_the_object_it_was() -> None:
    plain = ThreadPoolExecutor(1, thread_name_prefix="named")
    pool = wrap_executor(plain)
    assert pool is plain
    assert isinstance(pool, ThreadPoolExecutor)
    assert type(pool).__name__ == "ThreadPoolExecutor"
    assert repr(pool).startswith("<concurrent.futures.thread.ThreadPoolExecutor object")
    assert list(pool.map(work.add, [1, 2, 3], [10, 20, 30], timeout=LIMIT)) == [11, 22, 33]
    assert type(pool.submit(work.add, 1)) is Future
    called: list[Any] = []
    pool.submit(work.add, 1).add_done_callback(called.append)
    with pytest.raises(TypeError, match="fn"):
        pool.submit(fn=work.add)  # type: ignore[call-arg]  # the mistake is meant
    assert pool.submit(work.add, 1, right=5).result(LIMIT) == 6
    assert pool.submit(lambda self, fn: self + fn, self="any", fn="name").result(LIMIT) == "anyname"
    pool.shutdown()
    assert called[0].result() == 2
    assert unwrap_executor(pool) is plain
    assert type(plain) is ThreadPoolExecutor
    assert outcomes("named") == {"success": 7}


def test_a_rejected_call_is_no_task() -> None:
    pool = wrap_executor(ThreadPoolExecutor(1), "shut")
    pool.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(work.add, 1)
    assert value(catalog.TASK_REJECTED, "shut", error_type="already_shutdown") == 1
    assert value(catalog.TASK_REJECTED, "shut") == 1
    assert value(catalog.TASK_SUBMITTED, "shut") == 0


def test_shutdown_that_cancels_says_so() -> None:
    pool = wrap_executor(ThreadPoolExecutor(1), "cut")
    gate = Gate()
    running, queued = pool.submit(gate), pool.submit(work.add, 1)
    assert gate.started.wait(LIMIT)
    pool.shutdown(wait=False, cancel_futures=True)
    assert queued.cancelled()
    assert value(catalog.TASK_CANCELLATIONS, "cut", cancel_reason="shutdown", task_phase="queued") == 1
    assert value(catalog.SLOT_LIMIT, "cut") == 1  # a task still runs
    gate.open.set()
    assert running.result(LIMIT) == "through"
    work.until(lambda: value(catalog.SLOT_LIMIT, "cut") == 0, "the gauges to end with the last task")
    assert outcomes("cut") == {"success": 1, "cancelled": 1}


def _raise_in_initializer() -> None:
    raise ValueError("no thread for you")


def test_a_broken_pool_is_an_outcome(caplog: pytest.LogCaptureFixture) -> None:
    pool = wrap_executor(ThreadPoolExecutor(1, initializer=_raise_in_initializer), "broken")
    future = pool.submit(work.add, 1)
    assert isinstance(future.exception(LIMIT), concurrent.futures.BrokenExecutor)
    work.until(lambda: outcomes("broken") == {"error": 1}, "the outcome")
    assert value(catalog.QUEUE_SIZE, "broken") == 0
    pool.shutdown()


def test_a_collected_pool_takes_its_gauges_along() -> None:
    pool = wrap_executor(ThreadPoolExecutor(3), "lost")
    assert pool.submit(work.add, 1).result(LIMIT) == 2
    assert value(catalog.SLOT_LIMIT, "lost") == 3
    reference = weakref.ref(pool)
    del pool
    gc.collect()
    # Its thread may hold it for a moment after the call.
    work.until(lambda: reference() is None, "the pool to be collected")
    work.until(lambda: value(catalog.SLOT_LIMIT, "lost") == 0, "its gauges to end")
    assert outcomes("lost") == {"success": 1}


def test_arguments_and_function_die_with_the_call() -> None:
    class Argument:
        pass

    pool = wrap_executor(ThreadPoolExecutor(1), "etl")
    argument = Argument()
    reference = weakref.ref(argument)
    future = pool.submit(functools.partial(lambda _: None, argument))
    future.result(LIMIT)
    del argument
    pool.submit(work.add, 1).result(LIMIT)
    work.until(lambda: reference() is None, "the argument to be dropped")
    assert future.done()
    pool.shutdown()


def test_any_executor_can_be_wrapped() -> None:
    pool = wrap_executor(work.Inline(), "own")
    inner = wrap_executor(ThreadPoolExecutor(1), "inner")
    assert pool.submit(work.add, 1).result() == 2
    assert isinstance(pool.submit(work.fail, "x").exception(), KeyError)
    assert pool.submit(lambda: inner.submit(work.add, 2).result(LIMIT)).result() == 3
    assert outcomes("own") == {"success": 2, "error": 1}
    inner.shutdown()
    assert outcomes("inner") == {"success": 1}  # what a task submits is a task of its own


def test_bad_input_is_refused_at_the_call() -> None:
    with pytest.raises(TypeError, match=r"concurrent\.futures\.Executor; got 5"):
        wrap_executor(5)  # type: ignore[type-var]  # the mistake is meant
    with pytest.raises(TypeError, match=r"wrap_executor\(ThreadPoolExecutor\(…\)\)"):
        wrap_executor(ThreadPoolExecutor)  # type: ignore[type-var]  # see above
    pool = ThreadPoolExecutor(1)
    with pytest.raises(ValueError, match="name= must not be empty"):
        wrap_executor(pool, " ")
    with pytest.raises(TypeError, match="name= must be a string"):
        wrap_executor(pool, 3)  # type: ignore[arg-type]  # see above
    with pytest.raises(ValueError, match="spans= must be"):
        wrap_executor(pool, "etl", spans="some")  # type: ignore[arg-type]  # see above
    wrap_executor(pool, "etl")
    with pytest.raises(ValueError, match="wrapped already, as 'etl'"):
        wrap_executor(pool, "other")
    pool.shutdown()


def test_the_instrumentor_sees_all_pools_from_their_next_submit_on() -> None:
    early = ThreadPoolExecutor(1, thread_name_prefix="early")
    assert early.submit(work.add, 1).result(LIMIT) == 2
    init, submit = ThreadPoolExecutor.__init__, ThreadPoolExecutor.submit
    FuturesInstrumentor().instrument(exclude="not-*")
    try:
        assert early.submit(work.add, 1).result(LIMIT) == 2
        with ThreadPoolExecutor(1) as unnamed, ThreadPoolExecutor(1, "not-this") as excluded:
            assert unnamed.submit(work.add, 1).result(LIMIT) == 2
            assert excluded.submit(work.add, 1).result(LIMIT) == 2
        named = wrap_executor(ThreadPoolExecutor(1), "by name")
        assert named.submit(work.add, 1).result(LIMIT) == 2
        assert value(catalog.SLOT_LIMIT, "early") == 1
    finally:
        FuturesInstrumentor().uninstrument()
    assert (ThreadPoolExecutor.__init__, ThreadPoolExecutor.submit) == (init, submit)
    assert value(catalog.SLOT_LIMIT, "early") == 0
    assert early.submit(work.add, 1).result(LIMIT) == 2
    assert named.submit(work.add, 1).result(LIMIT) == 2  # wrapped on purpose: still seen
    early.shutdown()
    named.shutdown()
    assert outcomes("early") == {"success": 1}
    assert outcomes(__name__) == {"success": 1}
    assert outcomes("by name") == {"success": 2}
    assert not outcomes("not-this")


def test_patterns_choose_pools_by_their_names() -> None:
    FuturesInstrumentor().instrument(include=["web-*", __name__], exclude="*-hidden")
    try:
        for prefix in ("web-a", "web-hidden", "batch", ""):
            with ThreadPoolExecutor(1, prefix) as pool:
                assert pool.submit(work.add, 1).result(LIMIT) == 2
    finally:
        FuturesInstrumentor().uninstrument()
    assert work.executors() == {("web-a", "thread_pool"), (__name__, "thread_pool")}


def test_a_pool_that_is_garbage_collected_while_it_is_being_read_goes_to_zero() -> None:
    thresholds = gc.get_threshold()
    rounds = 200
    gc.freeze()  # so that collections are quick
    try:
        for allocations in range(1, rounds + 1):
            gc.disable()  # all of it stays young
            pool = wrap_executor(ThreadPoolExecutor(1), "cycle")
            gate = Gate()
            future = pool.submit(gate)
            assert gate.started.wait(LIMIT)
            assert value(catalog.TASK_ACTIVE, "cycle") == 1
            gate.open.set()
            future.result(LIMIT)
            cycle: list[Any] = [pool]
            cycle.append(cycle)
            del pool, cycle
            gc.enable()
            gc.set_threshold(allocations)  # one of them lets the collection begin at each point of the reading
            value(catalog.TASK_SUBMITTED, "cycle")
            gc.set_threshold(*thresholds)
            gc.collect()
    finally:
        gc.enable()
        gc.set_threshold(*thresholds)
        gc.unfreeze()
    assert outcomes("cycle") == {"success": rounds}
    assert value(catalog.EXECUTOR_CLOSED, "cycle") == value(catalog.EXECUTOR_OPENED, "cycle") == rounds
    assert value(catalog.SLOT_LIMIT, "cycle") == 0


def test_a_shutdown_that_is_refused_ends_nothing() -> None:
    pool = wrap_executor(ThreadPoolExecutor(1), "etl")
    assert pool.submit(work.add, 1).result(LIMIT) == 2
    with pytest.raises(TypeError):
        pool.shutdown(bogus=1)  # type: ignore[call-arg]  # the point of the test
    gate = Gate()
    future = pool.submit(gate)
    assert gate.started.wait(LIMIT)
    assert value(catalog.TASK_ACTIVE, "etl") == value(catalog.SLOT_LIMIT, "etl") == 1
    assert value(catalog.EXECUTOR_CLOSED, "etl") == 0
    gate.open.set()
    future.result(LIMIT)
    pool.shutdown()
    assert value(catalog.EXECUTOR_CLOSED, "etl") == 1
    assert outcomes("etl") == {"success": 2}


def test_a_reading_that_is_interrupted_keeps_what_it_has_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = wrap_executor(ThreadPoolExecutor(1), "etl")
    for number in range(5):
        pool.submit(work.add, number).result(LIMIT)
    assert isinstance(pool.submit(work.fail, "no").exception(LIMIT), KeyError)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(batched_recorder.BatchedRecorder, "_unsuccessful", interrupted)
        value(catalog.TASK_SUBMITTED, "etl")
    pool.submit(work.add, 1).result(LIMIT)
    assert value(catalog.TASK_SUBMITTED, "etl") == 7
    assert value(catalog.TASK_COMPLETED, "etl", task_outcome="success") == 6
    assert value(catalog.QUEUE_SIZE, "etl") == value(catalog.TASK_ACTIVE, "etl") == 0
    pool.shutdown()
    assert value(catalog.EXECUTOR_CLOSED, "etl") == 1
