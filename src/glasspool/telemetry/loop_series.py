"""The series of event loops: a histogram of delays for each name, and the stall of the loops that are watched now."""

from __future__ import annotations

import weakref
from typing import Protocol

from . import catalog
from .catalog import OTHER, Key
from .recording.histograms import Histogram
from .recording.registry import Registry, Source
from .recording.series_budget import series_of
from .recording.snapshot import Gathering

__all__ = ["LATE", "EventLoops", "Monitor"]

LATE = 0.1
"""Seconds from which a tick is late: what the ticket on blocked loops counts."""


class Monitor(Protocol):
    """What watches one loop."""

    name: str
    quiet: bool
    """It has no series until the loop was late."""

    def stall(self) -> float:
        """Seconds for which a tick of the loop is overdue now."""
        ...

    def catch_up(self) -> None:
        """Count the ticks up to now."""


class EventLoops(Source):
    """The registry's source of event-loop series: histograms by name, which outlive the monitors."""

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self._registry = registry
        self._series: dict[str, Histogram] = {}
        # Weak: the monitor of a destroyed loop is destroyed with it.
        self._live: weakref.WeakKeyDictionary[Monitor, str] = weakref.WeakKeyDictionary()
        self._shown: set[str] = set()

    @classmethod
    def of(cls, registry: Registry) -> EventLoops:
        """The one of this registry; a forked child gets a new one, because its registry starts empty."""
        found: EventLoops = registry.sources.get(cls) or registry.sources.setdefault(cls, cls(registry))
        return found

    def join(self, monitor: Monitor) -> Histogram:
        """Read this monitor from now on. Returns the histogram for its delays."""
        name, budget, room = monitor.name, self._registry.budget, series_of(catalog.EVENTLOOP_DELAY) + 1
        if name not in self._series and not budget.take(room):
            name, room = OTHER, 0
            self._registry.telemetry_failed("label_cap")
        mine = self.series(catalog.EVENTLOOP_DELAY, {Key.EVENTLOOP_NAME: name})
        known = self._series.get(name)
        series = self._series.setdefault(name, mine) if known is None else known
        if known is None and series is not mine:  # another thread was faster
            budget.use(-room)
        self.take(self._live.__setitem__, monitor, name)
        if not monitor.quiet:
            self._shown.add(name)
        return series

    def show(self, monitor: Monitor) -> None:
        """Show the series of this monitor's loop from now on, including earlier counts."""
        name = self._live.get(monitor)
        if name is not None:
            self._shown.add(name)

    def histograms(self) -> list[Histogram]:
        """See Holder."""
        return list(self._series.values())

    def ticked(self, series: Histogram, delay: float, ticks: int) -> None:
        """Count ticks of a loop, each with this delay in seconds."""
        self.change(self._measure, series, delay, ticks)

    def _measure(self, series: Histogram, delay: float, ticks: int) -> None:
        if not series.one_by_one:
            series.observe(delay, times=ticks)
            return
        for _ in range(ticks):
            self.measure(series, delay)

    def leave(self, monitor: Monitor) -> None:
        """Stop reading this monitor."""
        self.take(self._live.pop, monitor, None)

    def collect(self, out: Gathering) -> None:
        """The stall of every name, and the histograms."""
        monitors: list[Monitor] = []
        self.look(lambda: monitors.extend(self._live))
        for monitor in monitors:
            monitor.catch_up()
        self.look(self._read, out)

    def _read(self, out: Gathering) -> None:
        stalls = dict.fromkeys(self._series, 0.0)
        for monitor, name in self._live.items():
            stalls[name] = max(stalls[name], monitor.stall())
        self._shown.update(name for name, stall in stalls.items() if stall > LATE)
        for name, stall in stalls.items():
            if name != OTHER and name in self._shown:  # the stall of different loops would mean nothing
                out.of({Key.EVENTLOOP_NAME: name})(catalog.EVENTLOOP_STALL, stall)
        for name, series in self._series.items():
            if name in self._shown:
                out.histogram(series)
