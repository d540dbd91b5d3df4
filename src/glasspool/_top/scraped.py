"""Executors and event loops out of a page of metrics, whoever serves it."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from glasspool._doctor.exposition import Scrape
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key, Metric, prometheus_label
from glasspool.telemetry.live.flat import Entity, Flat, flatten
from glasspool.telemetry.recording.snapshot import HistogramPoint, Point, Snapshot

__all__ = ["Origins", "entities"]

_BY_NAME = {metric.prometheus_name: metric for metric in catalog.BY_NAME.values()}
_ATTRIBUTES = {prometheus_label(key): key for metric in catalog.BY_NAME.values() for key in metric.labels}
_BUCKET = "_bucket"
_NUMBER = prometheus_label(Key.PROCESS_NUMBER)

_OF_A_PROCESS = (
    "service_name", "service_instance_id", "exported_job", "exported_instance", "job", "instance", "pod", "host_name",
    "process_pid", _NUMBER,
)  # fmt: skip
"""Labels by which a page that shows several processes tells them apart; the first that differ name them."""


class Origins:
    """The processes of one page, numbered in the order in which they are met."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[tuple[str, str], ...], int] = {}

    def number(self, labels: Mapping[str, str]) -> int:
        """The number of the process that these labels are of."""
        found = tuple((label, labels[label]) for label in _OF_A_PROCESS if labels.get(label))
        return self._numbers.setdefault(found, len(self._numbers))

    def name(self, number: int) -> str:
        """What tells the process from the others of the page, for people; its number if nothing does."""
        every = [dict(found) for found in self._numbers]
        own = every[number]
        differing = [label for label in own if len({each.get(label) for each in every}) > 1]
        return own[differing[0]] if differing else str(number)


def entities(scrape: Scrape, origins: Origins) -> dict[Entity, Flat]:
    """All numbers of a page, by executor and event loop."""
    points: dict[int, dict[str, list[Point]]] = {}
    buckets: dict[tuple[int, str, frozenset[tuple[str, str]]], dict[float, float]] = {}
    for name, labels, value in scrape.samples:
        if not isfinite(value):
            continue
        metric = _BY_NAME.get(name)
        if metric is not None and metric.kind != "histogram":
            own = points.setdefault(origins.number(labels), {})
            own.setdefault(metric.name, []).append(Point(_attributes(metric, labels), value))
        elif name.endswith(_BUCKET) and (metric := _BY_NAME.get(name[: -len(_BUCKET)])) is not None:
            bound = _bound(labels.get("le", ""))
            if bound is not None:
                key = origins.number(labels), metric.name, frozenset(_attributes(metric, labels).items())
                buckets.setdefault(key, {})[bound] = value
    histograms: dict[int, dict[str, list[HistogramPoint]]] = {}
    for (number, name, attributes), cumulative in buckets.items():
        counts = _counts(catalog.BY_NAME[name], cumulative)
        if counts is not None:
            own_histograms = histograms.setdefault(number, {})
            own_histograms.setdefault(name, []).append(HistogramPoint(dict(attributes), counts, 0.0, ()))
    found: dict[Entity, Flat] = {}
    for number in sorted(points.keys() | histograms.keys()):
        found |= flatten(number, Snapshot(points.get(number, {}), histograms.get(number, {})))
    return found


def _attributes(metric: Metric, labels: Mapping[str, str]) -> dict[str, Any]:
    return {key: labels[label] for label, key in _ATTRIBUTES.items() if label in labels and key in metric.labels}


def _bound(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _counts(metric: Metric, cumulative: Mapping[float, float]) -> tuple[int, ...] | None:
    """The counts by bucket; None if the buckets are not this version's."""
    bounds = (*metric.buckets, float("inf"))
    if set(cumulative) != set(bounds):
        return None
    below, counts = 0, list[int]()
    for bound in bounds:
        counts.append(max(0, int(cumulative[bound]) - below))
        below = max(below, int(cumulative[bound]))
    return tuple(counts)
