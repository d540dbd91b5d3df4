"""Trace functions, for tests that stop at each line of some code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

__all__ = ["tracing"]


class Trace(Protocol):
    def __call__(self, frame: FrameType, event: str, argument: Any, /) -> Any: ...


@contextmanager
def tracing(trace: Trace) -> Iterator[None]:
    """Trace this thread by ``trace``, and then by the previous trace function (a debugger's, coverage's)."""
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
