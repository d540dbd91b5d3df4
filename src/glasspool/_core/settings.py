"""Settings: the checked arguments of ``HybridExecutor(...)``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from glasspool.rates import Rate
from glasspool.retries import Retry, RetryBudget
from glasspool.telemetry.observers import Observer
from glasspool.telemetry.tracing.spans import Spans

from .policies.limiter import Limiter

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """The settings of one executor; ``HybridExecutor`` documents them."""

    name: str
    limit: int  # max_in_flight, to begin with
    capacity: int | None  # max_queued
    escalate: bool  # on_error="escalate"
    spans: Spans
    max_task_names: int
    isolate: bool
    wait_objective: float | None
    observers: tuple[Observer, ...]
    rates: tuple[Rate, ...]
    limits: Mapping[str, Limiter]  # by configured name
    retry: Retry | None  # of tasks that do not say it themselves
    retry_budget: RetryBudget | None
