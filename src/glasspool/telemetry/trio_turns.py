"""Watches a trio run by its turns, passively: no timer wakes it, so nothing that waits for an idle run waits for ever.

    turn: tasks run ─► before_io_wait(timeout) ─► the run waits ─► after_io_wait ─► turn …

A timer that is due while the run waits would have been run at once; one that is due during a turn, at its end. A wait
that lasts longer than the run has asked for (another thread keeps the interpreter) counts as a part of the next turn.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable
from math import ceil, inf
from typing import Any

import trio

from .loop_watch import Count, Watch

__all__ = ["TurnWatch"]

_BUSY = -inf


class TurnWatch(Watch, trio.abc.Instrument):
    """An instrument of the trio run of this thread."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._lock = threading.Lock()  # between the run and a reading that counts ticks while the run waits
        self._scope = trio.CancelScope()
        self._due = inf  # when the next tick is due
        self._until = _BUSY  # the run waits until then, unless something happens before; _BUSY: it does not wait

    def begin(self, clock: Callable[[], float], interval: float, count: Count, ended: Callable[[], None]) -> None:
        self._clock, self._interval = clock, interval
        self._count, self._ended = count, ended
        self._due = clock() + interval
        # It waits for the end of the run. An `after_run` would be told of it, too, but trio's own tests look for those.
        trio.lowlevel.spawn_system_task(
            self._watching, name="glasspool event-loop monitor", context=contextvars.Context()
        )
        trio.lowlevel.add_instrument(self)

    async def _watching(self) -> None:
        try:
            with self._scope:
                await trio.sleep_forever()
        finally:
            trio.lowlevel.remove_instrument(self)
            self._ended()

    def end(self) -> None:
        # Not cancelled directly: that would wake a run that has ended. (OSError: the run has broken down.)
        with contextlib.suppress(trio.RunFinishedError, OSError):
            self._token.run_sync_soon(self._scope.cancel)

    def loop(self) -> Any:
        return self._token

    def before_io_wait(self, timeout: float) -> None:
        """See trio.abc.Instrument."""
        now = self._clock()
        if now >= self._due:
            delay, self._due = now - self._due, now + self._interval
            self._count(delay, 1)
        self._until = now + timeout

    def after_io_wait(self, timeout: float) -> None:
        """See trio.abc.Instrument."""
        if self._due >= self._until:  # the common case; nor is there anything for a reading to count
            self._until = _BUSY
            return
        with self._lock:
            ticks = self._ticks_until(min(self._clock(), self._until))
            self._until = _BUSY
        if ticks:
            self._count(0.0, ticks)

    def _ticks_until(self, instant: float) -> int:
        """How many ticks were due before this instant; they are done. Under the lock."""
        if self._due >= instant:
            return 0
        ticks = ceil((instant - self._due) / self._interval)
        self._due += ticks * self._interval
        return ticks

    def stall(self) -> float:
        due, until = self._due, self._until
        if until == inf:
            return 0.0
        if due < until:
            due += ceil((until - due) / self._interval) * self._interval
        return max(0.0, self._clock() - due)

    def catch_up(self) -> None:
        # Without waiting: a signal handler may read while its thread has the lock.
        if not self._lock.acquire(blocking=False):
            return
        try:
            ticks = 0 if self._until == _BUSY else self._ticks_until(min(self._clock(), self._until))
        finally:
            self._lock.release()
        if ticks:
            self._count(0.0, ticks)
