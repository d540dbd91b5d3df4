"""Which of the standard library's pools is this? Asked without importing the modules that have them."""

from __future__ import annotations

import sys

__all__ = ["of_interpreters", "of_processes"]


def of_processes(pool: object) -> bool:
    """Is this a ProcessPoolExecutor?"""
    return _is_one(pool, "process", "ProcessPoolExecutor")


def of_interpreters(pool: object) -> bool:
    """Is this one of Python 3.14's pools of interpreters? They are thread pools by class, but share nothing."""
    return _is_one(pool, "interpreter", "InterpreterPoolExecutor")


def _is_one(pool: object, module: str, name: str) -> bool:
    # Who has such a pool has imported its module; it would be slow to import for those who have none.
    kind = getattr(sys.modules.get(f"concurrent.futures.{module}"), name, None)
    return kind is not None and isinstance(pool, kind)
