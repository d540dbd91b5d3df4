"""The number of task names that metrics show for an executor that an instrumentor finds or ``wrap_executor`` wraps."""

from __future__ import annotations

from typing import cast

from glasspool import _checks as checks

__all__ = ["MAX_TASK_NAMES", "check_max_task_names"]

MAX_TASK_NAMES = 25


def check_max_task_names(value: object) -> int:
    """Return the number of names if it is valid, or raise ``TypeError`` or ``ValueError``."""
    return cast("int", checks.count("max_task_names=", value, least=0))
