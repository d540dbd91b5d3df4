"""The ways out of this process as the pipeline sees them: what each is asked for is done in a thread of its own."""

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
        """Begin to export what there is; ``timeout`` is how many seconds that may take."""
        ...

    def begin_close(self) -> Request:
        """Begin to export everything, and stop."""
        ...

    def also(self, job: Callable[[], bool]) -> Request:
        """Have ``job`` done when what was asked for before is done."""
        ...

    def end(self) -> None:
        """Let the thread end when all is done."""
        ...

    def give_up(self) -> int:
        """Export no more. Returns how many spans are lost by that."""
        ...

    def start_again(self) -> None:
        """In a forked child: what waits is the parent's."""
        ...


class Reading:
    """A metric reader, which takes as long for an export as its exporter likes."""

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
