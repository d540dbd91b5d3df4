"""The only package that uses private parts of asyncio, anyio and trio, and that distinguishes between them."""

from __future__ import annotations

from glasspool._foreign.trio_ import running_trio

from .base import (
    Backend,
    Main,
    Scope,
    Spawner,
    Threads,
    cancellation_in,
    cancels_only,
    is_ordinary,
    split_cancellation,
    to_the_end,
)
from .interrupts import INTERRUPTIBLE, own_interrupt

__all__ = [
    "INTERRUPTIBLE",
    "Backend",
    "Main",
    "Scope",
    "Spawner",
    "Threads",
    "cancellation_in",
    "cancels_only",
    "current_backend",
    "is_ordinary",
    "own_interrupt",
    "split_cancellation",
    "to_the_end",
]


def current_backend() -> Backend:
    """The backend of the loop that runs the caller.

    :raises RuntimeError: when none runs.
    """
    if running_trio() is not None:
        from .trio_ import TrioBackend  # trio is optional

        return TrioBackend()
    from .asyncio_ import AsyncioBackend

    return AsyncioBackend()
