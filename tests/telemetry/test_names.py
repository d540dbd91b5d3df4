"""Names of functions and coroutines behind wrappers of every kind, and of objects whose attributes raise."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import gc
import sys
import weakref
from collections.abc import Callable, Coroutine
from typing import Any
from unittest import mock

import pytest

from glasspool.telemetry.recording.call_names import (
    coroutine_names,
    function_name,
    links,
    look_through,
    qualified_name,
)

from . import decorators

HERE = __name__


def fetch(*_: Any) -> int:
    return 1


def view(*_: Any) -> int:  # has the name of a carrier
    return 1


def _next(*_: Any) -> int:  # as above
    return 1


class Shop:
    def sell(self, *_: Any) -> int:
        return 1

    @classmethod
    def open(cls) -> int:
        return 1

    @decorators.kept
    def counted(self) -> int:
        return 1

    def __call__(self) -> int:
        return 1


class Wrapper:
    """A decorator that is a class."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__wrapped__ = function

    def __call__(self, *args: Any) -> Any:
        return self.__wrapped__(*args)


class Updated:
    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any) -> Any:
        return self.__wrapped__(*args)  # type: ignore[attr-defined]  # update_wrapper has set it


def renamed(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    wrapper.__qualname__ = "chosen"
    return wrapper


@contextlib.contextmanager
def session() -> Any:
    yield


def rows() -> Any:
    yield 1


context = contextvars.copy_context()

FUNCTIONS: list[tuple[str, Any, tuple[Any, ...], str]] = [
    ("a function", fetch, (), f"{HERE}.fetch"),
    ("a carrier's namesake", view, (), f"{HERE}.view"),
    ("another", _next, ([1],), f"{HERE}._next"),
    ("a partial", functools.partial(fetch, 1), (), f"{HERE}.fetch"),
    ("a partial of a partial", functools.partial(functools.partial(fetch, 1), 2), (), f"{HERE}.fetch"),
    ("functools.wraps", decorators.kept(fetch), (), f"{HERE}.fetch"),
    ("functools.wraps, twice", decorators.kept(decorators.kept(fetch)), (), f"{HERE}.fetch"),
    ("functools.wraps of a partial", decorators.kept(functools.partial(fetch, 1)), (), f"{HERE}.fetch"),
    ("functools.wraps of a method", decorators.kept(Shop().sell), (), f"{HERE}.Shop.sell"),
    ("__wrapped__ without the name", decorators.unnamed(fetch), (), f"{HERE}.fetch"),
    ("the same of a partial", decorators.unnamed(functools.partial(fetch, 1)), (), f"{HERE}.fetch"),
    ("a name given by hand", renamed(fetch), (), f"{HERE}.chosen"),
    ("a class", Wrapper(fetch), (), f"{HERE}.fetch"),
    ("a class, twice", Wrapper(Wrapper(fetch)), (), f"{HERE}.fetch"),
    ("update_wrapper", Updated(fetch), (), f"{HERE}.fetch"),
    ("update_wrapper of a partial", Updated(functools.partial(fetch, 1)), (), f"{HERE}.fetch"),
    ("a cache", functools.lru_cache(fetch), (), f"{HERE}.fetch"),
    ("a cache of a partial", functools.lru_cache(functools.partial(fetch)), (), f"{HERE}.fetch"),
    ("a bound method", Shop().sell, (), f"{HERE}.Shop.sell"),
    ("a decorated method", Shop().counted, (), f"{HERE}.Shop.counted"),
    ("a class method", Shop.open, (), f"{HERE}.Shop.open"),
    ("a class itself", Shop, (), f"{HERE}.Shop"),
    ("a callable", Shop(), (), f"{HERE}.Shop"),
    ("Context.run", context.run, (fetch, 1), f"{HERE}.fetch"),
    ("Context.run of a partial", context.run, (functools.partial(fetch), 1), f"{HERE}.fetch"),
    ("Context.run in a partial", functools.partial(context.run, fetch), (1,), f"{HERE}.fetch"),
    ("Context.run of Context.run", context.run, (contextvars.copy_context().run, fetch), f"{HERE}.fetch"),
    ("Context.run of nothing", context.run, (), "Context.run"),
    ("a builtin", len, ([],), "len"),
    ("a method of a builtin", [].append, (1,), "list.append"),
    ("a context manager", session().__enter__, (), f"{HERE}.session"),
]


@pytest.mark.parametrize(("function", "args", "full"), [case[1:] for case in FUNCTIONS], ids=[c[0] for c in FUNCTIONS])
def test_functions(function: Any, args: tuple[Any, ...], full: str) -> None:
    found = look_through(function, args)
    assert qualified_name(found) == full
    assert function_name(function, args) == full.removeprefix(f"{HERE}.")


def test_a_stream_goes_by_its_generator() -> None:
    concurrency = pytest.importorskip("starlette.concurrency")
    found = look_through(concurrency._next, (rows(),))
    assert (function_name(found), qualified_name(found)) == ("rows", f"{HERE}.rows")


# -- objects that do not like to be asked ------------------------------------------------------------------------------


class Raising:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __call__(self) -> int:
        return 1


class Anything:
    """Has every attribute there is."""

    def __getattr__(self, name: str) -> Any:
        return Anything()

    def __call__(self) -> int:
        return 1


class Cycle:
    def __init__(self) -> None:
        self.__wrapped__: Any = self

    def __call__(self) -> int:
        return 1


class NotAName:
    __wrapped__ = 5

    def __init__(self) -> None:
        self.__qualname__ = 5
        self.__module__ = None  # type: ignore[assignment]  # that is the point

    def __call__(self) -> int:
        return 1


def _cycle_of_two() -> Any:
    first, second = Cycle(), Cycle()
    first.__wrapped__, second.__wrapped__ = second, first
    return first


def _own_wrapper() -> Any:
    def wrapper() -> int:
        return 1

    wrapper.__wrapped__ = wrapper  # type: ignore[attr-defined]  # that is the point
    return wrapper


def _nowhere() -> Any:
    def nowhere() -> int:
        return 1

    nowhere.__module__ = None  # type: ignore[assignment]  # as exec'd functions have it
    return nowhere


ODD: list[tuple[Any, str]] = [
    (Raising(), "Raising"),
    (functools.partial(Raising()), "Raising"),
    (Wrapper(Raising()), "Raising"),
    (Anything(), "Anything"),
    (Wrapper(Anything()), "Wrapper"),  # there is no end to it
    (Cycle(), "Cycle"),
    (_cycle_of_two(), "Cycle"),
    (_own_wrapper(), "_own_wrapper.<locals>.wrapper"),
    (_nowhere(), "_nowhere.<locals>.nowhere"),
    (NotAName(), "NotAName"),
    (mock.Mock(), "Mock"),
    (mock.MagicMock(), "MagicMock"),
    (mock.AsyncMock(), "AsyncMock"),
    (mock.Mock(spec=fetch), "Mock"),
    (mock.Mock(spec=functools.partial(fetch)), "Mock"),
    (mock.NonCallableMock(), "NonCallableMock"),
    (functools.partial(mock.Mock()), "Mock"),
    (mock.call, "_Call"),
    (mock.call.anything, "_Call"),
    (5, "int"),
]


@pytest.mark.parametrize(("function", "name"), ODD, ids=[f"{type(f).__name__}-{n}" for f, n in ODD])
def test_nothing_raises_and_nothing_goes_on_for_ever(function: Any, name: str) -> None:
    assert function_name(function) == name
    assert qualified_name(function).endswith(name)
    assert function_name(functools.partial(context.run, function)) == name
    assert 1 <= len(links(function)) <= 40


@pytest.mark.parametrize("carrier", ["wrapped_fn", "_run_with_context", "_run_sync_endpoint", "_process_chunk"])
def test_a_carrier_that_is_not_as_it_was_keeps_its_own_name(carrier: str) -> None:
    module = {"wrapped_fn": "sentry_sdk.x", "_run_with_context": "logfire.x", "_run_sync_endpoint": "fastapi.x"}

    def changed(*_: Any) -> int:
        return 1

    changed.__name__ = changed.__qualname__ = carrier
    changed.__module__ = module.get(carrier, "concurrent.futures.process")
    assert function_name(changed) == carrier


# -- coroutines --------------------------------------------------------------------------------------------------------


async def load(*_: Any) -> int:
    return 1


class Later:
    async def load(self) -> int:
        return 1

    @decorators.kept_async
    async def counted(self) -> int:
        return 1


COROUTINES: list[tuple[str, Callable[[], Coroutine[Any, Any, Any]], str]] = [
    ("a coroutine", load, "load"),
    ("a method's", Later().load, "Later.load"),
    ("functools.wraps in another module", decorators.kept_async(load), "load"),
    ("twice", decorators.kept_async(decorators.kept_async(load)), "load"),
    ("a decorated method's", Later().counted, "Later.counted"),
]


@pytest.mark.parametrize(("make", "name"), [case[1:] for case in COROUTINES], ids=[case[0] for case in COROUTINES])
def test_coroutines(make: Callable[[], Coroutine[Any, Any, Any]], name: str) -> None:
    coro = make()
    assert coroutine_names(coro) == (f"{HERE}.{name}", name)
    coro.close()
    assert coroutine_names(coro)[1] == name  # it has no frame any more


def test_coroutine_objects_of_other_kinds() -> None:
    class Own:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    assert coroutine_names(Own())[1].endswith("Own")
    assert coroutine_names(mock.Mock())[1] == "Mock"


def test_asking_for_names_keeps_nothing_alive() -> None:
    class Argument:
        pass

    async def work(argument: Any) -> Any:
        reference = weakref.ref(argument)
        del argument
        gone.append(reference() is None)
        return 1

    gc.disable()
    try:
        gone: list[bool] = []
        argument = Argument()
        coro = decorators.dropping(work)(argument)
        assert coroutine_names(coro)[1].endswith("work")
        reference = weakref.ref(argument)
        del argument
        with pytest.raises(StopIteration):
            coro.send(None)
        assert gone == [True]
        assert reference() is None
        partial = functools.partial(fetch, Argument())
        reference = weakref.ref(partial.args[0])
        look_through(partial)
        del partial
        assert reference() is None
    finally:
        gc.enable()


def test_plain_functions_cost_one_look() -> None:
    calls: list[str] = []

    def count(frame: Any, event: str, _: Any) -> None:
        if event == "call":
            calls.append(frame.f_code.co_name)

    sys.setprofile(count)
    try:
        look_through(fetch)
        function_name(fetch)
    finally:
        sys.setprofile(None)
    assert calls == ["look_through", "function_name", "look_through"]
