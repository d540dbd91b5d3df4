"""The names of the environment variables that OpenTelemetry for Python and glasspool read."""

from __future__ import annotations

import difflib
import os
import re
from importlib.metadata import entry_points

__all__ = ["closest", "is_of_another_language", "is_read", "known", "looks_meant"]

_SIGNALS = ("", "TRACES_", "METRICS_", "LOGS_")
_OTLP = "CERTIFICATE CLIENT_CERTIFICATE CLIENT_KEY COMPRESSION ENDPOINT HEADERS INSECURE PROTOCOL TIMEOUT"
_OTHERS = """
OTEL_ATTRIBUTE_COUNT_LIMIT OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT
OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT OTEL_SPAN_EVENT_COUNT_LIMIT OTEL_SPAN_LINK_COUNT_LIMIT
OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT OTEL_LINK_ATTRIBUTE_COUNT_LIMIT OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT
OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT OTEL_BSP_SCHEDULE_DELAY OTEL_BSP_EXPORT_TIMEOUT OTEL_BSP_MAX_QUEUE_SIZE
OTEL_BSP_MAX_EXPORT_BATCH_SIZE OTEL_BLRP_SCHEDULE_DELAY OTEL_BLRP_EXPORT_TIMEOUT OTEL_BLRP_MAX_QUEUE_SIZE
OTEL_BLRP_MAX_EXPORT_BATCH_SIZE OTEL_TRACES_EXPORTER OTEL_METRICS_EXPORTER OTEL_LOGS_EXPORTER OTEL_TRACES_SAMPLER
OTEL_TRACES_SAMPLER_ARG OTEL_METRICS_EXEMPLAR_FILTER OTEL_METRIC_EXPORT_INTERVAL OTEL_METRIC_EXPORT_TIMEOUT
OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION
OTEL_EXPORTER_PROMETHEUS_HOST OTEL_EXPORTER_PROMETHEUS_PORT OTEL_EXPORTER_ZIPKIN_ENDPOINT OTEL_EXPORTER_ZIPKIN_TIMEOUT
OTEL_PROPAGATORS OTEL_RESOURCE_ATTRIBUTES OTEL_SERVICE_NAME OTEL_SDK_DISABLED OTEL_LOG_LEVEL OTEL_CONFIG_FILE
OTEL_EXPERIMENTAL_CONFIG_FILE OTEL_EXPERIMENTAL_RESOURCE_DETECTORS OTEL_SEMCONV_STABILITY_OPT_IN
OTEL_PYTHON_ASYNCIO_COROUTINE_NAMES_TO_TRACE OTEL_PYTHON_ASYNCIO_FUTURE_TRACE_ENABLED
OTEL_PYTHON_ASYNCIO_TO_THREAD_FUNCTION_NAMES_TO_TRACE OTEL_PYTHON_AUTO_INSTRUMENTATION_EXPERIMENTAL_GEVENT_PATCH
OTEL_PYTHON_CONFIGURATOR OTEL_PYTHON_CONTEXT OTEL_PYTHON_DISABLED_INSTRUMENTATIONS OTEL_PYTHON_DISTRO
OTEL_PYTHON_DJANGO_INSTRUMENT OTEL_PYTHON_DJANGO_TRACED_REQUEST_ATTRS OTEL_PYTHON_EXCLUDED_URLS
OTEL_PYTHON_EXPORTER_OTLP_GRPC_RETRYABLE_ERROR_CODES OTEL_PYTHON_ID_GENERATOR OTEL_PYTHON_LOG_CORRELATION
OTEL_PYTHON_LOG_FORMAT OTEL_PYTHON_LOG_LEVEL OTEL_PYTHON_LOGGER_CONFIGURATOR OTEL_PYTHON_LOGGER_PROVIDER
OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED OTEL_PYTHON_METER_CONFIGURATOR OTEL_PYTHON_METER_PROVIDER
OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED OTEL_PYTHON_TRACER_CONFIGURATOR OTEL_PYTHON_TRACER_PROVIDER
GLASSPOOL_WORKER_EXIT_SECONDS
"""
_NAMES = frozenset(
    [
        *_OTHERS.split(),
        *(f"OTEL_EXPORTER_OTLP_{signal}{word}" for word in _OTLP.split() for signal in _SIGNALS),
    ]
)  # fmt: skip
_FAMILIES = re.compile(
    r"OTEL_PYTHON_\w+_EXCLUDED_URLS|OTEL_PYTHON_EXPORTER_OTLP_(GRPC|HTTP)_\w*CREDENTIAL_PROVIDER"
    r"|GLASSPOOL_DOCTOR_\w+|OTEL_INSTRUMENTATION_\w+|OTEL_PYTHON_INSTRUMENTATION_\w+"
)
_ELSEWHERE = re.compile(r"OTEL_(JAVAAGENT|JAVA|JMX|NODE|DOTNET|GO|PHP|RUBY|ERLANG|EXPORTER_JAEGER|INJECTOR|EBPF)_\w+")
# OTEL is misspelt, too; a family of its own keeps OTELCOL_… and the like out.
_MEANT = re.compile(r"(OTEL|OLTP|OTLP|OETL|OTLE|OPENTELEMETRY|GLASSPOOL)_\w+", re.IGNORECASE)
_ENOUGH = 0.85  # of 1: a letter or two in a name


def known() -> frozenset[str]:
    """Every name that the installed packages declare, and those that are listed here."""
    declared: set[str] = set()
    for entry in entry_points(group="opentelemetry_environment_variables"):
        try:
            names = dir(entry.load())
            declared.update(name for name in names if name.startswith("OTEL_"))
        except Exception:  # noqa: BLE001, S112 - a package that cannot be imported declares nothing
            continue
    return _NAMES | declared


def looks_meant(name: str) -> bool:
    """Whether a variable with this name is meant for OpenTelemetry or glasspool."""
    return _MEANT.fullmatch(name) is not None


def is_read(name: str, names: frozenset[str]) -> bool:
    """Whether something reads it, as far as that can be known: instrumentations have families of variables."""
    return name in names or _FAMILIES.fullmatch(name) is not None


def is_of_another_language(name: str) -> bool:
    """Whether it belongs to OpenTelemetry for another language, or to an exporter that Python no longer has."""
    return _ELSEWHERE.fullmatch(name) is not None


def closest(name: str, names: frozenset[str]) -> str | None:
    """The real name that it was meant to be, if one is close; on Windows names have no case."""
    upper = name.upper()
    if upper in names and (upper == name or os.name != "nt"):
        return upper
    found = difflib.get_close_matches(upper, sorted(names), n=1, cutoff=_ENOUGH)
    return found[0] if found else None
