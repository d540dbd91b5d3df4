"""Retrying: which failed attempts of one executor's tasks are followed by another one, and when.

active ──an attempt fails──▶ queued, held by "retry" ──the delay is over──▶ queued ──▶ active, the next attempt
                                └── the deadline passes, or the executor closes ──▶ ends as the attempt has ended
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Protocol

from glasspool._foreign.guarded import class_name, is_a, log
from glasspool.retries import Retry, RetryBudget

from .backend import Backend
from .closing import Closing
from .lending import Lending
from .policies.budget import Budget
from .policies.gate import Gate
from .queue import AdmissionQueue, Producer
from .retry_reporter import RetryReporter
from .task_state import CURRENT, AttemptRef, Attempts, Task
from .waits import WAITS

__all__ = ["Retrying"]

logger = logging.getLogger("glasspool")

_WHY = {
    "attempts": "no attempts are left",
    "budget": "the retry budget of its executor is spent",
    "deadline": "the next attempt would begin after its deadline",
    "closing": "its executor is closing",
    "thread": "its thread still runs",
}


class Owner(Protocol):
    """The engine, as it is used here."""

    backend: Backend
    closing: Closing
    queue: AdmissionQueue[Task, Producer[Task]]
    lending: Lending

    def gated(self, *, places: bool = True) -> Gate:
        """The gate; from now on there is one."""
        ...

    def frees_slot(self, task: Task) -> None:
        """The task gives its slot, and what its key has, back."""

    def dispatch(self) -> None:
        """Give free slots to queued tasks."""

    def crashed(self, error: BaseException) -> None:
        """Foreign code raised KeyboardInterrupt or SystemExit: close."""

    def settle(
        self, task: Task, outcome: str, value: Any = None, error: BaseException | None = None, reason: str = ""
    ) -> None:
        """Settle the task."""


class _Ended:
    """Stands for the scope of an attempt that has ended, while it is decided what follows: to cancel it does nothing
    more than to record the request."""

    cancel_called = False

    def cancel(self) -> None:
        """See the class."""


_ENDED = _Ended()


class Retrying:
    """The tasks of one executor that may run more than once.

    :param budget: bounds all retries; None for no bound.
    """

    def __init__(self, owner: Owner, reporter: RetryReporter, budget: RetryBudget | None) -> None:
        self._owner = owner
        self.reporter = reporter
        self._now: Callable[[], float] = owner.backend.now
        self._budget = None if budget is None else Budget(budget)
        reporter.opened(None if self._budget is None else self._allowed)

    def _allowed(self) -> int:
        return 0 if self._budget is None else self._budget.available(self._now())

    def accept(self, task: Task) -> None:
        """The task is about to be accepted."""
        task.attempts = Attempts(self.reporter.now())

    def began(self, task: Task, attempts: Attempts) -> None:
        """An attempt begins: its function is about to be called, in the current context."""
        attempts.number += 1
        attempts.failed = None
        CURRENT.set(AttemptRef(task, attempts.number))
        if attempts.number == 1 and self._budget is not None:
            self._budget.first(self._now())
        if attempts.number > 1 and task.sink is not None:
            task.sink.retried(task)
        self.reporter.began(task, attempts)

    # -- after an attempt ------------------------------------------------------------------------------------------

    def again(self, task: Task, outcome: str, error: BaseException) -> bool:
        """Whether the task, whose attempt has ended so, runs again. Then it is queued already."""
        attempts, retry = task.attempts, task.plan.retry
        if attempts is None or retry is None or task.request is not None or not is_a(error, Exception):
            return False
        task.begin(_ENDED)
        delay = self._delay(task, retry, attempts, error)
        if delay is None or task.request is not None:
            return False
        now = self._now()
        why = self._obstacle(task, retry, attempts, now, delay)
        if why is not None:
            self._stop(attempts, retry, error, why)
            return False
        self._send_back(task, attempts, (outcome, error), now + delay)
        return True

    def _delay(self, task: Task, retry: Retry, attempts: Attempts, error: Any) -> float | None:
        from random import random  # late: it costs more to import than all that a program without retries needs here

        try:
            return retry.delay(error, attempts.number, random)
        except BaseException as broken:  # noqa: BLE001 - the user's function; the attempt's own error is the outcome
            if is_a(broken, (KeyboardInterrupt, SystemExit)):
                self._owner.crashed(broken)
            else:
                log(logger.error, "the on= of retry= of task %r failed", task.name, exc_info=broken)
                self.reporter.broken()
                _note(error, attempts, retry, f"the on= of its retry= failed with {class_name(broken)[1]}")
            return None

    def _obstacle(self, task: Task, retry: Retry, attempts: Attempts, now: float, delay: float) -> str | None:
        if task.left_running:
            return "thread"
        if attempts.number >= retry.attempts:
            return "attempts"
        if self._owner.closing.reason:
            return "closing"
        if task.plan.deadline is not None and now + delay >= task.plan.deadline:
            return "deadline"
        return None if self._budget is None or self._budget.take(now) else "budget"

    def _send_back(self, task: Task, attempts: Attempts, failed: tuple[str, BaseException], until: float) -> None:
        owner = self._owner
        assert attempts.context is not None, "an attempt has begun"  # noqa: S101 - for the type checker
        own, gate = copy_context(), owner.gated(places=False)
        owner.frees_slot(task)
        WAITS.forget(task)
        task.send_back(failed, attempts.context.copy())
        owner.queue.push_beyond(task, task.plan.deadline)
        gate.hold_apart(task, "retry", until=until)
        if owner.lending.on:
            owner.lending.order.queued_again(task)
        tell = self.reporter.sent_back(task, attempts, *failed, own)
        owner.dispatch()
        tell()

    # -- the end of it ---------------------------------------------------------------------------------------------

    def ends_by_closing(self, task: Task, reason: str) -> bool:
        """Whether the task, which is to be cancelled for this reason, was to run again and ends as its last attempt,
        because the executor closes. Then it has ended."""
        return reason == "shutdown" and self._owner.closing.reason == reason and self._end(task, "closing", reason)

    def ends_by_deadline(self, task: Task) -> bool:
        """The same of one that is out of time."""
        return self._end(task, "deadline")

    def _end(self, task: Task, why: str, reason: str = "") -> bool:
        attempts, retry = task.attempts, task.plan.retry
        if attempts is None or attempts.failed is None or retry is None:
            return False
        outcome, error = attempts.failed
        self._stop(attempts, retry, error, why)
        self._owner.settle(task, outcome, error=error, reason=reason)
        return True

    def _stop(self, attempts: Attempts, retry: Retry, error: BaseException, why: str) -> None:
        self.reporter.stopped(why)
        _note(error, attempts, retry, _WHY[why])


def _note(error: BaseException, attempts: Attempts, retry: Retry, why: str) -> None:
    """Add to the error why the task was not tried again, as ``BaseException.add_note`` does from Python 3.11 on."""
    note = f"attempt {attempts.number} of {retry.attempts} failed, and the task is not tried again: {why}"
    with suppress(Exception):  # an error may refuse to be changed, as a frozen dataclass does
        notes: list[str] = getattr(error, "__notes__", [])
        if note not in notes:  # an error may be raised by more tasks than one
            error.__notes__ = [*notes, note]  # type: ignore[attr-defined]  # before Python 3.11
