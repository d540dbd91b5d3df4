"""Counts the warnings that an SDK logs about losses, if the application has set the SDK up itself.

Each warning counts as one, however many spans it stands for; losses without a warning are not seen. The warnings are
still logged as before.
"""

from __future__ import annotations

import logging
import threading
from types import TracebackType

from glasspool.telemetry.recording.registry import REGISTRY

__all__ = ["ours", "watch"]

_TELLING = {
    "Queue full, dropping": ("span_queue_full",),
    "Queue is full": ("span_queue_full",),
    "Already shutdown, dropping": ("span_shutdown",),
    "Processor is already shutdown": ("span_shutdown",),
    "Exporter already shutdown, ignoring batch": ("span_shutdown",),
    "Exception while exporting": ("export", "span_export"),
    "Failed to export": ("export", "span_export"),
}
"""Prefixes of the SDK's messages, with the kinds that are counted."""

_LOGGERS = (
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.sdk.trace.export",
    "opentelemetry.sdk.metrics._internal.export",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
)


class _Ours(threading.local):
    """Set while an exporter of ours works: its failures are counted elsewhere, not by its log."""

    held = False

    def __enter__(self) -> None:
        self.held = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.held = False


ours = _Ours()


def watch() -> None:
    """Count the SDK's warnings from now on. Idempotent."""
    for name in _LOGGERS:
        filters = logging.getLogger(name).filters
        if _look not in filters:
            filters.insert(0, _look)  # before the SDK's own filter, which lets a repeated warning through only once


def _look(record: logging.LogRecord) -> bool:
    if not ours.held:
        for kind in _kinds(record):
            REGISTRY.telemetry_failed(kind)
    return True


def _kinds(record: logging.LogRecord) -> tuple[str, ...]:
    signal = record.args[0] if isinstance(record.args, tuple) and record.args else ""
    for beginning, kinds in _TELLING.items():
        if str(record.msg).startswith(beginning) and signal not in ("logs", "Log"):
            # The next export sends totals again; the number of lost deltas is not logged.
            return ("export",) if signal == "metrics" or "metric" in record.name else kinds
    return ()
