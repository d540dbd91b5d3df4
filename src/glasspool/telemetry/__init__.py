"""Telemetry: one contract (catalog), what every task counts (recording), spans (tracing), and the ways out (export).

``configure()`` sets up exporters in one call; without it glasspool uses the OpenTelemetry providers that the
application has set, and ``prometheus.register()`` shows the series in a prometheus_client registry.
How late a loop is, ``configure()`` shows where executors are open, ``monitor_event_loop()`` anywhere.
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

# Each name is imported when it is first used: an executor without exporters needs none of their modules.
_HOME = {
    "Observer": "observers",
    "TaskEvent": "observers",
    "TelemetryHandle": "handle",
    "configure": "configuration",
    "monitor_event_loop": "eventloop",
}

__getattr__, __dir__ = lazy(__name__, _HOME)
