"""The OpenTelemetry providers of this process: whether one was set, and what is bound to it.

The hot path must learn cheaply that no provider was set. The public getters search the environment at each call, so
this module reads the API's own globals without a call (see ``_foreign.otel_globals``). If they are missing, it uses the
getters.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import metrics, trace

from glasspool import _version
from glasspool._foreign.otel_globals import KNOWN, METER_PROVIDER, METRICS, TRACE, TRACER_PROVIDER

from .recording.histograms import Holder
from .recording.registry import Registry, listen

if TYPE_CHECKING:
    from .export.otel_instruments import Instruments

__all__ = [
    "SCOPE",
    "bind",
    "first_use",
    "has_meter_provider",
    "has_tracer_provider",
    "inherited",
    "listening",
    "own",
    "refresh",
    "renew",
    "sink",
    "tracer",
]

logger = logging.getLogger("glasspool")

_MISSING: Any = object()
SCOPE: Final = "glasspool"
"""The instrumentation scope of all of glasspool's spans and metrics."""

sink: Instruments | None = None
"""The SDK's instruments, which get each measurement in addition to the recorder's buckets; None without a provider."""

renew: Callable[[], metrics.MeterProvider] | None = None
"""Makes a meter provider without inherited sums in a forked child; set by configure() for the SDK that it set up."""

first_use: Callable[[], None] | None = None
"""Called once in a forked child, as soon as it has metrics; set by configure() for the port that it shares."""

own: set[str] = set()
"""The signals (``"traces"``, ``"metrics"``) whose provider configure() has set."""

inherited: frozenset[str] = frozenset()
"""The signals whose provider was set before this process was forked."""

_lock = threading.RLock()  # a call that re-enters it sees by _binding that the instruments are being made
_binding = False
_forked = False
_instruments: Instruments | None = None
_meter_provider: Any = None
_tracer_provider: Any = None
_tracer: trace.Tracer | None = None


def bind(registry: Registry) -> None:
    """Make the instruments of the global meter for a registry, once per process, and look for providers.

    :param registry: the registry whose figures the instruments show.
    """
    global _binding, _instruments, first_use
    registry.listening = listening
    made = False
    with _lock:
        if _instruments is None and not _binding:
            _binding = True
            try:
                from .export.otel_instruments import Instruments  # here, because few processes need it at import

                provider = renew() if _forked and renew is not None else None
                _instruments = Instruments(registry, metrics.get_meter(SCOPE, _version.__version__, provider))
                made = True
            finally:
                _binding = False
    if made:  # without the lock: taking over acquires the executors' locks, whose holders may call this function
        _find_meter_provider()
    begin, first_use = first_use, None
    if begin is not None:
        begin()
    refresh()


def _joined(registry: Registry, holder: Holder) -> None:
    bind(registry)
    if holder.sink is None and sink is not None:
        sink.take(holder)


def refresh() -> None:
    """Notice a provider that was set since the last look."""
    if _globals_meter() is not _meter_provider:
        _find_meter_provider()
    if _globals_tracer() is not _tracer_provider:
        _find_tracer_provider()


def tracer() -> trace.Tracer | None:
    """The tracer of the provider that the application (or configure()) has set.

    :returns: the tracer, or None while no provider is set.
    """
    if not KNOWN or (METRICS[METER_PROVIDER] is not _meter_provider or TRACE[TRACER_PROVIDER] is not _tracer_provider):
        refresh()
    return _tracer


def listening() -> bool:
    """Whether a provider of metrics or traces has been noticed."""
    return sink is not None or _tracer is not None


def _globals_meter() -> Any:
    return METRICS[METER_PROVIDER] if KNOWN else metrics.get_meter_provider()


def _globals_tracer() -> Any:
    return TRACE[TRACER_PROVIDER] if KNOWN else trace.get_tracer_provider()


def has_meter_provider() -> bool:
    """Whether a meter provider was set, other than the API's proxy."""
    # The proxy has no public name: a real provider is recognised by its class, which is not of the API package.
    return not type(metrics.get_meter_provider()).__module__.startswith("opentelemetry.metrics")


def has_tracer_provider() -> bool:
    """Whether a tracer provider was set, other than the API's proxy and no-op provider."""
    return not isinstance(trace.get_tracer_provider(), (trace.ProxyTracerProvider, trace.NoOpTracerProvider))


def _after_fork() -> None:
    """In a forked child: look for providers again, and make new instruments if ``renew`` is set."""
    global _binding, _forked, _instruments, _lock, _meter_provider, _tracer_provider, inherited, sink
    present = {"metrics": has_meter_provider(), "traces": has_tracer_provider()}
    inherited = frozenset(signal for signal in present if present[signal])
    _lock = threading.RLock()
    _binding = False
    _forked = True
    if renew is not None:
        _instruments = sink = None
    elif _instruments is not None:
        _instruments.forget()
    _meter_provider = _tracer_provider = _MISSING


# The result is set before the provider that it belongs to: another thread may look in between.


def _find_meter_provider() -> None:
    global sink, _meter_provider
    found = _globals_meter()
    sink = _instruments if has_meter_provider() else None
    if sink is not None:
        sink.take_over()
        _watch_what_is_not_ours("metrics")
    _meter_provider = found


def _find_tracer_provider() -> None:
    global _tracer, _tracer_provider
    found = _globals_tracer()
    _tracer = trace.get_tracer(SCOPE, _version.__version__) if has_tracer_provider() else None
    if _tracer is not None:
        _watch_what_is_not_ours("traces")
    _tracer_provider = found


def _watch_what_is_not_ours(signal: str) -> None:
    if signal not in own:
        from .export import sdk_warnings  # here, because it is needed where a provider is set

        sdk_warnings.watch()


def _load_named(variable: str, load: Callable[[], object]) -> None:
    """Load a provider that the environment names: the getters load it at first use, until when the globals are
    empty."""
    given = os.environ.get(variable)
    if given is None:
        return
    logging.getLogger("opentelemetry.util._providers").addFilter(_says_nothing)
    try:
        load()
    except Exception as error:  # noqa: BLE001 - what a provider raises when it is imported or made
        # The getters would raise at each call, including the application's calls.
        del os.environ[variable]
        logger.warning(
            "%s=%r cannot be loaded and is ignored, as if it were not set (%s: %s)",
            variable, given[:100], type(error).__name__, error,
        )  # fmt: skip
    finally:
        logging.getLogger("opentelemetry.util._providers").removeFilter(_says_nothing)


def _says_nothing(_: logging.LogRecord) -> bool:
    return False


_load_named("OTEL_PYTHON_TRACER_PROVIDER", trace.get_tracer_provider)
_load_named("OTEL_PYTHON_METER_PROVIDER", metrics.get_meter_provider)

listen(_joined)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
