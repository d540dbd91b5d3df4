"""How many task names each executor shows that an instrumentor finds, or ``wrap_executor`` is given."""

from __future__ import annotations

from typing import cast

from glasspool import _checks as checks

__all__ = ["MAX_TASK_NAMES", "check_max_task_names"]

MAX_TASK_NAMES = 25


def check_max_task_names(value: object) -> int:
    """The number of names, or an error that says what is wrong with it."""
    return cast("int", checks.count("max_task_names=", value, least=0))
