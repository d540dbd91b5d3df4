"""Spans of tasks: parents, when they are current, status and attributes for every outcome."""

from __future__ import annotations

import contextvars
import functools
import threading

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from glasspool import HybridExecutor
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import SPAN_EVENT_STARTED, Key
from glasspool.telemetry.recording.registry import REGISTRY
from glasspool.telemetry.recording.snapshot_queries import total

from .support import Gate, cancelled_once_blocked, echo, fail, forever, turns

pytestmark = pytest.mark.anyio


class OurError(Exception):
    """An error with a module."""


async def test_a_success(sdk):
    async with HybridExecutor("spans", max_in_flight=1) as executor:
        with sdk.tracer.start_as_current_span("request") as parent:
            handle = await executor.submit(echo, 1, name="load")
            await handle
    span = sdk.span("spans load")
    assert span.parent.span_id == parent.get_span_context().span_id
    assert span.kind is SpanKind.INTERNAL
    assert span.status.status_code is StatusCode.UNSET
    assert [event.name for event in span.events] == [SPAN_EVENT_STARTED]
    attributes = dict(span.attributes)
    wait, duration = attributes.pop(Key.QUEUE_WAIT), attributes.pop(Key.TASK_DURATION)
    assert wait >= 0
    assert duration >= 0
    assert wait + duration <= (span.end_time - span.start_time) / 1e9 + 0.01
    assert attributes == {
        Key.EXECUTOR_NAME: "spans",
        Key.EXECUTOR_TYPE: "hybrid",
        Key.RUNNER: "inline",
        Key.TASK_NAME: "load",
        Key.TASK_ID: handle.id,
        Key.TASK_OUTCOME: "success",
        Key.QUEUE_SIZE: 0,
        Key.CODE_FUNCTION: f"{echo.__module__}.echo",
        Key.THREAD_ID: threading.get_ident(),
        Key.THREAD_NAME: threading.current_thread().name,
    }


async def run_out(executor, outcome):
    """One task of this outcome; the reason belongs to cancellations."""
    if outcome == "error":
        await (await executor.submit(fail, OurError("broke"))).outcome()
    elif outcome == "builtin":
        await (await executor.submit(fail, ValueError("broke"))).outcome()
    elif outcome == "timeout":
        await (await executor.submit(forever, timeout=0.01)).outcome()
    elif outcome == "deadline passed":
        await (await executor.submit(forever, deadline=anyio.current_time())).outcome()
    elif outcome == "explicit":
        handle = await executor.submit(forever)
        await anyio.wait_all_tasks_blocked()
        handle.cancel("the user left")
        await handle.outcome()
    elif outcome == "sibling_failure":
        async with executor.pile(fail_fast=True) as pile:
            await pile.include(forever)
            await anyio.wait_all_tasks_blocked()
            await pile.include(fail, ValueError(), name="sibling")
    elif outcome == "parent_scope":
        async with cancelled_once_blocked():
            await executor.run(forever)
    elif outcome == "shutdown":
        await executor.submit(forever)
        await anyio.wait_all_tasks_blocked()
        await executor.shutdown(grace=0)


@pytest.mark.parametrize(
    ("what", "outcome", "status", "error_type", "reason"),
    [
        ("error", "error", StatusCode.ERROR, f"{OurError.__module__}.OurError", None),
        ("builtin", "error", StatusCode.ERROR, "ValueError", None),
        ("timeout", "timeout", StatusCode.ERROR, "timeout", None),
        ("deadline passed", "timeout", StatusCode.ERROR, "timeout", None),
        ("explicit", "cancelled", StatusCode.UNSET, "cancelled", "explicit"),
        ("shutdown", "cancelled", StatusCode.UNSET, "cancelled", "shutdown"),
        ("parent_scope", "cancelled", StatusCode.UNSET, "cancelled", "parent_scope"),
        ("sibling_failure", "cancelled", StatusCode.ERROR, "cancelled", "sibling_failure"),
    ],
)
async def test_the_table_of_outcomes(sdk, what, outcome, status, error_type, reason):
    async with HybridExecutor("table", max_in_flight=2) as executor:
        await run_out(executor, what)
    (span,) = (span for span in sdk.spans() if span.name != "table sibling")
    assert span.attributes[Key.TASK_OUTCOME] == outcome
    assert span.status.status_code is status
    assert span.attributes[Key.ERROR_TYPE] == error_type
    assert span.attributes.get(Key.CANCEL_REASON) == reason
    assert span.attributes.get(Key.CANCEL_MESSAGE) == ("the user left" if what == "explicit" else None)
    started = what != "deadline passed"
    assert (SPAN_EVENT_STARTED in [event.name for event in span.events]) is started
    assert (Key.TASK_DURATION in span.attributes) is started
    exceptions = [event for event in span.events if event.name == "exception"]
    assert len(exceptions) == (1 if outcome == "error" else 0)
    if exceptions:
        assert exceptions[0].attributes["exception.message"] == "broke"


async def test_a_task_cancelled_in_the_queue_has_a_span_without_the_event(sdk):
    gate = Gate()
    async with HybridExecutor("queue", max_in_flight=1) as executor:
        executor.submit_nowait(gate.hold, name="first")
        executor.submit_nowait(gate.hold, name="second")
        queued = executor.submit_nowait(gate.hold, name="third")
        queued.cancel()
        gate.open()
    assert [event.name for event in sdk.span("queue third").events] == []
    assert [sdk.span(f"queue {name}").attributes[Key.QUEUE_SIZE] for name in ("first", "second", "third")] == [0, 0, 1]
    assert sdk.span("queue second").attributes[Key.QUEUE_WAIT] > 0


@pytest.mark.parametrize("runner", ["loop", "thread"])
async def test_the_span_is_current_inside_its_task_and_nowhere_else(sdk, runner):
    current = []

    async def on_loop():
        await turns(2)
        current.append(trace.get_current_span().get_span_context().span_id)

    def in_thread():
        current.append(trace.get_current_span().get_span_context().span_id)

    async with HybridExecutor("current", max_in_flight=3) as executor:
        with sdk.tracer.start_as_current_span("request") as request:
            for _ in range(5):
                await executor.submit(on_loop if runner == "loop" else in_thread, name="task")
                assert trace.get_current_span() is request
    spans = sdk.spans("current task")
    assert sorted(current) == sorted(span.context.span_id for span in spans)
    assert {span.parent.span_id for span in spans} == {request.get_span_context().span_id}


async def test_an_executor_opened_inside_a_span_does_not_adopt_it(sdk):
    async def source():
        yield trace.get_current_span().get_span_context().is_valid

    with sdk.tracer.start_as_current_span("startup"):
        executor = HybridExecutor("opened", max_in_flight=1)
        await executor.__aenter__()
    try:
        seen = [completed.value async for completed in executor.as_completed(echo, source(), name="task")]
    finally:
        await executor.__aexit__(None, None, None)
    assert seen == [False]
    assert sdk.span("opened task").parent is None


async def test_link_starts_a_trace_of_its_own(sdk):
    async with HybridExecutor("link", max_in_flight=1) as executor:
        with sdk.tracer.start_as_current_span("request") as request:
            await executor.run(echo, 1, context="link", name="later")
    span = sdk.span("link later")
    assert span.parent is None
    assert [link.context.span_id for link in span.links] == [request.get_span_context().span_id]
    assert span.context.trace_id != request.get_span_context().trace_id


@pytest.mark.parametrize(("spans", "expected"), [("all", 2), ("parented", 1), ("off", 0)])
async def test_which_tasks_get_a_span(sdk, spans, expected):
    async with HybridExecutor("which", max_in_flight=1, spans=spans) as executor:
        await executor.run(echo, 1, name="task")
        with sdk.tracer.start_as_current_span("request"):
            await executor.run(echo, 1, name="task")
    assert len(sdk.spans("which task")) == expected


async def test_interleaving_tasks_keep_their_own_parents(sdk):
    async with HybridExecutor("mix", max_in_flight=4) as executor:

        async def request(number):
            with sdk.tracer.start_as_current_span(f"request {number}"):
                for _ in range(5):
                    await executor.submit(turns, number % 4, name=f"of {number}")
                    await turns(1)

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(request, number)
    for number in range(20):
        parent = sdk.span(f"request {number}").context.span_id
        spans = sdk.spans(f"mix of {number}")
        assert [span.parent.span_id for span in spans] == [parent] * 5


class Failing(SpanProcessor):
    """A user's span processor with a bug."""

    def __init__(self, where):
        self.where = where

    def on_start(self, span, parent_context=None):
        if self.where == "start":
            raise LookupError("in on_start")

    def on_end(self, span):
        if self.where == "end":
            raise LookupError("in on_end")


@pytest.mark.parametrize("where", ["start", "end"])
async def test_a_span_processor_that_raises_is_counted_and_reaches_no_task(sdk, caplog, where):
    sdk.tracing.add_span_processor(Failing(where))
    async with HybridExecutor("spans", max_in_flight=1) as executor:
        assert await executor.run(echo, 1) == 1
        assert await executor.run(echo, 2) == 2
        assert executor.stats().succeeded == 2
    (failures,) = sdk.points(
        catalog.TELEMETRY_FAILURES.name, glasspool_executor_name="_PROCESS", glasspool_telemetry_failure_kind="export"
    )
    assert failures.value == 2


class Unspeakable(Exception):
    """An error that cannot be turned into text."""

    def __str__(self):
        raise LookupError("no words")


async def test_the_span_of_an_error_without_text_ends(sdk):
    async with HybridExecutor("spans", max_in_flight=1) as executor:
        handle = await executor.submit(fail, Unspeakable(), name="mute")
        assert (await handle.outcome()).outcome == "error"
    assert sdk.span("spans mute").attributes[Key.TASK_OUTCOME] == "error"


async def connect():
    raise ConnectionRefusedError("db:5432")


async def session(*others):
    async with anyio.create_task_group() as group:
        group.start_soon(connect)
        group.start_soon(anyio.sleep_forever)
        for other in others:
            group.start_soon(other)


@pytest.mark.parametrize("runner", ["inline", "thread"])
async def test_the_failure_of_a_task_group_goes_by_the_type_of_its_errors(sdk, runner):
    def in_thread():
        anyio.run(session)

    before = REGISTRY.collect()
    async with HybridExecutor("groups", max_in_flight=1) as executor:
        handle = await executor.submit(session if runner == "inline" else in_thread, name="session")
        completed = await handle.outcome()
    assert type(completed.error).__name__ == "ExceptionGroup"
    assert [type(error) for error in completed.error.exceptions] == [ConnectionRefusedError]
    span = sdk.span("groups session")
    assert span.status.description == "ConnectionRefusedError: db:5432"
    assert span.attributes[Key.ERROR_TYPE] == "ConnectionRefusedError"
    (event,) = [event for event in span.events if event.name == "exception"]
    assert "ExceptionGroup" in event.attributes["exception.type"]
    wanted = {Key.EXECUTOR_NAME: "groups", Key.ERROR_TYPE: "ConnectionRefusedError"}
    assert total(REGISTRY.collect(), catalog.TASK_COMPLETED, wanted) == 1
    assert total(before, catalog.TASK_COMPLETED, wanted) == 0


async def test_observers_are_told_the_type_too(sdk):
    seen = []
    async with HybridExecutor("told", max_in_flight=1, observers=[seen.append]) as executor:
        await (await executor.submit(session)).outcome()
    assert [event.error_type for event in seen if event.kind == "settled"] == ["ConnectionRefusedError"]


async def add(left, right):
    return left + right


def decorated(function):
    @functools.wraps(function)
    async def wrapper(*args):
        return await function(*args)

    return wrapper


def undressed(function):
    async def wrapper(*args):
        return await function(*args)

    wrapper.__wrapped__ = function
    return wrapper


class Callable:
    def __init__(self, function):
        self.__wrapped__ = function

    async def __call__(self, *args):
        return await self.__wrapped__(*args)


def plus(left, right):
    return left + right


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (add, (1, 2), "add"),
        (functools.partial(add, 1), (2,), "add"),
        (functools.partial(functools.partial(add), 1), (2,), "add"),
        (decorated(add), (1, 2), "add"),
        (functools.partial(decorated(functools.partial(add, 1))), (2,), "add"),
        (undressed(add), (1, 2), "add"),
        (Callable(add), (1, 2), "add"),
        (plus, (1, 2), "plus"),
        (contextvars.copy_context().run, (plus, 1, 2), "plus"),
        (functools.partial(contextvars.copy_context().run, plus), (1, 2), "plus"),
    ],
)
async def test_a_task_has_its_functions_name_whatever_it_is_wrapped_in(sdk, function, arguments, name):
    async with HybridExecutor("names", max_in_flight=1) as executor:
        handle = await executor.submit(function, *arguments)
        assert await handle == 3
        assert handle.name == name
        assert await executor.run(function, *arguments) == 3
        assert await executor.submit_nowait(function, *arguments) == 3
        async with executor.pile() as pile:
            assert (await pile.include(function, *arguments)).name == name
    spans = sdk.spans(f"names {name}")
    assert len(spans) == 4
    assert {span.attributes[Key.CODE_FUNCTION] for span in spans} == {f"{__name__}.{name}"}
    assert {span.attributes[Key.TASK_NAME] for span in spans} == {name}
