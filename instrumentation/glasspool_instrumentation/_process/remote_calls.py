"""A call that another process runs for this one, as the submitting process records it: Dask's, and anyio's.

    submit ─ accept ─► Errand ═══ worker: run ═══► Report, with the Result or alone ─► settle

When a call really began is known when its report arrives: its end minus its running time.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context

from glasspool._foreign.guarded import is_a
from glasspool.telemetry.recording.call_names import function_name, qualified_name
from glasspool.telemetry.recording.ending import Ending
from glasspool.telemetry.tracing.propagation import inject
from glasspool_instrumentation._observe.observation import Observed

from .consumer_spans import is_pickling, stand_for
from .mailbox import away, new_key
from .worker import Errand, Report, Sender

__all__ = ["Away"]


class Away:
    """One call while another process runs it."""

    __slots__ = ("accepted", "code", "context", "fired", "key", "observed", "report", "task")

    def __init__(self, observed: Observed, named: Any, context: Context) -> None:
        """``named`` is the user's function, or the name of what is done."""
        self.observed = observed
        self.context: Context | None = context  # until it is on its way
        self.key = new_key()
        self.accepted = False
        self.report: tuple[Any, ...] | None = None
        self.fired = False  # and forgotten (Dask)
        self.task = observed.recorder.task(named if is_a(named, str) else function_name(named), observed.runner)
        self.task.span = span = observed.start_span(self.task, named, context)
        self.code = "" if span is None else named if is_a(named, str) else qualified_name(named)

    def errand(self, fn: Callable[..., Any]) -> Errand:
        """What is sent in place of ``fn``. From here on a report is expected."""
        return Errand(fn, *self.parts())

    def parts(self) -> tuple[str, dict[str, str], Sender | None]:
        """What the worker has to know of it. From here on a report is expected."""
        record, task, context, sender = self.observed.record, self.task, self.context, None
        self.context = None
        if task.span is not None:
            context = trace.set_span_in_context(task.span, context)
            sender = Sender(record.name, record.type, task.runner, task.name, task.label, task.id, self.code)
        away[self.key] = self
        return self.key, inject(context), sender

    def accept(self) -> None:
        """The pool has it."""
        with self.observed.record.lock:
            if not self.accepted:
                self.observed.admit(self.task)
                self.accepted = True

    def came_home(self, report: tuple[Any, ...], error: BaseException | None) -> None:
        """The worker's report is here, with its result or error; the future is about to be done."""
        self._end(Report(*report), error, cancelled=False)

    def done(self, future: Future[Any]) -> None:
        """The future is done."""
        cancelled = future.cancelled()
        self.finish(None if cancelled else future.exception(), cancelled=cancelled)

    def note(self, report: tuple[Any, ...]) -> None:
        """The worker's report is here, the result is not (Dask)."""
        self.report = report

    def finish(self, error: BaseException | None, *, cancelled: bool, reason: str = "explicit") -> None:
        """It has ended, with an earlier report or without one. Does nothing if it has already been settled."""
        if away.pop(self.key, None) is not None:
            self._end(None if self.report is None else Report(*self.report), error, cancelled, reason)

    def _end(
        self, report: Report | None, error: BaseException | None, cancelled: bool, reason: str = "explicit"
    ) -> None:
        observed = self.observed
        if not self.accepted:  # a worker was quicker than the submitter
            self.accept()
        held = observed.withdraw(self.task)
        if report is not None:
            self._ran(report, held)
        elif held and not cancelled:
            self.task.began = True  # as far as anyone can tell: it held a slot when its worker died
        if error is not None and report is None and self.task.span is not None and is_pickling(error):
            observed.record.context_lost("unpicklable")
        if cancelled:
            ending = Ending.cancelled("shutdown" if observed.cutting else reason)
        elif report is None:
            ending = Ending.raised(error)
        else:
            ending = Ending.raised(error, report.error, ran=report.ran)
        if report is not None and self.task.span is not None:
            stand_for(self.task.span, observed.record, self.task, self.code, report, ending)
        observed.settle(self.task, ending, assigned=held or report is not None)

    def _ran(self, report: Report, held: bool) -> None:
        """Its function ran: only now is it known when it began."""
        recorder, task = self.observed.recorder, self.task
        if not held:  # it overtook our model of the order
            recorder.assign(task)
        recorder.begin(task, at=max(task.accepted, recorder.record.clock() - report.ran))
        if report.stale:
            recorder.record.context_lost("stale")
        if report.missing:
            recorder.record.context_lost("missing")
