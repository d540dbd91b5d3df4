"""The gauges of policies of one identity: what is held, what limits allow, and how many retries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import inf

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key

from .holds import LimitFigures
from .identity import Totals
from .printable_text import printable

__all__ = ["read_policies"]


def read_policies(totals: Totals, add: Callable[..., None]) -> None:
    """Add them, where there are such policies. In a turn.

    :param add: takes a metric, a value and further attributes.
    """
    if totals.holds:
        _read_holds(totals, add)
    budgets = [recorder.retry_budget for recorder in totals.live if recorder.retry_budget is not None]
    if budgets:
        add(catalog.RETRY_BUDGET, sum(allowed() for allowed in budgets))


def _read_holds(totals: Totals, add: Callable[..., None]) -> None:
    gates = [r.holds for r in totals.live if r.holds is not None]
    held = sum((Counter(gate.held()) for gate in gates), Counter[str]())
    for reason in catalog.HOLD_REASONS:
        add(catalog.QUEUE_HELD, held[reason], **{Key.HOLD_REASON: reason})
    # Executors of one name may share a limit, which is counted once.
    limits = {found[:2]: LimitFigures(*found) for gate in gates for found in gate.limits()}.values()
    for name in sorted(totals.limit_names):
        label = {Key.LIMIT_NAME: name}
        ours = [figures for figures in limits if printable(figures.name) == name]
        add(catalog.LIMIT_USAGE, sum(figures.usage for figures in ours), **label)
        bounds = [figures.capacity for figures in ours if figures.capacity is not None]
        if bounds and len(bounds) == len(ours):
            totals.bounded.add(name)
        if name in totals.bounded:
            add(catalog.LIMIT_CAPACITY, sum(bounds), **label)
        available = sum(figures.available for figures in ours)
        if available != inf:  # nothing but its places in the queue is bounded
            add(catalog.LIMIT_AVAILABLE, available, **label)
