"""The metrics of a scrape of a port that processes share. The catalog has them, apart from those of one process."""

from __future__ import annotations

from typing import Final

from .metric import Metric

__all__ = ["PORT_METRICS", "PROCESSES_ANSWERED", "PROCESSES_KNOWN"]

PROCESSES_KNOWN: Final = Metric(
    "glasspool.processes.known",
    "gauge",
    "{process}",
    "Processes that share the Prometheus port of this scrape, the answering one included; absent where they cannot"
    " know of each other.",
    identity=False,
)
PROCESSES_ANSWERED: Final = Metric(
    "glasspool.processes.answered",
    "gauge",
    "{process}",
    "Processes whose series are in this scrape; fewer than known: it is a part of the whole.",
    identity=False,
)

PORT_METRICS: Final = (PROCESSES_KNOWN, PROCESSES_ANSWERED)
"""Metrics that only a scrape of a port that can be shared has: they describe the scrape, not one process."""
