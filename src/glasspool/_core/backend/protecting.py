"""Ctrl-C on trio: protection of glasspool's code.

Ctrl-C raises KeyboardInterrupt between any two instructions of the main thread, except in code for which trio defers it
until the main task waits. All of glasspool's code is protected in this way, since it must not be left half done. It
calls users' code, which is not protected; trio uses the innermost frame that is marked as one or the other.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

import trio

from glasspool._foreign.guarded import is_a

from .interrupts import INTERRUPTIBLE

__all__ = ["call_unprotected", "protect", "take_unprotected"]

_protected: set[str] = set()  # modules


async def call_unprotected(function: Any, arguments: tuple[Any, ...]) -> Any:
    """``await function(*arguments)``, which Ctrl-C may interrupt."""
    return await function(*arguments)


def take_unprotected(items: Any) -> Any:
    """``next(items)``, which Ctrl-C may interrupt."""
    return next(items)


INTERRUPTIBLE.update((call_unprotected.__code__, take_unprotected.__code__))


class _Carrier:
    """What trio takes for a function."""

    def __init__(self, code: CodeType) -> None:
        self.__code__ = code


def protect() -> None:
    """Defer Ctrl-C in all imported functions of this package except ``INTERRUPTIBLE``."""
    for name in [name for name in sys.modules if name.startswith("glasspool.") and name not in _protected]:
        _protected.add(name)
        namespace = vars(sys.modules[name])
        for code in _codes(namespace, namespace):
            mark = trio.lowlevel.disable_ki_protection if code in INTERRUPTIBLE else trio.lowlevel.enable_ki_protection
            mark(_Carrier(code))


def _codes(found: Any, module: dict[str, Any]) -> Iterator[CodeType]:
    """The code of all functions of the module, methods and nested ones too."""
    for thing in list(found.values()):
        if is_a(thing, type):
            if thing.__module__ == module["__name__"]:
                yield from _codes(vars(thing), module)
            continue
        parts: tuple[Any, ...] = (thing, *(getattr(thing, name, None) for name in ("__func__", "fget", "__wrapped__")))
        for part in parts:
            if is_a(part, FunctionType) and part.__globals__ is module:
                yield from _nested(part.__code__)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if is_a(constant, CodeType):
            yield from _nested(constant)
