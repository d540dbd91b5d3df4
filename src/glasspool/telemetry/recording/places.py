"""Where the tasks of an executor are now: the coroutine or the thread that runs each, as its owner knows it.

Asked for by readings only, never kept: a coroutine leads to all that it works on.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple, TypeVar

from .task_record import TaskRecord

__all__ = ["Left", "Look", "Place", "Places"]

T = TypeVar("T")


class Look:
    """One look at all threads of the process, for all executors whose tasks are looked for in it."""

    def __init__(self, stacks: dict[int, list[FrameType]]) -> None:
        self.stacks = stacks
        """The frames of all threads, by the thread's identity, each the innermost first."""
        self._found: dict[Callable[[Look], Any], Any] = {}

    def once(self, find: Callable[[Look], T]) -> T:
        """What ``find`` finds in this look. It is called once, whoever asks for it."""
        if find not in self._found:
            self._found[find] = find(self)
        found: T = self._found[find]
        return found


class Place(NamedTuple):
    """Where one task runs; what is not known is None."""

    coroutine: Any = None
    thread: int | None = None
    """Identity of the thread, as ``threading.get_ident`` returns it."""
    within: FrameType | None = None
    """The frame in that thread's stack from which on it is the task's; None: it is the whole stack."""


class Left(NamedTuple):
    """A call that its task has left behind in a thread."""

    id: int
    name: str
    age: float
    """Seconds since its start."""
    place: Place


class Places(NamedTuple):
    """Those of the active tasks of one executor, others among them, and the calls that it has left behind."""

    tasks: dict[TaskRecord, Place]
    left: list[Left]
