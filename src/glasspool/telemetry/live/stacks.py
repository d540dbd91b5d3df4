"""Stacks of threads and coroutines: file, line and function of each frame. Values are never read.

Threads and coroutines go on while they are looked at. A stack is what was found in an instant, frame by frame.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import AsyncGeneratorType, CodeType, FrameType
from typing import Any, NamedTuple

from glasspool._foreign.frames import current_frames

__all__ = ["Frame", "Stack", "Threads"]

_MOST = 50
"""Frames of a stack that are shown, the innermost ones: a recursion may have a thousand."""

_OURS = ("glasspool", "glasspool_instrumentation")
_PLUMBING = (*_OURS, "threading", "concurrent", "anyio", "asyncio", "trio", "outcome")
"""Packages whose frames lie between the start of a thread or a task and the user's function."""


class Frame(NamedTuple):
    """One call that has not returned."""

    file: str
    line: int
    function: str


class Stack(NamedTuple):
    """The frames, outermost first, and the type of what the innermost coroutine awaits, if that is no coroutine."""

    frames: list[Frame]
    awaiting: str | None = None
    thread: int | None = None
    """The thread that is executing it now, if one is."""


class Threads:
    """The stacks of all threads at one instant."""

    def __init__(self) -> None:
        self._current = current_frames()

    def of_thread(self, thread: int) -> Stack | None:
        """The stack of a thread; None if there is no such thread."""
        frame = self._current.get(thread)
        return None if frame is None else Stack(_shown(list(_outwards(frame))[::-1]), None, thread)

    def of_coroutine(self, coroutine: Any) -> Stack | None:
        """The stack of a coroutine: what it awaits, or where its thread is if it is being run; None once it is over."""
        if getattr(coroutine, "cr_running", False):
            own = getattr(coroutine, "cr_frame", None)
            for thread, innermost in self._current.items():
                running = list(_outwards(innermost))
                if own in running:
                    return Stack(_shown(running[: running.index(own) + 1][::-1]), None, thread)
        frames: list[FrameType] = []
        awaited = coroutine
        while awaited is not None and len(frames) < 1000:
            frame, inner = _step(awaited)
            if frame is None:
                break
            frames.append(frame)
            awaited = inner
        if not frames:
            return None
        return Stack(_shown(frames), None if awaited is None else _type_name(awaited))


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _step(awaited: Any) -> tuple[FrameType | None, Any]:
    """The frame of something awaited, and what that awaits in turn; no frame if it is no Python code."""
    for frame, inner in (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await")):
        if hasattr(awaited, frame):
            return getattr(awaited, frame), getattr(awaited, inner, None)
    # ``anext`` and ``coroutine.__await__`` are objects that show nothing of what they step.
    if type(awaited).__name__ in ("async_generator_asend", "async_generator_athrow", "coroutine_wrapper"):
        for found in gc.get_referents(awaited):
            if isinstance(found, AsyncGeneratorType) or hasattr(found, "cr_frame"):
                return _step(found)
    return None, None


def _shown(frames: list[FrameType]) -> list[Frame]:
    """Without the outermost frames that are no user's. Where none is, the function is one of a library, or of C."""
    first = next((index for index, frame in enumerate(frames) if _package(frame) not in _PLUMBING), None)
    if first is None:
        ours = [index for index, frame in enumerate(frames) if _package(frame) in _OURS]
        first = min(ours[-1] + 1 if ours else 0, len(frames) - 1)
    chosen = frames[first:][-_MOST:]
    return [Frame(frame.f_code.co_filename, frame.f_lineno or 0, _name(frame.f_code)) for frame in chosen]


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def _name(code: CodeType) -> str:
    return getattr(code, "co_qualname", code.co_name)  # the qualified name since Python 3.11


def _type_name(thing: object) -> str:
    kind = type(thing)
    return f"{kind.__module__}.{kind.__qualname__}"
