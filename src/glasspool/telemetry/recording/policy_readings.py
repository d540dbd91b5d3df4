"""The gauges of policies of one identity: what is held, what limits allow, and how many retries."""

from __future__ import annotations

from collections import Counter
from math import inf

from glasspool.telemetry import catalog

from .holds import LimitFigures
from .identity import Totals
from .printable_text import printable
from .snapshot import Add

__all__ = ["read_policies"]


def read_policies(totals: Totals, add: Add) -> None:
    """Add them, where there are such policies. In a turn."""
    if totals.holds:
        _read_holds(totals, add)
    budgets = [recorder.retry_budget for recorder in totals.live if recorder.retry_budget is not None]
    if budgets:
        add(catalog.RETRY_BUDGET, sum(allowed() for allowed in budgets))


def _read_holds(totals: Totals, add: Add) -> None:
    gates = [r.holds for r in totals.live if r.holds is not None]
    held = sum((Counter(gate.held()) for gate in gates), Counter[str]())
    for reason in catalog.HOLD_REASONS:
        add(catalog.QUEUE_HELD, held[reason], reason)
    # Executors of one name may share a limit, which is counted once.
    limits = {found[:2]: LimitFigures(*found) for gate in gates for found in gate.limits()}.values()
    for name in sorted(totals.limit_names):
        ours = [figures for figures in limits if printable(figures.name) == name]
        add(catalog.LIMIT_USAGE, sum(figures.usage for figures in ours), name)
        bounds = [figures.capacity for figures in ours if figures.capacity is not None]
        if bounds and len(bounds) == len(ours):
            totals.bounded.add(name)
        if name in totals.bounded:
            add(catalog.LIMIT_CAPACITY, sum(bounds), name)
        available = sum(figures.available for figures in ours)
        if available != inf:  # nothing but its places in the queue is bounded
            add(catalog.LIMIT_AVAILABLE, available, name)
