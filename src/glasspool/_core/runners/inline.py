"""The runner on the event loop: for coroutine functions, and for plain ones with ``runner="inline"``."""

from __future__ import annotations

from typing import Any

from glasspool._core.backend import INTERRUPTIBLE
from glasspool._core.task_state import Task
from glasspool._foreign.guarded import is_awaitable
from glasspool._recorded_calls import CALLERS

from .base import HIDDEN, Freed

__all__ = ["InlineRunner"]


class InlineRunner:
    """Calls the function on the loop and awaits what it returns, if that can be awaited."""

    name = "inline"

    async def run(self, task: Task, freed: Freed) -> Any:
        """See Runner. What the function raises passes through as it is."""
        try:
            result = task.item.function(*task.item.arguments)
        finally:
            del task  # what the function raises leads to this frame (see Completed.unwrap)
        return await result if is_awaitable(result) else result


CALLERS.add(InlineRunner.run.__code__)
HIDDEN.add(InlineRunner.run.__code__)
INTERRUPTIBLE.add(InlineRunner.run.__code__)
