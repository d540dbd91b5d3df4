"""Observations that the first call begins, from any thread, and that all later calls share."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from .observation import Observed

__all__ = ["SharedObservations"]


class SharedObservations:
    """Observations by name."""

    def __init__(self) -> None:
        self._known: dict[str, Observed] = {}
        self._renew_lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew_lock)

    def find(self, name: str, begin: Callable[[], Observed]) -> Observed:
        """The observation of this name; ``begin`` makes it if there is none, only once for all threads."""
        known = self._known.get(name)
        if known is not None:
            return known
        with self._lock:
            if name not in self._known:
                self._known[name] = begin()
            return self._known[name]

    def end(self) -> None:
        """Stop observing all of them."""
        with self._lock:
            known, self._known = self._known, {}
        for observed in known.values():
            observed.close_when_empty()

    def _renew_lock(self) -> None:
        self._lock = threading.RLock()  # a finalizer within it may submit, too
