"""A snapshot, executor by executor and loop by loop, each as one dictionary of numbers.

The key of a number is the metric's name and the values of its attributes besides the executor's; that of a bucket of a
histogram ends with the bucket's index. Counters at 0 are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import PROCESS, Key, Metric
from glasspool.telemetry.recording.registry import Snapshot

__all__ = ["LOOP", "Entity", "Flat", "Numbers", "SeriesKey", "flatten", "labels_of"]

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


def flatten(process: int, snapshot: Snapshot) -> dict[Entity, Flat]:
    """All numbers of one process's snapshot."""
    found: dict[Entity, Flat] = {}
    entities: dict[tuple[str, str], Flat] = {}
    for name, points in snapshot.points.items():
        metric = catalog.BY_NAME.get(name)
        if metric is None:
            continue
        counter, extra = metric.kind == "counter", _EXTRA[name]
        for point in points:
            value = point.value
            if not value and counter:
                continue
            attributes = point.attributes
            flat = _flat(found, entities, process, attributes)
            key = (name, *[attributes.get(label, "") for label in extra]) if extra else (name,)
            flat[key] = flat.get(key, 0.0) + value
    for name, histograms in snapshot.histograms.items():
        metric = catalog.BY_NAME.get(name)
        if metric is None:
            continue
        apart = name in _KEPT_LABELS
        for histogram in histograms:
            attributes = histogram.attributes
            flat = _flat(found, entities, process, attributes)
            label = attributes.get(metric.attributes[0], "") if apart else ""
            for index, count in enumerate(histogram.counts):
                if count:
                    key = (name, label, index)
                    flat[key] = flat.get(key, 0) + count
    return found


def _flat(
    found: dict[Entity, Flat], entities: dict[tuple[str, str], Flat], process: int, attributes: dict[str, Any]
) -> Flat:
    name = attributes.get(Key.EXECUTOR_NAME)
    kind = LOOP if name is None else attributes.get(Key.EXECUTOR_TYPE, "")
    if name is None:
        name = attributes.get(Key.EVENTLOOP_NAME, PROCESS)
    flat = entities.get((kind, name))
    if flat is None:
        flat = entities[kind, name] = found[Entity(process, kind, name)] = {}
    return flat


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
