"""What anyio's task groups and cancel scopes have no public name for."""

from __future__ import annotations

from typing import Any

__all__ = ["has_failed", "nursery_of", "scope_around"]


def has_failed(group: Any) -> bool:
    """Has a child of this task group, or its own block, raised an exception?"""
    return bool(getattr(group, "_exceptions", None))


def nursery_of(group: Any) -> Any:
    """trio's nursery behind this task group; None on asyncio."""
    return getattr(group, "_nursery", None)


def scope_around(scope: Any) -> Any:
    """The cancel scope that this one lies in; None for an outermost one, and on trio."""
    return getattr(scope, "_parent_scope", None)
