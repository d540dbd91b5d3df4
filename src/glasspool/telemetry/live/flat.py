"""The figures of a process, executor by executor and loop by loop, each as one dictionary of numbers.

The key of a number is the metric's name and the values of its attributes besides the executor's; that of a bucket of a
histogram ends with the bucket's index. Counters at 0 are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import PROCESS, Key, Metric
from glasspool.telemetry.recording.histograms import Histogram
from glasspool.telemetry.recording.registry import REGISTRY
from glasspool.telemetry.recording.snapshot import Add, Snapshot

__all__ = ["LOOP", "Entity", "Flat", "Flats", "Numbers", "SeriesKey", "figures_here", "flatten", "labels_of"]

SeriesKey = tuple[Any, ...]
Flat = dict[SeriesKey, float]

LOOP = "eventloop"
"""The type of entities that are event loops."""


class Entity(NamedTuple):
    """An executor, or an event loop, of one of the processes."""

    process: int
    type: str
    name: str


_KEPT_LABELS = (catalog.QUEUE_WAIT.name, catalog.QUEUE_HOLD.name)
"""Histograms of which the series are kept apart; those of the others are added up."""

_EXTRA = {
    metric.name: tuple(key for key in metric.attributes if key != Key.EVENTLOOP_NAME)
    for metric in catalog.BY_NAME.values()
}
"""The attributes of each metric that tell the series of one entity apart."""


class Flats:
    """Gathers the numbers of one process as they are read."""

    zeros = False

    def __init__(self, process: int) -> None:
        self._process = process
        self._found: dict[Entity, Flat] = {}
        self._flats: dict[tuple[str, str], Flat] = {}

    def of(self, identity: dict[str, Any]) -> Add:
        """See Gathering."""
        flat = self.flat(identity)

        def add(metric: Metric, value: float, /, *labels: str) -> None:
            if value or metric.kind != "counter":
                flat[(metric.name, *labels) if labels else (metric.name,)] = value

        return add

    def histogram(self, series: Histogram) -> None:
        """See Gathering."""
        self.add_counts(series.metric, series.attributes, series.counts)

    def flat(self, attributes: dict[str, Any]) -> Flat:
        """The numbers of the executor, or the event loop, with these attributes among others."""
        name = attributes.get(Key.EXECUTOR_NAME)
        kind = LOOP if name is None else attributes.get(Key.EXECUTOR_TYPE, "")
        if name is None:
            name = attributes.get(Key.EVENTLOOP_NAME, PROCESS)
        flat = self._flats.get((kind, name))
        if flat is None:
            flat = self._flats[kind, name] = self._found[Entity(self._process, kind, name)] = {}
        return flat

    def add_counts(self, metric: Metric, attributes: dict[str, Any], counts: Iterable[int]) -> None:
        """Add those of a histogram, by bucket."""
        name = metric.name
        label = attributes.get(metric.attributes[0], "") if name in _KEPT_LABELS else ""
        flat = self.flat(attributes)
        for index, count in enumerate(counts):
            if count:
                key = (name, label, index)
                flat[key] = flat.get(key, 0) + count

    def found(self) -> dict[Entity, Flat]:
        """All that was gathered."""
        return {entity: flat for entity, flat in self._found.items() if flat}


def figures_here(process: int) -> dict[Entity, Flat]:
    """All numbers of this process now.

    :param process: its number.
    """
    flats = Flats(process)
    REGISTRY.read(flats)
    return flats.found()


def flatten(process: int, snapshot: Snapshot) -> dict[Entity, Flat]:
    """All numbers of another process's snapshot."""
    flats = Flats(process)
    for name, points in snapshot.points.items():
        metric = catalog.BY_NAME.get(name)
        if metric is None:
            continue
        counter, extra = metric.kind == "counter", _EXTRA[name]
        for point in points:
            if not point.value and counter:
                continue
            flat = flats.flat(point.attributes)
            key = (name, *[point.attributes.get(label, "") for label in extra])
            flat[key] = flat.get(key, 0.0) + point.value
    for name, histograms in snapshot.histograms.items():
        metric = catalog.BY_NAME.get(name)
        if metric is not None:
            for histogram in histograms:
                flats.add_counts(metric, histogram.attributes, histogram.counts)
    return flats.found()


class Numbers:
    """The numbers of one entity, asked by metric."""

    def __init__(self, flat: Flat) -> None:
        self._by_metric: dict[str, Flat] = {}
        for key, value in flat.items():
            self._by_metric.setdefault(key[0], {})[key] = value

    def of(self, metric: Metric) -> Flat:
        """All series of a metric."""
        return self._by_metric.get(metric.name, {})

    def value(self, metric: Metric) -> float | None:
        """The one series of a metric without attributes; None if it does not exist."""
        return self.of(metric).get((metric.name,))

    def total(self, metric: Metric, *first: str) -> float:
        """The sum of all series of a counter or gauge whose attributes begin with these values."""
        series = self.of(metric)
        if not first or not series:
            return sum(series.values())
        length = len(first) + 1
        return sum([value for key, value in series.items() if key[1:length] == first])

    def buckets(self, metric: Metric, *labels: str) -> list[float]:
        """The counts of a histogram by bucket, of these series together."""
        counts = [0.0] * (len(metric.buckets) + 1)
        for (_, label, index), value in self.of(metric).items():
            if label in labels:
                counts[index] += value
        return counts


def labels_of(key: SeriesKey) -> Iterator[tuple[str, str]]:
    """The attributes of a series, without empty ones."""
    return ((label, value) for label, value in zip(_EXTRA[key[0]], key[1:], strict=False) if value)
