"""How many series a process may still make: what keeps a label that takes any value from filling a store."""

from __future__ import annotations

from glasspool.telemetry.catalog import Metric

__all__ = ["Budget", "series_of"]


def series_of(metric: Metric) -> int:
    """How many series one histogram is: its bounds, the open bucket, sum and count."""
    return len(metric.buckets) + 3


class Budget:
    """The series of one process. From any thread, and within any update: each change is one step of one container.

    ``names`` executors always find room for their counters and gauges, ``per_name`` series each, however many
    histograms there are: a name that is hidden hides everything about its executor. ``kept_back`` is for what must
    always be had and is bounded by itself: the executors called ``_OTHER``, one per type, and the process's own.
    """

    def __init__(self, series: int = 20_000, names: int = 200, per_name: int = 48, kept_back: int = 1_250) -> None:
        self.names = names
        self._limit = series - kept_back
        self._taken: list[int] = []
        self._places = [per_name] * names  # room reserved for names to come
        self._folded: dict[tuple[str, str], object] = {}
        self._said: dict[str, object] = {}

    @property
    def used(self) -> int:
        """How many series were taken."""
        return sum(self._taken)

    def take(self, count: int) -> bool:
        """Take room for ``count`` series; False (and nothing taken) when there is not that much."""
        if self._room() < count:  # mostly for good, and nothing is noted
            return False
        self.use(count)
        if self._room() >= 0:
            return True
        self.use(-count)  # others took it meanwhile
        return False

    def _room(self) -> int:
        return self._limit - sum(self._taken) - sum(self._places)

    def use(self, count: int) -> None:
        """Count series that must be had and are bounded by themselves, or give some back (below 0)."""
        self._taken.append(count)

    def enter(self, count: int) -> bool:
        """Take the room that is reserved for an executor with a new name; False when all names are taken."""
        try:
            self._places.pop()
        except IndexError:
            return False
        self.use(count)
        return True

    def fold(self, type: str, metric: Metric) -> None:
        """Count the histogram that takes what finds no room, for all executors of this type."""
        mine = object()
        if self._folded.setdefault((type, metric.name), mine) is mine:
            self.use(series_of(metric))

    def first(self, cap: str) -> bool:
        """True once for each cap of the process: it has not been logged yet."""
        mine = object()
        return self._said.setdefault(cap, mine) is mine
