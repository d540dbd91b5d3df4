"""Reads local variables of foreign frames, where there is no public interface."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from types import FrameType
from typing import Any

from .guarded import attribute, traceback_of

__all__ = [
    "current_frames",
    "frames_stay_valid",
    "getframe",
    "locals_in_thread",
    "locals_of",
    "queued_by",
    "stack_of",
    "stacks",
]

getframe = sys._getframe
"""CPython's ``sys._getframe``: the frame so many calls up. Nothing public is as fast."""


current_frames = sys._current_frames
"""CPython's ``sys._current_frames``: the innermost frame of each thread, by its identity. Nothing public tells it."""


def stacks(caller: FrameType) -> dict[int, list[FrameType]]:
    """The frames of all threads, by the thread's identity, each the innermost first.

    :param caller: the frame from which on the calling thread's are wanted: what holds the result must not be in it.
    """
    innermost = current_frames()
    innermost[threading.get_ident()] = caller
    return {thread: list(_outwards(frame)) for thread, frame in innermost.items()}


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


_MADE_WHEN_ASKED_FOR: bool = sys.hexversion >> 16 == 0x030B


@contextlib.contextmanager
def frames_stay_valid() -> Generator[None, None, None]:
    """Within this, frames of other threads may be asked for.

    In Python 3.11 a frame object is made when it is asked for, which may collect garbage. A finalizer can then let
    another thread run, whose frame returns meanwhile: the new object would point to where it was.
    """
    if not _MADE_WHEN_ASKED_FOR:
        yield
        return
    import gc  # here, because nothing else of what every executor needs does

    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def stack_of(thread: int | None) -> list[FrameType]:
    """The frames of the thread with this identity, the innermost first; none if there is no such thread."""
    with frames_stay_valid():
        return [] if thread is None else list(_outwards(current_frames().get(thread)))


def locals_of(frame: FrameType, *names: str) -> dict[str, Any]:
    """Those of these local variables that are set, of a frame that has ended or is this thread's. Reading ``f_locals``
    leaves a copy of all of them in the frame, which would keep them alive; here it does not."""
    found = frame.f_locals
    chosen = {name: found[name] for name in names if name in found}
    if type(found) is dict:  # until Python 3.13
        found.clear()
    return chosen


def locals_in_thread(frame: FrameType, *names: str) -> dict[str, Any]:
    """The same of a frame that another thread may execute.

    The copies stay in the frame until it ends. Where a trace or profile function is on, the interpreter makes the
    variables what the copies are when that function returns: taking them out would unset the variables.
    """
    found = frame.f_locals
    return {name: found[name] for name in names if name in found}


def queued_by(error: BaseException) -> Future[Any] | None:
    """The future of the call that a pool's ``submit`` has queued before it failed by this error; None if there is none.

    A pool puts the call into its queue and then starts a thread or a process for it. Where that fails ("can't start new
    thread"), the call stays in the queue, and whichever worker is there or comes later runs it.
    """
    found = None
    entry = traceback_of(error)
    while entry is not None:
        # The pools of the standard library and of loky agree on these names. What was raised by submit itself was
        # raised before it had queued anything; or, by Ctrl-C, at an unknown time.
        if entry.tb_frame.f_code.co_name == "submit" and entry.tb_next is not None:
            known = locals_of(entry.tb_frame, "f", "w")
            future = known.get("f")
            if isinstance(future, Future) and attribute(known.get("w"), "future") is future:
                found = future
        entry = entry.tb_next
    return found
