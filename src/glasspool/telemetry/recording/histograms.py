"""One histogram series, and what has some: an identity, or the event loops."""

from __future__ import annotations

import abc
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from glasspool._foreign.locks import is_owned
from glasspool.telemetry.catalog import Metric

from .turns import Turns

if TYPE_CHECKING:
    from opentelemetry.trace import Span

__all__ = ["Exemplar", "Histogram", "Holder", "Measured", "Sink"]

Exemplar = tuple[float, int, int, float]
"""value, trace id, span id, wall-clock seconds: one sampled measurement of a bucket."""


class Histogram:
    """One histogram series: a count per bucket (upper bounds inclusive, the last one open), a sum, exemplars."""

    __slots__ = ("attributes", "bounds", "counts", "exemplars", "least", "metric", "most", "one_by_one", "sum")

    def __init__(self, metric: Metric, attributes: dict[str, Any], *, one_by_one: bool = False) -> None:
        """Make a series that has counted nothing.

        :param one_by_one: its holder's sink takes each measurement for itself; else what there is at a collection.
        """
        self.metric = metric
        self.attributes = attributes
        self.bounds = metric.buckets
        self.counts = [0] * (len(metric.buckets) + 1)
        self.sum = 0.0
        self.least, self.most = inf, -inf  # of the measurements since the sink has last taken them all
        self.one_by_one = one_by_one
        self.exemplars: list[Exemplar | None] | None = None

    def observe(self, value: float, exemplar: Exemplar | None = None, *, times: int = 1) -> None:
        """Count one measurement in seconds, or so many that are equal. In a turn of its holder."""
        index = bisect_left(self.bounds, value)
        self.counts[index] += times
        self.sum += value * times
        if value < self.least:
            self.least = value
        if value > self.most:
            self.most = value
        if exemplar is not None:
            self.keep(index, exemplar)

    def keep(self, index: int, exemplar: Exemplar) -> None:
        """Keep this as the bucket's latest exemplar. In a turn of its holder."""
        kept: list[Exemplar | None] = self.exemplars or [None] * len(self.counts)
        kept[index] = exemplar
        self.exemplars = kept


Measured = tuple[Histogram, float, "Span | None"]
"""One measurement in seconds that a series has counted, and the span it belongs to."""


class Sink(Protocol):
    """Where measurements also go while an OpenTelemetry meter provider is set."""

    def record(self, holder: Holder, series: Histogram, value: float, span: Span | None) -> None:
        """Take one measurement in seconds that ``series`` has counted. The caller holds no lock."""
        ...


class Holder(Turns, abc.ABC):
    """What has histograms. They change in its turns, and so does ``sink``.

    What a series counts whose measurements the sink takes one by one waits in ``measured`` for the end of the turn. The
    one that takes the turn then takes it out (``taken``) while still holding the lock, and hands it over (``tell``)
    without it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sink: Sink | None = None
        self.measured: deque[Measured] = deque()

    @abc.abstractmethod
    def histograms(self) -> list[Histogram]:
        """All there are. In a turn."""

    def change(self, update: Callable[..., object], *args: object) -> None:
        """``take`` the update, and hand over what was measured in it."""
        with self.lock:
            self.take(update, *args)
            measured = self.taken() if self.measured else ()
        if measured:
            self.tell(measured)

    def measure(self, series: Histogram, value: float, exemplar: Exemplar | None = None, span: Any = None) -> None:
        """Count one measurement, for the sink too. In a turn."""
        series.observe(value, exemplar)
        if series.one_by_one:
            self.measured.append((series, value, span))

    def series(self, metric: Metric, attributes: dict[str, Any]) -> Histogram:
        """A new series. In a turn."""
        return Histogram(metric, attributes, one_by_one=self.sink is not None)

    def taken(self) -> list[Measured]:
        """What was measured since this was last asked. The caller holds the lock."""
        found: list[Measured] = []
        try:
            while self.measured:
                found.append(self.measured.popleft())
        except IndexError:  # something re-entered and took the rest
            pass
        return found

    def tell(self, found: Iterable[Measured]) -> None:
        """Hand measurements to OpenTelemetry, whose collection takes our lock while it holds its own.

        So never under ours: if a caller further up the stack holds it, that caller hands them over, or else the
        next collection.
        """
        if is_owned(self.lock):
            self.measured.extend(found)
        elif self.sink is not None:
            for each in found:
                self.sink.record(self, *each)

    def tell_rest(self) -> None:
        """Hand over what a re-entered update has left behind."""
        if self.measured:
            with self.lock:
                found = self.taken()
            self.tell(found)
