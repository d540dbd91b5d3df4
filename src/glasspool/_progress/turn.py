"""Turn: one thread at a time, and one act at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

__all__ = ["Turn"]


class Turn:
    """A lock for acts that a finalizer or a signal handler may ask for in the middle of another act, in its thread.

    Such an act is done when the other one is over.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        # Touched by the thread that holds the lock only.
        self._acting = False
        self._later: deque[Callable[[], object]] = deque()

    def take(self, act: Callable[[], object]) -> None:
        """Do it, and raise what it raises; or leave it to the act that this thread is in."""
        with self._lock:
            self._later.append(act)
            if self._acting:
                return
            self._acting = True
            try:
                while self._later:
                    self._later.popleft()()
            finally:
                self._acting = False
