"""Telemetry in worker processes: an SDK of their own when asked, and nothing lost when they exit."""

from __future__ import annotations

import multiprocessing.util
import os
import threading
from typing import Any

from opentelemetry import trace

from glasspool.telemetry import providers

__all__ = ["Settings", "parent_settings", "prepare_worker"]

Settings = dict[str, Any]
"""Resource attributes of the parent process, for its workers' SDKs."""

_FLUSH_SECONDS = 5.0  # long enough for a collector that answers, short enough not to hold up a shutdown
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
    if settings is not None and not providers.has_tracer_provider():
        from glasspool.telemetry.setup import configure  # only when asked: it may bring the SDK

        configure(otlp=True, resource_attributes=settings)
    if providers.has_tracer_provider() and "traces" not in providers.own:  # configure() sees to its own
        # Multiprocessing workers leave by os._exit after their finalizers: atexit hooks do not run there.
        multiprocessing.util.Finalize(None, _flush, exitpriority=100)


def _flush() -> None:
    flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if flush is not None:
        # The SDK's processor ignores the time that it is given.
        aside = threading.Thread(target=flush, args=(int(_FLUSH_SECONDS * 1000),), daemon=True)
        aside.start()
        aside.join(_FLUSH_SECONDS)


def _forget() -> None:
    global _prepared
    _prepared = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
