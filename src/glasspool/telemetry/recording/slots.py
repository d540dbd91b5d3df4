"""The slots of one executor: who waits, who has one, and for how many seconds they were used, on offer and all taken.

A time counter is kept as ``figure * now + offset``: it grows while work still runs, with no timer. Who takes a slot
subtracts the instant from the offset, who gives one back adds it. Recorders write these steps out where every task
passes; all else calls the methods here. Everything changes in turns of the identity (see ``turns.py``).
"""

from __future__ import annotations

from collections import OrderedDict
from math import inf
from typing import TYPE_CHECKING, Protocol

from .task_record import TaskRecord

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["SlotClock", "SlotFigures"]


class SlotFigures(Protocol):
    """What is shown of an executor's slots. Read in turns of the identity."""

    @property
    def queued(self) -> int:
        """Tasks that wait for a slot now."""
        ...

    @property
    def limit(self) -> float | None:
        """Slots there are now; None when nothing bounds them."""
        ...

    def used(self) -> float:
        """Slots in use now, those included that are being handed to waiting tasks at this instant."""
        ...

    def handed_over(self) -> int:
        """Slots that became free while tasks waited for them, and are not assigned yet."""
        ...

    def used_time(self, now: float) -> float:
        """Slot-seconds used since open."""
        ...

    def limit_time(self, now: float) -> float:
        """Slot-seconds on offer since open."""
        ...

    def saturated_time(self, now: float) -> float:
        """Seconds since open with every slot in use."""
        ...


class SlotClock:
    """Slots that tasks hold from ``assign`` to their end, or until an abandoned thread has ended.

    A slot that becomes free while tasks wait is being handed over: it is never out of use. One that a waiting task has
    lent is not in use, or it is another task's.
    """

    __slots__ = (
        "abandoned", "freed_at", "full_at", "gated", "in_flight", "lent", "limit", "limit_offset", "queued",
        "saturated", "saturated_offset", "used_offset", "waiting",
    )  # fmt: skip

    def __init__(self, limit: int | None) -> None:
        """Start with every slot free.

        :param limit: how many slots there are; None when nothing bounds them.
        """
        self.limit = limit
        self.full_at: float = limit or inf  # tasks and threads from which on all slots are taken, with those that lend
        self.queued = self.in_flight = self.abandoned = self.lent = 0
        # An ordered dict: its first entry is asked for all the time, and a plain dict looks for it behind all those
        # that have left.
        self.waiting: OrderedDict[TaskRecord, None] = OrderedDict()
        self.used_offset = self.limit_offset = self.saturated_offset = 0.0
        self.saturated = False
        self.freed_at = 0.0  # when slots last became free
        self.gated = False  # tasks may wait for something else: a slot that becomes free may stay so

    def open(self, now: float) -> None:
        """Slots are on offer from now on."""
        if self.limit is not None:
            self.limit_offset = -now * self.limit

    def set_limit(self, limit: int, now: float) -> None:
        """The number of slots changes now."""
        self.hand_over(now)
        self.limit_offset += now * ((self.limit or 0) - limit)
        self.limit = limit
        self.full_at = (limit or inf) + self.lent
        self.freed_at = now
        self._judge(now)

    def lend(self, change: int, now: float) -> None:
        """So many more tasks (or fewer) hold no slot while they wait."""
        self.hand_over(now)
        # Call-free.
        self.lent += change
        self.full_at += change
        self.used_offset += change * now
        if change > 0:
            self.freed_at = now
        self._judge(now)

    def _judge(self, now: float) -> None:
        saturated = self.in_flight + self.abandoned >= self.full_at
        if saturated is not self.saturated:
            self.saturated = saturated
            self.saturated_offset += -now if saturated else now

    def hand_over(self, now: float) -> None:
        """Enter the slots that are being handed over up to now: a task or a slot comes or goes, so that from
        now on their number is another one."""
        handed = self.handed_over()
        if handed and now > self.freed_at:  # what was put off may be of an earlier instant
            self.used_offset += handed * (now - self.freed_at)
            if self.in_flight + self.abandoned + handed >= self.full_at:
                self.saturated_offset += now - self.freed_at
            self.freed_at = now

    def copy(self) -> Self:
        """The same figures, to be changed and put in place of this."""
        copy = type(self)(self.limit)
        for name in SlotClock.__slots__:
            setattr(copy, name, getattr(self, name))
        return copy

    # -- readings --------------------------------------------------------------------------------------------------

    def handed_over(self) -> int:
        """Slots that became free while tasks waited for them, and are not assigned yet."""
        if self.gated or not self.waiting:
            return 0
        free = self.full_at - self.in_flight - self.abandoned
        oldest = next(iter(self.waiting), None)
        if free <= 0 or oldest is None or oldest.accepted > self.freed_at:
            return 0
        return int(min(free, self.queued))

    def used(self) -> int:
        """Slots in use, those included that are being handed over."""
        return self.in_flight + self.abandoned - self.lent + self.handed_over()

    def used_time(self, now: float) -> float:
        """Slot-seconds used since open."""
        handed = self.handed_over() * (now - self.freed_at)
        return (self.in_flight + self.abandoned - self.lent) * now + self.used_offset + handed

    def limit_time(self, now: float) -> float:
        """Slot-seconds on offer since open."""
        return (self.limit or 0) * now + self.limit_offset

    def saturated_time(self, now: float) -> float:
        """Seconds since open with every slot in use."""
        if self.saturated:
            return now + self.saturated_offset
        full = self.used() >= self.full_at  # with what is handed over
        return self.saturated_offset + (now - self.freed_at if full else 0.0)
