"""What asyncio's tasks, task groups and loops have no public name for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

__all__ = [
    "cut_creation_frames", "default_pool", "done_callbacks", "errors_of", "failure_of", "is_aborting", "policy",
    "running_loop", "tasks_of",
]  # fmt: skip


def failure_of(future: Any) -> BaseException | None:
    """The exception of a task or future that is done. Unlike ``exception()`` it does not count as retrieving it, so
    asyncio still warns of one that was never retrieved."""
    error: BaseException | None = getattr(future, "_exception", None)  # tasks in C and in Python have it
    return error


def is_aborting(group: Any) -> bool:
    """Does this ``TaskGroup`` cancel its tasks?"""
    return bool(getattr(group, "_aborting", False))


def errors_of(group: Any) -> Sequence[BaseException]:
    """What the tasks of this ``TaskGroup`` have raised."""
    return getattr(group, "_errors", None) or ()


def default_pool(loop: Any) -> Any:
    """The pool that ``run_in_executor(None, …)`` uses, if the loop has made it."""
    return getattr(loop, "_default_executor", None)


def cut_creation_frames(task: Any, filename: str) -> None:
    """In asyncio's debug mode a task shows where it was made: take this file's frames off the end of that."""
    frames = getattr(task, "_source_traceback", None)
    while frames and frames[-1].filename == filename:
        del frames[-1]


_TASKS = (asyncio.Task, getattr(asyncio.tasks, "_PyTask", asyncio.Task))  # asyncio.Task is the one in C


def tasks_of(loop: Any) -> list[asyncio.Task[Any]]:
    """The tasks of a loop that are not done, of asyncio's own kinds. From any thread: none if they change too often
    meanwhile."""
    try:
        return [task for task in asyncio.all_tasks(loop) if isinstance(task, _TASKS)]
    except RuntimeError:
        return []


def done_callbacks(task: Any) -> list[Any]:
    """What is called when this task is done."""
    return [found[0] for found in getattr(task, "_callbacks", None) or ()]  # tasks in C and in Python have it


def running_loop() -> Any:
    """The loop that runs in this thread; None if none does. ``asyncio.get_running_loop`` raises then, which is slow."""
    return asyncio._get_running_loop()


def policy() -> Any:
    """The event-loop policy that was set; None if nobody has set or used one. The public getter makes one, and warns
    since Python 3.14."""
    return getattr(asyncio.events, "_event_loop_policy", None)
