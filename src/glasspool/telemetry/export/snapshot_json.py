"""A snapshot as a line of JSON for another process; reading it cannot run code, whatever it contains."""

from __future__ import annotations

import json
from typing import Any

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.recording.snapshot import HistogramPoint, Point, Snapshot

__all__ = ["END", "from_line", "to_line"]

END = b"\n"
"""The end of a line; without it the line is incomplete."""


def to_line(snapshot: Snapshot) -> bytes:
    """The snapshot as text."""
    found = {
        "points": {
            name: [(point.attributes, point.value) for point in points] for name, points in snapshot.points.items()
        },
        "histograms": {
            name: [(point.attributes, point.counts, point.sum, point.exemplars) for point in points]
            for name, points in snapshot.histograms.items()
        },
    }
    return json.dumps(found, separators=(",", ":")).encode() + END


def from_line(line: bytes, number: int) -> Snapshot:
    """The snapshot of the process that has this number, which its series show from 1 on.

    Raises ``ValueError`` for what is no snapshot of this version's metrics.
    """
    shown = {Key.PROCESS_NUMBER: str(number)} if number else {}
    try:
        found = json.loads(line)
        return Snapshot(
            {
                name: [Point(_known(name, attributes) | shown, float(value)) for attributes, value in points]
                for name, points in found["points"].items()
            },
            {
                name: [_histogram(name, _known(name, attributes) | shown, *rest) for attributes, *rest in points]
                for name, points in found["histograms"].items()
            },
        )
    except (AttributeError, KeyError, RecursionError, TypeError) as error:
        raise ValueError(f"not a snapshot of this version: {error!r}") from error


def _known(name: str, attributes: dict[str, Any]) -> dict[str, Any]:
    if unknown := attributes.keys() - set(catalog.BY_NAME[name].labels):
        raise ValueError(f"{name} has no attribute {sorted(unknown)}")
    return {key: str(text) for key, text in attributes.items()}


def _histogram(name: str, attributes: dict[str, Any], counts: Any, total: float, exemplars: Any) -> HistogramPoint:
    if len(counts) != len(catalog.BY_NAME[name].buckets) + 1 or (exemplars and len(exemplars) != len(counts)):
        raise ValueError(f"{name} has other buckets")
    found = tuple(None if each is None else (float(each[0]), int(each[1]), int(each[2]), float(each[3]))
                  for each in exemplars)  # fmt: skip
    return HistogramPoint(attributes, tuple(map(int, counts)), float(total), found)
