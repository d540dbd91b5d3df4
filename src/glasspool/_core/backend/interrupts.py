"""Ctrl-C: whether its handler is the program's own or that of the event loop, and which code it may interrupt."""

from __future__ import annotations

import signal
from functools import partial
from types import CodeType
from typing import Any

__all__ = ["INTERRUPTIBLE", "own_interrupt"]

INTERRUPTIBLE: set[CodeType] = set()
"""Code that only calls users' code: where the loop defers Ctrl-C in our own code, it does not in this code."""

_OWN = {
    ("asyncio.runners", "_on_sigint"),
    ("anyio._backends._asyncio", "_on_sigint"),  # the same, on Python 3.10
    ("trio._core._ki", "handler"),
}


def own_interrupt(handler: Any) -> bool:
    """Whether it is Python's own handler of SIGINT, or the one that the event loop has put in its place."""
    if handler is signal.default_int_handler:
        return True
    function = handler.func if isinstance(handler, partial) else handler
    return (getattr(function, "__module__", None), getattr(function, "__name__", None)) in _OWN
