"""What an error is called in metrics and spans.

Task groups and nurseries raise the failures of their tasks in a group. Where those are all of one type, the group goes
by it: otherwise every failure of a program that uses them would have the same name. The error itself stays what it is.
"""

from __future__ import annotations

import sys
from typing import Any

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

__all__ = ["error_text", "error_type_of"]

_MOST = 10_000  # errors and groups that are looked at: a group class of somebody's own may have no end
_CANCELLATIONS = frozenset({("asyncio.exceptions", "CancelledError"), ("trio", "Cancelled")})
_inner: Any = BaseExceptionGroup.exceptions  # gives the true ones, whatever a subclass says


def error_type_of(error: BaseException) -> str:
    """``error.type`` of an exception: ``module.qualname``, builtins bare (OpenTelemetry's recording-errors rule)."""
    return _type_name(_failure_in(error)[0])


def error_text(error: BaseException) -> str:
    """Type and text of an exception, in at most 1024 characters. Never raises."""
    failure, count = _failure_in(error)
    more = f" (and {count - 1} more)" if count > 1 else ""
    try:
        text = str(failure)
    except Exception:  # noqa: BLE001 - the user's own __str__
        text = "(no text)"
    return f"{_type_name(failure)}: {text}"[: 1024 - len(more)] + more


def _type_name(error: BaseException) -> str:
    cls = type(error)
    module = cls.__module__
    return cls.__qualname__ if module == "builtins" else f"{module}.{cls.__qualname__}"


def _failure_in(error: BaseException) -> tuple[BaseException, int]:
    """The first error in a group, nested ones looked through, and how many there are, if they are of one type.

    Else the error that was given, and 1. The loop's cancellations of those who were not at fault are left out.
    """
    if not issubclass(type(error), BaseExceptionGroup):
        return error, 1
    first, count, todo = error, 0, [error]
    try:
        for _ in range(_MOST):
            if not todo:
                break
            found = todo.pop()
            kind = type(found)
            if issubclass(kind, BaseExceptionGroup):
                todo.extend(reversed(_inner.__get__(found)))
            elif (kind.__module__, kind.__name__) not in _CANCELLATIONS:
                if count and kind is not type(first):
                    return error, 1
                first = first if count else found
                count += 1
    except Exception:  # noqa: BLE001 - a group class of somebody's own
        return error, 1
    return (first, count) if count and not todo else (error, 1)
