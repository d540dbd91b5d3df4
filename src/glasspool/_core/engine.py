"""The state machine of one executor: it grants slots, keeps the queue, and settles tasks.

    submit ──accept──▶ queue ──dispatch──▶ spawn ──▶ run (task_body.py) ──settle──▶ handle, sink, reporter
       │                                     ▲
       └── blocked producer ◀── grant ───────┴── a slot is free again

Synchronous: what waits are the nursery's service tasks (nursery.py). Nothing here refers to the HybridExecutor, so that
one whose last reference is lost can be finalized.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from signal import Signals
from typing import Any

from glasspool._foreign.guarded import log
from glasspool.stats import ShutdownReport

from .backend import Backend
from .closing import Closing, Idle
from .cut_tasks import log_late
from .failures import Failures
from .host import ExecutorHost
from .interfaces import Feed
from .left_threads import LeftThreads
from .lending import Lending
from .line import Line
from .nursery import Nursery
from .policies.gate import Gate
from .policies_on_demand import Policies
from .queue import AdmissionQueue, Producer
from .reporter import Reporter
from .settings import Settings
from .slot_limit import BURST, SlotLimit
from .task_state import CancelRequest, Task, cancelled_error, timeout_error
from .time_limits import TimeLimits
from .whereabouts import places_of

__all__ = ["Engine"]

logger = logging.getLogger("glasspool")

Body = Callable[["Engine", Task], Coroutine[Any, Any, None]]
"""Runs one task from its first step to its end (task_body.py)."""


class Engine(Policies):
    """Decides what runs next and settles each task. Holds the slots, the queue, and what is active.

    :param base: the context in which the nursery's services start.
    :param body: runs one task; see Body.
    """

    def __init__(self, settings: Settings, backend: Backend, base: Context, body: Body) -> None:
        self.name = settings.name
        self.backend = backend
        self.slots = SlotLimit(settings.limit)
        self.host = ExecutorHost(settings.name, backend, self.slots, self.request_cancel)
        self.threads = threads = backend.threads(settings.name)
        self.reporter = Reporter(settings, backend, alive=lambda: threads.alive, failed=self.crashed)
        self.nursery = Nursery(self, backend, base, partial(body, self))
        self.escalate = settings.escalate
        self.queue: AdmissionQueue[Task, Producer[Task]] = AdmissionQueue(settings.capacity)
        self.line = Line(self)
        self.lending = self.host.lending = Lending(self, self.nursery.wake)
        # Its mutable state, with slots and queue; touched on the event loop only (finalize excepted).
        self.failures = Failures(settings.name)
        self.closing = Closing(settings.name, self.failures)
        self.active: dict[Task, None] = {}
        self.limits = TimeLimits(backend, self.nursery.wake, self.queue)
        self.make_policies(settings)
        self.idle = Idle(self.queue.waiting, self.active)
        self.feeds: weakref.WeakSet[Feed] = weakref.WeakSet()  # iterations whose look-ahead follows the limit
        self._watched = False  # tasks that the closing waits for are being logged
        # Weakly: the registry has the record of an executor that was lost without being closed.
        this = weakref.ref(self)
        self.reporter.record.places = lambda _look: (
            None if (found := this()) is None else places_of(found.name, found.active)
        )
        self.left: LeftThreads = LeftThreads(self.reporter, backend, self._slot_freed, self.dispatch)

    # -- starting --------------------------------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Give free slots to queued tasks, then room to blocked producers."""
        queue, slots, gate, lending = self.queue, self.slots, self.gate, self.lending
        started = 0
        if lending.on:
            lending.give_back()
        while queue.waiting and slots.used < slots.limit:
            if started >= BURST:
                self.nursery.wake()  # it goes on after a loop turn
                break
            if gate is None:
                task = lending.next() if lending.on else queue.pop()
            elif (taken := gate.take()) is None:
                break
            else:
                task = taken
                self._leaves_queue(task, gate)
            started += 1
            slots.used += 1
            task.activate()
            self.active[task] = None
            self.reporter.assigned(task.record)
            self.nursery.start(task)
        if gate is not None:
            gate.judge_whole()  # what is left may be held
        if queue.granted:
            self.line.accept_granted()
        if queue.producers or lending.places.free:
            self.line.grant()

    def frees_slot(self, task: Task) -> None:
        """An attempt of the task has ended: it gives its slot, and what its key has, back."""
        if self.limits.deadlines.of:
            self.limits.deadlines.discard(task)
        del self.active[task]
        if self.lending.on:
            self.lending.repossess(task)
        self._free(task)

    def _slot_freed(self, task: Task) -> None:
        if self.lending.on:
            self.lending.ended(task)
        self._free(task)

    def _free(self, task: Task) -> None:
        self.slots.used -= 1
        if self.gate is not None:
            self.gate.ended(task)

    def _take_out(self, tasks: list[Task]) -> None:
        """These tasks will end without having started: no slot or token is spent on one while another one ends."""
        if self.gate is not None:
            for task in tasks:
                self.gate.remove(task)

    def _leaves_queue(self, task: Task, gate: Gate) -> None:
        self.queue.remove(task)
        gate.remove(task)
        if self.lending.on:
            self.lending.left_queue(task)
        self.line.arrived(task)

    def resize(self, limit: int) -> None:
        """The number of slots changes now."""
        self.slots.limit = limit
        self.reporter.resized(limit)
        self.dispatch()
        for feed in list(self.feeds):
            feed.resized()

    def next_turn(self) -> None:
        """A loop turn has passed, or a deadline: end what has run out of time, go on starting."""
        expired = self.limits.expire()
        self._take_out(expired)
        for task in expired:
            if task.completed is None:  # an observer told of another one may have cancelled it
                self.settle_timeout(task)
        if self.gate is not None:
            self.gate.advance()
        self.dispatch()

    def settle(
        self, task: Task, outcome: str, value: Any = None, error: BaseException | None = None, reason: str = ""
    ) -> None:
        """Settle the task, in three steps: change its state, notify, start the next one. Never awaits."""
        # State. All of it has moved before any foreign code runs.
        held = task.state == "active"
        left = task.left_running  # read once: its thread may end at any moment
        asked = None if self.closing.reason is None else self.reporter.asked_at(task)
        task.settle(outcome, value, error)
        if self.lending.on:
            self.lending.ended(task, left=left)
        if held:
            if self.limits.deadlines.of:
                self.limits.deadlines.discard(task)
            del self.active[task]
            if not left:
                self.slots.used -= 1
                if self.gate is not None:
                    self.gate.ended(task)
        elif self.gate is None:
            self.queue.remove(task)
        else:
            self._leaves_queue(task, self.gate)
            if self.dependencies is not None:
                self.dependencies.forget(task)
        # Notify. Telemetry counts first; then the waiters are woken, even if something has raised meanwhile.
        tell, span, duration = None, None, 0.0
        try:
            if outcome == "success" and not self.reporter.observed and task.attempts is None:
                duration = self.reporter.succeeded(task.record)
                span = task.record.span
            else:
                settled = self.reporter.settled
                if task.attempts is not None:
                    settled = partial(self.retrying().reporter.settled, attempts=task.attempts)
                report = partial(settled, task, outcome, error, reason, assigned=held)
                tell = self.left.settle(task, report) if left else report()
        except BaseException as broken:  # noqa: BLE001 - the task's waiters are woken in any case
            self.reporter.broken(broken)
        if self.closing.reason is not None:
            self.reporter.ended_closing(task, asked, cut=bool(reason) and reason == self.closing.reason)
        if outcome == "error" and self.escalate and error is not None:
            self.failures.failed(error)
            if not self.closing.reason:
                self.abort("sibling_failure", cancel_nursery=True)
        if task.sink is not None:
            task.sink.completed(task)
        if task.event is not None:
            task.event.set()
        if self.dependencies is not None:
            self.dependencies.ended(task)
        # Dispatch. The slot goes to the next task before observers, which may be slow, are called with this end.
        self.dispatch()
        if self.idle.event is not None and not self.queue.waiting and not self.active:
            self.idle.reached()
        if span is not None:
            self.reporter.traced_success(task.record, span, duration)
        elif tell is not None or outcome == "error":
            self._tell(task, tell, error)
        # Last, because dropping its references may run arbitrary finalizers.
        task.let_go()

    def _tell(self, task: Task, tell: Callable[[], None] | None, error: BaseException | None) -> None:
        try:
            if task.state == "error" and logger.isEnabledFor(logging.DEBUG):
                log(logger.debug, "task %r of executor %r failed", task.name, self.name, exc_info=error)
            if tell is not None:
                tell()
        except BaseException as broken:  # noqa: BLE001 - as in settle
            self.reporter.broken(broken)

    def request_cancel(self, task: Task, reason: str, message: str | None = None) -> bool:
        """See Host. A task whose function has not been called ends here and now."""
        if task.completed is not None or task.request is not None or task.scope_cancelled:
            return False  # it has ended, or there was an earlier request, or its own timeout or deadline
        now = self.backend.clock()
        task.ask(CancelRequest(reason, message, now))
        if not task.began:
            self.settle_cancelled(task, reason)
        else:
            self.reporter.asked(task, now)
            scope = task.scope
            if scope is None:
                scope = self.backend.late_scope(task)
                task.enclose(scope)
            scope.cancel()
            self.lending.hurry(task)
        return True

    def settle_cancelled(self, task: Task, reason: str, cause: BaseException | None = None) -> None:
        """End the task as cancelled, because of another error if there is one."""
        if task.attempts is not None:
            if self.retrying().ends_by_closing(task, reason):
                return
            if cause is None and task.attempts.failed is not None:
                cause = task.attempts.failed[1]  # it was to run again
        error = cancelled_error(task, reason)
        error.__cause__ = cause
        if self.closing.reason == "sibling_failure":
            self.failures.caused(error)
        self.settle(task, "cancelled", error=error, reason=reason)

    def settle_timeout(self, task: Task) -> None:
        """End the task as out of time."""
        if task.attempts is not None and self.retrying().ends_by_deadline(task):
            return
        self.settle(task, "timeout", error=timeout_error(task))

    def begin_closing(self, signal: Signals | None = None, reason: str = "") -> None:
        """Accept no more submissions; accepted tasks go on. Blocked producers get an error."""
        if self.closing.reason is None:
            self.closing.begin(reason, signal)
            self.reporter.closing()
            self.line.turn_away()
            self.closing.tell()

    def abort(self, reason: str, *, requests: bool = True, cancel_nursery: bool = False) -> None:
        """Close by cancelling everything; ``requests=False``: running tasks are being cancelled from outside."""
        self.begin_closing(reason=reason)
        self.closing.cancel(reason)
        self._take_out(self.queue.tasks())
        for task in self.queue.tasks():
            self.request_cancel(task, reason)
        for task in list(self.active):
            if requests or not task.began:
                self.request_cancel(task, reason)
            else:
                self.reporter.asked(task, self.backend.clock())
                self.lending.hurry(task)
        for feed in list(self.feeds):
            feed.cut()
        if self.active and not self._watched:
            self._watched = True
            self.nursery.start_watch(partial(self.idle.watch, self._log_late))
        if cancel_nursery:
            self.nursery.cancel()

    def _log_late(self) -> None:
        log_late(self.name, self.reporter.record, list(self.active))

    def crashed(self, error: BaseException) -> None:
        """A task, an observer or an object of theirs raised KeyboardInterrupt or SystemExit: close. The block raises it
        when left."""
        self.failures.crashed(error)
        self.abort("keyboard_interrupt", cancel_nursery=True)

    def interrupted(self, error: BaseException) -> None:
        """The nursery is being cancelled from outside: start nothing more in it."""
        self.abort(self.backend.cancellation_source(error) or "shutdown", requests=False)

    def finish(self) -> ShutdownReport:
        """Everything has been settled: finish the closing, once."""
        self.begin_closing()
        self.closing.end()
        self.threads.end()
        if self.gate is not None:
            self.gate.lanes.close()
        return self.reporter.close()

    def finalize(self) -> None:
        """The HybridExecutor is gone and its block will not be left: settle the remaining tasks without waking
        waiters."""
        if not self.closing.closed:
            self.closing.end("shutdown")
            self.idle.forget()
            self.lending.forget()
            self.slots.limit = 0  # ending tasks are not replaced
            self.threads.end()
            self.line.turn_away(wake=False)
            for task in [*self.queue.tasks(), *self.active]:
                task.forsake()
                if task.completed is None:
                    self.settle_cancelled(task, "shutdown")
            if self.gate is not None:
                self.gate.lanes.close()
            self.reporter.abandon()
