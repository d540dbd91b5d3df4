"""Objects whose every special method and attribute raises, and exceptions that are hard to handle."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

REFUSALS: dict[str, Callable[[], BaseException]] = {
    "an error": lambda: RuntimeError("working outside of its context"),
    "an error of attributes": lambda: AttributeError("not here"),
    "a cancellation": lambda: asyncio.CancelledError("raised by hand"),
    "an error of no kind": lambda: _Strange("strange"),
}
"""What a touched object raises. KeyboardInterrupt and SystemExit end the executor, see below."""

_METHODS = (
    "__getattribute__", "__setattr__", "__delattr__", "__repr__", "__str__", "__format__", "__bytes__", "__eq__",
    "__ne__", "__lt__", "__hash__", "__bool__", "__len__", "__iter__", "__contains__", "__getitem__", "__int__",
    "__float__", "__index__", "__reduce__", "__reduce_ex__", "__sizeof__", "__dir__", "__instancecheck__", "__add__",
    "__enter__", "__exit__", "__length_hint__", "__copy__", "__deepcopy__",
)  # fmt: skip
_ATTRIBUTES = (
    "__class__", "__doc__", "__module__", "__name__", "__wrapped__", "__code__", "__self__",
    "__traceback__", "__context__", "__cause__", "__suppress_context__", "__notes__", "args", "with_traceback",
    "add_note", "source", "reason",
)  # fmt: skip


class _Strange(BaseException):
    """Neither an Exception nor one that ends programs."""


def hostile(base: type, refusal: Callable[[], BaseException], **own: Any) -> Any:
    """A class over ``base`` whose instances raise whatever is asked of them, but for what is their ``own``."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise refusal()

    body: dict[str, Any] = dict.fromkeys(_METHODS, refuse)
    body.update(dict.fromkeys(_ATTRIBUTES, property(refuse, refuse, refuse)))
    body.update(dict.fromkeys(("split", "subgroup", "derive", "message", "exceptions", "strip", "close"), refuse))
    return type("Hostile", (base,), {**body, **own})


@dataclass(frozen=True)
class Frozen(Exception):
    code: int


class Forgetful(BaseExceptionGroup):
    """Its derive needs what it was made with."""

    def __new__(cls, errors, batch):
        return super().__new__(cls, f"batch {batch}", errors)

    def derive(self, errors):
        return Forgetful(errors)


def lying(answer: Any) -> type:
    """A class of groups whose derive gives something else."""
    return type("Lying", (BaseExceptionGroup,), {"derive": lambda self, errors: answer})


def members(error: Any) -> list[BaseException]:
    return list(BaseExceptionGroup.exceptions.__get__(error))
