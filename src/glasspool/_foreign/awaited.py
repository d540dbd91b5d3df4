"""What a coroutine awaits, as far as the interpreter shows it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import AsyncGeneratorType, CoroutineType, FrameType
from typing import Any

from .guarded import attribute

__all__ = ["chain", "step"]

_MOST = 1000
"""Steps after which nobody follows a chain: as deep as Python code usually gets."""


def chain(coroutine: Any) -> Iterator[tuple[Any, FrameType]]:
    """The coroutine, what it awaits, what that awaits, and so on, each with its frame.

    It ends before what is no Python code. Where a coroutine is running, what it awaits is not known.
    """
    awaited = coroutine
    for _ in range(_MOST):
        frame, inner = step(awaited)
        if frame is None:
            return
        yield awaited, frame
        awaited = inner


def step(awaited: Any) -> tuple[FrameType | None, Any]:
    """The frame of something awaited, and what that awaits in turn; no frame if it is no Python code, or over."""
    if type(awaited) is CoroutineType:  # nearly always
        return awaited.cr_frame, awaited.cr_await
    for name, inner in (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await")):
        frame = attribute(awaited, name)
        if isinstance(frame, FrameType):
            return frame, attribute(awaited, inner)
    # ``anext`` and ``coroutine.__await__`` are objects that show nothing of what they step.
    if type(awaited).__name__ in ("async_generator_asend", "async_generator_athrow", "coroutine_wrapper"):
        for found in gc.get_referents(awaited):
            if isinstance(found, (AsyncGeneratorType, CoroutineType)):
                return step(found)
    return None, None
