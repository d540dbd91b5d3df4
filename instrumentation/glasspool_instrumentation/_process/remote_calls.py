"""A call submitted to a pool of other processes, as the submitting process records it.

    submit() ─ accept, a slot if one is free ─► Errand ═══ worker: run ═══► Result + Report ─► done: settle, next slot

The order determines which calls hold a slot (pools start calls first in, first out). When a call really began is known
when its report arrives: its end minus its running time.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from types import FunctionType
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind

from glasspool._foreign.frames import queued_by
from glasspool._foreign.guarded import class_name, is_a
from glasspool._recorded_calls import recording, stands_in
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.recording.call_names import function_name, links, look_through, qualified_name
from glasspool.telemetry.recording.ending import Ending
from glasspool.telemetry.recording.error_types import error_text
from glasspool.telemetry.tracing.propagation import inject
from glasspool.telemetry.tracing.spans import TaskTracer, attach, capture, detach
from glasspool_instrumentation._observe.observation import Observed

from .mailbox import away, new_key
from .worker import Errand, Report, Sender
from .worker_telemetry import Settings

__all__ = ["Away", "submit"]


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

    def errand(self, fn: Callable[..., Any], settings: Settings | None = None) -> Errand:
        """What is sent in place of ``fn``. From here on a report is expected."""
        key, carrier, sender = self.parts()
        return Errand(fn, key, carrier, sender, settings=settings)

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
        """The future is done. A call without a report was cancelled, or has failed in transit."""
        if self.key not in away:  # the report has ended it
            return
        error = None if future.cancelled() else future.exception()
        if future.cancelled() or self._killed(error):
            self.finish(None, cancelled=True, reason="explicit" if error is None else "shutdown")
        else:
            self.finish(error, cancelled=False)

    def _killed(self, error: BaseException | None) -> bool:
        """Did it end because its workers were killed on purpose?"""
        if is_a(error, BrokenExecutor):
            return self.observed.killing
        return class_name(error)[1] == "ShutdownExecutorError"  # loky's, which its copy in joblib has too

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
        if error is not None and report is None and self.task.span is not None and _is_pickling(error):
            observed.record.context_lost("unpicklable")
        if cancelled:
            ending = Ending.cancelled("shutdown" if observed.cutting else reason)
        elif report is None:
            ending = Ending.raised(error)
        else:
            ending = Ending.raised(error, report.error, ran=report.ran)
        if self.task.span is not None and report is not None:
            self._consumer_span(self.task.span, report, ending)
        observed.settle(self.task, ending, assigned=held or report is not None)
        if held:
            observed.release()

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

    def _consumer_span(self, span: Span, report: Report, ending: Ending) -> None:
        if report.spanned or not span.is_recording():
            return
        # The worker has no SDK: the span of its run is made here, from the time it measured.
        end = time.time_ns()
        begun = end - int(report.ran * 1e9)
        TaskTracer.begin(span, at=begun)
        record, task = self.observed.record, self.task
        run = TaskTracer(record.name, record.type, "all").start(
            task_name=task.name,
            label=task.label,
            function=self.code,
            task_id=task.id,
            runner=task.runner,
            queue_size=0,
            parent=trace.set_span_in_context(span, Context()),
            kind=SpanKind.CONSUMER,
            attributes={Key.PROCESS_PID: report.pid},
            at=begun,
        )
        if run is not None:
            TaskTracer.end(run, ending.timed(None, report.ran), at=end)


def submit(
    observed: Observed,
    original: Callable[..., Future[Any]],
    fn: Any,
    args: Any,
    kwargs: Any,
    *,
    settings: Settings | None = None,
) -> Future[Any]:
    """Hand a call to a process pool's own ``submit``, observed."""
    named = look_through(fn, args, kwargs)
    wraps = named is not fn or type(fn) is not FunctionType
    if wraps and any(map(stands_in, links(fn, args, kwargs))):  # by the layer that calls us
        return original(fn, *args, **kwargs)
    call = Away(observed, named, capture())
    errand = call.errand(fn, settings)
    token = attach(Context())  # workers forked within this call are born with no trace
    try:
        with recording():
            future = original(errand, *args, **kwargs)
    except BaseException as error:
        queued = queued_by(error)
        if queued is None:
            away.pop(call.key, None)
            observed.refuse(error)
        else:
            call.accept()
            queued.add_done_callback(call.done)
        raise
    finally:
        detach(token)
        del token  # it leads to the current context, and what refused the call to this frame
    if not call.accepted:
        call.accept()
    future.add_done_callback(call.done)
    return future


def _is_pickling(error: BaseException) -> bool:
    # Of local functions it says "Can't pickle local object", from Python 3.13 on "Can't get local object".
    text = error_text(error).partition(": ")[2]
    return is_a(error, pickle.PicklingError) or "pickle" in text or "Can't get local object" in text
