"""One task as telemetry knows it, and the figures of one executor's tasks that are conserved."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from opentelemetry.trace import Span

__all__ = ["Counts", "TaskRecord"]

_task_ids = itertools.count(1)


class TaskRecord:
    """One task. Instants are readings of the recorder's clock, in seconds."""

    # Slots, and no defaults on the class: every task reads most of these, and from a slot that takes a tenth.
    __slots__ = ("accepted", "began", "id", "label", "name", "runner", "span", "started")

    def __init__(self, name: str, runner: str, label: str) -> None:
        """Make the record of a task that is not accepted yet.

        :param name: the task's full name.
        :param runner: a value of ``glasspool.runner``.
        :param label: the name after the cap, as metrics and span names show it.
        """
        self.span: Span | None = None
        self.accepted = 0.0
        self.started = 0.0  # when it got its slot, then when its function began
        self.began = False
        self.id = next(_task_ids)
        self.name = name
        self.runner = runner
        self.label = label


class Counts(NamedTuple):
    """The conserved figures of one executor: submitted is the sum of the first six."""

    queued: int
    in_flight: int
    succeeded: int
    failed: int
    timed_out: int
    cancelled: int
    rejected: int
    abandoned: int
    lent: int
