"""Reporter: reports each event of an executor to telemetry once: to the recorder, the span and the observers."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import product
from typing import Any

from opentelemetry.trace import Span

from glasspool._foreign.guarded import is_a, log
from glasspool._recorded_calls import recognise
from glasspool.stats import LATE, CutTask, ExecutorStats, ShutdownReport
from glasspool.telemetry import loop_monitors, providers
from glasspool.telemetry.catalog import REJECT_REASONS, RUN_PHASES, Key
from glasspool.telemetry.observers import Observers, TaskEvent
from glasspool.telemetry.recording.ages import oldest_ages, unobeyed
from glasspool.telemetry.recording.call_names import look_through
from glasspool.telemetry.recording.ending import SUCCESS, Ending
from glasspool.telemetry.recording.holds import Holds
from glasspool.telemetry.recording.recorder import Recorder, TaskRecord
from glasspool.telemetry.recording.shape import Shape
from glasspool.telemetry.tracing import spans as tracing
from glasspool.telemetry.tracing.spans import TaskTracer

from .backend import Backend
from .cut_tasks import cut_task
from .settings import Settings
from .task_context import context_of
from .task_state import CURRENT, Plan, Task, current_task

__all__ = ["HYBRID", "Reporter"]

logger = logging.getLogger("glasspool")

HYBRID = Shape(
    runners=("inline", "thread"), workers=("thread",), queue=True, submit=True, slots=True, requests=True,
    timeouts=True, rejects=tuple(reason for reason in REJECT_REASONS if reason != "broken"),
)  # fmt: skip
"""The metrics and attributes of the catalog that every HybridExecutor has."""

_ASKED = ("explicit", "shutdown", "keyboard_interrupt")  # reasons for which the executor itself cancels


def _cancels(*reasons: str) -> tuple[tuple[str, str], ...]:
    return tuple(product(reasons, RUN_PHASES))


class Reporter:
    """The telemetry of one executor."""

    def __init__(
        self, settings: Settings, backend: Backend, *, alive: Callable[[], int], failed: Callable[[BaseException], None]
    ) -> None:
        self.name = settings.name
        cancels = (
            *_cancels(*_ASKED), *backend.cancels, *(_cancels("sibling_failure") if settings.escalate else ())
        )  # fmt: skip
        self._shape = replace(HYBRID, cancels=cancels, failures=("observer",) if settings.observers else ())
        self.recorder = recorder = Recorder(
            settings.name, "hybrid", self._shape, limit=settings.limit, capacity=settings.capacity,
            worker_limits={"thread": settings.limit}, max_task_names=settings.max_task_names,
            wait_objective=settings.wait_objective, clock=backend.clock, alive=alive,
        )  # fmt: skip
        self.record = record = recorder.record
        self._failed = failed
        self._tracer = TaskTracer(settings.name, "hybrid", settings.spans)
        self._observers = Observers(settings.observers, record)
        self.observed = bool(self._observers)  # observers are only ever dropped, so False stays so
        self._traced = settings.spans != "off"
        # Events that concern only the recorder go to it directly, which saves a call per task.
        self.assigned = recorder.assign  # a queued task's record: it has got a slot
        self.counted_begin = recorder.begin  # the record of a task without span and observers: its function is called
        self.succeeded = recorder.succeed  # the record of a task without observers: it has ended as success
        self.counts = record.counts
        self.label = record.label  # of a task's name: what metrics and spans show
        self._closing = (0.0, record.counts())  # when closing began, and what the counts were then
        self._cut: list[CutTask] = []
        self._late: list[CutTask] = []
        self._report: ShutdownReport | None = None
        self._unwatch: Callable[[], None] | None = None  # releases the monitor of the loop

    def open(self) -> None:
        """The executor is open, on the loop of the caller."""
        self.record.open()
        self._unwatch = loop_monitors.executor_opened()

    def resized(self, limit: int) -> None:
        """The number of slots has changed."""
        self.record.set_limit(limit)
        self.record.worker_limits["thread"] = limit

    def blocked(self, producer: object) -> None:
        """A producer waits for room from now on."""
        self.record.producer_blocked(producer)

    def released(self, producer: object) -> float | None:
        """A producer stops waiting. Returns the seconds that it has waited."""
        return self.record.producer_released(producer)

    def asked(self, task: Task, at: float) -> None:
        """A task that has begun was asked to end at this instant of the clock."""
        self.record.ask(task.record, at)

    def asked_in(self, task: Task, seconds: float) -> None:
        """A task that is about to begin will be asked to end, by its own timeout or deadline."""
        self.record.will_ask(task.record, self.record.clock() + seconds)

    def asked_at(self, task: Task) -> float | None:
        """The instant at which a task in flight was asked to end, or will be."""
        return self.record.asked.get(task.record)

    def thread_freed(self, task: Task) -> None:
        """An abandoned thread has ended. From any thread."""
        self.record.thread_freed(task.record.runner)

    def fail_fast(self) -> None:
        """From now on a failing task may cancel others."""
        self.may_cancel(*_cancels("sibling_failure"))

    def accepted(self, task: Task, *, queued: bool, blocked: float | None) -> None:
        """The task is accepted, after its producer had been blocked so many seconds, if it had to wait."""
        context, record = task.context, task.record
        if self._traced and providers.tracer() is not None and context is not None:
            try:
                # In the submitter's context, which the task's own is a copy of.
                record.span = context.run(self._start_span, task, record)
            except BaseException as error:  # noqa: BLE001 - the task is accepted
                self.broken(error)
        self.recorder.accept(record, queued=queued, blocked=blocked)
        if self.observed:
            self._tell(
                TaskEvent("submitted", self.name, "hybrid", record.id, record.name, record.runner, context=context)
            )

    def _start_span(self, task: Task, record: TaskRecord) -> Any:
        span = self._tracer.start(
            task_name=record.name,
            label=record.label,
            function=look_through(task.item.function, task.item.arguments),
            task_id=record.id,
            runner=record.runner,
            queue_size=self.record.slots.queued,
            mode="link" if task.plan.link else "parent",
        )
        if span is None or self.observed:
            return span  # observers are told of the submission in the submitter's context; see began
        tracing.attach(None, span)  # in the task's own context
        return span if span.is_recording() else None

    def gated(self, gate: Holds) -> None:
        """From now on something may hold queued tasks back."""
        self.record.gated(gate)

    def has_dependencies(self) -> None:
        """From now on tasks may depend on others, and be cancelled because of them."""
        self.may_cancel(*_cancels("dependency"))

    def may_cancel(self, *cancels: tuple[str, str]) -> None:
        """From now on there may be cancellations for these reasons in these phases."""
        self.record.expect(replace(self._shape, cancels=cancels))

    def was_held(self, task: Task, holds: Iterable[tuple[str, str | None, float]]) -> None:
        """The task, which is queued, was held until now: for which reasons, by which limit, for how many seconds."""
        record = task.record
        try:
            for reason, limit, seconds in holds:
                self.record.was_held(record, reason, seconds)
                if record.span is not None:
                    TaskTracer.held(record.span, reason, limit, seconds)
        except BaseException as error:  # noqa: BLE001 - the task goes on
            self.broken(error)

    def began(self, task: Task) -> None:
        """The function is about to be called, in the current context: its span is current from here at the latest."""
        record: TaskRecord = task.record
        wait = self.recorder.begin(record)
        if record.span is not None:
            try:
                if self.observed:
                    tracing.attach(None, record.span)
                TaskTracer.begin(record.span)
            except BaseException as error:  # noqa: BLE001 - the task begins
                self.broken(error)
        if self.observed:
            self._tell(
                TaskEvent(
                    "started", self.name, "hybrid", record.id, record.name, record.runner, wait=wait,
                    context=context_of(task),
                )
            )  # fmt: skip

    def settled(
        self, task: Task, outcome: str, error: BaseException | None, reason: str, *, assigned: bool, attempt: int = 0,
        waited: float | None = None, ran: float | None = None,
    ) -> Callable[[], None] | None:  # fmt: skip
        """The task has ended. Counts it at once, and returns the remaining notifications, for after all state has
        changed.

        :param attempt: how often it has begun, if it may do so more than once.
        :param waited: seconds until it began, if that was not just now.
        :param ran: seconds that it has run in all, if it may begin more than once.
        """
        record: TaskRecord = task.record
        request = task.request
        if outcome == "cancelled":
            requested = None if request is None else request.at
            message = None if request is None else request.message
            ending = Ending.cancelled(reason, message, requested=requested, abandoned=task.left_running)
        elif outcome == "timeout":
            ending = Ending.timed_out(abandoned=task.left_running)
        else:
            ending = SUCCESS if outcome == "success" else Ending.failed(error)
        if ran is not None:
            ending = ending.timed(None, ran)
        duration = self.recorder.settle(record, ending, assigned=assigned)
        if record.span is None and not self.observed:
            return None
        wait = waited
        if wait is None:
            wait = (record.started if record.began else self.record.clock()) - record.accepted
        context = context_of(task) if self.observed else None

        def tell() -> None:
            if record.span is not None:
                if attempt:
                    record.span.set_attribute(Key.TASK_ATTEMPT, attempt)
                _end_span(record, record.span, ending.timed(wait, duration))
            if self.observed:
                self._tell(
                    TaskEvent(
                        "settled", self.name, "hybrid", record.id, record.name, record.runner, wait, duration,
                        outcome, ending.error_type, reason if outcome == "cancelled" else "", context,
                    )
                )  # fmt: skip

        return tell

    def traced_success(self, record: TaskRecord, span: Span, duration: float) -> None:
        """The task, which has a span and no observers, was counted by ``succeeded``."""
        try:
            _end_span(record, span, SUCCESS.timed(record.started - record.accepted, duration))
        except BaseException as error:  # noqa: BLE001 - all that ends the program
            self.broken(error)

    def rejected(self, plan: Plan, reason: str, blocked: float | None = None) -> None:
        """A call never became a task."""
        self.record.reject(reason, blocked)
        if self.observed:
            self._tell(
                TaskEvent(
                    "rejected", self.name, "hybrid", 0, plan.name, plan.runner_name, wait=blocked, error_type=reason
                )
            )

    def closing(self) -> None:
        """The executor begins to close: the report covers tasks that end from now on."""
        self._closing = (self.record.clock(), self.record.counts())

    def ended_closing(self, task: Task, asked: float | None, *, cut: bool) -> None:
        """A task has ended while the executor closes.

        :param asked: the instant at which the closing requested its end; None if it did not, or the task never ran.
        :param cut: whether the closing has cancelled it.
        """
        if cut:
            self._cut.append(cut_task(self.record, task, asked))
        if asked is not None and self.record.clock() - asked >= LATE:
            self._late.append(cut_task(self.record, task, asked))

    def close(self) -> ShutdownReport:
        """The executor has closed. Counts that once; later calls return the same report."""
        if self._report is None:
            since, before = self._closing
            after, duration = self.record.counts(), self.record.clock() - since
            self._report = ShutdownReport(
                duration, after.succeeded - before.succeeded, after.failed - before.failed,
                after.timed_out - before.timed_out, after.cancelled - before.cancelled, tuple(self._cut),
                after.abandoned, tuple(self._late),
            )  # fmt: skip
            self.record.shutdown_took(duration, cut=bool(self._cut))
            self.abandon()
        return self._report

    def abandon(self) -> None:
        """The executor has been destroyed, closed or not. From any thread."""
        self.record.close()
        if self._unwatch is not None:
            self._unwatch()

    def stats(self) -> ExecutorStats:
        """The figures now, from any thread."""
        record = self.record
        queued, active, pending = oldest_ages(record)
        return ExecutorStats(
            *record.counts(), len(record.pending), record.slots.limit or 0, queued, active, pending,
            *unobeyed(record), {} if record.holds is None else record.holds.held(),
        )  # fmt: skip

    def _tell(self, event: TaskEvent) -> None:
        # Whatever an observer starts is not part of the task in which the event happens, and no wait of that task.
        token = CURRENT.set(None)
        try:
            self._observers.notify(event)
        except BaseException as error:  # noqa: BLE001 - raised when the block is left
            self.broken(error)
        finally:
            CURRENT.reset(token)

    def broken(self, error: BaseException) -> None:
        """Log an exception that was raised while a task was reported, or while one of its objects was examined."""
        if not is_a(error, (KeyboardInterrupt, SystemExit)):
            self.record.telemetry_failed("export")
            log(logger.error, "telemetry of executor %r failed", self.name, exc_info=error)
        else:
            self._failed(error)


def _end_span(record: TaskRecord, span: Span, ending: Ending) -> None:
    inline = record.began and record.runner == "inline"
    TaskTracer.end(span, ending, thread=threading.current_thread() if inline else None)


def _after_fork() -> None:
    CURRENT.set(None)  # a child that was forked within a task is not within it


recognise(lambda: current_task() is not None)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
