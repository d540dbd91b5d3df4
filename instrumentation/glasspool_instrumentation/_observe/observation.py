"""An observed executor: its recorder, its tracer, and the state that ends with it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

from glasspool._foreign.guarded import is_a
from glasspool._foreign.otel_context import SPAN_KEY
from glasspool.telemetry import providers
from glasspool.telemetry.recording.ending import Ending
from glasspool.telemetry.recording.executor_record import ExecutorRecord
from glasspool.telemetry.recording.recorder import Recorder, TaskRecord
from glasspool.telemetry.recording.shape import Shape
from glasspool.telemetry.tracing.spans import Spans, TaskTracer

from .task_name_limit import MAX_TASK_NAMES
from .whereabouts import places_here

__all__ = ["Observed"]

_ids = itertools.count(1)


class Observed:
    """The observation of one executor object. It may be used from any thread, and within its own calls.

    ``cancels``, ``rejects`` and ``losses`` are what can happen in it: see ``Shape``.
    """

    def __init__(
        self,
        name: str,
        type: str,
        runner: str,
        *,
        limit: int | None = None,
        slots: bool = False,
        queue: bool = True,
        workers: bool = True,
        unretrieved: bool = False,
        requests: bool = False,
        cancels: Iterable[tuple[str, str]],
        rejects: tuple[str, ...] = (),
        losses: tuple[str, ...] = (),
        failures: tuple[str, ...] = (),
        spans: Spans = "parented",
        kind: SpanKind = SpanKind.INTERNAL,
        explicit: bool = False,
        wait_objective: float | None = None,
        max_task_names: int = MAX_TASK_NAMES,
        recorder: Callable[..., Any] = Recorder,
        alive: Callable[[], int] | None = None,
        queue_size: Callable[[], int] | None = None,
    ) -> None:
        """Begin the observation.

        :param cancels: reasons and phases of the cancellations that can happen; see ``Shape`` for these and the rest.
        :param explicit: the user has wrapped it by name: it stays observed when the instrumentors are taken off.
        :param alive: how many workers are alive now, asked at every reading.
        :param queue_size: how many tasks wait now, where the pool itself knows; shown on spans.
        """
        shape = Shape(
            runners=(runner,),
            workers=(runner,) if workers else (),
            queue=queue,
            slots=slots or limit is not None,
            unretrieved=unretrieved,
            requests=requests,
            cancels=tuple(cancels),
            rejects=rejects,
            losses=losses,
            failures=failures,
        )
        limits = {runner: limit} if workers and limit is not None else None
        self.runner = runner
        self.kind = kind
        self.explicit = explicit  # wrapped by name: stays observed when the instrumentors are taken off
        self.recorder: Any = recorder(
            name, type, shape, limit=limit, worker_limits=limits, wait_objective=wait_objective,
            max_task_names=max_task_names, alive=alive,
        )  # fmt: skip
        self.record: ExecutorRecord = self.recorder.record.open()
        self.record.places = places_here
        self.spans_all = spans == "all"
        self.tracer = TaskTracer(name, type, spans)
        self.queue_size: Callable[[], int] = queue_size or self._queued
        # Mutable state. Important parts change in atomic steps: the code that takes a slot, or a task, has it.
        self.closing = False  # nothing more will be submitted: closed when the last task has settled
        self.cutting = False  # a shutdown that cancels what is queued is going on
        self.reruns = False  # the pool's own submit() may run a function again: an error may not be its end
        self.settings: dict[str, Any] | None = None  # for an SDK in its workers
        self.killing = False  # the workers are being killed on purpose: what they ran is cancelled, not broken

    def _queued(self) -> int:
        return self.record.figures.queued

    def start_span(self, task: TaskRecord, function: Any, parent: Context | None) -> Span | None:
        """The span of a task that is being submitted, if it gets one. ``function`` is it, or its qualified name."""
        return self.tracer.start(
            task_name=task.name,
            label=task.label,
            function=function,
            task_id=task.id,
            runner=task.runner,
            queue_size=self.queue_size(),
            parent=parent,
            kind=self.kind,
        )

    def trace(self, task: TaskRecord, function: Any, parent: Context) -> None:
        """Give a task, whose record has neither a number nor a label yet, its span if it gets one."""
        submitter: Any = parent.get(SPAN_KEY, INVALID_SPAN)  # as span_in does, by one call less
        if (self.spans_all or submitter.is_recording()) and providers.tracer() is not None:
            task.id = next(_ids)
            task.label = self.record.label(task.name)
            task.span = self.start_span(task, function, parent)

    def settle(
        self, task: TaskRecord, ending: Ending, *, assigned: bool = True, thread: threading.Thread | None = None
    ) -> None:
        """The task's one outcome: the recorder's move, then the span's end.

        :param assigned: it held a slot; else it leaves the queue.
        :param thread: the thread that ran it, if that is known.
        """
        span, recorder = task.span, self.recorder
        duration = recorder.settle(task, ending, assigned=assigned)
        if span is not None:
            wait: float | None = None
            if recorder.record.shape.queue:
                wait = (task.started if task.began else recorder.record.clock()) - task.accepted
            self.tracer.end(span, ending.timed(wait, duration), thread=thread)
        if self.closing:
            self.close_when_empty()

    def refuse(self, error: BaseException) -> None:
        """The executor refused a call. Errors of wrong arguments are not counted."""
        if is_a(error, BrokenExecutor):  # its workers have died, or could not be set up
            self.record.reject("broken")
        elif is_a(error, RuntimeError):  # shut down, or the interpreter is ending
            self.record.reject("already_shutdown")

    def serves(self) -> None:
        """A call that is the task of another executor keeps one of its workers busy."""
        record = self.record
        if record.dormant:
            record.open()
        record.serves(1)

    def served(self, _future: object) -> None:
        """Such a call has ended."""
        self.record.serves(-1)
        if self.closing:
            self.close_when_empty()

    # -- calls whose slots others give out ---------------------------------------------------------------------------

    def admit(self, task: TaskRecord) -> None:
        """Accept a task that has its slot at once, for nothing bounds it."""
        self.recorder.accept(task, queued=False)

    def withdraw(self, task: TaskRecord) -> bool:
        """Take an ending task out of the queue if it is there. Returns whether it held a slot."""
        return True

    # -- the end ---------------------------------------------------------------------------------------------------

    def shut_down(self, shutdown: Callable[[], None], *, wait: bool, cancel: bool) -> None:
        """Run the pool's own ``shutdown`` and observe it: its duration, what it cut, the gauges' end."""
        record = self.record
        if self.closing or record.dormant:  # again, or in a forked child that never used the pool
            shutdown()
            return
        record.catch_up()
        before = record.counts().cancelled
        self.cutting = cancel
        begun = time.perf_counter()
        self.closing = True
        try:
            shutdown()
        except Exception:  # wrong arguments: the pool goes on
            self.closing = self.cutting = False
            raise
        finally:
            record.catch_up()
            if self.closing:
                if wait:
                    record.shutdown_took(time.perf_counter() - begun, cut=record.counts().cancelled > before)
                self.close_when_empty()

    def close_when_empty(self) -> None:
        """No more submissions will come: the gauges go to 0 when the last task has ended."""
        self.closing = True
        self.record.when_caught_up(self._close_if_empty)

    def _close_if_empty(self) -> None:
        counts = self.record.counts()
        if not counts.queued and not counts.in_flight and not self.record.serving:
            self.record.close()
