"""Telemetry: names of metrics and attributes (catalog), counts (recording), spans (tracing), and exporters (export).

``configure()`` sets up exporters in one call. Without it glasspool uses the OpenTelemetry providers that the
application has set, and ``prometheus.register()`` adds the series to a prometheus_client registry.
After ``configure()`` event loops with open executors are monitored; ``monitor_event_loop()`` monitors any loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from glasspool._lazy import lazy

if TYPE_CHECKING:
    from .configuration import configure
    from .eventloop import monitor_event_loop
    from .handle import TelemetryHandle
    from .observers import Observer, TaskEvent

__all__ = ["Observer", "TaskEvent", "TelemetryHandle", "configure", "monitor_event_loop"]

# Each name is imported at its first use: an executor without exporters needs none of these modules.
_HOME = {
    "Observer": "observers",
    "TaskEvent": "observers",
    "TelemetryHandle": "handle",
    "configure": "configuration",
    "monitor_event_loop": "eventloop",
}

if not TYPE_CHECKING:  # for a type checker, a name that is misspelt is an error
    __getattr__, __dir__ = lazy(__name__, _HOME)
