"""What the capacity limiters of anyio and trio keep: the set of those who hold a token, and those who wait for one."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

__all__ = ["borrowers_of", "put_borrowers", "resolve", "waiters_of"]


def resolve(limiter: Any) -> None:
    """Have anyio's adapter for limiters that are made outside of a loop make the real one now. On its own loop."""
    if hasattr(limiter, "_internal_limiter"):
        _ = limiter._limiter


def _core_of(limiter: Any) -> Any:
    """The object that keeps the figures: behind anyio's adapter, and behind its limiter on trio."""
    limiter = getattr(limiter, "_internal_limiter", None) or limiter
    return getattr(limiter, "_CapacityLimiter__original", limiter)


def borrowers_of(limiter: Any) -> set[Any] | None:
    """The set of those who hold a token; None if this limiter keeps none."""
    found = getattr(_core_of(limiter), "_borrowers", None)
    return found if isinstance(found, set) else None


def put_borrowers(limiter: Any, borrowers: set[Any]) -> None:
    """Have the limiter keep this set from now on."""
    _core_of(limiter)._borrowers = borrowers


def waiters_of(limiter: Any) -> Sized | None:
    """Those who wait for a token; None if this limiter does not say."""
    if borrowers_of(limiter) is None:
        return None
    core = _core_of(limiter)
    for name in ("_wait_queue", "_lot"):
        found = getattr(core, name, None)
        if isinstance(found, Sized):
            return found
    return None
