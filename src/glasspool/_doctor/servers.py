"""Servers of several processes, and forks after telemetry was set up."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from glasspool._foreign.prometheus_registry import collectors_of
from glasspool.telemetry import providers
from glasspool.telemetry.configuration import configured

from .finding import Finding, ok, problem, warning
from .living import instances
from .words import plain

__all__ = ["check_forks", "check_servers"]


class _Server(NamedTuple):
    name: str
    workers: int
    preload: bool


def check_servers() -> Iterator[Finding]:
    """gunicorn and uvicorn with several workers: whether each can show its own figures."""
    server = _gunicorn() or _uvicorn()
    if server is None:
        return
    shown = f"{server.name} with {server.workers} worker{'s' if server.workers > 1 else ''}"
    shown += " and --preload" if server.preload else ""
    if server.workers > 1 and _own_port_each():
        yield problem(
            "servers", f"{shown}: OpenTelemetry's or prometheus_client's own endpoint listens on one port.",
            "One worker gets the port: a scrape shows that worker only, or the others do not start.",
            "Call glasspool.telemetry.configure(prometheus_port=9464): workers share that port. Or export by OTLP.",
        )  # fmt: skip
    elif server.preload and _foreign_sdk() and not providers.inherited:
        yield warning(
            "servers", f"{shown}: the application's SDK was set up in the master, before the workers are forked.",
            "Workers keep the master's histograms, and connections of gRPC do not survive a fork.", _AFTER,
        )  # fmt: skip
    else:
        yield ok("servers", f"{shown}: each process has its own figures; a port of configure() shows all of them.")


_AFTER = (
    "Set it up in gunicorn's post_fork (or the server's start-up event), or let glasspool.telemetry.configure() do it: "
    "that survives forks."
)


def check_forks() -> Iterator[Finding]:
    """Whether this process was forked from one in which an SDK was set up already."""
    foreign = sorted(providers.inherited - providers.own)
    if foreign:
        yield problem(
            "forks", f"This process was forked after the application had set its provider of {' and '.join(foreign)}.",
            "Its histograms contain the parent's, and its exporter may wait for a connection that is the parent's.",
            _AFTER,
        )  # fmt: skip
    elif providers.inherited:
        yield ok("forks", "This process was forked after configure(), which has set up an instance of its own for it.")


def _foreign_sdk() -> bool:
    return (providers.has_meter_provider() and "metrics" not in providers.own) or (
        providers.has_tracer_provider() and "traces" not in providers.own
    )


def _own_port_each() -> bool:
    handle = configured()
    if handle is not None and handle.prometheus_port is not None:
        return False
    client = sys.modules.get("prometheus_client")
    kinds = [type(each).__module__ for each in collectors_of(client.REGISTRY)] if client is not None else []
    # What configure() serves is prometheus_client's server, too: its children close what they have inherited of it.
    served = [type(each).__module__ for each in instances("wsgiref.simple_server", "WSGIServer")] if not handle else []
    return "opentelemetry.exporter.prometheus" in kinds or any(each.startswith("prometheus_client") for each in served)


def _gunicorn() -> _Server | None:
    for arbiter in instances("gunicorn.arbiter", "Arbiter"):
        settings: Any = getattr(arbiter, "cfg", None)
        if settings is not None:
            kind = plain(str(getattr(settings, "worker_class_str", "sync")), 40)
            return _Server(f"gunicorn ({kind})", int(settings.workers), bool(settings.preload_app))
    return None


def _uvicorn() -> _Server | None:
    for settings in instances("uvicorn.config", "Config"):
        if isinstance(getattr(settings, "workers", None), int):
            return _Server("uvicorn", settings.workers, False)
    if "uvicorn.config" in sys.modules and os.environ.get("WEB_CONCURRENCY", "").isdecimal():
        return _Server("uvicorn", int(os.environ["WEB_CONCURRENCY"]), False)
    return None
