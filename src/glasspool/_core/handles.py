"""Handles that callers hand in: those of tasks that another task depends on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from glasspool._foreign.guarded import is_a, text
from glasspool.task import TaskHandle, task_of

from .interfaces import Host
from .task_state import Task

__all__ = ["checked_after"]


def checked_after(value: Any, host: Host) -> tuple[Task, ...]:
    """The tasks of one executor, each once, by their handles.

    :raises TypeError: ``value`` is not an iterable of handles.
    :raises ValueError: a task is of another executor.
    """
    if is_a(value, TaskHandle) or not issubclass(type(value), Iterable):
        raise TypeError(f"after must be an iterable of task handles, not {text(value)}; write after=[handle]")
    found: dict[Task, None] = {}
    for handle in value:
        if not is_a(handle, TaskHandle):
            raise TypeError(f"after must have task handles, as submit returns them, not {text(handle)}")
        task: Task = task_of(handle)
        if task.host is not host:
            raise ValueError(
                f"after must have tasks of executor {host.name!r} only, not {handle!r} of {task.host.name!r}; await "
                f"that one before you submit"
            )
        found[task] = None
    return tuple(found)
