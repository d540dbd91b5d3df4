"""trio, where it is there: it is optional, and never imported only to ask whether it runs; and its private names."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["is_being_cancelled", "is_system_nursery", "running_trio"]


def running_trio() -> Any:
    """``trio.lowlevel`` if a trio loop runs the caller, else None.

    In guest mode the host's asyncio loop answers inside trio's tasks as well, so this is asked first.
    """
    # While another thread imports trio, what is in sys.modules is half made: it lacks what is asked of it, and nobody
    # can be running it.
    lowlevel: Any = sys.modules.get("trio.lowlevel")
    in_trio_run = getattr(lowlevel, "in_trio_run", None)
    return lowlevel if in_trio_run is not None and in_trio_run() else None


def is_being_cancelled(nursery: Any) -> bool:
    """Is what runs in this nursery being cancelled, by the nursery's own scope or one around it?"""
    return bool(getattr(getattr(nursery, "_cancel_status", None), "effectively_cancelled", False))


def is_system_nursery(nursery: Any, task: Any) -> bool:
    """Is this the nursery of trio's own tasks, in the run of this task?"""
    return nursery is getattr(task._runner, "system_nursery", None)
