"""anyio's worker threads, where an executor cannot have threads of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import anyio

__all__ = ["AnyioThreads"]


class AnyioThreads:
    """anyio's own worker threads, under a limiter without a bound: the executor's slots are the only queue."""

    alive = 0  # they are shared with others

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(math.inf)

    async def run(self, call: Callable[[], None], scope: Any, *, abandon: bool) -> None:
        """See Threads."""
        # In a second copy: a frame in the error's traceback has the thread's own copy of the context as a local.
        await anyio.to_thread.run_sync(
            lambda: copy_context().run(call), abandon_on_cancel=abandon, limiter=self._limiter
        )

    def end(self) -> None:
        """See Threads."""
