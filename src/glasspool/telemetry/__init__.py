"""Telemetry: one contract (catalog), what the hot path touches (recorder), spans (tracing), and the ways out.

``configure()`` sets up exporters in one call; without it glasspool uses the OpenTelemetry providers that the
application has set, and ``prometheus.register()`` shows the series in a prometheus_client registry.
How late a loop is, ``configure()`` shows where executors are open, ``monitor_event_loop()`` anywhere.
"""

from .configuration import TelemetryHandle, configure
from .eventloop import monitor_event_loop
from .observers import Observer, TaskEvent

__all__ = ["Observer", "TaskEvent", "TelemetryHandle", "configure", "monitor_event_loop"]
