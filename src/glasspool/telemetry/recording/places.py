"""Where the tasks of an executor are now: the coroutine or the thread that runs each, as its owner knows it.

Asked for by readings only, never kept: a coroutine leads to all that it works on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .task_record import TaskRecord

__all__ = ["Left", "Place", "Places"]


class Place(NamedTuple):
    """Where one task runs; what is not known is None."""

    coroutine: Any = None
    thread: int | None = None
    """Identity of the thread, as ``threading.get_ident`` returns it."""


class Left(NamedTuple):
    """A call that its task has left behind in a thread."""

    id: int
    name: str
    age: float
    """Seconds since its start."""
    thread: int | None


class Places(NamedTuple):
    """Those of the active tasks of one executor, and the calls that have been left behind."""

    tasks: dict[TaskRecord, Place]
    left: list[Left]
