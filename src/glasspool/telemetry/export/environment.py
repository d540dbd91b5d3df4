"""OpenTelemetry's variables with invalid values, for which its SDK would fail: they are reported once and ignored.

The SDK raises for some of them when it is imported, for others when a provider or an exporter is made, and fails at
each span or export for the rest. An invalid setting must have no effect beyond that setting.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

__all__ = ["LONGEST_MILLISECONDS", "unusable", "usable"]

LONGEST_MILLISECONDS = 2**31 - 1
"""25 days. A larger value overflows some timers."""

_CODES = [
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]
_FILTERS = ("trace_based", "always_on", "always_off")

_lock = threading.RLock()
_said: set[tuple[str, str]] = set()


def _is_size(text: str) -> bool:
    return text.isdecimal() and len(text) < 20 and int(text) <= sys.maxsize


def _is_above_0(text: str, most: float) -> bool:
    try:
        return 0 < float(text) <= most
    except ValueError:
        return False


def _over_http() -> bool:
    return any(given.strip() == "http/protobuf" for name, given in os.environ.items() if name.endswith("_PROTOCOL"))


_Rule = tuple[str, Callable[[str], bool], str]
_RULES: tuple[_Rule, ...] = (
    (r"OTEL_\w+_(COUNT|LENGTH)_LIMIT", _is_size, "no whole number from 0 on"),
    (
        r"OTEL_METRIC_EXPORT_TIMEOUT|OTEL_B(SP|LRP)_EXPORT_TIMEOUT",
        lambda text: _is_above_0(text, LONGEST_MILLISECONDS),
        "no number of milliseconds above 0",
    ),
    (
        r"OTEL_EXPORTER_OTLP_(\w+_)?TIMEOUT",
        lambda text: _is_above_0(text, LONGEST_MILLISECONDS / 1000),
        "no number of seconds above 0",
    ),
    (
        r"OTEL_EXPORTER_OTLP_(\w+_)?COMPRESSION",
        lambda text: text.lower() == "gzip" or (text.lower() == "deflate" and _over_http()),
        "neither gzip, nor none, nor (over HTTP) deflate",
    ),
    (r"OTEL_EXPORTER_OTLP_(\w+_)?INSECURE", lambda text: text.lower() in ("true", "false"), "neither true nor false"),
    (
        r"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        lambda text: text.lower() in ("cumulative", "delta", "lowmemory"),
        "none of cumulative, delta, lowmemory",
    ),
    (
        r"OTEL_\w+_RETRYABLE_ERROR_CODES",
        lambda text: all(code.strip().upper() in _CODES for code in text.split(",") if code.strip()),
        "no list of gRPC's status codes",
    ),
    (r"OTEL_METRICS_EXEMPLAR_FILTER", lambda text: text in _FILTERS, f"none of {', '.join(_FILTERS)}"),
)


def _why_not(name: str, text: str) -> str | None:
    """The problem of this value; None if it is valid, empty if it counts as unset by the specification."""
    for pattern, fits, wrong in _RULES:
        if re.fullmatch(pattern, name):
            unset = not text or (name.endswith("_COMPRESSION") and text.lower() == "none")  # no word of gRPC's exporter
            return "" if unset else None if fits(text) else wrong
    return None


def unusable() -> list[tuple[str, str, str]]:
    """The variables that ``usable`` would remove and report: name, value, and what is wrong with it."""
    given = ((name, text, _why_not(name, text.strip())) for name, text in sorted(os.environ.items()))
    return [(name, text, wrong) for name, text, wrong in given if name.startswith("OTEL_") and wrong]


@contextmanager
def usable(note: Callable[[str], object] | None = None) -> Generator[None, None, None]:
    """Remove variables for which the SDK would fail while the block runs; ``note`` is called once for each."""
    with _lock:
        hidden: dict[str, str] = {}
        for name, given in list(os.environ.items()):
            if name.startswith("OTEL_") and (wrong := _why_not(name, given.strip())) is not None:
                hidden[name] = os.environ.pop(name)
                if wrong and note is not None and (name, given) not in _said:
                    _said.add((name, given))
                    note(f"{name}={given[:100]!r} is {wrong}; it is ignored")
        try:
            yield
        finally:
            for name, given in hidden.items():
                os.environ.setdefault(name, given)


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
