"""The exporters of a pipeline; each runs its exports in its own thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from opentelemetry.sdk.metrics.export import MetricReader

from .background import Aside, Request
from .exporters import PeriodicExports

__all__ = ["Part", "Reading"]


class Part(Protocol):
    """The spans of one exporter, or the metrics of one reader."""

    @property
    def reached(self) -> bool:
        """Whether an export has ever succeeded."""
        ...

    def begin_flush(self, timeout: float) -> Request:
        """Begin to export everything that exists now; ``timeout`` is the number of seconds that may take."""
        ...

    def begin_close(self) -> Request:
        """Begin to export everything, and stop."""
        ...

    def also(self, job: Callable[[], bool]) -> Request:
        """Request ``job`` after the earlier requests."""
        ...

    def end(self) -> None:
        """End the thread when all requests are done."""
        ...

    def give_up(self) -> int:
        """Stop exporting. Returns the number of spans that are lost."""
        ...

    def start_again(self) -> None:
        """In a forked child: drop what waits, since it belongs to the parent."""
        ...


class Reading:
    """A metric reader, whose exports take as long as its exporter does."""

    def __init__(self, reader: MetricReader) -> None:
        self._reader = reader
        self._exports = reader.exports if isinstance(reader, PeriodicExports) else None
        self._aside = Aside("glasspool-metrics")
        self.also = self._aside.ask
        self.end = self._aside.end
        self.start_again = self._aside.start

    @property
    def reached(self) -> bool:
        """Whether an export has ever succeeded."""
        return self._exports is not None and self._exports.renewed.succeeded

    def begin_flush(self, timeout: float) -> Request:
        """Begin to collect and export. Not ok while totals of an earlier export have not arrived either."""

        def flush() -> bool:
            self._reader.force_flush(timeout * 1000)
            return self._exports is None or not self._exports.unsent

        return self._aside.ask(flush)

    def begin_close(self) -> Request:
        """Begin with the last export."""

        def close() -> bool:
            if self._exports is None:  # a reader of another kind; its provider closes it
                return True
            self._reader.shutdown()
            return not self._exports.unsent

        return self._aside.ask(close)

    def give_up(self) -> int:
        """The last export goes on in its thread; it has no spans."""
        return 0
