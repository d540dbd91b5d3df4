"""What a call is called: by the user's own words, however the function was wrapped on its way here.

A name that a function has been given (by ``functools.wraps``, or by hand) is its name. What has none of its own is
looked through: partials, ``Context.run``, callables and functions with a ``__wrapped__``, and a few carriers, which are
functions of libraries that take the user's function as an argument or keep it in a closure. Nothing here raises,
whatever the objects do when they are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import Context
from functools import partial
from types import BuiltinMethodType, FrameType, FunctionType, GeneratorType, MethodType
from typing import Any

from glasspool._foreign.frames import locals_of
from glasspool._foreign.guarded import attribute, is_a

__all__ = ["coroutine_names", "function_name", "is_plain", "links", "look_through", "qualified_name"]

_DEEPEST = 32  # wrappers around each other: a Mock's may have no end, and a cycle has none

Find = Callable[[Any, "tuple[Any, ...]", "Mapping[str, Any]"], Any]


def look_through(function: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
    """The user's function in the call ``function(*args, **kwargs)``; the function itself if it is the user's."""
    # As in is_plain, whose call every submission of a wrapped pool would pay for.
    if type(function) is FunctionType and not hasattr(function, "__wrapped__"):
        name = function.__name__
        if type(name) is str and name not in _FUNCTIONS:
            return function
    return links(function, args, kwargs)[-1]


def is_plain(function: FunctionType) -> bool:
    """Whether it is the user's function itself, whatever its arguments are."""
    name = function.__name__
    return type(name) is str and name not in _FUNCTIONS and not hasattr(function, "__wrapped__")


def links(function: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> list[Any]:
    """``function`` and what is inside of it, wrapper by wrapper; the last one is the user's function."""
    found, inner, given = [function], function, kwargs or {}
    try:
        for _ in range(_DEEPEST):
            inner, args, given = _inside(inner, args, given)
            if inner is None:
                return found
            found.append(inner)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - an object whose attributes raise
        return found
    packings = 0  # what only packs a call: the first one inside is taken for the user's, since there is no end to it
    while issubclass(type(found[packings]), partial) or type(found[packings]) is BuiltinMethodType:
        packings += 1
    return found[: packings + 1]


def function_name(function: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> str:
    """The qualified name without module: what a task is called unless ``name=`` says otherwise."""
    function = look_through(function, args, kwargs)
    if type(function) is FunctionType:
        return str.__str__(function.__qualname__)  # which may be of a subclass of str
    return _text(_named(function), "__qualname__")


def qualified_name(function: Any) -> str:
    """``module.qualname`` of the user's function (``code.function.name``)."""
    function = look_through(function)
    if type(function) is FunctionType and type(function.__module__) is str and type(function.__qualname__) is str:
        module, name = function.__module__, function.__qualname__  # as below, for most
        return f"{module}.{name}" if module and module != "builtins" else name
    named = _named(function)
    module, name = _text(named, "__module__"), _text(named, "__qualname__")
    if type(function) is GeneratorType and function.gi_frame is not None:
        module = str(function.gi_frame.f_globals.get("__name__", ""))
    return f"{module}.{name}" if module and module != "builtins" else name


def _named(function: Any) -> Any:
    return function if _text(function, "__qualname__") else type(function)  # pyright: ignore[reportUnknownVariableType]


def _text(owner: Any, name: str) -> str:
    """The attribute, if it is there and is a string; else the empty one."""
    found = attribute(owner, name)
    return str.__str__(found) if is_a(found, str) else ""


# -- one wrapper -------------------------------------------------------------------------------------------------------


def _inside(
    function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Any, tuple[Any, ...], Mapping[str, Any]]:
    """What is called inside of ``function``, with its arguments as far as they are known; None for nothing."""
    kind = type(function)  # pyright: ignore[reportUnknownVariableType]  # of anything
    if kind is FunctionType:
        carrier = _FUNCTIONS.get(function.__name__)
        if carrier is not None and _text(function, "__module__").startswith(carrier[0]):
            return carrier[1](function, args, kwargs), (), {}
        return _wrapped_by(function), args, kwargs
    if kind is MethodType:
        method, owner = _METHODS.get(function.__name__), function.__self__
        if method is not None and any(f"{c.__module__}.{c.__name__}" == method[0] for c in type(owner).__mro__):
            return getattr(owner, method[1], None), (), {}
        inner = function.__func__
        return (_wrapped_by(inner) if type(inner) is FunctionType else None), (owner, *args), kwargs
    if type(getattr(function, "__self__", None)) is Context:  # its method run
        return (args[0], args[1:], kwargs) if args else (None, (), {})
    if kind.__name__ in _OBJECTS and kind.__module__.startswith(("joblib.", "loky.")):
        return _OBJECTS[kind.__name__](function), args, kwargs
    if _text(function, "__qualname__"):
        return None, (), {}
    if issubclass(kind, partial):
        return function.func, (*function.args, *args), {**function.keywords, **kwargs}
    wrapped = getattr(function, "__wrapped__", None)
    return (wrapped if callable(wrapped) else None), args, kwargs


def _wrapped_by(function: FunctionType) -> Any:
    """What the function says that it wraps, unless it has that one's name already or was given one."""
    wrapped = getattr(function, "__wrapped__", None)
    if function.__qualname__.rpartition(".")[2] != function.__code__.co_name or not callable(wrapped):
        return None
    return wrapped


# -- carriers ----------------------------------------------------------------------------------------------------------


def _argument(name: str, position: int) -> Find:
    def find(_: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        return kwargs.get(name, args[position] if position < len(args) else None)

    return find


def _closure(name: str) -> Find:
    def find(function: Any, _: Any, __: Any) -> Any:
        return function.__closure__[function.__code__.co_freevars.index(name)].cell_contents

    return find


def _view_class(function: Any, _: Any, __: Any) -> Any:
    return getattr(function, "view_class", None) or _wrapped_by(function)


_FUNCTIONS: dict[str, tuple[str | tuple[str, ...], Find]] = {
    "_next": ("starlette.concurrency", _argument("iterator", 0)),  # of a generator that is streamed
    "_process_chunk": (("concurrent.futures.", "loky.", "joblib.externals.loky."), _argument("fn", 0)),
    "_run_sync_endpoint": ("fastapi.", _argument("function", 0)),
    "_run_with_context": ("logfire.", _argument("func", 1)),
    "run_counted": ("glasspool._recorded_calls", _argument("function", 0)),
    "view": ("", _view_class),  # Django's View.as_view() makes one for each class, in the class's module
    "wrapped_fn": ("sentry_sdk.", _closure("fn")),
    "wrapped_func": ("opentelemetry.instrumentation.threading", _closure("original_func")),
}
"""Functions of libraries that call the user's: by name, the start of their module's, and where it is found."""

_METHODS = {
    "thread_handler": ("asgiref.sync.SyncToAsync", "func"),  # every sync view of Django under ASGI
    "__enter__": ("contextlib._GeneratorContextManager", "gen"),  # FastAPI's dependencies that yield
    "__exit__": ("contextlib._GeneratorContextManager", "gen"),
}
"""The same for methods: by name, the class or base class that has it, and the attribute of its object."""

_OBJECTS: dict[str, Callable[[Any], Any]] = {
    "BatchedCalls": lambda batch: batch.items[0][0],  # what joblib sends to its workers
    "CallableObjectWrapper": lambda wrapper: attribute(wrapper, "_obj"),  # of wrap_non_picklable_objects
}
"""The same for objects of joblib and loky: by the name of their class."""

_COROUTINES = {
    "trace_coroutine": ("opentelemetry.instrumentation.asyncio", "coro"),
    "_run_coro": ("anyio._core._tasks", "self._coro"),  # of a task group's child
    "_wrap_awaitable": ("asyncio.tasks", "awaitable"),
    "main_wrap": ("asgiref.sync", "awaitable"),  # AsyncToSync's
    "new_loop_wrap": ("asgiref.sync", "awaitable"),
    "__call__": ("asgiref.sync", "self.func"),  # SyncToAsync's: a function
}
"""The same for coroutines: by name, module, and the local variable that holds the user's."""


# -- coroutines --------------------------------------------------------------------------------------------------------


def coroutine_names(coro: Any) -> tuple[str, str]:
    """``module.qualname`` of the user's function that made a coroutine which has not begun, and the latter alone."""
    try:
        coro = _user_coroutine(coro)
        if callable(coro):
            return qualified_name(coro), function_name(coro)
        frame = getattr(coro, "cr_frame", None)
        name = _text(coro, "__qualname__") or type(coro).__qualname__
        if frame is None:
            return f"{type(coro).__module__}.{name}", name
        module = frame.f_globals.get("__name__", "")
        if name.rpartition(".")[2] != frame.f_code.co_name:  # given by functools.wraps, perhaps in another module
            module = _module_of(name, frame) or module
        return f"{module}.{name}", name
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - as above
        return f"{type(coro).__module__}.{type(coro).__qualname__}", type(coro).__qualname__


def _user_coroutine(coro: Any) -> Any:
    found = coro
    for _ in range(_DEEPEST):
        carrier = _COROUTINES.get(_text(found, "__name__"))
        frame = getattr(found, "cr_frame", None) if carrier is not None else None
        if carrier is None or frame is None or frame.f_globals.get("__name__") != carrier[0]:
            return found
        variable, _, attribute = carrier[1].partition(".")
        inner = locals_of(frame, variable)[variable]
        found = getattr(inner, attribute) if attribute else inner
    return coro


def _module_of(name: str, frame: FrameType) -> str:
    """The module of the function of this name that a decorator's wrapper keeps."""
    for kept in locals_of(frame, *frame.f_code.co_freevars).values():
        if callable(kept) and _text(kept, "__qualname__") == name:
            return _text(kept, "__module__")
    return ""
