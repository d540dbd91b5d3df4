"""Reads local variables of foreign frames, where there is no public interface."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Future
from types import FrameType
from typing import Any

from .guarded import attribute, traceback_of

__all__ = ["current_frames", "getframe", "locals_of", "outwards", "queued_by"]

getframe = sys._getframe
"""CPython's ``sys._getframe``: the frame so many calls up. Nothing public is as fast."""


current_frames = sys._current_frames
"""CPython's ``sys._current_frames``: the innermost frame of each thread, by its identity. Nothing public tells it."""


def outwards(frame: FrameType | None) -> Iterator[FrameType]:
    """This frame, its caller, and so on."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def locals_of(frame: FrameType, *names: str) -> dict[str, Any]:
    """Those of these local variables that are set. Reading ``f_locals`` leaves a copy of all of them in the frame,
    which would keep them alive; here it does not."""
    found = frame.f_locals
    chosen = {name: found[name] for name in names if name in found}
    if type(found) is dict:  # until Python 3.13
        found.clear()
    return chosen


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
