"""What readings ask of the recorder of an open executor, whichever recorder that is."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Protocol

from .shape import Shape
from .slots import SlotClock
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

    def catch_up(self) -> None:
        """Enter what was noted and not yet counted. The caller is in no turn."""

    def after_fork(self) -> None:
        """Forget everything inherited from the parent process."""

    def queue_size(self) -> int:
        """Tasks that wait for a slot now."""
        ...

    def slots_used(self) -> float:
        """Slots in use now, those included that are being handed to waiting tasks at this instant."""
        ...

    def slots_there(self) -> float | None:
        """Slots there are now; None when nothing bounds them."""
        ...

    def handed_over(self) -> int:
        """Slots that became free while tasks waited for them, and are not assigned yet."""
        ...

    def slot_time(self, now: float) -> float:
        """Slot-seconds used since open."""
        ...

    def limit_time(self, now: float) -> float:
        """Slot-seconds on offer since open."""
        ...

    def saturated_time(self, now: float) -> float:
        """Seconds since open with every slot in use."""
        ...

    def asked_since(self, now: float) -> list[float]:
        """When the tasks were asked that have not ended; no order."""
        ...

    def active_by_runner(self) -> Counter[str]:
        """Tasks in flight by runner."""
        ...
