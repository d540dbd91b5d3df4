"""Virtual time for the tests of policies: nothing waits, and every instant is exact."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from tests.stateful.virtual import VirtualLoop

__all__ = ["Starts", "both", "in_virtual_time"]

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])
"""uvloop has no virtual time; ``test_real_time.py`` is for it, too."""


def in_virtual_time(backend: str, main: Callable[[], Awaitable[Any]]) -> Any:
    """Run ``main`` on a loop that goes to its next timer at once."""
    if backend == "trio":
        import trio
        from trio.testing import MockClock

        return trio.run(main, clock=MockClock(autojump_threshold=0))  # not every anyio passes a clock on
    return anyio.run(main, backend_options={"loop_factory": VirtualLoop})


class Starts:
    """Tasks that note when they start, in seconds since it was made, and how many of a key run at a time."""

    def __init__(self) -> None:
        self._begun = anyio.current_time()
        self.at: list[float] = []
        self.keys: list[Any] = []
        self.most: dict[Any, int] = {}
        self._running: dict[Any, int] = {}

    @property
    def now(self) -> float:
        """Seconds since it was made."""
        return anyio.current_time() - self._begun

    async def note(self, key: Any = None, seconds: float = 0.0) -> Any:
        """Start, take so long, and return the key."""
        self.at.append(round(self.now, 6))
        self.keys.append(key)
        self._running[key] = self._running.get(key, 0) + 1
        self.most[key] = max(self.most.get(key, 0), self._running[key])
        try:
            await anyio.sleep(seconds)
        finally:
            self._running[key] -= 1
        return key

    async def second(self, key: Any) -> Any:
        """The same, for one second."""
        return await self.note(key, 1.0)
