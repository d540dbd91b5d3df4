"""What the process's series read at one moment, as plain points; and where a reading puts the figures.

Exporters spell points; the live page takes figures as they are read, without making a point of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Protocol

from glasspool.telemetry.catalog import OTHER, Key, Metric

from .histograms import Exemplar, Histogram

__all__ = ["Add", "Gathering", "HistogramPoint", "Point", "Points", "Snapshot"]


@dataclass(slots=True)  # not frozen, for then each costs three times as much, and a reading makes thousands
class Point:
    """One value of a counter or gauge series; never changed."""

    attributes: dict[str, Any]
    value: float


@dataclass(slots=True)
class HistogramPoint:
    """One histogram series, never changed: counts per bucket (not cumulative, the last one open), their sum, exemplars
    by bucket."""

    attributes: dict[str, Any]
    counts: tuple[int, ...]
    sum: float
    exemplars: tuple[Exemplar | None, ...]

    @property
    def count(self) -> int:
        """How many measurements there are."""
        return sum(self.counts)


@dataclass(frozen=True)
class Snapshot:
    """What the process's series read at one moment, by metric name; metrics without a series are absent."""

    points: dict[str, list[Point]]
    histograms: dict[str, list[HistogramPoint]]


class Add(Protocol):
    """Takes the value of a counter or gauge of one executor, or one event loop."""

    def __call__(self, metric: Metric, value: float, /, *labels: str) -> None:
        """``labels``: the values of the metric's attributes, in the catalog's order; an empty one is no attribute."""


class Gathering(Protocol):
    """Where a reading puts the figures."""

    zeros: bool
    """Whether it wants the counters by label that are still 0, which are most of all series."""

    def of(self, identity: dict[str, Any]) -> Add:
        """Where those of the executor, or the event loop, with these attributes go. Asked once for each."""
        ...

    def histogram(self, series: Histogram) -> None:
        """Take a copy of this histogram."""


class Points:
    """Gathers points."""

    zeros = True

    def __init__(self) -> None:
        self._points: dict[str, list[Point]] = {}
        self._histograms: dict[str, list[HistogramPoint]] = {}
        self._others: dict[tuple[str, frozenset[tuple[str, Any]]], HistogramPoint] = {}

    def of(self, identity: dict[str, Any]) -> Add:
        """See Gathering."""
        points = self._points

        def add(metric: Metric, value: float, /, *labels: str) -> None:
            attributes = identity
            if labels:
                pairs = zip(metric.attributes, labels, strict=True)
                attributes = {**identity, **{key: label for key, label in pairs if label}}
            known = points.get(metric.name)
            if known is None:
                known = points[metric.name] = []
            known.append(Point(attributes, value))

        return add

    def histogram(self, series: Histogram) -> None:
        """See Gathering."""
        found = tuple(series.exemplars) if series.exemplars else ()
        point = HistogramPoint(series.attributes, tuple(series.counts), series.sum, found)
        if series.attributes.get(Key.EXECUTOR_NAME) != OTHER:
            self._histograms.setdefault(series.metric.name, []).append(point)
            return
        # Each identity keeps what it has no room for under its own lock; they are one series.
        key = series.metric.name, frozenset(series.attributes.items())
        known = self._others.get(key)
        self._others[key] = point if known is None else _together(known, point)

    def snapshot(self) -> Snapshot:
        """All that was gathered."""
        for (name, _), point in self._others.items():
            self._histograms.setdefault(name, []).append(point)
        return Snapshot(self._points, self._histograms)


def _together(left: HistogramPoint, right: HistogramPoint) -> HistogramPoint:
    counts = tuple(map(int.__add__, left.counts, right.counts))
    pairs = zip_longest(left.exemplars, right.exemplars)
    newest = tuple(max(pair, key=lambda found: found[-1] if found else 0.0) for pair in pairs)
    return HistogramPoint(left.attributes, counts, left.sum + right.sum, newest)
