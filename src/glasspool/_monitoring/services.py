"""Expressions about services: those that are gone, and those that are started again and again."""

from __future__ import annotations

from glasspool.telemetry.catalog import SERVICE_RESTARTS, SERVICE_STATE, Key

from .expressions import any_of, events, match, series, without
from .options import RuleOptions

__all__ = ["gone", "restarting"]

_STATE = (Key.SERVICE_STATE,)


def gone(options: RuleOptions) -> str:
    """Services that have failed for good, and those that were started and have not been ready for the whole window."""
    window = options.service_window
    failed = without(_STATE, series(SERVICE_STATE, match(Key.SERVICE_STATE, "failed")))
    unready = series(SERVICE_STATE, match(Key.SERVICE_STATE, "starting", "backoff"))
    ran = f"max_over_time({series(SERVICE_STATE, match(Key.SERVICE_STATE, 'running'))}[{window}])"
    for_long = (
        f"{without(_STATE, unready)} > 0 and {without(_STATE, f'{unready} offset {window}')} > 0"
        f" unless {without(_STATE, ran)} > 0"
    )
    return any_of(f"{failed} > 0", for_long)


def restarting(options: RuleOptions) -> str:
    """Services that have crashed this often and were started again."""
    crashes = events(series(SERVICE_RESTARTS, match(Key.ERROR_TYPE, "", negate=True)), options.event_window)
    return f"{without((Key.ERROR_TYPE,), crashes)} >= {options.restarts_floor}"
