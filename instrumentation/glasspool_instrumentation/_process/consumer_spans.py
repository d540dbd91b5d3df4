"""What the submitting process adds to a trace for a worker that could not: the span of its run."""

from __future__ import annotations

import pickle
import time

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind

from glasspool._foreign.guarded import is_a
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.recording.ending import Ending
from glasspool.telemetry.recording.error_types import error_text
from glasspool.telemetry.recording.executor_record import ExecutorRecord
from glasspool.telemetry.recording.task_record import TaskRecord
from glasspool.telemetry.tracing.spans import TaskTracer

from .worker import Report

__all__ = ["is_pickling", "stand_for"]


def stand_for(span: Span, record: ExecutorRecord, task: TaskRecord, code: str, report: Report, ending: Ending) -> None:
    """Make the CONSUMER span of a run from the time that the worker measured, if the worker has no SDK.

    :param span: the task's span, which is its parent.
    :param code: the function's qualified name.
    """
    if report.spanned or not span.is_recording():
        return
    end = time.time_ns()
    begun = end - int(report.ran * 1e9)
    TaskTracer.begin(span, at=begun)
    run = TaskTracer(record.name, record.type, "all").start(
        task_name=task.name,
        label=task.label,
        function=code,
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


def is_pickling(error: BaseException) -> bool:
    """Could a call not be sent because a part of it cannot be pickled?"""
    # Of local functions it says "Can't pickle local object", from Python 3.13 on "Can't get local object".
    text = error_text(error).partition(": ")[2]
    return is_a(error, pickle.PicklingError) or "pickle" in text or "Can't get local object" in text
