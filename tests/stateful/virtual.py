"""Event loops with virtual time, driven step by step from outside, so that runs are reproducible."""

from __future__ import annotations

import asyncio
import queue
import selectors
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

PATIENCE = 300.0
"""Seconds of real time that one step may take on a loaded machine."""


class Stuck(AssertionError):
    """Everything waits, for nothing."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop that does not wait for its next timer but goes to the timer's instant."""

    def __init__(self) -> None:
        self._now = 0.0
        self._quiet: asyncio.Future[None] | None = None
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self._now

    async def quiet(self) -> None:
        """Until nothing can happen any more unless time passes."""
        self._quiet = self.create_future()
        await self._quiet

    def idle(self, timeout: float | None) -> None:
        """Nothing is ready, and the next timer is due in ``timeout`` seconds."""
        if self._quiet is not None:
            self._quiet.set_result(None)
            self._quiet = None
        elif timeout is None:
            raise Stuck("every task waits, and no timer is set")
        else:
            self._now += timeout


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if not found and timeout != 0:
            self._loop.idle(timeout)
        return found


async def quiet() -> None:
    """Until nothing can happen on this loop unless time passes."""
    loop = asyncio.get_running_loop() if _on_asyncio() else None
    await (loop.quiet() if isinstance(loop, VirtualLoop) else anyio.wait_all_tasks_blocked())


def _on_asyncio() -> bool:
    try:
        return asyncio.get_running_loop() is not None
    except RuntimeError:
        return False


class World:
    """A loop in a thread of its own that stands still between the steps that it is told to take."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.group: Any = None
        self._commands: queue.SimpleQueue[Callable[[], Awaitable[Any]] | None] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"world on {backend}", daemon=True)
        self._thread.start()
        self._wait()

    def do(self, step: Callable[[], Awaitable[Any]]) -> Any:
        """Take the step and let the loop turn until it is quiet; gives back what the step gave."""
        self._commands.put(step)
        return self._wait()

    def end(self) -> None:
        """Cancel what is left, and end the loop."""
        self._commands.put(None)
        self._wait()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _wait(self) -> Any:
        try:
            result, error = self._replies.get(timeout=PATIENCE)
        except queue.Empty:
            raise Stuck(f"the loop has been busy for {PATIENCE} s") from None
        if error is not None:
            raise error
        return result

    def _run(self) -> None:
        if self.backend == "trio":
            from trio.testing import MockClock

            options: dict[str, Any] = {"clock": MockClock(autojump_threshold=0)}
        else:
            options = {"loop_factory": VirtualLoop}
        try:
            anyio.run(self._main, backend=self.backend, backend_options=options)
            self._replies.put((None, None))
        except BaseException as error:
            self._replies.put((None, error))

    async def _main(self) -> None:
        async with anyio.create_task_group() as self.group:
            self._replies.put((None, None))
            while (step := self._commands.get()) is not None:  # the loop does not turn meanwhile
                try:
                    result = await step()
                    await quiet()
                except Exception as error:
                    self._replies.put((None, error))
                else:
                    self._replies.put((result, None))
            self.group.cancel_scope.cancel()
