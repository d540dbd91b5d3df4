"""Spans of tasks with an explicit context: each is current only in the steps of its own task."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest
from opentelemetry import baggage, context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Span, Tracer, get_current_span, set_span_in_context

import glasspool_instrumentation as gi
from glasspool import HybridExecutor

from . import work

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="context= of tasks came with Python 3.11")

uvloop = pytest.importorskip("uvloop")

LOOPS: dict[str, Callable[[], Any]] = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=["asyncio", "uvloop", "eager"])
def loop_factory(request: pytest.FixtureRequest) -> Callable[[], Any]:
    if request.param != "eager":
        return LOOPS[request.param]
    if sys.version_info < (3, 12):
        pytest.skip("eager tasks came with Python 3.12")

    def make() -> Any:
        loop = asyncio.new_event_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        return loop

    return make


@pytest.fixture(autouse=True)
def observed() -> None:
    gi.AsyncioInstrumentor().instrument(spans="*_fetch*", monitor=False)


def _context_of(span: Span) -> contextvars.Context:
    """A context in which this span is current."""
    made = contextvars.copy_context()
    made.run(context.attach, set_span_in_context(span))
    return made


def _run(loop_factory: Callable[[], Any], main: Callable[[], Any]) -> Any:
    with asyncio.Runner(loop_factory=loop_factory) as runner:  # type: ignore[attr-defined,unused-ignore]  # 3.11
        return runner.run(main())


def _by_name(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans.get_finished_spans()}


def _parent(span: ReadableSpan) -> int:
    return span.parent.span_id if span.parent is not None else 0


def _is_child(child: ReadableSpan, parent: ReadableSpan | Span) -> None:
    assert _parent(child) == parent.get_span_context().span_id, f"{child.name} hangs under a stranger"


def test_tasks_in_one_context_each_have_their_own_span(
    loop_factory: Callable[[], Any], tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    started = [0]

    async def turn() -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    async def _fetch(number: int) -> int:
        own = get_current_span().get_span_context().span_id
        started[0] += 1
        while started[0] < 3:
            await asyncio.sleep(0)
        with tracer.start_as_current_span(f"outer {number}"):
            await turn()
            with tracer.start_as_current_span(f"inner {number}"):
                await turn()
            await turn()
        await turn()
        assert get_current_span().get_span_context().span_id == own
        tracer.start_span(f"last {number}").end()
        return own

    async def main() -> None:
        with tracer.start_as_current_span("request") as request:
            shared = contextvars.copy_context()
            loop = asyncio.get_running_loop()
            tasks = [loop.create_task(_fetch(number), context=shared) for number in range(3)]
            owned = await asyncio.gather(*tasks)
            assert get_current_span() is request
            assert shared.run(get_current_span) is request
        found = _by_name(spans)
        for number, own in enumerate(owned):
            assert _parent(found[f"outer {number}"]) == own
            _is_child(found[f"inner {number}"], found[f"outer {number}"])
            assert _parent(found[f"last {number}"]) == own
        made = [span for span in spans.get_finished_spans() if span.name.startswith("asyncio ")]
        assert {span.context.span_id for span in made} == set(owned)
        assert len(set(owned)) == 3
        for span in made:
            _is_child(span, request)

    _run(loop_factory, main)


def test_a_task_goes_on_with_the_context_that_it_was_given(
    loop_factory: Callable[[], Any], tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    async def _fetch() -> int:
        await asyncio.sleep(0)
        return get_current_span().get_span_context().trace_id

    async def main() -> None:
        first = tracer.start_span("first")
        kept = _context_of(first)
        with tracer.start_as_current_span("second"):
            loop = asyncio.get_running_loop()
            trace_id = await loop.create_task(_fetch(), context=kept)
            assert trace_id == first.get_span_context().trace_id
            assert await loop.create_task(_fetch(), context=contextvars.Context()) == 0
            async with asyncio.TaskGroup() as group:  # type: ignore[attr-defined,unused-ignore]  # 3.11
                task = group.create_task(_fetch(), context=kept)
            assert task.result() == trace_id
        made = [span for span in spans.get_finished_spans() if span.name.startswith("asyncio ")]
        assert len(made) == 2  # none where there is no trace to be part of
        for span in made:
            _is_child(span, first)

    _run(loop_factory, main)


def test_a_context_that_is_entered_again_is_as_it_was(
    loop_factory: Callable[[], Any], tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    async def _fetch(ends: bool) -> int:
        await asyncio.sleep(0)
        if not ends:
            await asyncio.sleep(work.LIMIT)
        return get_current_span().get_span_context().span_id

    with asyncio.Runner(loop_factory=loop_factory) as runner:  # type: ignore[attr-defined,unused-ignore]  # 3.11
        with tracer.start_as_current_span("request") as request:
            kept = contextvars.copy_context()
            own = [runner.run(_fetch(True), context=kept) for _ in range(2)]
            assert kept.run(get_current_span) is request
            assert len({*own, request.get_span_context().span_id}) == 3

            async def cancelled() -> None:
                loop = asyncio.get_running_loop()
                tasks = [loop.create_task(_fetch(False), context=kept) for _ in range(3)]
                for _ in range(3):
                    await asyncio.sleep(0)
                assert kept.run(get_current_span) is request
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

            runner.run(cancelled())
            assert kept.run(get_current_span) is request
            kept.run(lambda: tracer.start_span("later").end())
    _is_child(_by_name(spans)["later"], request)
    assert len([span for span in spans.get_finished_spans() if span.name.startswith("asyncio ")]) == 5


def test_a_task_made_in_the_context_that_its_maker_is_in(
    loop_factory: Callable[[], Any], tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    async def _fetch_child() -> int:
        await asyncio.sleep(0)
        tracer.start_span("of the child").end()
        return get_current_span().get_span_context().span_id

    async def _fetch(shared: contextvars.Context) -> tuple[int, int]:
        own = get_current_span().get_span_context().span_id
        child = asyncio.get_running_loop().create_task(_fetch_child(), context=shared)
        await asyncio.sleep(0)
        tracer.start_span("of the maker").end()
        of_child = await child
        assert get_current_span().get_span_context().span_id == own
        return own, of_child

    async def main() -> None:
        with tracer.start_as_current_span("request") as request:
            shared = contextvars.copy_context()
            own, of_child = await asyncio.get_running_loop().create_task(_fetch(shared), context=shared)
            assert shared.run(get_current_span) is request
        found = _by_name(spans)
        assert _parent(found["of the maker"]) == own
        assert _parent(found["of the child"]) == of_child
        made = {s.context.span_id: s for s in spans.get_finished_spans() if s.name.startswith("asyncio ")}
        _is_child(made[own], request)
        assert _parent(made[of_child]) == own

    if loop_factory not in LOOPS.values():
        pytest.skip("an eager task cannot begin in a context that somebody is in")
    _run(loop_factory, main)


def test_what_else_a_task_changes_in_a_shared_context_is_everybodys(
    loop_factory: Callable[[], Any], tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    async def _fetch(changes: bool, done: asyncio.Event) -> Any:
        if changes:
            context.attach(baggage.set_baggage("user", "eve"))
            done.set()
        await done.wait()
        return baggage.get_baggage("user"), get_current_span().get_span_context().span_id

    async def main() -> None:
        with tracer.start_as_current_span("request") as request:
            shared = contextvars.copy_context()
            loop, done = asyncio.get_running_loop(), asyncio.Event()
            tasks = [loop.create_task(_fetch(changes, done), context=shared) for changes in (False, True)]
            first, second = await asyncio.gather(*tasks)
            assert (first[0], second[0]) == ("eve", "eve")
            assert first[1] != second[1]
            assert shared.run(baggage.get_baggage, "user") == "eve"
            assert shared.run(get_current_span) is request

    _run(loop_factory, main)


def test_the_coroutine_can_be_inspected_closed_and_thrown_into(tracer: Tracer) -> None:
    async def _fetch() -> None:
        try:
            await asyncio.sleep(work.LIMIT)
        finally:
            seen.append(get_current_span().get_span_context().is_valid)

    seen: list[bool] = []
    loop = asyncio.new_event_loop()
    with tracer.start_as_current_span("request"):
        task = loop.create_task(_fetch(), context=contextvars.copy_context())
    loop.run_until_complete(asyncio.sleep(0))
    assert task.get_stack()[-1].f_code is _fetch.__code__
    coro: Any = task.get_coro()
    assert asyncio.iscoroutine(coro)
    assert (coro.__qualname__, coro.cr_code) == (_fetch.__qualname__, _fetch.__code__)
    assert "_fetch" in repr(coro)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert seen == [True]
    loop.close()


def test_the_frames_of_an_error_are_the_tasks_own(tracer: Tracer) -> None:
    async def _fetch() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    async def main() -> list[str]:
        with tracer.start_as_current_span("request"):
            task = asyncio.get_running_loop().create_task(_fetch(), context=contextvars.copy_context())
            await asyncio.wait([task])
        error = task.exception()
        frames, found = (error.__traceback__ if error is not None else None), []
        while frames is not None:
            found.append(frames.tb_frame.f_code.co_name)
            frames = frames.tb_next
        return found

    assert asyncio.run(main()) == ["_fetch"]


# -- contexts elsewhere ------------------------------------------------------------------------------------------------


def test_an_anyio_task_goes_on_with_the_context_that_it_was_given(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    gi.AnyioInstrumentor().instrument(spans="*_fetch*", monitor=False)

    async def _fetch() -> int:
        await anyio.sleep(0)
        return get_current_span().get_span_context().trace_id

    async def main() -> None:
        first = tracer.start_span("first")
        kept = _context_of(first)
        with tracer.start_as_current_span("second"):
            async with anyio.create_task_group() as group:
                handles = [group.create_task(_fetch(), context=kept) for _ in range(2)]
        assert {handle.return_value for handle in handles} == {first.get_span_context().trace_id}
        assert kept.run(get_current_span) is first
        made = [span for span in spans.get_finished_spans() if span.name.startswith("anyio ")]
        assert len(made) == 2
        for span in made:
            _is_child(span, first)

    if not hasattr(anyio.abc.TaskGroup, "create_task"):
        pytest.skip("context= of anyio's tasks came with anyio 4.14")
    for backend in ("asyncio", "trio"):
        anyio.run(main, backend=backend)
        spans.clear()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks_submitted_in_one_context_each_have_their_own_span(
    backend: str, tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    async def _fetch(number: int) -> int:
        own = get_current_span().get_span_context().span_id
        for _ in range(3):
            await anyio.sleep(0)
        with tracer.start_as_current_span(f"inner {number}"):
            await anyio.sleep(0)
        assert get_current_span().get_span_context().span_id == own
        return own

    async def main() -> None:
        async with HybridExecutor("hybrid", max_in_flight=10) as executor:
            with tracer.start_as_current_span("request") as request:
                kept = contextvars.copy_context()
                handles = [kept.run(executor.submit_nowait, _fetch, number) for number in range(3)]
                owned = [await handle for handle in handles]
                owned += [value async for value in executor.map(_fetch, range(3, 6))]
                assert kept.run(get_current_span) is request
                assert get_current_span() is request
        assert len(set(owned)) == 6
        for number, own in enumerate(owned):
            assert _parent(_by_name(spans)[f"inner {number}"]) == own
        for span in spans.get_finished_spans():
            if span.name.startswith("hybrid "):
                _is_child(span, request)

    anyio.run(main, backend=backend)


def test_calls_packed_into_one_context_each_have_their_own_span(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    def call(number: int) -> int:
        context.attach(baggage.set_baggage(f"call {number}", "yes"))
        tracer.start_span(f"inner {number}").end()
        return get_current_span().get_span_context().span_id

    pool = gi.wrap_executor(ThreadPoolExecutor(1), "pool")
    with tracer.start_as_current_span("request") as request:
        kept = contextvars.copy_context()
        owned = [pool.submit(kept.run, call, number).result(work.LIMIT) for number in range(3)]
        assert kept.run(get_current_span) is request
        assert [kept.run(baggage.get_baggage, f"call {number}") for number in range(3)] == ["yes"] * 3
    pool.shutdown()
    for number, own in enumerate(owned):
        assert _parent(_by_name(spans)[f"inner {number}"]) == own
    assert len(set(owned)) == 3


def test_instrumented_functions_leave_their_callers_context_as_they_would_without_us(tracer: Tracer) -> None:
    own = tracer.start_span("own")

    @gi.instrumented
    def login(user: str) -> None:
        context.attach(baggage.set_baggage("user", user))

    @gi.instrumented
    async def login_later(user: str) -> None:
        login(user)
        await asyncio.sleep(0)

    @gi.instrumented
    def begin() -> None:
        context.attach(set_span_in_context(own))

    def sync() -> None:
        with tracer.start_as_current_span("request") as request:
            login("eve")
            assert baggage.get_baggage("user") == "eve"
            assert get_current_span() is request
            asyncio.run(login_later("bob"))
            assert baggage.get_baggage("user") == "eve"
            begin()
            assert get_current_span() is own

    contextvars.copy_context().run(sync)

    async def main() -> None:
        with tracer.start_as_current_span("request") as request:
            await login_later("bob")
            assert baggage.get_baggage("user") == "bob"
            assert get_current_span() is request

    asyncio.run(main())
