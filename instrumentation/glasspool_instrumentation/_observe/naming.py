"""Names of tasks, pools and functions: those of the user's code, never those of wrappers."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from contextvars import Context
from fnmatch import fnmatchcase
from types import FunctionType
from typing import Any

from glasspool._foreign.frames import getframe
from glasspool._foreign.guarded import attribute

__all__ = ["OTEL_THREADING", "Selection", "caller_module", "check_name", "peel"]

OTEL_THREADING = "opentelemetry.instrumentation.threading"
_PLUMBING = (
    "concurrent.", "asyncio.", "anyio.", "trio.", "uvloop", "joblib.", "loky.", "distributed.", "dask.",
    "more_executors.", "glasspool.", "glasspool_instrumentation", "wrapt", "functools.",
)  # fmt: skip


class Selection:
    """Names chosen by patterns: those that match ``include`` (default: all) and not ``exclude``."""

    __slots__ = ("_exclude", "_include")

    def __init__(self, include: object = None, exclude: object = None, *, parameter: str = "include") -> None:
        self._include = _patterns(parameter, include)
        self._exclude = _patterns("exclude", exclude) or ()

    def __call__(self, *names: str) -> bool:
        """Whether one of these names (of a function, of its module) is selected."""
        if self._exclude and any(fnmatchcase(name, p) for name in names for p in self._exclude):
            return False
        return self._include is None or any(fnmatchcase(name, p) for name in names for p in self._include)

    @property
    def everything(self) -> bool:
        """True when no pattern was given."""
        return self._include is None and not self._exclude


def _patterns(parameter: str, value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    found: tuple[object, ...] = (value,) if isinstance(value, str) else (None,)
    if isinstance(value, Iterable):
        found = (value,) if isinstance(value, str) else tuple(value)
    for pattern in found:
        if not isinstance(pattern, str) or not pattern:
            raise TypeError(f"{parameter}= takes a name pattern or a list of them, such as 'myapp.*'; got {value!r}")
    return tuple(str(pattern) for pattern in found)


def check_name(name: object) -> str:
    """Return the name of an executor if it is valid, or raise ``TypeError`` or ``ValueError``."""
    if not isinstance(name, str):
        raise TypeError(f"name= must be a string, such as 'etl'; got {name!r}")
    if not name.strip():
        raise ValueError(f"name= must not be empty; got {name!r}. Give the executor a name, such as 'etl'")
    return name


def caller_module(depth: int = 1) -> str:
    """The module of the nearest caller that is neither an executor's library nor this package."""
    frame = getframe(depth)
    while True:
        module = str(frame.f_globals.get("__name__") or "")
        if not (module + ".").startswith(_PLUMBING):
            return module or "unknown"
        if frame.f_back is None:
            return "unknown"
        frame = frame.f_back


def peel(function: Any, args: tuple[Any, ...]) -> tuple[Context | None, Any, tuple[Any, ...], Any]:
    """Take apart the two ways in which a call is packed before it comes to a pool.

    ``partial(ctx.run, fn, …)`` and ``ctx.run, fn, …`` (how asyncio and people carry context) become the context and
    the call proper; the closure of opentelemetry's threading instrumentation, which only attaches the context that
    we attach ourselves, is left out. Returns context, function, arguments, keywords.
    """
    if type(function) is FunctionType and function.__module__ == OTEL_THREADING:
        function = _original_of(function)
    if type(function) is functools.partial:
        inner = function.func
        owner = attribute(inner, "__self__")
        if type(owner) is Context and function.args:
            packed = (*function.args, *args)
            return owner, packed[0], packed[1:], function.keywords
    elif args and type(owner := attribute(function, "__self__")) is Context:
        return owner, args[0], args[1:], None
    return None, function, args, None


def _original_of(function: Any) -> Any:
    """The function behind the closure of opentelemetry's threading instrumentation; others as they are."""
    code = getattr(function, "__code__", None)
    if code is not None and "original_func" in code.co_freevars:
        return function.__closure__[code.co_freevars.index("original_func")].cell_contents
    return function
