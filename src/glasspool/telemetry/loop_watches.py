"""How a monitor watches an event loop: by a timer on asyncio (uvloop too), by the turns of the run on trio."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import Callable
from math import inf
from typing import Any

from glasspool._foreign.trio_ import running_trio

from .loop_watch import Count, Watch

__all__ = ["TimerWatch", "watch_here"]


class TimerWatch(Watch):
    """A timer of an asyncio loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._timer: asyncio.TimerHandle | None = None
        self._hook = sys.get_asyncgen_hooks().firstiter
        self._clock: Callable[[], float] = loop.time
        self._interval = 0.0
        self._due = inf  # when the next tick should run; written by the loop, read by any thread
        self._stopped = False  # a reading has found that the loop is not being run

    def begin(self, clock: Callable[[], float], interval: float, count: Count, ended: Callable[[], None]) -> None:
        self._clock, self._interval = clock, interval
        self._due = clock() + interval
        # In an empty context: a callback would otherwise keep the starter's context, with its span, for ever.
        context = contextvars.Context()

        def again() -> None:
            now = clock()
            delay = max(0.0, now - self._due)
            self._due = now + interval
            self._stopped = False
            # After a time for which the loop was not run, the delay is not known.
            if count(delay, 0 if self._resumed() else 1):
                self._timer = self._loop.call_later(interval, again, context=context)

        self._timer = self._loop.call_later(interval, again, context=context)

    def end(self) -> None:
        # A timer may be cancelled only in the loop's thread; from another thread it runs once more and does nothing.
        if self._timer is not None and threading.get_ident() == self._thread:
            self._timer.cancel()
            self._timer = None

    def loop(self) -> Any:
        return self._loop

    def stall(self) -> float:
        if not self._loop.is_running():
            self._stopped = True
            return 0.0
        now = self._clock()
        if self._stopped:  # it is run again, and its tick was due while it was not
            self._stopped = False
            self._due = now + self._interval
        return max(0.0, now - self._due)

    def catch_up(self) -> None:
        pass  # the timer counts them

    def _resumed(self) -> bool:
        # Each run of a loop sets the hooks for asynchronous generators again, to newly bound methods.
        before, self._hook = self._hook, sys.get_asyncgen_hooks().firstiter
        return self._hook is not before


def watch_here() -> Watch:
    """A watch of the loop that runs in this thread.

    :raises RuntimeError: no loop runs in this thread.
    """
    trio = running_trio()
    if trio is not None and trio.in_trio_task():
        from .trio_turns import TurnWatch  # trio is optional

        return TurnWatch()
    try:
        return TimerWatch(asyncio.get_running_loop())
    except RuntimeError:
        raise RuntimeError("no event loop runs in this thread; start the monitor from a coroutine") from None
