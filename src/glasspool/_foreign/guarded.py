"""Access to foreign objects that ignores whatever they override.

An exception may be a frozen dataclass, a value may be a proxy whose ``__class__`` raises, a group may have a ``derive``
that does not work. The handling of tasks must not depend on that. So the traceback and context of an exception are read
and set by ``BaseException``'s own descriptors, types are determined by ``type``, and members of a group by
``BaseExceptionGroup``. Where foreign code must be called (a ``repr``, a ``derive``), ``KeyboardInterrupt`` and
``SystemExit`` pass, since they end the program; any other exception only counts as a failure of that call.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable
from inspect import CO_ITERABLE_COROUTINE
from types import CoroutineType, GeneratorType
from typing import Any

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

__all__ = [
    "as_float",
    "attribute",
    "class_name",
    "context_of",
    "drop_top_frame",
    "interrupt_in",
    "is_a",
    "is_awaitable",
    "is_coroutine_function",
    "leaves",
    "log",
    "set_context",
    "set_traceback",
    "text",
    "traceback_of",
    "without",
]

_EXCEPTION: Any = BaseException  # untyped, for its descriptors
_GROUP: Any = BaseExceptionGroup
_MODULE: Any = type.__dict__["__module__"]
_QUALNAME: Any = type.__dict__["__qualname__"]

traceback_of: Callable[[BaseException], Any] = _EXCEPTION.__traceback__.__get__
"""The exception's traceback, even if its class overrides the attribute."""

context_of: Callable[[BaseException], Any] = _EXCEPTION.__context__.__get__
"""The exception that was being handled when this one was raised."""

set_traceback: Callable[[BaseException, Any], None] = _EXCEPTION.__traceback__.__set__
set_context: Callable[[BaseException, Any], None] = _EXCEPTION.__context__.__set__

_LONGEST = 1000  # characters of a value in a message
_MOST = 10_000  # members of a group that are examined: a user's class may be endless


def is_a(thing: object, kind: Any) -> bool:
    """``isinstance`` by the true type. ``kind`` is a class that is not an ABC, or a tuple of such classes."""
    return issubclass(type(thing), kind)


def attribute(thing: object, name: str) -> Any:
    """The attribute, or None if it is missing or reading it raises."""
    try:
        return getattr(thing, name, None)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - the thing's own
        return None


def drop_top_frame(error: BaseException) -> None:
    """Remove the outermost frame from the traceback: that of our function that caught the error."""
    frames = traceback_of(error)
    set_traceback(error, frames.tb_next if frames is not None else None)


def as_float(value: Any) -> float:
    """An int or a float as a plain float; OverflowError if it is too large for one."""
    return float.__float__(value) if is_a(value, float) else int.__float__(value)


def is_awaitable(value: object) -> bool:
    """Whether ``await value`` can work; unlike ``inspect.isawaitable`` it does not use the value's own attributes."""
    kind = type(value)
    if kind is CoroutineType:
        return True
    if kind is GeneratorType:
        return bool(value.gi_code.co_flags & CO_ITERABLE_COROUTINE)  # type: ignore[attr-defined]  # by its type
    try:
        return kind not in _PLAIN and issubclass(kind, Awaitable)
    except Exception:  # noqa: BLE001 - a class whose own class does not like to be asked
        return False


def is_coroutine_function(function: object) -> bool:
    """Whether it is a coroutine function, or is marked as one, as AsyncMock is, or by ``inspect``."""
    try:
        return inspect.iscoroutinefunction(function) or (
            _MARK is not None and getattr(function, "_is_coroutine", None) is _MARK  # mock and asgiref, up to 3.11
        )
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - a foreign object that raises when it is examined
        return False


_MARK: object = getattr(asyncio.coroutines, "_is_coroutine", None)
_PLAIN = frozenset({type(None), bool, int, float, str, bytes, list, dict, tuple, set})  # common, and surely not


def class_name(thing: object) -> tuple[str, str]:
    """Module and qualified name of the thing's class, as far as they are strings."""
    kind = type(thing)
    try:
        module = _MODULE.__get__(kind)
    except AttributeError:  # a class that was made where no module has a name
        module = ""
    return (str.__str__(module) if is_a(module, str) else ""), _QUALNAME.__get__(kind)


def text(value: object) -> str:
    """``repr(value)`` for a message, shortened; the name of its class if it has none."""
    try:
        found = repr(value)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - the value's own __repr__, or a number with too many digits
        return f"<{class_name(value)[1]} without a repr>"
    return found if len(found) <= _LONGEST else f"{found[:_LONGEST]}…"


def leaves(error: BaseException) -> list[BaseException]:
    """The members of a group, including those of nested groups; for any other error the error itself."""
    found: list[BaseException] = []
    todo = [error]
    try:
        for _ in range(_MOST):
            if not todo:
                return found
            one = todo.pop()
            if is_a(one, BaseExceptionGroup):
                todo.extend(reversed(_GROUP.exceptions.__get__(one)))
            else:
                found.append(one)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - before Python 3.11 a group is asked by way of its class
        return [error]
    return [error]


def interrupt_in(error: BaseException) -> BaseException | None:
    """The first KeyboardInterrupt or SystemExit in ``error``: the error itself, or a member of a nursery's group."""
    if is_a(error, Exception):
        return None
    return next((leaf for leaf in leaves(error) if is_a(leaf, (KeyboardInterrupt, SystemExit))), None)


def without(group: BaseException, kind: type[BaseException]) -> BaseException:
    """The group without its members of this ``kind``; it has others.

    The group's own ``split`` makes it, which keeps the attributes of a user's class. If that fails or gives other
    members, the result is a plain group.
    """
    others = [error for error in leaves(group) if not is_a(error, kind)]
    found: Any
    try:
        found = group.split(kind)[1]  # type: ignore[attr-defined]  # a group, as the caller says
        if is_a(found, BaseExceptionGroup) and list(map(id, leaves(found))) == list(map(id, others)):
            return found  # type: ignore[no-any-return]
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001, S110 - the class's own derive
        pass
    message = _GROUP.message.__get__(group)
    found = BaseExceptionGroup(str.__str__(message) if is_a(message, str) else "", others)
    set_traceback(found, traceback_of(group))
    return found  # type: ignore[no-any-return]


def log(say: Callable[..., object], message: str, *arguments: object, **options: Any) -> None:
    """Log a foreign object: its ``repr``, its traceback or a log handler may fail."""
    try:
        say(message, *arguments, stacklevel=2, **options)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001, S110 - as logging itself does with what its handlers raise
        pass
