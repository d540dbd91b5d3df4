"""A function that an event loop calls again and again, on asyncio (uvloop too) and on trio."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import contextvars
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

from glasspool._foreign.trio_ import running_trio

__all__ = ["Ticks", "ticks_here"]

logger = logging.getLogger("glasspool")


class Ticks(abc.ABC):
    """One run of ticks on one loop."""

    @abc.abstractmethod
    def begin(self, tick: Callable[[], bool], interval: float, ended: Callable[[], None]) -> None:
        """Call ``tick`` every ``interval`` seconds until it returns False; ``ended`` if the loop ends before that."""

    @abc.abstractmethod
    def end(self) -> None:
        """Stop the ticks. From any thread."""

    @abc.abstractmethod
    def loop(self) -> Any:
        """The loop, or the token of the trio run."""

    @abc.abstractmethod
    def turning(self) -> bool:
        """Whether the loop is being run, so that a missing tick means that it is blocked."""

    @abc.abstractmethod
    def resumed(self) -> bool:
        """Whether the loop was stopped and run again since the last call. Called in a tick."""


class AsyncioTicks(Ticks):
    """By timers of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._timer: asyncio.TimerHandle | None = None
        self._hook = sys.get_asyncgen_hooks().firstiter

    def begin(self, tick: Callable[[], bool], interval: float, ended: Callable[[], None]) -> None:
        # In an empty context: a callback would otherwise keep the starter's context, with its span, for ever.
        context = contextvars.Context()

        def again() -> None:
            if tick():
                self._timer = self._loop.call_later(interval, again, context=context)

        self._timer = self._loop.call_later(interval, again, context=context)

    def end(self) -> None:
        # A timer may be cancelled only in the loop's thread; from another thread it runs once more and does nothing.
        if self._timer is not None and threading.get_ident() == self._thread:
            self._timer.cancel()
            self._timer = None

    def loop(self) -> Any:
        return self._loop

    def turning(self) -> bool:
        return self._loop.is_running()

    def resumed(self) -> bool:
        # Each run of a loop sets the hooks for asynchronous generators again, to newly bound methods.
        before, self._hook = self._hook, sys.get_asyncgen_hooks().firstiter
        return self._hook is not before


class TrioTicks(Ticks):
    """In a system task of the run."""

    def __init__(self) -> None:
        import trio

        self._trio = trio
        self._scope = trio.CancelScope()
        self._token = trio.lowlevel.current_trio_token()

    def begin(self, tick: Callable[[], bool], interval: float, ended: Callable[[], None]) -> None:
        async def ticking() -> None:
            try:
                with self._scope:
                    await self._trio.sleep(interval)
                    while tick():
                        await self._trio.sleep(interval)
            except Exception:
                # An error that leaves a system task would end trio.run.
                logger.exception("the event-loop monitor failed and has ended")
            finally:
                ended()

        self._trio.lowlevel.spawn_system_task(
            ticking, name="glasspool event-loop monitor", context=contextvars.Context()
        )

    def end(self) -> None:
        # Not cancelled directly: that would wake a run that has ended. (OSError: the run has broken down.)
        with contextlib.suppress(self._trio.RunFinishedError, OSError):
            self._token.run_sync_soon(self._scope.cancel)

    def loop(self) -> Any:
        return self._token

    def turning(self) -> bool:
        return True  # the system task ends with trio.run, and the monitor with it

    def resumed(self) -> bool:
        return False


def ticks_here() -> Ticks:
    """Ticks on the loop that runs in this thread.

    :raises RuntimeError: no loop runs in this thread.
    """
    trio = running_trio()
    if trio is not None and trio.in_trio_task():
        return TrioTicks()
    try:
        return AsyncioTicks(asyncio.get_running_loop())
    except RuntimeError:
        raise RuntimeError("no event loop runs in this thread; start the monitor from a coroutine") from None
