"""What a series has counted since the last collection, handed to the SDK's own histogram as a whole.

OpenTelemetry has no way to record many measurements at once, and one takes as long as all else that a task costs. So
nothing is recorded on the path of a task: at a collection, counts, sum, smallest and largest value are added to what
the SDK keeps, and the exemplars are recorded. Where the SDK, or a view of the application's, keeps something else than
classic histograms with our bounds, measurements are recorded one by one.

What was measured before that was known (or before there was a provider) is then recorded by values that fit: counts,
buckets and sums come out exact.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from glasspool._foreign.otel_aggregations import Aggregations, aggregations_of
from glasspool.telemetry.recording.histograms import Exemplar, Histogram, Holder

__all__ = ["Change", "Changes", "spread"]

_NO_SPAN = Context()
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class Change(NamedTuple):
    """What a series has counted since the last change."""

    holder: Holder
    series: Histogram
    counts: list[int]
    sum: float
    least: float
    most: float
    exemplars: list[Exemplar]


class _Known:
    """What the SDK has of one series."""

    __slots__ = ("aggregations", "counts", "exemplars", "sum")

    def __init__(self, series: Histogram) -> None:
        self.counts = [0] * len(series.counts)
        self.sum = 0.0
        self.exemplars: list[Exemplar | None] = []
        self.aggregations: Aggregations | None = None


class Changes:
    """What the SDK has of each series, and what it has not."""

    def __init__(self) -> None:
        self._known: dict[Histogram, _Known] = {}

    def clear(self) -> None:
        """The SDK has nothing."""
        self._known.clear()

    def take(self, holder: Holder, series: Histogram) -> Change | None:
        """What is new, which the SDK is taken to have from now on; None for nothing. In a turn of the holder."""
        known = self._of(series)
        counts = [now - before for now, before in zip(series.counts, known.counts, strict=True)]
        if not any(counts):
            return None
        exemplars = [each for each in series.exemplars or () if each is not None and each not in known.exemplars]
        change = Change(holder, series, counts, series.sum - known.sum, series.least, series.most, exemplars)
        self.pass_over(series)
        return change

    def pass_over(self, series: Histogram) -> None:
        """The SDK has all that the series has counted. In a turn of its holder."""
        known = self._of(series)
        known.counts = list(series.counts)
        known.sum = series.sum
        known.exemplars = list(series.exemplars or ())
        series.least, series.most = math.inf, -math.inf

    def fit(self, series: Histogram, instrument: Any) -> Aggregations | None:
        """Where changes of the series are added, once one of its measurements was recorded; None if that cannot be."""
        known = self._of(series)
        if known.aggregations is None or not known.aggregations.are_all(instrument):
            known.aggregations = aggregations_of(instrument, series.attributes, series.bounds)
        return known.aggregations

    def _of(self, series: Histogram) -> _Known:
        return self._known.get(series) or self._known.setdefault(series, _Known(series))

    def hand_over(self, change: Change, instrument: Any) -> bool:
        """Record all of it in a histogram instrument of the OpenTelemetry API. False: not as a whole."""
        series = change.series
        left, total = list(change.counts), change.sum

        def record(value: float, context: Context = _NO_SPAN) -> None:
            nonlocal total
            left[bisect_left(series.bounds, value)] -= 1
            total -= value
            instrument.record(value, series.attributes, context)

        for value, trace_id, span_id, _ in change.exemplars:
            if left[bisect_left(series.bounds, value)]:
                span = NonRecordingSpan(SpanContext(trace_id, span_id, is_remote=False, trace_flags=_SAMPLED))
                record(value, set_span_in_context(span, Context()))
        found = self.fit(series, instrument)
        if found is None and change.least <= change.most and left[bisect_left(series.bounds, change.least)]:
            record(change.least)  # the first of its attributes: now there is a place for them
            found = self.fit(series, instrument)
        if found is not None:
            found.add(left, total, change.least, change.most)
            return True
        values = spread(left, total, series.bounds)
        for value, count in zip(values, list(left), strict=True):
            for _ in range(count):
                record(value)
        return False


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
