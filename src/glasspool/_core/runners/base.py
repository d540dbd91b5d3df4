"""The interface of runners."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType
from typing import Any, Protocol

from glasspool._core.task_state import Task

__all__ = ["HIDDEN", "Freed", "Raised", "Runner"]

Freed = Callable[[Task], object]
"""Called once, from any thread, when a thread that its task left behind has ended."""

HIDDEN: set[CodeType] = set()
"""Code of glasspool whose frames are removed from the top of a task's traceback."""


class Raised:
    """An exception that a function raised elsewhere, returned as a value so that it gets no frames of ours."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Runner(Protocol):
    """Runs functions of one kind. ``name`` is the value of the attribute ``glasspool.runner``."""

    name: str

    async def run(self, task: Task, freed: Freed) -> Any:
        """Run the task's function and return its value, or ``Raised`` for what it raised.

        A cancellation is raised. If the function still runs elsewhere then, ``task.leave_running()`` has been called,
        and ``freed`` is called when the function has ended.
        """
