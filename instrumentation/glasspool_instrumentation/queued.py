"""Calls that a pool has queued although its ``submit`` has raised.

A pool puts the call into its queue and then starts a thread or a process for it. Where that fails ("can't start new
thread"), the call stays in the queue, and whichever worker is there or comes later runs it.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from glasspool.guarded import attribute, traceback_of
from glasspool.telemetry.names import locals_of

__all__ = ["queued_by"]


def queued_by(error: BaseException) -> Future[Any] | None:
    """The future of the call that this ``submit`` has queued before it failed; None if it has queued none."""
    found = None
    entry = traceback_of(error)
    while entry is not None:
        # The pools of the standard library and of loky agree on these names. What was raised by submit itself was
        # raised before it had queued anything; or, by Ctrl-C, nobody knows when.
        if entry.tb_frame.f_code.co_name == "submit" and entry.tb_next is not None:
            known = locals_of(entry.tb_frame, "f", "w")
            future = known.get("f")
            if isinstance(future, Future) and attribute(known.get("w"), "future") is future:
                found = future
        entry = entry.tb_next
    return found
