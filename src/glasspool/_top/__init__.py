"""What ``glasspool top`` and ``glasspool tasks`` show: the executors of running processes, read over HTTP.

A process is asked for its ``/live.json`` and ``/tasks.json``; one that has none, for its metrics.
"""

from . import report
from .source import Answer, Source

__all__ = ["Answer", "Source", "report"]
