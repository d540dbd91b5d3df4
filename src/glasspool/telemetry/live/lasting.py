"""For how long an executor has been as it is, from the history and from how long its oldest task has waited."""

from __future__ import annotations

from typing import NamedTuple

from glasspool.telemetry import catalog

from .flat import Entity
from .history import History

__all__ = ["Lasting", "full", "idle"]

_SATURATED = (catalog.SLOT_SATURATED_TIME.name,)
_STARTS = [(catalog.QUEUE_WAIT.name, "started", index) for index in range(len(catalog.QUEUE_WAIT.buckets) + 1)]


class Lasting(NamedTuple):
    """Seconds, and whether it may have been so for longer."""

    seconds: float
    at_least: bool


def full(history: History, entity: Entity, saturated: float, now: float, oldest_wait: float) -> Lasting:
    """For how long every slot of an executor whose slots are all in use has been so. The caller holds the history's
    lock.

    :param saturated: its ``slot.saturated.time`` now.
    :param oldest_wait: for how long its oldest task has waited for a slot.
    """
    found = 0.0
    for index in range(len(history.times) - 1, -1, -1):
        elapsed = now - history.times[index]
        if saturated - history.at(entity, _SATURATED, index) < 0.99 * elapsed - 0.05:
            return Lasting(found, at_least=False)
        found = elapsed
    # Nobody has looked for longer. A task that waits for a slot would have taken one.
    return Lasting(max(found, oldest_wait), at_least=True)


def idle(history: History, entity: Entity, started: float, now: float) -> Lasting:
    """For how long no task of an executor has left its queue to start. The caller holds the history's lock.

    :param started: how many have up to now.
    """
    columns = history.columns.get(entity, {})
    starts = [column for key in _STARTS if (column := columns.get(key)) is not None]
    found = 0.0
    for index in range(len(history.times) - 1, -1, -1):
        if sum([column[index] for column in starts]) != started:
            return Lasting(found, at_least=False)
        found = now - history.times[index]
    return Lasting(found, at_least=True)
