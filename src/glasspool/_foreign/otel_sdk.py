"""What OpenTelemetry's SDK, its exporters and its instrumentations have no public name for, read for the doctor.

Each function gives what is found in the versions that are known, and nothing where it is kept elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .guarded import attribute

__all__ = [
    "exemplar_filter_of",
    "exporter_of",
    "is_instrumenting",
    "processors_of",
    "readers_of",
    "settings_of",
    "temporalities_of",
]


def readers_of(provider: Any) -> Sequence[Any]:
    """The readers of a meter provider."""
    found = attribute(provider, "_metric_readers") or attribute(attribute(provider, "_sdk_config"), "metric_readers")
    return tuple(found or ())


def processors_of(provider: Any) -> Sequence[Any]:
    """The span processors of a tracer provider."""
    return tuple(attribute(attribute(provider, "_active_span_processor"), "_span_processors") or ())


def exporter_of(part: Any) -> Any:
    """The exporter of a reader or a span processor."""
    for holder, name in (
        (part, "span_exporter"),
        (part, "_exporter"),
        (attribute(part, "_batch_processor"), "_exporter"),
    ):
        found = attribute(holder, name)
        if found is not None:
            return found
    return None


def settings_of(exporter: Any) -> tuple[str | None, bool, Mapping[str, str], str | None]:
    """The endpoint of an OTLP exporter, whether it is insecure, its headers, and its file of certificates."""
    headers = attribute(exporter, "_headers") or attribute(attribute(exporter, "_client"), "_headers") or {}
    endpoint = attribute(exporter, "_endpoint")
    certificate = attribute(exporter, "_certificate_file")
    return (
        endpoint if isinstance(endpoint, str) else None,
        bool(attribute(exporter, "_insecure")),
        {str(name): str(value) for name, value in dict(headers).items()},
        certificate if isinstance(certificate, str) else None,
    )


def temporalities_of(reader: Any) -> Mapping[str, str]:
    """By class of instrument the temporality of a reader, such as ``{"Counter": "DELTA"}``."""
    found = attribute(reader, "_instrument_class_temporality") or {}
    return {kind.__name__.lstrip("_"): temporality.name for kind, temporality in found.items()}


def exemplar_filter_of(provider: Any) -> str:
    """The class of the exemplar filter of a meter provider."""
    chosen = attribute(attribute(provider, "_sdk_config"), "exemplar_filter")
    return "" if chosen is None else type(chosen).__name__


def is_instrumenting(instrumentor: Any) -> bool:
    """Whether an instrumentor of OpenTelemetry's is on: its class, since to make one would reset it."""
    return bool(attribute(attribute(instrumentor, "_instance"), "_is_instrumented_by_opentelemetry"))
