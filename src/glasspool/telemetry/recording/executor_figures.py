"""What readings ask of the record of an open executor."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Protocol

from .holds import Holds
from .places import Look, Places
from .shape import Shape
from .slots import SlotClock, SlotFigures
from .task_record import TaskRecord

__all__ = ["ExecutorFigures"]


class ExecutorFigures(Protocol):
    """The live figures of one executor. They are read in turns of the identity; instants are by ``clock``."""

    name: str
    type: str
    shape: Shape
    clock: Callable[[], float]
    max_task_names: int
    capacity: int | None
    late_after: float
    opened_at: float
    slots: SlotClock
    active_tasks: OrderedDict[TaskRecord, None]
    asked: dict[TaskRecord, float]
    pending: OrderedDict[object, float]
    workers: dict[str, int]
    worker_limits: dict[str, int]
    serving: int
    services: Counter[tuple[str, str]]
    holds: Holds | None
    retry_budget: Callable[[], int] | None
    places: Callable[[Look], Places | None] | None
    """Where its tasks are now, if its owner can tell. Called in no turn."""

    def catch_up(self) -> None:
        """Enter what was noted and not yet counted. The caller is in no turn."""

    def after_fork(self) -> None:
        """Forget everything inherited from the parent process."""

    @property
    def figures(self) -> SlotFigures:
        """The slots as they are shown."""
        ...

    def asked_since(self, now: float) -> list[float]:
        """When the tasks were asked that have not ended; no order."""
        ...

    def active_by_runner(self) -> Counter[str]:
        """Tasks in flight by runner."""
        ...
