"""Where the OpenTelemetry SDK adds up the measurements of a histogram: for each reader and view one aggregation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

__all__ = ["Aggregations", "aggregations_of"]


class Aggregations:
    """The SDK's sums for one set of attributes of a histogram, which have our bounds."""

    __slots__ = ("_found", "_storages")

    def __init__(self, storages: Sequence[Any], found: Sequence[Any]) -> None:
        self._storages = storages
        self._found = found

    def add(self, counts: Sequence[int], total: float, least: float, most: float) -> None:
        """Count so many measurements in each bucket, of this sum, the smallest and largest being these."""
        for each in self._found:
            with each._lock:
                old = each._value or [0] * len(counts)
                each._value = [before + new for before, new in zip(old, counts, strict=True)]
                each._sum += total
                if each._record_min_max and least <= most:
                    each._min = min(each._min, least)
                    each._max = max(each._max, most)

    def are_all(self, instrument: Any) -> bool:
        """Whether the provider still has the readers that it had."""
        return self._storages == _storages_of(_real(instrument))


def aggregations_of(instrument: Any, attributes: Mapping[str, Any], bounds: tuple[float, ...]) -> Aggregations | None:
    """Where measurements with these attributes go, at least one of which was recorded.

    None unless all of it is as it was when this was written: histograms with these bounds, or a view that drops them.
    """
    try:
        real = _real(instrument)
        storages = _storages_of(real)
        found = [
            aggregation
            for storage in storages
            for match in storage._instrument_view_instrument_matches[real]
            for aggregation in _aggregations(match, attributes)
        ]
        fitting = all(
            tuple(each._boundaries) == bounds
            and (each._value is None or [type(value) for value in each._value] == [int] * (len(bounds) + 1))
            and isinstance(each._record_min_max, bool)
            and all(isinstance(number, (int, float)) for number in (each._sum, each._min, each._max))
            and (each._min, each._max) != (-inf, inf)
            and callable(each._lock.acquire)
            for each in found
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None  # another SDK, another version, or a view that makes no histogram
    return Aggregations(storages, found) if fitting else None


def _real(instrument: Any) -> Any:
    return getattr(instrument, "_real_instrument", instrument)  # behind the API's proxy


def _storages_of(real: Any) -> list[Any]:
    return list(real._measurement_consumer._reader_storages.values())


def _aggregations(match: Any, attributes: Mapping[str, Any]) -> list[Any]:
    """One place for each view, none where a view drops them."""
    keys = match._view._attribute_keys
    kept = attributes if keys is None else {key: value for key, value in attributes.items() if key in keys}
    if type(match._aggregation).__name__ == "_DropAggregation":
        return []
    (found,) = [each for each in match._attributes_aggregation.values() if dict(each._attributes) == kept]
    return [found]
