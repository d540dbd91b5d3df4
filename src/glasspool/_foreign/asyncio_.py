"""What asyncio's tasks, task groups and loops have no public name for."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = [
    "coroutine_of", "cut_creation_frames", "default_pool", "done_callbacks", "errors_of", "failure_of", "is_aborting",
    "policy", "running_loop", "tasks_of",
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


_KINDS = (asyncio.Task, getattr(asyncio.tasks, "_PyTask", asyncio.Task))  # asyncio.Task is the one in C
_KNOWN = ("_all_tasks", "_scheduled_tasks")  # what it is called until Python 3.11, and from then on


def tasks_of(loops: Iterable[Any]) -> list[Any]:
    """The tasks of asyncio's own kinds. From any thread.

    :param loops: those of which the tasks are wanted at least; until Python 3.13 those of all loops are known.
    """
    found: list[Any] = []
    for name in _KNOWN:
        # The references that a WeakSet keeps are copied in one step. ``asyncio.all_tasks`` goes through the set, and
        # begins again whenever a task comes or goes.
        references = getattr(getattr(asyncio.tasks, name, None), "data", ())
        found += [task for reference in list(references) if (task := reference()) is not None]
    found += getattr(asyncio.tasks, "_eager_tasks", ())
    if sys.version_info >= (3, 14):
        for loop in loops:
            with contextlib.suppress(RuntimeError):
                found += asyncio.all_tasks(loop)
    return [task for task in found if issubclass(type(task), _KINDS)]


def coroutine_of(task: Any) -> Any:
    """What a task of asyncio's own kinds runs. Not asked of a subclass, whose methods are the program's."""
    return _kind_of(task).get_coro(task)


def done_callbacks(task: Any) -> list[Any]:
    """What is called when a task of asyncio's own kinds is done."""
    found = getattr(_kind_of(task), "_callbacks", None)  # of the kind in C; the other has it in its instances
    callbacks = getattr(task, "_callbacks", None) if found is None else found.__get__(task)
    return [each[0] for each in list(callbacks) if type(each) is tuple] if type(callbacks) is list else []


def _kind_of(task: Any) -> Any:
    return _KINDS[0] if issubclass(type(task), _KINDS[0]) else _KINDS[1]


def running_loop() -> Any:
    """The loop that runs in this thread; None if none does. ``asyncio.get_running_loop`` raises then, which is slow."""
    return asyncio._get_running_loop()


def policy() -> Any:
    """The event-loop policy that was set; None if nobody has set or used one. The public getter makes one, and warns
    since Python 3.14."""
    return getattr(asyncio.events, "_event_loop_policy", None)
