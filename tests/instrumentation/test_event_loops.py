"""Tasks of asyncio, anyio and trio; limiters; @instrumented; the end of a loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import anyio
import anyio.to_thread
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer, get_current_span

import glasspool_instrumentation as gi
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key
from glasspool_instrumentation._observe.limiter_calls import Limiters, run_in_thread

from . import work
from .work import LIMIT, histogram, outcomes, value

trio = pytest.importorskip("trio")
mock = pytest.importorskip("trio.testing")

BACKENDS = ["asyncio", "trio"]


async def _boom() -> None:
    await anyio.sleep(0)
    raise ValueError("boom")


async def _sleep() -> None:
    await anyio.sleep(LIMIT)


async def _quick() -> int:
    await asyncio.sleep(0)
    return 1


def _group_of(error: BaseException) -> list[type]:
    return [type(inner) for inner in getattr(error, "exceptions", [])]


# -- asyncio -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("everything")
def test_asyncio_tasks_by_outcome(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        assert await asyncio.create_task(_quick()) == 1
        sleeping = asyncio.create_task(_sleep())
        await asyncio.sleep(0)
        assert value(catalog.TASK_ACTIVE, "asyncio") == 2  # and this one
        sleeping.cancel()
        unstarted = asyncio.create_task(_sleep())
        unstarted.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sleeping
        failing = asyncio.create_task(_boom())
        with pytest.raises(ValueError, match="boom"):
            await failing
        asyncio.create_task(_sleep())  # noqa: RUF006  # left for asyncio.run to cancel
        await asyncio.sleep(0)

    asyncio.run(main())
    names = {"_quick": "success", "_boom": "error", "_sleep": "cancelled"}
    for name, outcome in names.items():
        count, _ = histogram(catalog.TASK_DURATION, "asyncio", task_name=name, task_outcome=outcome)
        assert count == (3 if name == "_sleep" else 1)
    assert value(catalog.TASK_CANCELLATIONS, "asyncio", cancel_reason="explicit") == 2
    assert value(catalog.TASK_CANCELLATIONS, "asyncio", cancel_reason="shutdown") == 1
    assert value(catalog.TASK_ACTIVE, "asyncio") == 0


@pytest.mark.usefixtures("everything")
def test_an_error_that_nobody_retrieves_is_counted_and_still_reported_by_asyncio(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert value(catalog.TASK_UNRETRIEVED, "asyncio") == 0

    async def main() -> None:
        task = asyncio.create_task(_boom())
        await asyncio.wait([task])
        del task
        gc.collect()

    with caplog.at_level(logging.ERROR, "asyncio"):
        asyncio.run(main())
    assert "Task exception was never retrieved" in caplog.text
    assert value(catalog.TASK_UNRETRIEVED, "asyncio") == 1
    assert histogram(catalog.TASK_DURATION, "asyncio", task_name="_boom", task_outcome="error")[0] == 1


@pytest.mark.skipif(not hasattr(asyncio, "TaskGroup"), reason="asyncio.TaskGroup came with Python 3.11")
@pytest.mark.usefixtures("everything")
def test_asyncio_task_group_names_the_sibling() -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_sleep())
            group.create_task(_boom())

    with pytest.raises(BaseException) as caught:
        asyncio.run(main())
    assert _group_of(caught.value) == [ValueError]
    assert value(catalog.TASK_CANCELLATIONS, "asyncio", cancel_reason="sibling_failure") == 1


def test_asyncio_spans_are_opt_in_and_current_in_the_whole_task(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    gi.AsyncioInstrumentor().instrument(spans="*_traced*", exclude="*hidden*")
    seen: list[int] = []

    async def _traced() -> None:
        seen.append(get_current_span().get_span_context().span_id)
        await asyncio.sleep(0)
        seen.append(get_current_span().get_span_context().span_id)

    async def hidden() -> None: ...

    async def main() -> None:
        with tracer.start_as_current_span("request") as request:
            first, second = asyncio.create_task(_traced()), asyncio.create_task(_traced())
            await asyncio.gather(first, second, asyncio.create_task(_quick()), asyncio.create_task(hidden()))
            assert get_current_span() is request

    asyncio.run(main())
    made = [span for span in spans.get_finished_spans() if span.name != "request"]
    assert len(made) == 2
    assert {span.name for span in made} == {f"asyncio {_traced.__qualname__}"}
    ids = [span.context.span_id for span in made]
    assert sorted(seen) == sorted(ids * 2)
    assert histogram(catalog.TASK_DURATION, "asyncio", task_name=hidden.__qualname__)[0] == 0


@pytest.mark.usefixtures("everything")
def test_loops_are_watched_until_they_close() -> None:
    async def main() -> None:
        await asyncio.create_task(_quick())
        with anyio.fail_after(LIMIT):
            while not any(point.count for point in delays()):
                await asyncio.sleep(0.001)

    def delays() -> list[Any]:
        return list(work.REGISTRY.collect().histograms.get(catalog.EVENTLOOP_DELAY.name, ()))

    asyncio.run(main())
    snapshot = work.REGISTRY.collect()
    (point,) = delays()
    assert point.attributes == {Key.EVENTLOOP_NAME: "asyncio"}
    assert point.count >= 1
    assert [point.value for point in snapshot.points[catalog.EVENTLOOP_STALL.name]] == [0.0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_loop_that_uses_nothing_but_threads_is_watched(backend: str) -> None:
    """Such as a FastAPI application with plain functions only."""
    gi.AnyioInstrumentor().instrument()

    async def main() -> None:
        assert await anyio.to_thread.run_sync(threading.get_ident) != threading.get_ident()
        with anyio.fail_after(LIMIT):
            while not work.REGISTRY.collect().points.get(catalog.EVENTLOOP_STALL.name):
                await anyio.sleep(0.001)

    anyio.run(main, backend=backend)


@pytest.mark.usefixtures("everything")
def test_no_monitor_ticks_in_a_loop_with_a_time_of_its_own() -> None:
    class Standing(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return 0.0

    async def main() -> list[Any]:
        await asyncio.create_task(_quick())
        return list(asyncio.get_running_loop()._scheduled)  # type: ignore[attr-defined]  # private: its timers

    loop = Standing()
    try:
        assert loop.run_until_complete(main()) == []
    finally:
        loop.close()


@pytest.mark.usefixtures("everything")
def test_no_monitor_ticks_in_the_time_of_a_mock_clock() -> None:
    def delays() -> int:
        return sum(point.count for point in work.REGISTRY.collect().histograms.get(catalog.EVENTLOOP_DELAY.name, ()))

    async def main() -> None:
        await trio.sleep(100)

    before = delays()
    trio.run(main, clock=mock.MockClock(autojump_threshold=0))
    assert delays() == before


# -- anyio and trio ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("backend", BACKENDS)
def test_task_groups_name_the_sibling(backend: str) -> None:
    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(_sleep)
            group.start_soon(_boom)

    with pytest.raises(BaseException) as caught:
        anyio.run(main, backend=backend)
    assert _group_of(caught.value) == [ValueError]
    assert outcomes("anyio") == {"error": 1, "cancelled": 1}
    assert value(catalog.TASK_CANCELLATIONS, "anyio", cancel_reason="sibling_failure") == 1
    assert histogram(catalog.TASK_DURATION, "anyio", task_name="_sleep")[0] == 1
    assert outcomes("trio").get("cancelled") is None  # nor counted again below


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("backend", BACKENDS)
def test_task_groups_by_reason(backend: str) -> None:
    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(_sleep)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(_sleep)
                await anyio.wait_all_tasks_blocked()
                scope.deadline = anyio.current_time()

    anyio.run(main, backend=backend)
    reasons = {
        reason: count
        for reason in catalog.CANCEL_REASONS
        if (count := value(catalog.TASK_CANCELLATIONS, "anyio", cancel_reason=reason))
    }
    assert reasons in ({"explicit": 1, "deadline": 1}, {"explicit": 1, "parent_scope": 1})


@pytest.mark.usefixtures("everything")
def test_trio_nurseries() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_sleep)
            nursery.start_soon(_boom)

    with pytest.raises(BaseException) as caught:
        trio.run(main)
    assert _group_of(caught.value) == [ValueError]
    assert value(catalog.TASK_CANCELLATIONS, "trio", cancel_reason="sibling_failure") == 1
    # Two children and main, and nothing of trio's own.
    assert value(catalog.TASK_SUBMITTED, "trio") == 3


@pytest.mark.usefixtures("everything")
def test_the_instruments_of_a_trio_run_are_the_applications() -> None:
    class Broken(trio.abc.Instrument):  # type: ignore[misc] # trio is imported by name, so it has no types here
        @property
        def after_run(self) -> Any:
            raise ZeroDivisionError

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            trio.lowlevel.add_instrument(Broken())
        hooks = trio.lowlevel.current_task()._runner.instruments  # private: there is no way to ask
        # Ours, and nothing of the one that was refused.
        assert {type(instrument).__module__.partition(".")[0] for instrument in hooks["_all"]} == {
            "glasspool",
            "glasspool_instrumentation",
        }
        assert set(hooks) == {"_all", "task_spawned", "before_io_wait", "after_io_wait"}

    trio.run(main)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # tasks thrown away with the run
@pytest.mark.usefixtures("everything")
def test_a_trio_run_that_breaks_down_says_what_it_says_without_us() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 0)
        await mock.wait_all_tasks_blocked()  # the monitor, too, waits
        trio.lowlevel.current_task()._runner.runq = "broken"  # private: nothing else breaks a run down
        await trio.sleep(LIMIT)

    with pytest.raises(trio.TrioInternalError) as caught:
        trio.run(main)
    assert caught.value.__context__ is caught.value.__cause__
    assert isinstance(caught.value.__cause__, AttributeError)
    del caught
    gc.collect()


def test_which_sibling_is_on_the_span(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    gi.AnyioInstrumentor().instrument(spans="*")

    async def main() -> None:
        with tracer.start_as_current_span("request"):
            async with anyio.create_task_group() as group:
                group.start_soon(_sleep)
                group.start_soon(_boom)

    with pytest.raises(BaseException):  # noqa: B017 - an ExceptionGroup, which 3.10 does not have
        anyio.run(main)
    by_name = {span.name: span for span in spans.get_finished_spans()}
    cancelled = by_name["anyio _sleep"]
    assert cancelled.attributes is not None
    assert cancelled.attributes[Key.CANCEL_REASON] == "sibling_failure"
    assert "_boom failed: ValueError: boom" in str(cancelled.attributes[Key.CANCEL_MESSAGE])
    assert cancelled.status.status_code is StatusCode.ERROR


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_40_tokens(backend: str) -> None:
    release = threading.Event()
    running = threading.Semaphore(0)
    name = "anyio.to_thread"

    def block() -> None:
        running.release()
        assert release.wait(LIMIT)

    async def call() -> None:
        await anyio.to_thread.run_sync(block)
        # The loop works on each result, while the token has gone to the next waiter.
        end = time.perf_counter() + 0.005
        while time.perf_counter() < end:
            pass
        limiter = anyio.to_thread.current_default_thread_limiter().statistics()
        if backend == "asyncio" and version("anyio").startswith("4.9."):
            # There a token that is passed on has no owner until the new one runs; here it is in use from the grant.
            assert limiter.borrowed_tokens <= value(catalog.SLOT_USAGE, name) <= 40
        else:
            assert value(catalog.SLOT_USAGE, name) == limiter.borrowed_tokens
        assert value(catalog.QUEUE_SIZE, name) == limiter.tasks_waiting

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(45):
                group.start_soon(call)
            while value(catalog.QUEUE_SIZE, name) < 5:
                await anyio.sleep(0.01)
            share = work.Share(name)
            assert value(catalog.SLOT_LIMIT, name) == 40
            assert value(catalog.SLOT_USAGE, name) == 40
            assert value(catalog.TASK_ACTIVE, name) == 40
            assert value(catalog.TASK_SUBMITTED, name) == 45
            assert value(catalog.QUEUE_OLDEST_AGE, name) > 0
            assert value(catalog.SLOT_SATURATED_TIME, name) > 0
            for _ in range(40):  # without blocking the loop: who has a token may still need it to start a thread
                while not running.acquire(blocking=False):
                    await anyio.sleep(0.01)
            assert share.read() == pytest.approx((40, 1))
            release.set()

    anyio.run(main, backend=backend)
    assert outcomes(name) == {"success": 45}
    assert histogram(catalog.QUEUE_WAIT, name, queue_outcome="started")[0] == 45
    assert value(catalog.SLOT_USAGE, name) == value(catalog.QUEUE_SIZE, name) == 0
    assert value(catalog.SLOT_LIMIT, name) == 0  # the loop is gone, and its limiter with it


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("backend", BACKENDS)
def test_own_limiters_and_calls_given_up(backend: str) -> None:
    begun = threading.Semaphore(0)
    release = threading.Event()
    ended = threading.Event()
    # On asyncio anyio gives the token of an abandoned call back at once, so that the second one starts.
    started = 2 if backend == "asyncio" else 1

    def block() -> None:
        begun.release()
        assert release.wait(LIMIT)
        ended.set()

    async def another_began() -> None:
        while not begun.acquire(blocking=False):
            await anyio.sleep(0.01)

    async def main() -> Any:
        limiter = gi.name_limiter(anyio.CapacityLimiter(1), "mine")
        first, second = anyio.CancelScope(), anyio.CancelScope()

        async def call(given_up: anyio.CancelScope) -> None:
            with given_up:
                await anyio.to_thread.run_sync(block, limiter=limiter, abandon_on_cancel=True)

        async with anyio.create_task_group() as group:
            group.start_soon(call, first)
            await another_began()
            group.start_soon(call, second)
            while value(catalog.QUEUE_SIZE, "mine") < 1:
                await anyio.sleep(0.01)
            first.cancel()
            if started == 2:
                await another_began()
            second.cancel()
        assert outcomes("mine") == {"cancelled": 2}
        assert value(catalog.TASK_ABANDONED, "mine") == started
        assert value(catalog.SLOT_USAGE, "mine") == limiter.borrowed_tokens == (0 if backend == "asyncio" else 1)
        release.set()
        while value(catalog.TASK_ABANDONED, "mine"):
            await anyio.sleep(0.01)
        assert ended.is_set()
        return limiter

    anyio.run(main, backend=backend)
    phases = {p: value(catalog.TASK_CANCELLATIONS, "mine", task_phase=p) for p in catalog.RUN_PHASES}
    assert phases == {"queued": 2 - started, "running": started}


def test_a_call_given_up_before_its_thread_starts_is_run_all_the_same() -> None:
    kept: list[Any] = []

    async def starts_late(call: Any, _claim: Any) -> None:
        kept.append(call)
        await trio.sleep_forever()

    async def main() -> None:
        limiter = trio.CapacityLimiter(1)
        observed = Limiters("trio_limiter", ("parent_scope",)).find(limiter, "late")
        with trio.move_on_after(0):
            await run_in_thread(observed, limiter, lambda: ran.append(1), starts_late, lambda _: "parent_scope")

    ran: list[int] = []
    trio.run(main)
    assert outcomes("late") == {"cancelled": 1}
    kept[0]()
    assert ran == [1]
    assert outcomes("late") == {"cancelled": 1}


@pytest.mark.skipif(not hasattr(asyncio, "TaskGroup"), reason="asyncio.TaskGroup came with Python 3.11")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_pending_tasks_of_a_closed_loop_are_collected_and_counted() -> None:
    class Argument:
        pass

    async def child(argument: Argument) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            del argument

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child(given.pop()))
            await asyncio.Event().wait()

    async def some_turns() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    gi.AsyncioInstrumentor().instrument(monitor=False)
    given = [Argument()]
    reference = weakref.ref(given[0])
    loop = asyncio.new_event_loop()
    task = loop.create_task(main())
    loop.run_until_complete(some_turns())
    loop.close()
    del task, loop
    gc.collect()
    assert reference() is None
    assert value(catalog.TASK_ACTIVE, "asyncio") == 0
    assert outcomes("asyncio") == {"success": 1, "cancelled": 2}
    gi.uninstrument()
    assert value(catalog.EXECUTOR_CLOSED, "asyncio") == 1


@pytest.mark.skipif(sys.version_info < (3, 11), reason="create_task takes a context since Python 3.11")
def test_a_task_may_be_made_in_the_context_of_the_one_that_makes_it(tracer: Tracer) -> None:
    async def inner() -> int:
        return 1

    async def outer(context: contextvars.Context) -> int:
        return await asyncio.get_running_loop().create_task(inner(), context=context)

    async def main() -> int:
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().create_task(outer(context), context=context)

    gi.AsyncioInstrumentor().instrument(monitor=False, spans="*")
    with tracer.start_as_current_span("request"):
        assert asyncio.run(main()) == 1
    assert set(outcomes("asyncio")) == {"success"}


# -- @instrumented -----------------------------------------------------------------------------------------------------


def test_instrumented_functions(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    @gi.instrumented(name="shop")
    def charge(amount: int) -> int:
        """Charges."""
        if amount < 0:
            raise ValueError("negative")
        return get_current_span().get_span_context().span_id

    @gi.instrumented(name="shop")
    async def ship() -> str:
        await anyio.sleep(0)
        assert value(catalog.TASK_ACTIVE, "shop") == 1
        return "shipped"

    assert (charge.__name__, charge.__doc__) == ("charge", "Charges.")
    span_id = charge(1)
    with pytest.raises(ValueError, match="negative") as caught:
        charge(-1)
    assert [entry.name for entry in caught.traceback][1:] in (["charge"], ["observed", "charge"])
    assert anyio.run(ship) == "shipped"
    first, second, third = spans.get_finished_spans()
    assert first.context.span_id == span_id
    assert first.name == f"shop {charge.__qualname__}"
    assert second.status.status_code is StatusCode.ERROR
    assert third.name == f"shop {ship.__qualname__}"
    assert outcomes("shop") == {"success": 2, "error": 1}
    assert histogram(catalog.TASK_DURATION, "shop")[0] == 3


def test_instrumented_refuses_what_it_cannot_observe() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match="generator function"):
        gi.instrumented(numbers)
    with pytest.raises(TypeError, match="takes a function; got 5"):
        gi.instrumented(5)  # type: ignore[call-overload]  # the mistake is meant
    with pytest.raises(ValueError, match="name= must not be empty"):
        gi.instrumented(name="")
