"""How many series a process may still make: what keeps a label that takes any value from filling a store."""

from __future__ import annotations

import threading

from .catalog import Metric

__all__ = ["Budget", "series_of"]


def series_of(metric: Metric) -> int:
    """How many series one histogram is: its bounds, the open bucket, sum and count."""
    return len(metric.buckets) + 3


class Budget:
    """The series of one process. Thread-safe: identities have locks of their own.

    ``names`` executors always find room for their counters and gauges, ``per_name`` series each, however many
    histograms there are: a name that is hidden hides everything about its executor. ``kept_back`` is for what must
    always be had and is bounded by itself: the executors called ``_OTHER``, one per type, and the process's own.
    """

    def __init__(self, series: int = 20_000, names: int = 200, per_name: int = 48, kept_back: int = 1_250) -> None:
        self.names = names
        self.used = 0
        self._limit = series - kept_back
        self._per_name = per_name
        self._reserved = names * per_name
        self._folded: set[tuple[str, str]] = set()
        self._said: set[str] = set()
        self._lock = threading.Lock()

    def take(self, count: int) -> bool:
        """Take room for ``count`` series; False (and nothing taken) when there is not that much."""
        with self._lock:
            if self.used + count > self._limit - self._reserved:
                return False
            self.used += count
            return True

    def use(self, count: int) -> None:
        """Count series that must be had and are bounded by themselves."""
        with self._lock:
            self.used += count

    def enter(self, count: int) -> None:
        """Count the series of an executor with a new name, for which room was reserved."""
        with self._lock:
            self._reserved -= self._per_name
            self.used += count

    def fold(self, type: str, metric: Metric) -> None:
        """Count the histogram that takes what finds no room, for all executors of this type."""
        with self._lock:
            if (type, metric.name) not in self._folded:
                self._folded.add((type, metric.name))
                self.used += series_of(metric)

    def first(self, cap: str) -> bool:
        """True once for each cap of the process: nobody has logged it yet."""
        with self._lock:
            fresh = cap not in self._said
            self._said.add(cap)
            return fresh
