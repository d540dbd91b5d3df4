"""RetryReporter: reports the attempts of tasks that may run more than once. All else is reported as for any task."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial

from glasspool.telemetry.catalog import RETRY_STOPS
from glasspool.telemetry.recording import retry_figures
from glasspool.telemetry.recording.ending import SUCCESS, Ending
from glasspool.telemetry.tracing import attempt_span
from glasspool.telemetry.tracing import spans as tracing

from .reporter import Reporter
from .task_state import Attempts, Task

__all__ = ["RetryReporter"]

_CANCELS = ("explicit", "parent_scope", "keyboard_interrupt")  # reasons that may meet a task between two attempts


class RetryReporter:
    """The telemetry of the attempts of one executor's tasks."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._record = reporter.record
        self.now = reporter.record.clock

    def opened(self, allowed: Callable[[], int] | None) -> None:
        """From now on there may be retries, as many as ``allowed`` says; None: without a bound."""
        retry_figures.expect_retries(self._record, allowed)
        self._reporter.may_cancel(*((reason, "retry_wait") for reason in _CANCELS))

    def began(self, task: Task, attempts: Attempts) -> None:
        """An attempt begins, in the current context."""
        record = task.record
        if attempts.number == 1:
            attempts.context = copy_context()
            self._reporter.began(task)
            attempts.waited = record.started - record.accepted
        else:
            retry_figures.attempt_resumed(self._record, record)
        attempts.began = self.now()
        if record.span is not None:
            try:
                tracing.attach(None, record.span)
                attempts.span = attempt_span.start(record.span, record.name, record.id, attempts.number)
                if attempts.span is not None:
                    tracing.attach(None, attempts.span)
            except BaseException as error:  # noqa: BLE001 - the attempt begins
                self._reporter.broken(error)

    def sent_back(
        self, task: Task, attempts: Attempts, outcome: str, error: BaseException, context: Context
    ) -> Callable[[], None]:
        """An attempt has ended so, in this context, and the task is queued again. Returns what is to be told when all
        state has changed."""
        failed = _ending(outcome, error)
        retry_figures.sent_back(self._record, task.record, failed.error_type)
        ended = self._ended(task, attempts, failed)
        return lambda: context.run(self._tell, attempts, ended)

    def _ended(self, task: Task, attempts: Attempts, ending: Ending) -> Ending:
        """Count the attempt that ran."""
        seconds = self.now() - attempts.began
        attempts.ran += seconds
        retry_figures.attempt_ended(self._record, task.record, ending.outcome, seconds)
        return ending.timed(None, seconds)

    def _tell(self, attempts: Attempts, ending: Ending) -> None:
        span, attempts.span = attempts.span, None
        if span is not None:
            try:
                tracing.TaskTracer.end(span, ending)
            except BaseException as error:  # noqa: BLE001 - as in Reporter
                self._reporter.broken(error)

    def stopped(self, why: str) -> None:
        """A task is not tried again. What is no reason of the catalog is not counted."""
        if why in RETRY_STOPS:
            retry_figures.retry_stopped(self._record, why)

    def broken(self) -> None:
        """A function that was to say whether a task is tried again has failed."""
        self._record.telemetry_failed("callback")

    def settled(
        self, task: Task, outcome: str, error: BaseException | None, reason: str, *, assigned: bool, attempts: Attempts
    ) -> Callable[[], None] | None:
        """See Reporter."""
        runs, began = attempts.failed is None and attempts.number > 0, attempts.number > 0
        last: Ending | None = None
        if runs:
            last = self._ended(task, attempts, _ending(outcome, error, reason))
        tell = self._reporter.settled(
            task, outcome, error, reason, assigned=assigned, attempt=attempts.number,
            waited=attempts.waited if began else None, ran=attempts.ran if began else None,
        )  # fmt: skip
        if last is None or attempts.span is None:
            return tell
        return partial(self._tell_both, attempts, last, tell)

    def _tell_both(self, attempts: Attempts, last: Ending, tell: Callable[[], None] | None) -> None:
        self._tell(attempts, last)
        if tell is not None:
            tell()


def _ending(outcome: str, error: BaseException | None, reason: str = "") -> Ending:
    if outcome == "error":
        return Ending.failed(error)
    if outcome == "timeout":
        return Ending.timed_out()
    return SUCCESS if outcome == "success" else Ending.cancelled(reason)
