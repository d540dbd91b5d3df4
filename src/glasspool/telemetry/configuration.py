"""``configure()``: OpenTelemetry's SDK with exporters and a Prometheus endpoint, in one call.

What an application has set up already is left alone. Nothing here ever takes the work down: what cannot be had is
logged, and kept in the handle's ``notes``.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing import process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glasspool.errors import ConfigurationError

from . import loop_monitors, providers
from .export import environment, uvicorn_exit
from .handle import TelemetryHandle, flush_when_worker_exits
from .recording import exemplars

if TYPE_CHECKING:
    from .export.sdk import Pipeline

__all__ = ["TelemetryHandle", "configure"]

logger = logging.getLogger("glasspool")

_PROMETHEUS_PORT = 9464  # OpenTelemetry's default for OTEL_METRICS_EXPORTER=prometheus


def configure(
    *,
    service_name: str | None = None,
    prometheus_port: int | None = None,
    otlp: bool | None = None,
    resource_attributes: Mapping[str, Any] | None = None,
    monitor_event_loops: bool = True,
) -> TelemetryHandle:
    """Set up the telemetry of this process: OpenTelemetry's SDK with exporters, a Prometheus endpoint if asked for.

    ``service_name`` (default: the program's name) and ``resource_attributes`` give way to ``OTEL_SERVICE_NAME`` and
    ``OTEL_RESOURCE_ATTRIBUTES``. ``prometheus_port`` serves ``/metrics`` on 127.0.0.1
    (``OTEL_EXPORTER_PROMETHEUS_HOST``); 0 is any free port, and processes of one service that ask for the same
    other port are shown there together. ``otlp`` exports spans and metrics by OTLP; the default
    is yes if the environment names an OTLP endpoint or no Prometheus endpoint is asked for. The standard variables
    ``OTEL_TRACES_EXPORTER`` and ``OTEL_METRICS_EXPORTER`` (otlp, console, prometheus, none, ...) decide over it, and
    every other ``OTEL_*`` variable of the SDK and its exporters holds. Metrics are exported every 15 s unless
    ``OTEL_METRIC_EXPORT_INTERVAL`` (milliseconds) says otherwise.

    The event loops in which executors are open are watched, one monitor for each loop that has none;
    ``monitor_event_loops=False`` leaves that out. Without this call a loop has series only once it was late by 0.1 s.

    Providers that the application or ``opentelemetry-instrument`` has set stay as they are. A second call returns
    the first one's handle with a warning; all it can add is an endpoint where this process has none (a forked
    worker). Everything is flushed at exit, within 5 seconds, or 1 where no export has ever succeeded, or half a
    second in the workers of process pools (``GLASSPOOL_WORKER_EXIT_SECONDS``).

    uvicorn ends its process by a signal, after which no exit hook runs: everything is flushed when its server has shut
    down. Where this call comes before uvicorn is imported, and under other servers that end so, have
    ``await asyncio.to_thread(handle.shutdown)`` at the end of the application's lifespan.

    Forked workers export what they themselves ran, as instances of their own. (An SDK that the application set up
    before forking keeps the histograms of its parent instead: set it up in the worker, or let this call do it.)

    Raises ``TypeError`` and ``ValueError`` for wrong arguments and nothing else: a missing package, a taken port or
    an unreachable collector is logged, and the work goes on.
    """
    _check(service_name, prometheus_port, otlp, resource_attributes, monitor_event_loops)
    global _handle
    with _lock:
        handle = _handle
        if handle is None:
            service_name = service_name or _program()
            handle = _handle = TelemetryHandle(service_name)
            exemplars.reload()
            wanted = _exporters(prometheus_port, otlp)
            if "prometheus" in wanted["metrics"]:
                wanted["metrics"].remove("prometheus")
                if prometheus_port is None:
                    prometheus_port = _environment_port(handle)
            _set_up_sdk(handle, wanted, {"service.name": service_name, **(resource_attributes or {})})
            loop_monitors.watch_executors(monitor_event_loops)
            atexit.register(handle.shutdown)
            uvicorn_exit.after_shutdown(handle.flush_for_exit)
            if process.parent_process() is not None:  # a worker of multiprocessing
                flush_when_worker_exits(handle)
        elif prometheus_port is None or not handle.may_serve:
            handle.note("telemetry is configured already; this call changes nothing and returns the first one's handle")
        if prometheus_port is not None and handle.may_serve:
            handle.serve(prometheus_port)
    return handle


def _set_up_sdk(handle: TelemetryHandle, wanted: dict[str, list[str]], attributes: dict[str, Any]) -> None:
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        handle.note("OTEL_SDK_DISABLED is set: no OpenTelemetry SDK is set up", logging.INFO)
        return
    for signal, present in (("traces", providers.has_tracer_provider()), ("metrics", providers.has_meter_provider())):
        if present and wanted[signal]:
            wanted[signal].clear()
            handle.note(
                f"{signal}: the application has set an OpenTelemetry provider already; glasspool uses it and adds no "
                "exporter of its own",
                logging.INFO,
            )
    if not any(wanted.values()):
        return
    with environment.usable(handle.note):
        _make_pipeline(handle, wanted, attributes)


def _make_pipeline(handle: TelemetryHandle, wanted: dict[str, list[str]], attributes: dict[str, Any]) -> None:
    try:
        from .export import exporters, sdk
    except ImportError as error:
        handle.note(
            f"no OTLP export: OpenTelemetry's SDK is not installed ({error}); pip install 'glasspool[otlp]'",
        )
        return
    except Exception as error:  # noqa: BLE001 - it reads variables when it is imported
        handle.note(f"no OTLP export: OpenTelemetry's SDK cannot be imported: {type(error).__name__}: {error}")
        return
    spans = _made(handle, exporters.span_exporter, wanted["traces"])
    readers = _made(handle, exporters.reader_factory, wanted["metrics"])
    if not spans and not readers:
        return
    try:
        made = sdk.Pipeline(sdk.make_resource(attributes), handle.note)
    except Exception as error:
        logger.exception("the OpenTelemetry SDK could not be set up")
        handle.note(f"the OpenTelemetry SDK could not be set up: {error}")
        return
    if spans:
        _set_up(handle, made, "traces", lambda: made.trace(spans))
    if readers:
        _warn_about_deltas(handle)
        _set_up(handle, made, "metrics", lambda: made.measure(readers))
    made.watch_forks()


def _set_up(handle: TelemetryHandle, made: Pipeline, signal: str, set_up: Callable[[], None]) -> None:
    """One signal: the other one goes on without it."""
    try:
        set_up()
    except Exception as error:
        logger.exception("%s are not exported: the OpenTelemetry SDK could not be set up for them", signal)
        handle.note(f"{signal} are not exported: the OpenTelemetry SDK could not be set up for them: {error}")
        return
    handle.use(made)


def _made(handle: TelemetryHandle, make: Callable[[str], Any], names: list[str]) -> list[Any]:
    made = []
    for name in names:
        try:
            made.append(make(name))
        except ConfigurationError as error:
            handle.note(str(error))
        except Exception as error:  # noqa: BLE001 - an exporter that cannot read its variables raises anything
            handle.note(f"the exporter {name!r} cannot be made and is left out: {type(error).__name__}: {error}")
    return made


def _exporters(prometheus_port: int | None, otlp: bool | None) -> dict[str, list[str]]:
    """The exporters' names by signal: the standard variables, else OTLP if ``otlp`` says so or is left to us."""
    wanted = {}
    for signal in ("traces", "metrics"):
        given = os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip()
        endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
        default = prometheus_port is None or any(os.environ.get(name) for name in endpoints)
        if given:
            names = [name.strip() for name in given.split(",")]
        else:
            names = ["otlp"] if (default if otlp is None else otlp) else []
        wanted[signal] = [name for name in names if name and name.lower() != "none"]
    return wanted


def _environment_port(handle: TelemetryHandle) -> int:
    given = os.environ.get("OTEL_EXPORTER_PROMETHEUS_PORT", "").strip()
    if not given:
        return _PROMETHEUS_PORT
    if given.isdecimal() and int(given) <= 65535:
        return int(given)
    handle.note(f"OTEL_EXPORTER_PROMETHEUS_PORT={given!r} is no port; using {_PROMETHEUS_PORT}")
    return _PROMETHEUS_PORT


def _warn_about_deltas(handle: TelemetryHandle) -> None:
    preference = os.environ.get("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "").strip()
    if preference.lower() in ("delta", "lowmemory"):
        handle.note(
            f"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE={preference}: counters or histograms leave as deltas, "
            "but Prometheus-like stores and glasspool's dashboards need cumulative ones. Unset it, or have the "
            "Collector's deltatocumulative processor in between"
        )


def _program() -> str:
    path = Path(sys.argv[0] if sys.argv and sys.argv[0] not in ("", "-c") else "python")
    return path.parent.name or "python" if path.stem == "__main__" else path.stem


def _check(
    service_name: object,
    prometheus_port: object,
    otlp: object,
    resource_attributes: object,
    monitor_event_loops: object,
) -> None:
    if service_name is not None and not isinstance(service_name, str):
        raise TypeError(f"service_name={service_name!r}: a string (or None for the program's name)")
    if service_name is not None and not service_name.strip():
        raise ValueError(f"service_name={service_name!r} is empty; leave it out for the program's name")
    if prometheus_port is not None and (isinstance(prometheus_port, bool) or not isinstance(prometheus_port, int)):
        raise TypeError(
            f"prometheus_port={prometheus_port!r}: an integer, 0 for any free port, or None for no endpoint"
        )
    if isinstance(prometheus_port, int) and not 0 <= prometheus_port <= 65535:
        raise ValueError(f"prometheus_port={prometheus_port} is no port: 0 (any free one) to 65535")
    if otlp is not None and not isinstance(otlp, bool):
        raise TypeError(f"otlp={otlp!r}: True, False, or None to let the environment decide")
    if resource_attributes is not None and not (
        isinstance(resource_attributes, Mapping) and all(isinstance(key, str) for key in resource_attributes)
    ):
        raise TypeError(f"resource_attributes={resource_attributes!r}: a mapping of strings to values")
    if not isinstance(monitor_event_loops, bool):
        raise TypeError(f"monitor_event_loops={monitor_event_loops!r}: True or False")


_lock = threading.Lock()
_handle: TelemetryHandle | None = None
