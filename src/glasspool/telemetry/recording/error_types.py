"""What an error is called in metrics and spans.

Task groups and nurseries raise the failures of their tasks in a group. Where those are all of one type, the group goes
by it: otherwise every failure of a program that uses them would have the same name. The error itself stays what it is.
"""

from __future__ import annotations

import sys
import traceback

from glasspool._foreign.guarded import attribute, class_name, is_a, leaves, traceback_of

from .printable_text import SHOWN, TEXT_LENGTH, printable

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

__all__ = ["ends_iteration", "error_event", "error_text", "error_type_of"]

_STACK_LENGTH = 65_536  # characters of a stack trace: a long one has a tenth, without the error's own text

_CANCELLATIONS = frozenset({("asyncio.exceptions", "CancelledError"), ("trio", "Cancelled")})

_ENDS = frozenset({"StopIteration", "StopAsyncIteration"})


def error_type_of(error: BaseException) -> str:
    """``error.type`` of an exception: ``module.qualname``, builtins bare (OpenTelemetry's recording-errors rule)."""
    return _type_name(_failure_in(error)[0])


def error_text(error: BaseException) -> str:
    """Type and text of an exception, in at most 1024 characters. Raises no more than the program's end."""
    failure, count = _failure_in(error)
    more = f" (and {count - 1} more)" if count > 1 else ""
    return printable(f"{_type_name(failure)}: {_text_of(failure)}", TEXT_LENGTH - len(more)) + more


def error_event(error: BaseException) -> dict[str, str] | None:
    """What the event of an error is to say instead of the SDK's own words, where those cannot be encoded or have no
    end: one such event would cost its whole batch."""
    stack = "".join(traceback.format_exception(type(error), error, traceback_of(error)))
    try:
        stack.encode()
    except UnicodeEncodeError:
        stack = stack.encode("utf-8", "replace").decode()
    else:
        if len(stack) <= _STACK_LENGTH:
            return None
    text = printable(_text_of(error), TEXT_LENGTH)
    return {
        "exception.type": _type_name(error), "exception.message": text, "exception.stacktrace": stack[:_STACK_LENGTH]
    }  # fmt: skip


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - the user's own __str__
        return "(no text)"


def ends_iteration(error: BaseException) -> bool:
    """Whether ``error`` says that an iterator has no more, which is no failure of the code that asked it.

    It cannot pass through a future or a coroutine as itself, so that libraries raise one of the same name from it.
    """
    return is_a(error, (StopIteration, StopAsyncIteration)) or (
        class_name(error)[1].lstrip("_") in _ENDS
        and is_a(attribute(error, "__context__"), (StopIteration, StopAsyncIteration))
    )


def _type_name(error: BaseException) -> str:
    module, name = class_name(error)
    return SHOWN[name if module in ("", "builtins") else f"{module}.{name}"]


def _failure_in(error: BaseException) -> tuple[BaseException, int]:
    """The first error in a group, nested ones looked through, and how many there are, if they are of one type.

    Else the error that was given, and 1. The loop's cancellations of those who were not at fault are left out.
    """
    if not is_a(error, BaseExceptionGroup):
        return error, 1
    failures = [found for found in leaves(error) if not _cancels(found)]
    first = failures[0] if failures else error
    if any(type(found) is not type(first) for found in failures):
        return error, 1
    return first, max(len(failures), 1)


def _cancels(error: BaseException) -> bool:
    return class_name(error) in _CANCELLATIONS
