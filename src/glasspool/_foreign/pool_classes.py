"""Recognises the standard library's pools without importing their modules."""

from __future__ import annotations

import sys

__all__ = ["of_interpreters", "of_processes"]


def of_processes(pool: object) -> bool:
    """Whether this is a ProcessPoolExecutor."""
    return _is_one(pool, "process", "ProcessPoolExecutor")


def of_interpreters(pool: object) -> bool:
    """Whether this is an InterpreterPoolExecutor (Python 3.14): a thread pool by class, whose workers share nothing."""
    return _is_one(pool, "interpreter", "InterpreterPoolExecutor")


def _is_one(pool: object, module: str, name: str) -> bool:
    # A program with such a pool has imported its module; importing it in other programs would be slow.
    kind = getattr(sys.modules.get(f"concurrent.futures.{module}"), name, None)
    return kind is not None and isinstance(pool, kind)
