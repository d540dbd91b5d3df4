"""What the catalog says of each metric, and the bounds of its histograms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from .attributes import Key

__all__ = ["LOOP_BUCKETS", "RUN_BUCKETS", "WAIT_BUCKETS", "Kind", "Metric"]

Kind = Literal["counter", "updowncounter", "gauge", "histogram"]

WAIT_BUCKETS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
)  # fmt: skip
"""Bounds in seconds of waits, cancellations and shutdowns: half a millisecond (one busy loop turn) to half an hour."""

RUN_BUCKETS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0,
)  # fmt: skip
LOOP_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

_IDENTITY: Final = (Key.EXECUTOR_NAME, Key.EXECUTOR_TYPE)


@dataclass(frozen=True)
class Metric:
    """One metric.

    :param name: its name in OpenTelemetry.
    :param kind: counter, updowncounter, gauge or histogram.
    :param unit: its UCUM unit.
    :param help: what it measures, for documentation and exporters.
    :param attributes: the keys of its attributes, besides the identity; default none.
    :param buckets: the upper bounds of a histogram, in seconds; default none.
    :param identity: whether it carries ``glasspool.executor.name`` and ``.type``; default True.
    :param rare: whether it is zero or absent in a healthy process; default False.
    :param exemplars: whether its buckets carry the ids of sampled traces; default False.
    """

    name: str
    kind: Kind
    unit: str
    help: str
    attributes: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    identity: bool = True
    rare: bool = False
    exemplars: bool = False

    @property
    def prometheus_name(self) -> str:
        """The name that scraping and OTLP-to-Prometheus translation agree on (before ``_bucket``, ``_sum``)."""
        name = self.name.replace(".", "_")
        if self.unit == "s":
            name += "_seconds"
        return name + "_total" if self.kind == "counter" else name

    @property
    def labels(self) -> tuple[str, ...]:
        """All attribute keys in order: identity first."""
        return (*_IDENTITY, *self.attributes) if self.identity else self.attributes
