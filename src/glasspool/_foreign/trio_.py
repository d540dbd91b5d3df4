"""Detects whether trio runs, without importing it: it is optional; and what trio has no public name for."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["is_being_cancelled", "is_system_nursery", "running_trio", "tasks_under"]


def running_trio() -> Any:
    """``trio.lowlevel`` if a trio loop runs the caller, else None.

    In guest mode the host's asyncio loop is also found inside trio's tasks, so this is checked first.
    """
    # While another thread imports trio, the module in sys.modules is incomplete and lacks these names; trio cannot
    # be running then.
    lowlevel: Any = sys.modules.get("trio.lowlevel")
    in_trio_run = getattr(lowlevel, "in_trio_run", None)
    return lowlevel if in_trio_run is not None and in_trio_run() else None


def is_being_cancelled(nursery: Any) -> bool:
    """Is what runs in this nursery being cancelled, by the nursery's own scope or one around it?"""
    return bool(getattr(getattr(nursery, "_cancel_status", None), "effectively_cancelled", False))


def is_system_nursery(nursery: Any, task: Any) -> bool:
    """Is this the nursery of trio's own tasks, in the run of this task?"""
    return nursery is getattr(task._runner, "system_nursery", None)


def tasks_under(root: Any) -> Iterator[Any]:
    """A task of trio's and all in its nurseries. From any thread: what comes and goes meanwhile may be missed."""
    tasks = [root]
    while tasks:
        task = tasks.pop()
        yield task
        for nursery in task.child_nurseries:
            with contextlib.suppress(AttributeError):  # one that is being made has no set of tasks yet
                tasks += nursery.child_tasks
