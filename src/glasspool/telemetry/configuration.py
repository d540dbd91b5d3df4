"""``configure()``: OpenTelemetry's SDK with exporters and a Prometheus endpoint, in one call.

Providers that an application has already set are not changed. A failure to set something up does not raise: it is
logged and added to the handle's ``notes``.
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

__all__ = ["TelemetryHandle", "configure", "configured"]

logger = logging.getLogger("glasspool")

_PROMETHEUS_PORT = 9464  # OpenTelemetry's default for OTEL_METRICS_EXPORTER=prometheus


def configure(
    *,
    service_name: str | None = None,
    prometheus_port: int | None = None,
    otlp: bool | None = None,
    resource_attributes: Mapping[str, Any] | None = None,
    monitor_event_loops: bool = True,
    live_page: bool | None = None,
) -> TelemetryHandle:
    """Set up the telemetry of this process: OpenTelemetry's SDK with exporters, and a Prometheus endpoint on request.

    The standard variables ``OTEL_TRACES_EXPORTER`` and ``OTEL_METRICS_EXPORTER`` (otlp, console, prometheus, none, ...)
    take precedence over the arguments, and every other ``OTEL_*`` variable of the SDK and its exporters applies.
    Metrics are exported every 15 s, or at the interval of ``OTEL_METRIC_EXPORT_INTERVAL`` (milliseconds).

    Providers that the application or ``opentelemetry-instrument`` has set are not changed. A second call returns the
    handle of the first one with a warning; it can only add an endpoint if this process has none (a forked worker).
    Everything is exported at exit, within 5 seconds, or 1 second if no export has ever succeeded, or half a second in
    the workers of process pools (``GLASSPOOL_WORKER_EXIT_SECONDS``).

    uvicorn ends its process by a signal, after which no exit hook runs, so everything is exported when its server has
    shut down. If this call comes before uvicorn is imported, or under other servers that end in this way, call
    ``await asyncio.to_thread(handle.shutdown)`` at the end of the application's lifespan.

    Forked workers export the tasks that they have run, as separate instances. (An SDK that the application set up
    before forking keeps the histograms of its parent instead: set it up in the worker, or let this call do it.)

    :param service_name: the service's name; default the program's name. ``OTEL_SERVICE_NAME`` takes precedence.
    :param prometheus_port: serve ``/metrics`` on this port of 127.0.0.1 (or of ``OTEL_EXPORTER_PROMETHEUS_HOST``).
        0 is any free port. Processes of one service that use the same other port share it, and a scrape shows all of
        them. None (default): no endpoint.
    :param otlp: whether spans and metrics are exported by OTLP. None (default): yes, if the environment names an OTLP
        endpoint or ``prometheus_port`` is None.
    :param resource_attributes: attributes of the OpenTelemetry resource; default none. ``OTEL_RESOURCE_ATTRIBUTES``
        takes precedence.
    :param monitor_event_loops: whether to watch each event loop in which executors are open and that has no monitor
        yet; default True. Without this call a loop has such series only after it was late by 0.1 s.
    :param live_page: whether ``/`` of that port shows the live page, beside ``/metrics``. None (default): if only this
        machine can reach the port, since the page shows the names and stacks of tasks. True: also where
        ``OTEL_EXPORTER_PROMETHEUS_HOST`` lets others reach it. False: never.
    :returns: the handle of this process's telemetry.
    :raises TypeError: an argument has the wrong type.
    :raises ValueError: an argument is out of range or empty. Nothing else raises: a missing package, a taken port or an
        unreachable collector is logged, and the program goes on.
    """
    _check(service_name, prometheus_port, otlp, resource_attributes, monitor_event_loops, live_page)
    global _handle
    with _lock:
        handle = _handle
        if handle is None:
            service_name = service_name or _program()
            handle = _handle = TelemetryHandle(service_name, live_page)
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


def configured() -> TelemetryHandle | None:
    """The handle that the first call of ``configure()`` returned, in this process or in its parent before a fork."""
    return _handle


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
    """Set up one signal; if that fails, the other one still works."""
    try:
        set_up()
    except Exception as error:
        logger.exception("%s are not exported: the OpenTelemetry SDK could not be set up for them", signal)
        handle.note(f"{signal} are not exported: the OpenTelemetry SDK could not be set up for them: {error}")
        return
    handle.use(made)


def _made(handle: TelemetryHandle, make: Callable[[str], Any], names: list[str]) -> list[Any]:
    made: list[Any] = []
    for name in names:
        try:
            made.append(make(name))
        except ConfigurationError as error:
            handle.note(str(error))
        except Exception as error:  # noqa: BLE001 - an exporter that cannot read its variables raises anything
            handle.note(f"the exporter {name!r} cannot be made and is left out: {type(error).__name__}: {error}")
    return made


def _exporters(prometheus_port: int | None, otlp: bool | None) -> dict[str, list[str]]:
    """The exporters' names by signal: those of the standard variables, else OTLP as ``otlp`` or its default decides."""
    wanted: dict[str, list[str]] = {}
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
    live_page: object,
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
        isinstance(resource_attributes, Mapping) and all(isinstance(key, str) for key in resource_attributes)  # pyright: ignore[reportUnknownVariableType]
    ):
        raise TypeError(f"resource_attributes={resource_attributes!r}: a mapping of strings to values")
    if not isinstance(monitor_event_loops, bool):
        raise TypeError(f"monitor_event_loops={monitor_event_loops!r}: True or False")
    if live_page is not None and not isinstance(live_page, bool):
        raise TypeError(f"live_page={live_page!r}: True, False, or None for a page that only this machine can reach")


_lock = threading.Lock()
_handle: TelemetryHandle | None = None
