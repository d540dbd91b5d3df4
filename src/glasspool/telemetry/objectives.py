"""What may be a wait objective: the check that executors, wrappers and instrumentors share."""

from __future__ import annotations

import sys
from typing import Any

from glasspool.guarded import as_float, is_a, text

__all__ = ["check_wait_objective"]


def check_wait_objective(value: Any, parameter: str = "wait_objective") -> float | None:
    """Seconds above 0, or None where nobody is hurt by waiting. Raises TypeError, ValueError for anything else."""
    if value is None:
        return None
    if is_a(value, bool) or not is_a(value, (int, float)):
        raise TypeError(f"{parameter} must be a number of seconds or None, not {text(value)}")
    if not 0 < value <= sys.float_info.max:  # NaN neither
        raise ValueError(
            f"{parameter} must be above 0 and finite, got {text(value)}: the seconds that a task may wait before it is "
            "late; None (the default) means that tasks of this executor may wait"
        )
    return as_float(value)
