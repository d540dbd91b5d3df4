"""@instrumented waits for the awaitable that a plain function returns, and a successful exit is not an error."""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import anyio
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer, get_current_span

import glasspool_instrumentation as gi
from glasspool.telemetry import catalog

from .work import BACKENDS, LIMIT, outcomes, run, until, value


class Boom(Exception):
    pass


def _span_id() -> int:
    return get_current_span().get_span_context().span_id


async def _work(event: anyio.Event | None = None, error: BaseException | None = None) -> int:
    if event is not None:
        await event.wait()
    if error is not None:
        raise error
    await anyio.lowlevel.checkpoint()
    return _span_id()


def behind_a_decorator() -> Callable[..., Any]:
    @functools.wraps(_work)
    def plain(*args: Any, **kwargs: Any) -> Any:
        return _work(*args, **kwargs)

    return plain


class Called:
    async def __call__(self, *args: Any, **kwargs: Any) -> int:
        return await _work(*args, **kwargs)


class Promise:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs

    def __await__(self) -> Generator[Any, Any, int]:
        return _work(*self.args, **self.kwargs).__await__()


def promise(*args: Any, **kwargs: Any) -> Awaitable[int]:
    return Promise(*args, **kwargs)


KINDS: dict[str, Callable[[], Callable[..., Any]]] = {
    "behind a decorator": behind_a_decorator,
    "an object": Called,
    "a partial": lambda: functools.partial(Called()),
    "an awaitable": lambda: promise,
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_ends_when_what_it_returned_ends(
    kind: str, backend: str, tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    function = gi.instrumented(KINDS[kind](), name="shop")

    async def main() -> None:
        event = anyio.Event()
        found: list[int] = []

        async def caller() -> None:
            found.append(await function(event))

        async with anyio.create_task_group() as group:
            group.start_soon(caller)
            await anyio.wait_all_tasks_blocked()
            assert value(catalog.TASK_ACTIVE, "shop") == 1
            assert outcomes("shop") == {}
            assert _span_id() == 0
            event.set()
        assert outcomes("shop") == {"success": 1}
        (span,) = spans.get_finished_spans()
        assert found == [span.context.span_id]
        with pytest.raises(Boom) as raised:
            await function(None, Boom())
        if sys.version_info >= (3, 11):  # before, a bare raise puts our frames back
            assert all("following" not in str(frame.path) for frame in raised.traceback)
        with anyio.move_on_after(0):
            await function(anyio.Event())

    run(main, backend=backend)
    assert outcomes("shop") == {"success": 1, "error": 1, "cancelled": 1}
    assert value(catalog.TASK_ACTIVE, "shop") == 0


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("kind", list(KINDS))
def test_what_is_never_awaited_is_cancelled(kind: str) -> None:
    function = gi.instrumented(KINDS[kind](), name="shop")
    returned = function()
    assert value(catalog.TASK_ACTIVE, "shop") == 1
    del returned
    assert outcomes("shop") == {"cancelled": 1}


def test_closing_a_coroutine_is_no_error() -> None:
    decorated = [gi.instrumented(_work, name="shop"), gi.instrumented(behind_a_decorator(), name="shop")]

    async def main() -> None:
        for function in decorated:
            coro = function(anyio.Event())
            coro.send(None)
            coro.close()

    asyncio.run(main())
    assert outcomes("shop") == {"cancelled": 2}


def test_a_coroutine_is_still_one_for_loops() -> None:
    function = gi.instrumented(behind_a_decorator(), name="shop")

    async def main() -> None:
        coro = function()
        assert asyncio.iscoroutine(coro)
        await asyncio.create_task(coro)
        await asyncio.wait_for(function(), LIMIT)
        await asyncio.gather(function(), function())

    asyncio.run(main())
    assert outcomes("shop") == {"success": 4}


def end(future: Any, how: str) -> None:
    if how == "cancelled":
        future.cancel()
    elif how == "error":
        future.set_exception(Boom())
    else:
        future.set_result(1)


@pytest.mark.parametrize("how", ["success", "error", "cancelled"])
def test_a_future_is_followed_and_stays_itself(how: str) -> None:
    future: Future[int] = Future()
    returned = gi.instrumented(lambda: future, name="shop")()
    assert returned is future
    assert value(catalog.TASK_ACTIVE, "shop") == 1
    end(future, how)
    assert outcomes("shop") == {how: 1}


@pytest.mark.parametrize("how", ["success", "error", "cancelled"])
def test_a_future_of_asyncio_is_followed(how: str) -> None:
    messages: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: messages.append(context["message"]))
        future = loop.create_future()
        assert gi.instrumented(lambda: future, name="shop")() is future
        end(future, how)
        assert outcomes("shop") == {}
        await asyncio.sleep(0)

    asyncio.run(main())
    assert outcomes("shop") == {how: 1}
    assert len(messages) == (how == "error")  # an error that was not retrieved is still logged


def test_a_future_of_a_pool_ends_in_its_thread() -> None:
    gate = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        future = gi.instrumented(lambda: pool.submit(gate.wait, LIMIT), name="shop")()
        assert outcomes("shop") == {}
        gate.set()
        assert future.result(LIMIT)
    until(lambda: outcomes("shop") == {"success": 1}, "the callback")


def test_a_future_that_is_kept_keeps_nothing_of_the_call() -> None:
    class Thing:
        pass

    def ended(_: Thing) -> Future[int]:
        return future

    future: Future[int] = Future()
    thing = Thing()
    gone = weakref.ref(thing)
    gi.instrumented(ended, name="shop")(thing)
    del thing
    assert gone() is None
    future.set_result(1)
    assert outcomes("shop") == {"success": 1}


class More:
    """Can be awaited, among other things."""

    def __await__(self) -> Generator[Any, Any, int]:
        yield from ()
        return 1

    async def __aenter__(self) -> int:
        return 2

    async def __aexit__(self, *_: object) -> None: ...


def test_what_can_do_more_than_be_awaited_is_returned_as_it_is() -> None:
    made = More()
    assert gi.instrumented(lambda: made, name="shop")() is made
    assert outcomes("shop") == {"success": 1}


class Shop:
    @gi.instrumented(name="shop")
    @staticmethod
    def above_static(number: int) -> int:
        return number

    @staticmethod
    @gi.instrumented(name="shop")
    def below_static(number: int) -> int:
        return number

    @gi.instrumented(name="shop")
    @classmethod
    def above_class(cls, number: int) -> tuple[type, int]:
        return cls, number

    @classmethod
    @gi.instrumented(name="shop")
    def below_class(cls, number: int) -> tuple[type, int]:
        return cls, number

    @gi.instrumented(name="shop")
    @classmethod
    async def above_async(cls, number: int) -> tuple[type, int]:
        return cls, number


def test_static_and_class_methods() -> None:
    for owner in (Shop, Shop()):
        assert owner.above_static(1) == owner.below_static(1) == 1
        assert owner.above_class(2) == owner.below_class(2) == (Shop, 2)
        assert asyncio.run(owner.above_async(3)) == (Shop, 3)
    assert outcomes("shop") == {"success": 10}


class Generating:
    def __call__(self) -> Any:
        yield 1


@pytest.mark.parametrize("wrong", [property(lambda self: 1), functools.cached_property(len), Generating(), Shop, 3])
def test_what_cannot_be_observed_is_refused_where_it_is_decorated(wrong: Any) -> None:
    with pytest.raises(TypeError, match="@instrumented"):
        gi.instrumented(wrong)


@pytest.mark.parametrize(("code", "outcome"), [(0, "success"), (None, "success"), (1, "error"), ("text", "error")])
def test_an_exit_that_was_meant_is_no_error(code: Any, outcome: str) -> None:
    async def leave() -> None:
        sys.exit(code)

    with pytest.raises(SystemExit):
        gi.instrumented(lambda: sys.exit(code), name="shop")()
    coro = gi.instrumented(leave, name="shop")()
    with pytest.raises(SystemExit):
        coro.send(None)
    assert outcomes("shop") == {outcome: 2}
