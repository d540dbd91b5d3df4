"""A snapshot read by question: how much of this metric carries these attributes, and how long took the slowest.

For programs that show or check their own figures (the demo, the testing helpers); exporters read snapshots whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from glasspool.telemetry.catalog import Metric

from .snapshot import HistogramPoint, Point, Snapshot

__all__ = ["merged", "quantile", "total"]

P = TypeVar("P", Point, HistogramPoint)


def total(snapshot: Snapshot, metric: Metric, attributes: Mapping[str, str]) -> float:
    """The sum over the series of a counter or gauge that carry these attributes; 0 when there is none."""
    return sum(point.value for point in _matching(snapshot.points.get(metric.name, []), attributes))


def merged(snapshot: Snapshot, metric: Metric, attributes: Mapping[str, str]) -> HistogramPoint:
    """The series of a histogram that carry these attributes as one, without exemplars; all zero when there is none."""
    counts, seconds = [0] * (len(metric.buckets) + 1), 0.0
    for point in _matching(snapshot.histograms.get(metric.name, []), attributes):
        counts = [left + right for left, right in zip(counts, point.counts, strict=True)]
        seconds += point.sum
    return HistogramPoint(dict(attributes), tuple(counts), seconds, ())


def quantile(counts: Sequence[int], bounds: Sequence[float], q: float) -> float | None:
    """The value below which the share ``q`` of the measurements lies, in the unit of ``bounds``; None without any.

    Linear within a bucket, as Prometheus does it; what lies beyond the last bound counts as the last bound.
    """
    wanted = q * sum(counts)
    below, lower = 0, 0.0
    for count, upper in zip(counts, bounds, strict=False):
        if count and below + count >= wanted:
            return lower + (upper - lower) * (wanted - below) / count
        below, lower = below + count, upper
    return lower if sum(counts) else None


def _matching(points: Sequence[P], attributes: Mapping[str, Any]) -> Iterator[P]:
    wanted = attributes.items()
    return (point for point in points if wanted <= point.attributes.items())
