"""Decides whether a task's function is a coroutine function or a plain one, and refuses anything else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_ITERABLE_COROUTINE
from types import CoroutineType, FunctionType, MethodType, WrapperDescriptorType
from typing import Any

from glasspool._foreign.guarded import is_a, is_awaitable, is_coroutine_function, text

__all__ = ["is_async"]


def is_async(fn: Callable[..., Any], call: str = "submit") -> bool:
    """Whether calling ``fn`` gives a coroutine. Partials, bound methods and ``__call__`` are looked through.

    :param call: what the function is handed to, as messages name it.
    :raises TypeError: for what cannot be a task's function: not callable, a coroutine, an async generator function.
    """
    if type(fn) is FunctionType:  # the common case is decided by its code flags alone
        called: Any = fn
    else:
        called = _called(_callable(_unpacked(fn), call))
    flags = called.__code__.co_flags if type(called) is FunctionType else 0
    if flags & CO_ASYNC_GENERATOR:
        raise TypeError(
            f"fn must not be an async generator function, got {text(called)}: a task has one result; "
            "submit a coroutine function that consumes it"
        )
    return bool(flags & (CO_COROUTINE | CO_ITERABLE_COROUTINE)) or is_coroutine_function(called)


def _callable(fn: Any, call: str) -> Any:
    """The same; refuses the result of a call, and objects that cannot be called."""
    if is_awaitable(fn):
        name = getattr(fn, "__name__", "work")
        if type(fn) is CoroutineType:
            fn.close()  # it will never run; closing it here spares the "never awaited" warning
        raise TypeError(
            f"fn must be a function, not a coroutine: write {call}({name}, ...) instead of {call}({name}(...))"
        )
    if not callable(fn):
        raise TypeError(f"fn must be callable, not {text(fn)}; pass the function first, then its arguments")
    return fn


def _unpacked(fn: Any) -> Any:
    """What is called inside of partials, bound methods and static methods."""
    while True:
        if is_a(fn, partial):
            fn = _PARTIAL.func.__get__(fn)
        elif is_a(fn, staticmethod):
            fn = _STATIC.__func__.__get__(fn)
        elif type(fn) is MethodType:
            fn = fn.__func__
        else:
            return fn


def _called(fn: Any) -> Any:
    """The function that is called when ``fn`` is, or what is known to stand for one; the class that is called."""
    for _ in range(_DEEPEST):
        if type(fn) is FunctionType or is_a(fn, (type, WrapperDescriptorType)) or is_coroutine_function(fn):
            break
        fn = _unpacked(type(fn).__call__)
    return fn


_PARTIAL: Any = partial  # untyped, for their descriptors: a subclass may say something else
_STATIC: Any = staticmethod
_DEEPEST = 8  # objects whose ``__call__`` is an object with a ``__call__``
