"""One update at a time, on one thread too.

Between two bytecodes Python may run something else on the same thread: a signal handler, a finalizer, a trace function.
What that counts must not come into the middle of an update, and it cannot wait for its end either. So it is put off:
done in the order in which it came, by the thread itself, when the update under way is complete.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial

__all__ = ["Turns"]


class Turns:
    """A lock under which one update is made at a time, also when one re-enters another.

    ``busy`` says that one is being made; it is True only while its thread holds ``lock``, which is re-entrant, so
    code that finds it True runs within that update. ``later`` is what was put off. Updates that every
    task makes write ``take`` out, to spare its call.
    """

    __slots__ = ("busy", "later", "lock")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.busy = False
        self.later: deque[Callable[[], object]] = deque()

    def take(self, update: Callable[..., object], *args: object) -> None:
        """Make an update now, or when the one under way on this thread is complete."""
        with self.lock:
            if self.busy or self.later:
                self.put_off(partial(update, *args))
            else:
                self._turn(update, args)

    def look(self, reading: Callable[..., object], *args: object) -> None:
        """Read now. Updates that come in between are made afterwards; within an update what is there is read."""
        with self.lock:
            if self.busy:
                reading(*args)
                return
            self.run_later()
            self._turn(reading, args)

    def put_off(self, update: Callable[[], object]) -> None:
        """Have an update made after those that were put off before. The caller holds the lock."""
        self.later.append(update)
        if not self.busy:  # what came before was left over in the last instant of a turn
            self.run_later()

    def run_later(self) -> None:
        """Make the updates that were put off. The caller holds the lock and is in no turn."""
        while self.later:  # asked again, since one may come when the last has been made
            self.busy = True
            try:
                while self.later:
                    self.later.popleft()()
            finally:
                self.busy = False

    def _turn(self, update: Callable[..., object], args: tuple[object, ...]) -> None:
        self.busy = True
        try:
            update(*args)
        finally:
            self.busy = False
        self.run_later()
