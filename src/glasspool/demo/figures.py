"""The figures of one executor at one moment, for the views. Safe to read from any thread."""

from __future__ import annotations

from dataclasses import dataclass

from glasspool import ExecutorStats, HybridExecutor
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key, Metric
from glasspool.telemetry.recording.registry import REGISTRY
from glasspool.telemetry.recording.snapshot import Snapshot
from glasspool.telemetry.recording.snapshot_queries import merged, quantile, total

__all__ = ["Figures", "Quantiles", "read", "registry_counts"]


@dataclass(frozen=True)
class Quantiles:
    """Median, 95th and 99th percentile in seconds; None while nothing was measured."""

    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True)
class Figures:
    """One executor. ``saturated`` and ``utilisation`` are shares (0 to 1) of the time since it was opened."""

    name: str
    stats: ExecutorStats
    wait: Quantiles
    run: Quantiles
    saturated: float
    utilisation: float


def read(executor: HybridExecutor) -> Figures:
    """The figures of this executor now."""
    snapshot = REGISTRY.collect()
    mine = {Key.EXECUTOR_NAME: executor.name}

    def seconds(metric: Metric) -> float:
        return total(snapshot, metric, mine)

    return Figures(
        executor.name,
        executor.stats(),
        _quantiles(snapshot, catalog.QUEUE_WAIT, {**mine, Key.QUEUE_OUTCOME: "started"}),
        _quantiles(snapshot, catalog.TASK_DURATION, mine),
        _share(seconds(catalog.SLOT_SATURATED_TIME), seconds(catalog.EXECUTOR_TIME)),
        _share(seconds(catalog.SLOT_TIME), seconds(catalog.SLOT_LIMIT_TIME)),
    )


def registry_counts(name: str) -> dict[str, int]:
    """The counts that exporters would show for this executor: tasks submitted, rejected by a full queue, by outcome."""
    snapshot = REGISTRY.collect()
    mine = {Key.EXECUTOR_NAME: name}
    counts = {
        "submitted": int(total(snapshot, catalog.TASK_SUBMITTED, mine)),
        "rejected": int(total(snapshot, catalog.TASK_REJECTED, mine)),
    }
    for outcome in catalog.OUTCOMES:
        counts[outcome] = int(total(snapshot, catalog.TASK_COMPLETED, {**mine, Key.TASK_OUTCOME: outcome}))
    return counts


def _quantiles(snapshot: Snapshot, metric: Metric, attributes: dict[str, str]) -> Quantiles:
    counts = merged(snapshot, metric, attributes).counts
    return Quantiles(*(quantile(counts, metric.buckets, q) for q in (0.5, 0.95, 0.99)))


def _share(part: float, whole: float) -> float:
    return min(1.0, part / whole) if whole > 0 else 0.0
