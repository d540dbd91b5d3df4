"""What the executor asks of a runner."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType
from typing import Any, Protocol

from glasspool._core.task_state import Task

__all__ = ["HIDDEN", "Freed", "Raised", "Runner"]

Freed = Callable[[Task], object]
"""Called once, from any thread, when a thread that its task left behind has ended."""

HIDDEN: set[CodeType] = set()
"""Code whose frames are taken off the top of a task's traceback: it is ours, not the user's."""


class Raised:
    """An exception that a function raised elsewhere, handed back as a value so that no foreign frames cling to it."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Runner(Protocol):
    """Runs functions of one kind. ``name`` is the value of the attribute ``glasspool.runner``."""

    name: str

    async def run(self, task: Task, freed: Freed) -> Any:
        """Run the task's function and return its value, or ``Raised`` for what it raised.

        Cancellation passes through. If work goes on elsewhere after that, ``task.leave_running()`` was called and
        ``freed`` is called when it has ended.
        """
