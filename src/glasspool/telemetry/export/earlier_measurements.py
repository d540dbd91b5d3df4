"""Passes the measurements from before a meter provider was set to the SDK, bucket by bucket.

The recorder keeps counts, sums and exemplars, not each value. For each bucket one suitable value is recorded, so that
the SDK's views, readers and exemplars process it like any other; the rest of the bucket is added to the SDK's sums.
Counts, buckets and sums are exact; the smallest and largest value are accurate to the bucket.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from glasspool.telemetry.recording.histograms import Exemplar, Histogram

__all__ = ["Earlier", "earlier", "hand_over", "spread"]

_NO_SPAN = Context()
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class Earlier(NamedTuple):
    """The contents of a series when the provider was found."""

    series: Histogram
    counts: tuple[int, ...]
    sum: float
    exemplars: tuple[Exemplar | None, ...]


def earlier(series: Histogram) -> Earlier:
    """The current contents of the series; the caller holds its holder's lock."""
    return Earlier(series, tuple(series.counts), series.sum, tuple(series.exemplars or ()))


def hand_over(found: Earlier, instrument: Any) -> None:
    """Record all of it in a histogram instrument of the OpenTelemetry API."""
    series = found.series
    left, total = list(found.counts), found.sum
    traced = []
    for index, exemplar in enumerate(found.exemplars):
        if exemplar is not None and left[index]:
            left[index] -= 1
            total -= exemplar[0]
            traced.append(exemplar)

    def record(value: float, context: Context = _NO_SPAN) -> None:
        instrument.record(value, series.attributes, context)

    values = spread(left, total, series.bounds)
    for index, value in enumerate(values):
        if left[index]:
            left[index] -= 1
            total -= value
            record(value)
    if any(left) and not _add(instrument, series, left, total):
        for value, count in zip(values, left, strict=True):
            for _ in range(count):
                record(value)
    for value, trace_id, span_id, _ in traced:  # last, because the SDK keeps the last one of a bucket
        span = NonRecordingSpan(SpanContext(trace_id, span_id, is_remote=False, trace_flags=_SAMPLED))
        record(value, set_span_in_context(span, Context()))


def spread(counts: Sequence[int], total: float, bounds: Sequence[float]) -> list[float]:
    """A value for each bucket, within its bounds, so that ``counts`` of them add up to ``total``.

    There is one, as long as ``total`` is the sum of measurements that fell into these buckets: all of them are moved
    equally far from their lower towards their upper bounds.
    """
    lower = [0.0, *bounds]
    least = sum(count * bound for count, bound in zip(counts, lower, strict=True))
    over = max(0.0, total - least)
    # The last bucket has no upper bound: it reaches as far as the sum allows.
    upper = [*bounds, lower[-1] + over / (counts[-1] or 1)]
    most = sum(count * bound for count, bound in zip(counts, upper, strict=True))
    share = min(1.0, over / (most - least)) if most > least else 0.0
    # A bucket begins just above its lower bound, the first one at 0.
    above = [0.0, *(math.nextafter(bound, math.inf) for bound in bounds)]
    return [max(low + share * (high - low), first) for low, high, first in zip(lower, upper, above, strict=True)]


def _add(instrument: Any, series: Histogram, counts: Sequence[int], total: float) -> bool:
    """Add the rest to the SDK's own sums, after one value of each bucket was recorded. False: nothing was done.

    OpenTelemetry cannot record a value many times at once, and a million records take many seconds. So this uses
    private parts of the SDK, but only if everything is as expected: classic histograms with our bounds.
    """
    try:
        real = getattr(instrument, "_real_instrument", instrument)  # behind the API's proxy
        targets = [
            aggregation
            for storage in real._measurement_consumer._reader_storages.values()
            for match in storage._instrument_view_instrument_matches[real]
            for aggregation in _aggregations(match, series.attributes)
        ]
        fitting = all(
            tuple(each._boundaries) == series.bounds
            and [type(value) for value in each._value] == [int] * len(counts)
            and isinstance(each._sum, float)
            and callable(each._lock.acquire)
            for each in targets
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return False  # another SDK, another version, or a view that makes no histogram
    if not fitting:
        return False
    for each in targets:
        with each._lock:
            each._value = [old + new for old, new in zip(each._value, counts, strict=True)]
            each._sum += total
    return True


def _aggregations(match: Any, attributes: dict[str, Any]) -> list[Any]:
    """The SDK's aggregations of measurements with these attributes: one for each view, none if a view drops them."""
    keys = match._view._attribute_keys
    kept = attributes if keys is None else {key: value for key, value in attributes.items() if key in keys}
    if type(match._aggregation).__name__ == "_DropAggregation":
        return []
    (found,) = [each for each in match._attributes_aggregation.values() if dict(each._attributes) == kept]
    return [found]
