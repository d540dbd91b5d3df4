"""Services for the tests: one that notes what happens to it, and one that crashes when it is told to."""

from __future__ import annotations

from typing import Any

import anyio
from anyio.lowlevel import checkpoint

__all__ = ["Log", "at_once"]


async def at_once(value: Any = None, *, task_status: Any) -> None:
    """Be ready at once, and run until cancelled."""
    task_status.started(value)
    await anyio.sleep_forever()


class Log:
    """Services and tasks that note their starts and ends, with the seconds since it was made."""

    def __init__(self) -> None:
        self._begun = anyio.current_time()
        self.events: list[str] = []
        self.at: list[float] = []
        self.crash = anyio.Event()
        """Set to have the current run of ``crashing`` raise; a new one is made for the next run."""

    def note(self, event: str) -> None:
        """Something has happened."""
        self.events.append(event)
        self.at.append(round(anyio.current_time() - self._begun, 6))

    async def serve(self, name: str, turns: int = 3, *, task_status: Any) -> None:
        """Be ready at once; a cleanup takes so many loop turns."""
        self.note(f"{name} starts")
        task_status.started(name)
        try:
            await anyio.sleep_forever()
        finally:
            await self._clean_up(name, turns)

    async def work(self, name: str, turns: int = 3) -> None:
        """A task that runs until it is cancelled, with such a cleanup."""
        self.note(f"{name} starts")
        try:
            await anyio.sleep_forever()
        finally:
            await self._clean_up(name, turns)

    async def crashing(self, error: BaseException | None, *, task_status: Any) -> None:
        """Be ready at once; end, by an error or normally, when ``crash`` is set."""
        self.crash = anyio.Event()
        self.note("starts")
        task_status.started(len(self.events))
        await self.crash.wait()
        if error is not None:
            raise error

    async def _clean_up(self, name: str, turns: int) -> None:
        with anyio.CancelScope(shield=True):
            for _ in range(turns):
                await checkpoint()
        self.note(f"{name} ends")
