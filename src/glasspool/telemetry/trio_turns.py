"""Watches a trio run by its turns, passively: no timer wakes it, so nothing that waits for an idle run waits for ever.

    turn: tasks run ─► before_io_wait(timeout) ─► the run waits ─► after_io_wait ─► turn …

A timer that is due while the run waits would have been run at once; one that is due during a turn, at its end. A wait
that lasts longer than the run has asked for (another thread keeps the interpreter) counts as a part of the next turn.
"""

from __future__ import annotations

import contextlib
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
        self._on = False
        self._due = inf  # when the next tick is due
        self._until = _BUSY  # the run waits until then, unless something happens before; _BUSY: it does not wait

    def begin(self, clock: Callable[[], float], interval: float, count: Count, ended: Callable[[], None]) -> None:
        self._clock, self._interval = clock, interval
        self._count, self._ended = count, ended
        self._due = clock() + interval
        self._on = True
        trio.lowlevel.add_instrument(self)

    def end(self) -> None:
        if _current_token() is self._token:
            self._remove()
            return
        with contextlib.suppress(trio.RunFinishedError, OSError):  # OSError: the run has broken down
            self._token.run_sync_soon(self._remove)

    def _remove(self) -> None:
        if self._on:
            self._on = False
            trio.lowlevel.remove_instrument(self)

    def loop(self) -> Any:
        return self._token

    def before_io_wait(self, timeout: float) -> None:
        """See trio.abc.Instrument."""
        now = self._clock()
        if now >= self._due:
            delay, self._due = now - self._due, now + self._interval
            if not self._count(delay, 1):
                self._remove()
        self._until = now + timeout

    def after_io_wait(self, timeout: float) -> None:
        """See trio.abc.Instrument."""
        if self._due >= self._until:  # the common case; nor is there anything for a reading to count
            self._until = _BUSY
            return
        with self._lock:
            ticks = self._ticks_until(min(self._clock(), self._until))
            self._until = _BUSY
        if ticks and not self._count(0.0, ticks):
            self._remove()

    def after_run(self) -> None:
        """See trio.abc.Instrument."""
        self._on = False
        self._ended()

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


def _current_token() -> Any:
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:
        return None
