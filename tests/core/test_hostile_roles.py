"""Other hostile objects: functions, arguments, names, notes, observers, sources, spans. Examining them cannot harm the
executor; where foreign code must run, its exception is raised to the caller."""

from __future__ import annotations

import contextvars
import functools
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import anyio
import pytest
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Sampler

from glasspool import HybridExecutor, Outcome, TaskCancelled
from glasspool.task import task_of
from tests.hostile import REFUSALS, Frozen, hostile

from .hostile import RUNNERS, on, still_works
from .support import Gate, conserved, echo, forever, until

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("refusal", REFUSALS)]

CARRIED: contextvars.ContextVar[Any] = contextvars.ContextVar("carried")


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(2) as pool:
        yield pool


async def gives_seven(*_: Any) -> int:
    return 7


def plain_seven(*_: Any) -> int:
    return 7


# -- functions ---------------------------------------------------------------------------------------------------------

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "object": lambda refusal: hostile(object, refusal, __call__=plain_seven)(),
    "object with an async call": lambda refusal: hostile(object, refusal, __call__=gives_seven)(),
    "method": lambda refusal: types.MethodType(plain_seven, hostile(object, refusal)()),
    "async method": lambda refusal: types.MethodType(gives_seven, hostile(object, refusal)()),
    "partial of an object": lambda refusal: functools.partial(hostile(object, refusal, __call__=plain_seven)(), 1),
    "partial of its own": lambda refusal: hostile(functools.partial, refusal, func=gives_seven)(gives_seven),
    "wrapper": lambda refusal: wrapper(hostile(object, refusal)()),
    "named": lambda refusal: named(hostile(str, refusal)("named")),
}


def wrapper(wrapped: Any) -> Any:
    def work() -> int:
        return 7

    work.__wrapped__ = wrapped
    return work


def named(name: str) -> Any:
    def work() -> int:
        return 7

    work.__name__ = work.__qualname__ = name
    return work


@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize("runner", [None, "inline", "thread", "pool"])
async def test_a_function(kind, runner, refusal, pool, sdk):
    function = FUNCTIONS[kind](REFUSALS[refusal])
    is_async = "async" in kind or kind == "partial of its own"
    if is_async and runner in ("thread", "pool"):
        pytest.skip("coroutine functions run on the loop")
    options = {} if runner is None else {"runner": pool if runner == "pool" else runner}
    async with HybridExecutor("function", max_in_flight=1) as executor:
        handle = await executor.submit(function, **options)
        completed = await handle.outcome()
        assert completed.outcome is Outcome.SUCCESS
        assert completed.value == 7
        expected = "thread" if runner is None and not is_async else completed_by(runner)
        assert task_of(handle).plan.runner_name == expected
        await still_works(executor, [handle])
    assert len(sdk.spans()) == 2


def completed_by(runner: str | None) -> str:
    return "futures" if runner == "pool" else runner or "inline"


async def test_what_is_no_function_is_refused(refusal):
    class Given:
        pass

    async with HybridExecutor("refused", max_in_flight=1) as executor:
        with pytest.raises(TypeError, match="fn must be callable, not <Hostile without a repr>"):
            await executor.submit(hostile(object, REFUSALS[refusal])())
        for option in ("name", "timeout", "deadline", "context", "abandon", "metadata"):
            with pytest.raises(TypeError, match=f"{option} must be .* not <Hostile without a repr>"):
                await executor.submit(plain_seven, **{option: hostile(Given, REFUSALS[refusal])()})
        with pytest.raises(TypeError, match="message must be a str or None, not <Hostile without a repr>"):
            executor.pile().cancel(hostile(Given, REFUSALS[refusal])())
        with pytest.raises(TypeError, match=r"source must be .* not <Hostile without a repr>"):
            executor.map(echo, hostile(Given, REFUSALS[refusal], __iter__=None)())
        with pytest.raises(TypeError, match=r"source must be .* not <Hostile without a repr>"):
            executor.as_completed(echo, hostile(Given, REFUSALS[refusal], __iter__=None)())
        with pytest.raises(TypeError, match=r"grace must be .* not <Hostile without a repr>"):
            await executor.shutdown(grace=hostile(Given, REFUSALS[refusal])())
        assert (executor.stats().submitted, executor.stats().rejected) == (0, 0)
        await still_works(executor, [])


# -- what goes along ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runner", RUNNERS)
async def test_arguments_names_notes_and_context(runner, refusal, pool, sdk):
    found: list[Any] = []

    def work(argument: Any, *, keyword: Any) -> None:
        found.extend((argument, keyword, CARRIED.get()))

    argument, keyword, carried = (hostile(object, REFUSALS[refusal])() for _ in range(3))
    notes = hostile(dict, REFUSALS[refusal])()
    name = hostile(str, REFUSALS[refusal])("named")
    token, attached = CARRIED.set(carried), otel_context.attach(baggage.set_baggage("key", carried))
    try:
        async with HybridExecutor("along", max_in_flight=1) as executor:
            function, options = on(runner, pool, functools.partial(work, keyword=keyword))
            handle = await executor.submit(function, argument, name=name, metadata=notes, **options)
            completed = await handle.outcome()
            assert completed.outcome is Outcome.SUCCESS
            assert list(map(id, found)) == [id(argument), id(keyword), id(carried)]
            assert completed.item.metadata is notes
            assert completed.item.arguments[0] is argument
            assert type(handle.name) is str
            assert handle.name == "named"
            await still_works(executor, [handle])
    finally:
        otel_context.detach(attached)
        CARRIED.reset(token)
    assert len(sdk.spans("along named")) == 1


async def test_the_message_of_a_request(refusal, sdk):
    message = hostile(str, REFUSALS[refusal])("enough")
    async with HybridExecutor("message", max_in_flight=1) as executor:
        running, queued = await executor.submit(forever), await executor.submit(forever)
        await until(lambda: task_of(running).began)
        assert queued.cancel(message)
        assert running.cancel(message)
        for handle in (queued, running):
            with pytest.raises(TaskCancelled, match="enough"):
                await handle
        pile = executor.pile()
        handle = await pile.include(forever)
        assert pile.cancel(message) == 1
        with pytest.raises(TaskCancelled, match="enough"):
            await handle
        await still_works(executor, [running, queued, handle])


# -- observers, spans --------------------------------------------------------------------------------------------------


async def test_an_observer(refusal):
    def tell(self: Any, event: Any) -> None:
        raise REFUSALS[refusal]()

    def tell_frozen(event: Any) -> None:
        raise Frozen(1)

    told: list[str] = []
    observers = [
        hostile(object, REFUSALS[refusal], __call__=tell)(),
        tell_frozen,
        lambda event: told.append(event.kind),
    ]
    async with HybridExecutor("observed", max_in_flight=1, observers=observers) as executor:
        handle = await executor.submit(echo, 1)
        assert await handle == 1
        await still_works(executor, [handle])
    assert told == ["submitted", "started", "settled"] * 2


class Touchy(SpanProcessor):
    """Fails at the start or the end of every span."""

    def __init__(self, at: str, refusal: Callable[[], BaseException]) -> None:
        self.at = at
        self.refusal = refusal

    def on_start(self, span, parent_context=None):
        if self.at == "start":
            raise self.refusal()

    def on_end(self, span):
        if self.at == "end":
            raise self.refusal()


class TouchySampler(Sampler):
    def __init__(self, refusal: Callable[[], BaseException]) -> None:
        self.refusal = refusal

    def should_sample(self, *_: Any, **__: Any) -> Any:
        raise self.refusal()

    def get_description(self) -> str:
        return "touchy"


class TouchySpan(trace.NonRecordingSpan):
    """A span of a custom provider: every method of it raises."""

    refusal: Callable[[], BaseException]

    def refuse(self, *_: Any, **__: Any) -> Any:
        raise self.refusal()

    get_span_context = is_recording = set_attributes = add_event = set_status = record_exception = end = refuse


class TouchyProvider(trace.TracerProvider):
    def __init__(self, refusal: Callable[[], BaseException]) -> None:
        self.refusal = refusal

    def get_tracer(self, *_: Any, **__: Any) -> Any:
        return self

    def start_span(self, *_: Any, **__: Any) -> Any:
        span = TouchySpan(trace.INVALID_SPAN_CONTEXT)
        span.refusal = self.refusal
        return span


@pytest.mark.parametrize("part", ["processor's start", "processor's end", "sampler", "provider"])
@pytest.mark.parametrize("ending", ["success", "error", "cancelled", "left behind"])
async def test_spans(part, ending, refusal, sdk, monkeypatch):
    raised = REFUSALS[refusal]
    if part.startswith("processor"):
        sdk.tracing.add_span_processor(Touchy(part.rpartition(" ")[2], raised))
    else:
        provider = TouchyProvider(raised) if part == "provider" else TracerProvider(sampler=TouchySampler(raised))
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    gate = Gate()
    async with HybridExecutor("spans", max_in_flight=1, observers=[lambda event: None]) as executor:
        if ending == "left behind":
            handle = await executor.submit(anyio.from_thread.run, gate.hold)
            await until(lambda: gate.started)
            handle.cancel()
        elif ending == "cancelled":
            handle = await executor.submit(forever)
            await until(lambda: task_of(handle).began)
            handle.cancel()
        elif ending == "error":
            handle = await executor.submit(functools.partial(fails, hostile(Exception, raised)("error")))
        else:
            handle = await executor.submit(gives_seven, context="link")
        completed = await handle.outcome()
        assert completed.outcome.value == ending.replace("left behind", "cancelled")
        gate.open()
        await still_works(executor, [handle])


async def fails(error: BaseException) -> None:
    raise error


async def test_a_span_around_the_submitter(refusal, sdk):
    span = TouchySpan(trace.INVALID_SPAN_CONTEXT)
    span.refusal = REFUSALS[refusal]
    for spans in ("all", "parented"):
        async with HybridExecutor("parent", max_in_flight=1, spans=spans) as executor:
            token = otel_context.attach(trace.set_span_in_context(span))
            try:
                handles = [await executor.submit(gives_seven, context=mode) for mode in ("parent", "link")]
                assert [await handle for handle in handles] == [7, 7]
                await still_works(executor, handles)
            finally:
                otel_context.detach(token)


# -- many at once ------------------------------------------------------------------------------------------------------


async def test_items_and_values_of_iterations_and_piles(refusal):
    kind = hostile(object, REFUSALS[refusal])
    items = [kind() for _ in range(5)]
    expected = list(map(id, items))
    async with HybridExecutor("items", max_in_flight=1) as executor:
        assert [id(value) async for value in executor.map(echo, items)] == expected
        assert [id(done.value) async for done in executor.as_completed(echo, items)] == expected
        source = hostile(object, REFUSALS[refusal], __iter__=lambda _: iter(items))()
        assert [id(value) async for value in executor.map(echo, source)] == expected
        async with executor.pile() as pile:
            for item in items:
                await pile.include(echo, item)
            assert list(map(id, (await pile.drain()).values())) == expected
        await until(lambda: executor.stats().slots_used == 0)
        assert executor.stats().succeeded == 20


@pytest.mark.parametrize("method", ["map", "as_completed"])
async def test_the_errors_of_iterations_and_piles(method, refusal):
    error = hostile(Exception, REFUSALS[refusal])("error")
    async with HybridExecutor("errors", max_in_flight=1) as executor:
        found: list[Any] = []
        try:
            async for completed in getattr(executor, method)(fails, [error]):
                found.append(completed.error)
        except BaseException as raised:
            found.append(raised)
        assert list(map(id, found)) == [id(error)]
        async with executor.pile(fail_fast=True) as pile:
            await pile.include(fails, error)
            await pile.include(forever)
            drained = await pile.drain()
        try:
            drained.raise_errors()
        except BaseException as raised:
            members = type(raised).exceptions.__get__(raised)
        assert members[0] is error
        assert isinstance(members[1], TaskCancelled)
        await until(lambda: executor.stats().slots_used == 0)


async def test_the_failures_of_an_escalation_and_of_the_body(refusal):
    error = hostile(Exception, REFUSALS[refusal])("error")
    found: list[Any] = []
    try:
        async with HybridExecutor("escalates", max_in_flight=1, on_error="escalate") as executor:
            await executor.submit(fails, error)
            await anyio.sleep_forever()
    except BaseException as raised:
        found.append(type(raised).exceptions.__get__(raised))
    assert list(map(id, found[0])) == [id(error)]
    try:
        async with HybridExecutor("body", max_in_flight=1) as executor:
            handle = await executor.submit(forever)
            raise error
    except BaseException as raised:
        found.append(raised)
    assert found[1] is error
    conserved(executor, [handle])


@pytest.mark.parametrize("lost", [False, True])
async def test_a_source(lost, refusal):
    """Whose length and end cannot be had."""
    numbers = iter(range(10))
    kind = hostile(object, REFUSALS[refusal], __iter__=lambda self: self, __next__=lambda _: next(numbers))
    async with HybridExecutor("source", max_in_flight=1) as executor:
        iteration = executor.map(echo, kind())
        assert await anext(iteration) == 0
        if lost:
            del iteration
        else:
            absent = refusal == "an error of attributes"  # says that it has no such method
            with nullcontext() if absent else pytest.raises(type(REFUSALS[refusal]())):
                await iteration.aclose()
        await until(lambda: executor.stats().slots_used == 0)
        assert await executor.run(echo, "next") == "next"
    stats = executor.stats()
    assert stats.submitted == stats.succeeded + stats.cancelled
