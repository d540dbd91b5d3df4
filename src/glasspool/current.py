"""``current_task``: what the code of a task may know of it."""

from __future__ import annotations

from ._core.task_state import current
from ._current import CurrentTask

__all__ = ["CurrentTask", "current_task"]


def current_task() -> CurrentTask | None:
    """The task of a ``HybridExecutor`` within which the caller runs, in a coroutine, thread or process of it; None
    outside of tasks."""
    return current()
