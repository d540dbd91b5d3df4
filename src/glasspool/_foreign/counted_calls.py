"""The registry of code objects that call counted functions, by which such a call is recognised on the stack.

A context variable would not work: a function may run in a context that was made elsewhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from glasspool._foreign.guarded import drop_top_frame

__all__ = ["CALLERS", "is_around", "run_counted"]


def run_counted(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call ``function``; the code that sent it to this thread counts the call."""
    try:
        return function(*args, **kwargs)
    except BaseException as error:
        drop_top_frame(error)
        del function, args, kwargs  # the error leads to this frame also without that
        raise


CALLERS: set[CodeType] = {run_counted.__code__}
"""The registered code. It is entered once, so that calls have no cost; a check searches the stack for it."""

_inherited: FrameType | None = None  # in a forked child: the parent's call that it was forked in


def is_around() -> bool:
    """Whether this thread is within a call of such code."""
    found = _innermost()
    return found is not None and found is not _inherited


def _innermost() -> FrameType | None:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code not in CALLERS:
        frame = frame.f_back
    return frame


def _after_fork() -> None:
    global _inherited
    _inherited = _innermost()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
