"""Stacks of threads and coroutines: file, line and function of each frame. Values are never read.

Threads and coroutines go on while they are looked at. A stack is what was found in an instant, frame by frame.
"""

from __future__ import annotations

from types import CodeType, FrameType
from typing import Any, NamedTuple

from glasspool._foreign.awaited import chain, is_executing, is_python, step
from glasspool._foreign.guarded import class_name

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

    :param stacks: the frames of each, the innermost first, by its identity.
    """

    def __init__(self, stacks: dict[int, list[FrameType]]) -> None:
        self._stacks = stacks

    def of_thread(self, thread: int, within: FrameType | None = None) -> Stack | None:
        """The stack of a thread; None if there is no such thread.

        :param within: a frame in it; those that called it are left out.
        """
        frames = self._stacks.get(thread)
        if frames is None:
            return None
        end = len(frames) if within is None else frames.index(within) + 1
        return Stack(_shown(frames[:end][::-1]), None, thread)

    def of_coroutine(self, coroutine: Any) -> Stack | None:
        """The stack of a coroutine: what it awaits, or where its thread is if it is being run; None once it is over."""
        if is_executing(coroutine):
            own = coroutine.cr_frame
            for thread, frames in self._stacks.items():
                if own in frames:
                    return self.of_thread(thread, own)
            return None  # it was not yet when the threads were looked at
        found: list[FrameType] = []
        last: Any = None
        for awaited, frame in chain(coroutine):
            found.append(frame)
            last = awaited
        if not found:
            return None
        _, awaits = step(last)
        if awaits is None or is_python(awaits):  # it has gone on, or the chain is longer than anybody follows
            return Stack(_shown(found))
        return Stack(_shown(found), ".".join(class_name(awaits)))


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
