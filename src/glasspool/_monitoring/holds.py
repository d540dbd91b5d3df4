"""Expressions about what holds queued tasks on purpose: rates, limits, pauses, the delays of retries.

An executor that may hold tasks shows how many, by reason; the others have no such series. So what these expressions
exclude from an alert is excluded for the former only.
"""

from __future__ import annotations

from glasspool.telemetry.catalog import (
    LIMIT_CAPACITY,
    LIMIT_USAGE,
    QUEUE_CAPACITY,
    QUEUE_HELD,
    QUEUE_HOLD,
    QUEUE_SIZE,
    QUEUE_WAIT,
    Key,
)

from .expressions import any_of, count, events, label, match, matching, series, without
from .options import RuleOptions
from .retries import goes_on, taking_places

__all__ = [
    "HELD_SHARE",
    "all_held",
    "held",
    "held_share",
    "lasting",
    "mostly_held",
    "not_held",
    "producers_held",
    "starved",
]

HELD_SHARE = "glasspool:queue_held:ratio"
"""The recorded share of the queued tasks that are held."""

_LIMIT = match(Key.HOLD_REASON, "limit")


def held(*matchers: str) -> str:
    """Queued tasks that are held, whatever the reason."""
    return without((Key.HOLD_REASON,), series(QUEUE_HELD, *matchers))


def _others() -> str:
    """Queued tasks that wait for a slot only, of executors that may hold tasks."""
    return f"{series(QUEUE_SIZE)} - {held()}"


def not_held(*matchers: str) -> str:
    """Queued tasks that wait for a slot only, of every executor."""
    size = series(QUEUE_SIZE, *matchers)
    # Not read at one instant: for a moment more tasks may seem to be held than are queued.
    return any_of(f"clamp_min({size} - {held(*matchers)}, 0)", size)


def held_share() -> str:
    """The share of the queued tasks that are held, of executors that may hold tasks."""
    return f"{held()} / ({series(QUEUE_SIZE)} > 0)"


def all_held(window: str) -> str:
    """Executors in which, at some time in the window, every queued task was held.

    By a recorded share: the step of a subquery that gives none is minutes in some evaluators.
    """
    return f"max_over_time({HELD_SHARE}[{window}]) >= 1"


def mostly_held(fill: float) -> str:
    """Executors whose queue is filled to no more than this share by tasks that wait for a slot only."""
    return f"({_others()}) / ({series(QUEUE_CAPACITY)} > 0) <= {fill:g}"


def producers_held() -> str:
    """Executors whose producers are blocked by tasks that are held.

    Either every queued task is held, or the queue has room, so that the producers wait for a place among those of
    their key.
    """
    return f"{held()} > 0 unless ({_others()} > 0 and ({taking_places()}) >= {series(QUEUE_CAPACITY)})"


def lasting(reason: str, window: str) -> str:
    """Tasks were held for this reason at every sample of the window, and at its beginning."""
    tasks = series(QUEUE_HELD, match(Key.HOLD_REASON, reason))
    return f"min_over_time({tasks}[{window}]) > 0 and {tasks} offset {window} > 0"


def starved(options: RuleOptions) -> str:
    """Limits whose permits were all in use for the whole window, while tasks were held and none of them got one."""
    window = options.starved_window
    free = (matching(Key.EXECUTOR_NAME, options.long_lived, negate=True),) if options.long_lived else ()
    released = without((Key.HOLD_REASON,), events(count(QUEUE_HOLD, _LIMIT), window))
    started = without(
        (Key.QUEUE_OUTCOME,), f"increase({count(QUEUE_WAIT, match(Key.QUEUE_OUTCOME, 'started'))}[{window}])"
    )
    apart = f"ignoring ({label(Key.LIMIT_NAME)}, {label(Key.HOLD_REASON)})"
    return (
        f"min_over_time({series(LIMIT_USAGE, *free)}[{window}]) >= {series(LIMIT_CAPACITY, *free)}"
        f" and {apart} ({lasting('limit', window)})"
        # Who gives up has been released as well: then at least something must have started, or have been tried again.
        f" unless {apart} ({released} > 0 and ({any_of(f'{started} > 0', goes_on(window))}))"
    )
