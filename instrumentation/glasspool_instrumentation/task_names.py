"""How many task names each executor shows that an instrumentor finds, or ``wrap_executor`` is given."""

from __future__ import annotations

__all__ = ["MAX_TASK_NAMES", "check_max_task_names"]

MAX_TASK_NAMES = 25


def check_max_task_names(value: object) -> int:
    """The number of names, or an error that says what is wrong with it."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"max_task_names= must be a whole number, such as {MAX_TASK_NAMES}; got {value!r}")
    if value < 0:
        raise ValueError(f"max_task_names= must be 0 (show none) or more; got {value!r}")
    return value
