"""Telemetry in worker processes: sets up an SDK on request, and flushes it when the worker exits."""

from __future__ import annotations

import atexit
import logging
import multiprocessing.util
import os
from typing import Any

from opentelemetry import trace

from glasspool.telemetry import providers
from glasspool.telemetry.export import worker_exit
from glasspool.telemetry.export.background import Aside

__all__ = ["Settings", "parent_settings", "prepare_worker"]

Settings = dict[str, Any]
"""Resource attributes of the parent process, for its workers' SDKs."""

logger = logging.getLogger("glasspool")

_OWN = ("telemetry.", "process.", "service.instance.")  # resource attributes that are each process's own
_prepared = False


def parent_settings() -> Settings:
    """What the workers' SDKs are told: this process's resource. Exporters follow the ``OTEL_*`` variables."""
    resource = getattr(trace.get_tracer_provider(), "resource", None)
    attributes = getattr(resource, "attributes", {})
    return {key: value for key, value in attributes.items() if not key.startswith(_OWN)}


def prepare_worker(settings: Settings | None) -> None:
    """Once per worker process: with ``settings`` an SDK, unless it has one; and a flush when the worker exits.

    A forked worker has its parent's SDK, whose exporters start anew in it. A worker without the SDK packages says so
    once and works on.
    """
    global _prepared
    if _prepared:
        return
    _prepared = True
    worker_exit.runs_calls()
    if settings is not None and not providers.has_tracer_provider():
        from glasspool.telemetry.configuration import configure  # only when asked: it may bring the SDK

        configure(otlp=True, resource_attributes=settings)
    if providers.has_tracer_provider() and "traces" not in providers.own:  # configure() sees to its own
        # The SDK's processor ignores the time that it is given. At exit it is too late for a thread to start.
        aside = Aside("glasspool-flush")
        # Multiprocessing workers leave by os._exit after their finalizers: atexit hooks do not run there.
        multiprocessing.util.Finalize(None, _flush, args=(aside,), exitpriority=100)


def _flush(aside: Aside) -> None:
    provider: Any = trace.get_tracer_provider()
    flush = getattr(provider, "force_flush", None)
    if flush is None:
        return
    seconds = worker_exit.seconds_left()
    request = aside.ask(lambda: flush(int(seconds * 1000)) is not False)
    if not (request.wait(seconds) and request.ok):  # SDKs that keep to the time themselves return False
        logger.warning(
            "the spans of this worker process were not all sent within %g s: is the collector reachable? Leaving "
            "without them (GLASSPOOL_WORKER_EXIT_SECONDS allows more)",
            worker_exit.exit_seconds(),
        )
        # Spawned workers run their atexit hooks: the SDK's would wait for the same collector, and as long as it likes.
        atexit.unregister(getattr(provider, "shutdown", None))  # type: ignore[arg-type]


def _forget() -> None:
    global _prepared
    _prepared = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
