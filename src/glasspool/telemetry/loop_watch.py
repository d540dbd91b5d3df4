"""What watches one event loop for a monitor.

A tick is due at every interval. Its delay is how much later than that the loop could run it.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

__all__ = ["Count", "Watch"]

Count = Callable[[float, int], bool]
"""Counts ticks (their number) that had this delay (seconds). False: the watch is over."""


class Watch(abc.ABC):
    """One loop, from ``begin`` to ``end``."""

    @abc.abstractmethod
    def begin(self, clock: Callable[[], float], interval: float, count: Count, ended: Callable[[], None]) -> None:
        """Count a tick for every ``interval`` seconds of ``clock``. ``ended`` is called if the loop ends first."""

    @abc.abstractmethod
    def end(self) -> None:
        """Stop counting. From any thread."""

    @abc.abstractmethod
    def loop(self) -> Any:
        """The loop, or the token of the trio run."""

    @abc.abstractmethod
    def stall(self) -> float:
        """By how many seconds the next tick is overdue; 0.0 if the loop is on time or not run. From any thread."""

    @abc.abstractmethod
    def catch_up(self) -> None:
        """Count the ticks that are known to have been on time. From any thread, without a lock."""
