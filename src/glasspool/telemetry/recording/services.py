"""What is kept of the services of one identity; it lives as long as the process. Changes and readings are in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import OTHER

from .executor_figures import ExecutorFigures
from .histograms import Histogram
from .printable_text import printable
from .series_budget import Budget
from .snapshot import Add

__all__ = ["ServiceSeries"]

_NAMES = 25  # service names that an executor may show before the rest becomes _OTHER


class ServiceSeries:
    """The services of one identity.

    :param hit: called with the kind of failure and the cap when a name or type of error finds no room.
    :param room_for: whether there is room for one more series of this ``error.type``.
    """

    def __init__(
        self, budget: Budget, hit: Callable[[str, str], None], room_for: Callable[[str], bool], no_room: str
    ) -> None:
        self._budget = budget
        self._hit = hit
        self._room_for = room_for
        self._no_room = no_room
        self._names: dict[str, str] = {}  # as they are shown
        self.restarts: dict[tuple[str, str], int] = {}  # by shown name and error type
        self.ready: dict[str, Histogram] = {}  # by shown name
        self.failed: dict[str, int] = {}  # have failed since one of this shown name was ready

    def shown(self, name: str) -> str:
        """The name as a metric label: itself for the first ones, then ``_OTHER``. Its counters exist from now on."""
        known = self._names.get(name)
        if known is not None:
            return known
        full = len(self._names) >= _NAMES
        shown = OTHER if full else printable(name)
        series = len(catalog.SERVICE_STATES) + 1
        if full or not self._budget.take(series):
            self._hit("label_cap", "service_cap" if full else self._no_room)
            shown = OTHER
            if shown not in self.failed:
                self._budget.use(series)
        else:
            self._names[name] = shown
        self.restarts.setdefault((shown, ""), 0)
        self.failed.setdefault(shown, 0)
        return shown

    def restarted(self, shown: str, error_type: str) -> None:
        """A service has ended, by an error of this type or normally (empty), and will be started again."""
        key = shown, error_type
        if key not in self.restarts and not self._room_for(error_type):
            key = shown, OTHER
            if key not in self.restarts:
                self._budget.use(1)
        self.restarts[key] = self.restarts.get(key, 0) + 1

    def read(self, live: Iterable[ExecutorFigures], add: Add) -> None:
        """Add the points of counters and gauges."""
        for (shown, error_type), count in self.restarts.items():
            add(catalog.SERVICE_RESTARTS, count, shown, error_type)
        for shown, failed in self.failed.items():
            for state in catalog.SERVICE_STATES:
                count = failed if state == "failed" else sum([each.services[shown, state] for each in live])
                add(catalog.SERVICE_STATE, count, shown, state)
