"""What locks of ``threading`` have no public name for."""

from __future__ import annotations

from typing import Any

__all__ = ["is_owned"]


def is_owned(lock: Any) -> bool:
    """Does this thread hold the re-entrant lock? ``threading.Condition`` asks it in the same way."""
    return bool(lock._is_owned())
