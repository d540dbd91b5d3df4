"""Is anybody listening? The OpenTelemetry providers of this process, asked for on the hot path at no cost.

The only file that looks at what opentelemetry-api keeps private: its globals say in one attribute load that no
provider was set, where the public getters search the environment each time. Without them the getters are used.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics, trace
from opentelemetry.metrics import _internal as _metrics_internal

from glasspool import _version

if TYPE_CHECKING:
    from .otel import Instruments
    from .registry import Registry

__all__ = ["bind", "refresh", "sink", "tracer"]

_MISSING: Any = object()
_SCOPE = "glasspool"

sink: Instruments | None = None
"""Where measurements also go, besides the recorder's own buckets: None while no meter provider is set."""

_lock = threading.Lock()
_instruments: Instruments | None = None
_meter_provider: Any = None
_tracer_provider: Any = None
_tracer: trace.Tracer | None = None


def bind(registry: Registry) -> None:
    """Make the instruments of the global meter over ``registry``, once per process, and look for providers."""
    global _instruments
    with _lock:
        if _instruments is None:
            from .otel import Instruments  # here, because the instruments read the registry, which is above us

            _instruments = Instruments(registry, _version.__version__)
    refresh()


def refresh() -> None:
    """Notice a provider that was set meanwhile. Two attribute loads when nothing has changed."""
    if getattr(_metrics_internal, "_METER_PROVIDER", _MISSING) is not _meter_provider:
        _find_meter_provider()
    if getattr(trace, "_TRACER_PROVIDER", _MISSING) is not _tracer_provider:
        _find_tracer_provider()


def tracer() -> trace.Tracer | None:
    """The tracer of the provider that the application (or configure()) has set, or None while there is none."""
    refresh()
    return _tracer


def _find_meter_provider() -> None:
    global sink, _meter_provider
    _meter_provider = getattr(_metrics_internal, "_METER_PROVIDER", _MISSING)
    # The proxy provider has no public name: an SDK provider is told by not living in the API package.
    real = not type(metrics.get_meter_provider()).__module__.startswith("opentelemetry.metrics")
    sink = _instruments if real else None


def _find_tracer_provider() -> None:
    global _tracer, _tracer_provider
    _tracer_provider = getattr(trace, "_TRACER_PROVIDER", _MISSING)
    provider = trace.get_tracer_provider()
    if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        _tracer = None
    else:
        _tracer = provider.get_tracer(_SCOPE, _version.__version__)


if "OTEL_PYTHON_TRACER_PROVIDER" in os.environ or "OTEL_PYTHON_METER_PROVIDER" in os.environ:
    # Providers named by the environment are loaded by the getters on first use; the globals do not show them yet.
    trace.get_tracer_provider()
    metrics.get_meter_provider()
