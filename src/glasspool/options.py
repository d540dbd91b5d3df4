"""Checks of what callers hand in: each error names the parameter, the value and the fix."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from concurrent.futures import Executor as FuturesExecutor
from functools import partial
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_ITERABLE_COROUTINE
from types import FunctionType, MethodType
from typing import Any, Literal, TypedDict

__all__ = ["TaskOptions", "choice", "count", "function_kind", "metadata", "name", "runner", "seconds"]


class TaskOptions(TypedDict, total=False):
    """The keyword options of one task; their meaning is said once, at ``HybridExecutor.submit``."""

    name: str | None
    timeout: float | None
    deadline: float | None
    context: Literal["parent", "link"]
    runner: Literal["inline", "thread"] | FuturesExecutor | None
    abandon: bool
    metadata: Mapping[str, Any] | None


def count(parameter: str, value: object, *, least: int, unbounded: bool = False) -> int | None:
    """A whole number of at least ``least``, or None where that means no bound."""
    if value is None and unbounded:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        also = " or None (no bound)" if unbounded else ""
        raise TypeError(f"{parameter} must be an int{also}, not {value!r}")
    if value < least:
        raise ValueError(f"{parameter} must be at least {least}, not {value!r}")
    return value


def seconds(parameter: str, value: object, *, instant: bool = False) -> float | None:
    """Seconds (or an instant of ``anyio.current_time()``), not negative and not NaN; None means none."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{parameter} must be a number of seconds or None, not {value!r}")
    if math.isnan(value):
        raise ValueError(f"{parameter} must not be NaN; leave it out for none")
    if value < 0 and not instant:
        raise ValueError(f"{parameter} must not be negative, got {value!r}; 0 means at once, None means none")
    return float(value)


def name(parameter: str, value: object) -> str:
    """A non-empty string."""
    if not isinstance(value, str):
        raise TypeError(f"{parameter} must be a str, not {value!r}")
    if not value.strip():
        raise ValueError(f"{parameter} must not be empty, got {value!r}; give the name that metrics should show")
    return value


def choice(parameter: str, value: object, allowed: tuple[str, ...]) -> str:
    """One of a few strings."""
    if not isinstance(value, str) or value not in allowed:
        wanted = ", ".join(map(repr, allowed))
        raise (ValueError if isinstance(value, str) else TypeError)(
            f"{parameter} must be one of {wanted}, not {value!r}"
        )
    return value


def metadata(value: object) -> Mapping[str, Any] | None:
    """A mapping of the submitter's own, or None."""
    if value is not None and not isinstance(value, Mapping):
        raise TypeError(f"metadata must be a mapping or None, not {value!r}")
    return value


def runner(value: object) -> str | FuturesExecutor | None:
    """``None`` (by the function), ``"inline"``, ``"thread"`` or a ``concurrent.futures`` executor."""
    if value is None or isinstance(value, FuturesExecutor):
        return value
    if isinstance(value, str) and value in ("inline", "thread"):
        return value
    error = ValueError if isinstance(value, str) else TypeError
    raise error(f"runner must be 'inline', 'thread' or a concurrent.futures.Executor, not {value!r}")


def function_kind(fn: Callable[..., Any]) -> bool:
    """Whether calling ``fn`` gives a coroutine. Partials, bound methods and ``__call__`` are looked through.

    :raises TypeError: for what cannot be a task's function: not callable, a coroutine, an async generator function.
    """
    if type(fn) is FunctionType:  # the common case, decided by its code flags alone
        flags = fn.__code__.co_flags
    else:
        inner: Any = fn
        while True:
            if isinstance(inner, partial):
                inner = inner.func
            elif isinstance(inner, MethodType):
                inner = inner.__func__
            else:
                break
        if inspect.iscoroutine(inner) or inspect.isawaitable(inner):
            called = getattr(inner, "__name__", "work")
            if inspect.iscoroutine(inner):
                inner.close()  # it will never run; closing it here spares the "never awaited" warning
            raise TypeError(
                f"fn must be a function, not a coroutine: write submit({called}, ...) instead of submit({called}(...))"
            )
        if not callable(inner):
            raise TypeError(f"fn must be callable, not {inner!r}; pass the function first, then its arguments")
        if not isinstance(inner, FunctionType) and not isinstance(inner, type):
            inner = type(inner).__call__
        flags = getattr(getattr(inner, "__code__", None), "co_flags", 0)
        fn = inner
    if flags & CO_ASYNC_GENERATOR:
        raise TypeError(
            f"fn must not be an async generator function, got {fn!r}: a task has one result; "
            "submit a coroutine function that consumes it"
        )
    return bool(flags & (CO_COROUTINE | CO_ITERABLE_COROUTINE)) or inspect.iscoroutinefunction(fn)
