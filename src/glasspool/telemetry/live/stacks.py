"""Stacks of threads and coroutines: file, line and function of each frame. Values are never read.

Threads and coroutines go on while they are looked at. A stack is what was found in an instant, frame by frame.
"""

from __future__ import annotations

from types import CodeType, FrameType
from typing import Any, NamedTuple

from glasspool._foreign.awaited import step
from glasspool._foreign.frames import outwards

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
    """The stacks of all threads at one instant.

    :param innermost: the innermost frame of each, by its identity.
    """

    def __init__(self, innermost: dict[int, FrameType]) -> None:
        self._innermost = innermost

    def of_thread(self, thread: int, within: FrameType | None = None) -> Stack | None:
        """The stack of a thread; None if there is no such thread.

        :param within: a frame in it; those that called it are left out.
        """
        innermost = self._innermost.get(thread)
        return None if innermost is None else Stack(_shown(_inwards(innermost, within)), None, thread)

    def of_coroutine(self, coroutine: Any) -> Stack | None:
        """The stack of a coroutine: what it awaits, or where its thread is if it is being run; None once it is over."""
        if getattr(coroutine, "cr_running", False):
            own = getattr(coroutine, "cr_frame", None)
            for thread, innermost in self._innermost.items():
                if any(frame is own for frame in outwards(innermost)):
                    return Stack(_shown(_inwards(innermost, own)), None, thread)
        frames: list[FrameType] = []
        awaited = coroutine
        while awaited is not None and len(frames) < 1000:
            frame, inner = step(awaited)
            if frame is None:
                break
            frames.append(frame)
            awaited = inner
        if not frames:
            return None
        return Stack(_shown(frames), None if awaited is None else _type_name(awaited))


def _inwards(innermost: FrameType, within: FrameType | None) -> list[FrameType]:
    """The frames of a stack, outermost first, from this one on."""
    frames: list[FrameType] = []
    for frame in outwards(innermost):
        frames.append(frame)
        if frame is within:
            break
    return frames[::-1]


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
