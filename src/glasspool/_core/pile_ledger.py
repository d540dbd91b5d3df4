"""PileLedger: the tasks and outcomes of one pile, which it can cancel together."""

from __future__ import annotations

from typing import Any

from glasspool.task import Outcome

from .interfaces import Host
from .ledger import Ledger
from .task_state import Task

__all__ = ["PileLedger"]


class PileLedger(Ledger[Any]):
    """Counts ends, and with ``fail_fast`` cancels the others at the first failure.

    It does not refer to the pile: the tasks refer to the ledger, and a pile is destroyed with the last reference to it.
    """

    def __init__(self, host: Host, *, fail_fast: bool) -> None:
        super().__init__()
        self.ended = dict.fromkeys(Outcome, 0)
        self.closed: str | None = None  # the reason for which tasks are cancelled, once that has been decided
        self._host = host
        self._fail_fast = fail_fast

    def completed(self, task: Task) -> None:
        """See Sink."""
        super().completed(task)
        outcome = Outcome(task.state)
        self.ended[outcome] += 1
        if self._fail_fast and outcome in (Outcome.ERROR, Outcome.TIMEOUT):
            self._fail_fast = False
            self.close("sibling_failure")

    def close(self, reason: str) -> None:
        """Take no more tasks and ask the outstanding ones to end."""
        self.closed = self.closed or reason
        self.cancel(reason)

    def cancel(self, reason: str, message: str | None = None) -> int:
        """Ask the outstanding tasks to end; how many requests were recorded."""
        return sum(self._host.request_cancel(task, reason, message) for task in self.unfinished())

    def standing(self) -> tuple[int, int]:
        """How many of the outstanding tasks are queued, and how many are in flight."""
        outstanding = self.unfinished()
        queued = sum(task.state == "queued" for task in outstanding)
        return queued, len(outstanding) - queued
