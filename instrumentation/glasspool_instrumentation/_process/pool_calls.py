"""A call submitted to a pool of other processes, as the submitting process notes it.

    submit() ── accepted ──► Errand ═══ worker: run ═══► Result + Report ─► noted: it ran, and has ended
        └─ done callback ──► cancelled, broken, or without a report: noted as ended

Nothing here takes a lock; see ``arrivals.py``. A refused call never was a task.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from types import FunctionType
from typing import Any

from opentelemetry.context import Context

from glasspool._foreign.frames import queued_by
from glasspool._foreign.guarded import class_name, is_a
from glasspool._foreign.otel_context import attach, current_context, with_span
from glasspool._foreign.pool_parts import call_when_done
from glasspool._recorded_calls import stands_in, submitting
from glasspool.telemetry.recording.call_names import function_name, links, look_through, qualified_name
from glasspool.telemetry.recording.ending import SUCCESS, Ending
from glasspool.telemetry.tracing.propagation import inject
from glasspool.telemetry.tracing.spans import TaskTracer
from glasspool_instrumentation._observe.batched_recorder import BATCH
from glasspool_instrumentation._observe.observation import Observed

from .arrivals import ArrivalRecorder, RemoteCall
from .consumer_spans import is_pickling, stand_for
from .mailbox import away, new_key
from .worker import Errand, Report, Sender

__all__ = ["submit"]

_clock = time.perf_counter
_EMPTY: dict[str, str] = {}


class PoolCall(RemoteCall):
    """One call while another process runs it."""

    __slots__ = ("code", "observed")
    code: str  # the function's qualified name, where there is a span

    def __init__(self, observed: Observed, named: Any, context: Context) -> None:
        self.observed = observed
        self.runner = observed.runner
        self.phase = 0
        self.began = False
        self.ending = None
        self.span = None  # id and label are set with it
        self.name = named.__qualname__ if type(named) is FunctionType else function_name(named)
        self.key = new_key()
        if context or observed.spans_all:
            observed.trace(self, named, context)
        self.accepted = self.started = _clock()

    def sender(self, named: Any) -> Sender:
        """What the span of the run is to say."""
        record = self.observed.record
        self.code = qualified_name(named)
        return Sender(record.name, record.type, self.runner, self.name, self.label, self.id, self.code)

    def came_home(self, report: tuple[Any, ...], error: BaseException | None) -> None:
        """The worker's report is here, with its result or error; the future is about to be done."""
        self.ended = _clock()
        self.ran = report[1]
        self.began = True
        if len(report) > 2:
            self._end(Ending.raised(error, report[6]), Report(*report))
        else:
            self._end(SUCCESS)

    def done(self, future: Future[Any]) -> None:
        """The future is done. A call without a report was cancelled, or has failed in transit."""
        if self.ending is not None or away.pop(self.key, None) is None:
            return
        self.ended = _clock()
        observed, cancelled = self.observed, future.cancelled()
        error = None if cancelled else future.exception()
        if cancelled or _killed(observed, error):
            reason = "shutdown" if observed.cutting or error is not None else "explicit"
            self._end(Ending.cancelled(reason))
            return
        if observed.recorder.has_slot(self):  # it ran, as far as anyone can tell: it had a slot when its worker died
            self.ran = self.ended - self.started
            self.began = True
        if self.span is not None and error is not None and is_pickling(error):
            observed.record.context_lost("unpicklable")
        self._end(Ending.raised(error))

    def _end(self, ending: Ending, report: Report | None = None) -> None:
        """Note the end, end the span, and enter the notes if that is due."""
        observed = self.observed
        recorder: ArrivalRecorder = observed.recorder
        self.ending = ending.without_error()  # it keeps nothing of the user's
        recorder.unfinished.pop(self.key, None)  # gone already in a forked child
        if self.began:
            recorder.notes.extend((self, self))  # its start and its end
        else:
            recorder.notes.append(self)
        if report is not None:
            self._reported(report, ending)
        if self.span is not None:
            ran = self.ran if self.began else None
            waited = max(0.0, self.ended - self.accepted - (ran or 0.0))
            TaskTracer.end(self.span, ending.timed(waited, ran))
        if observed.closing:
            observed.close_when_empty()
        elif len(recorder.notes) >= BATCH and not recorder.record.totals.busy:  # else another thread is at it
            recorder.enter_some()

    def _reported(self, report: Report, ending: Ending) -> None:
        record = self.observed.record
        if report.stale:
            record.context_lost("stale")
        if report.missing:
            record.context_lost("missing")
        if self.span is not None:
            stand_for(self.span, record, self, self.code, report, ending)


class _Forking(threading.local):
    """``inside`` is True while this thread hands a call to a pool, which may fork its workers within."""

    inside = False


_forking = _Forking()


def submit(
    observed: Observed,
    original: Callable[..., Future[Any]],
    pool: Any,
    fn: Any,
    args: Any,
    kwargs: Any,
) -> Future[Any]:
    """Hand a call to a process pool's own ``submit`` (its class's function), observed."""
    named = look_through(fn, args, kwargs)
    wraps = named is not fn or type(fn) is not FunctionType
    if wraps and any(map(stands_in, links(fn, args, kwargs))):  # by the layer that calls us
        return original(pool, fn, *args, **kwargs)
    if observed.record.dormant:
        observed.record.open()
    recorder: ArrivalRecorder = observed.recorder
    context = current_context()
    call = PoolCall(observed, named, context)
    sender: Sender | None = None
    if call.span is not None:
        context = with_span(call.span, context)
        sender = call.sender(named)
    errand = Errand(fn, call.key, inject(context) if context else _EMPTY, sender, settings=observed.settings)
    recorder.unfinished[call.key] = away[call.key] = call  # from here on a report is expected
    recorded, submitting.inside = submitting.inside, True  # as ``recording`` does
    _forking.inside = True
    try:
        future = original(pool, errand, *args, **kwargs)
    except BaseException as error:
        queued = queued_by(error)
        if queued is not None:
            recorder.fresh.append(call)
            queued.add_done_callback(call.done)
        elif away.pop(call.key, None) is not None:
            recorder.unfinished.pop(call.key, None)
            observed.refuse(error)
        raise
    finally:
        _forking.inside = False
        submitting.inside = recorded
    recorder.fresh.append(call)
    call_when_done(future, call.done)  # which does nothing when it is called twice
    return future


def _killed(observed: Observed, error: BaseException | None) -> bool:
    """Did it end because its workers were killed on purpose?"""
    if is_a(error, BrokenExecutor):
        return observed.killing
    return class_name(error)[1] == "ShutdownExecutorError"  # loky's, which its copy in joblib has too


def _after_fork() -> None:
    # Workers that are forked while a call is submitted are born with no trace: it would be that of all their calls.
    if _forking.inside:
        _forking.inside = False
        attach(Context())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
