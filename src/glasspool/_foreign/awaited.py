"""What a coroutine awaits, as far as the interpreter shows it. Safe in another thread than the coroutine's.

What is executed at this moment awaits nothing, and must not be asked: until Python 3.12 the interpreter then takes
whatever lies on the stack for what is awaited, and crashes. So each question is one expression, in which no other
thread runs: there is no call in it and no jump that is taken before the attribute is read. Only the interpreter's own
types are asked, and our own; attributes of others may be code of the program.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any

__all__ = ["StandIn", "chain", "is_executing", "is_python", "layers", "step"]

_MOST = 1000
"""Steps after which nobody follows a chain: as deep as Python code usually gets."""

_WRAPPERS = ("async_generator_asend", "async_generator_athrow", "coroutine_wrapper")
"""The interpreter's own types that show nothing of what they step: of ``anext`` and ``coroutine.__await__``."""


class StandIn:
    """Stands around a coroutine and passes its steps on."""

    __slots__ = ("around",)

    def __init__(self, around: Any) -> None:
        """Stand around it.

        :param around: the coroutine: another one of these, or the program's.
        """
        self.around = around


def layers(awaited: Any) -> list[Any]:
    """What stands around a coroutine, the outermost first, and the coroutine at last."""
    found = [awaited]
    while issubclass(type(found[-1]), StandIn):
        found.append(found[-1].around)
    return found


def chain(coroutine: Any) -> Iterator[tuple[Any, FrameType]]:
    """The coroutine, what it awaits, what that awaits, and so on, each with its frame.

    It ends before what is no Python code, and with what is being executed.
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
    kind = type(awaited)
    frame: FrameType | None = None
    if kind is CoroutineType:
        frame = awaited.cr_frame
        inner = awaited.cr_await if not awaited.cr_running else None
        return frame, inner
    if kind is GeneratorType:
        frame = awaited.gi_frame
        inner = awaited.gi_yieldfrom if not awaited.gi_running else None
        return frame, inner
    if kind is AsyncGeneratorType:
        frame = awaited.ag_frame
        if frame is None:
            return None, None
        inner = awaited.ag_await if frame.f_back is None else None  # it is "running" also while it waits
        return frame, inner
    if issubclass(kind, StandIn):
        return step(awaited.around)
    if type(kind) is type and kind.__name__ in _WRAPPERS and kind.__module__ == "builtins":
        for found in gc.get_referents(awaited):
            if type(found) in (AsyncGeneratorType, CoroutineType):
                return step(found)
    return None, None


def is_python(awaited: Any) -> bool:
    """Whether this has a frame of its own."""
    return type(awaited) in (AsyncGeneratorType, CoroutineType, GeneratorType)


def is_executing(coroutine: Any) -> bool:
    """Whether a thread executes this coroutine now."""
    return type(coroutine) is CoroutineType and coroutine.cr_running
