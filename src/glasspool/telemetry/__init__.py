"""Telemetry: names of metrics and attributes (catalog), counts (recording), spans (tracing), and exporters (export).

``configure()`` sets up exporters in one call. Without it glasspool uses the OpenTelemetry providers that the
application has set, and ``prometheus.register()`` adds the series to a prometheus_client registry.
After ``configure()`` event loops with open executors are monitored; ``monitor_event_loop()`` monitors any loop.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .configuration import TelemetryHandle, configure
    from .eventloop import monitor_event_loop
    from .observers import Observer, TaskEvent

__all__ = ["Observer", "TaskEvent", "TelemetryHandle", "configure", "monitor_event_loop"]

# Each name is imported at its first use: an executor without exporters needs none of these modules.
_HOME = {
    "Observer": "observers",
    "TaskEvent": "observers",
    "TelemetryHandle": "configuration",
    "configure": "configuration",
    "monitor_event_loop": "eventloop",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
