"""The state machine of one executor: who has a slot, who waits, how each task ends.

    submit ──accept──▶ queue ──dispatch──▶ spawn ──▶ run (task_body.py) ──settle──▶ handle, sink, reporter
       │                                     ▲
       └── blocked producer ◀── grant ───────┴── a slot is free again

Synchronous; what waits is the nursery's two service tasks (nursery.py). Nothing here refers to the executor's façade,
so that a lost façade can be finalized.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Awaitable, Callable
from contextvars import Context
from itertools import chain
from signal import Signals
from typing import Any, TypeVar

import anyio

from glasspool._foreign.guarded import is_a, log
from glasspool.errors import ExecutorClosed, WrongThread
from glasspool.stats import LATE, ShutdownReport
from glasspool.task import (
    CURRENT,
    CancelRequest,
    Completed,
    TaskHandle,
    cancelled_error,
    current_task,
    timeout_error,
)

from .backend import Backend, split_cancellation
from .block_exit import escalated
from .interfaces import Feed, Needs
from .nursery import Nursery
from .queue import AdmissionQueue, Producer
from .reporter import Reporter
from .slot_limit import BURST, SlotLimit
from .waits import WAITS, Wait, refuse_chain, waiting

__all__ = ["Engine"]

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)
logger = logging.getLogger("glasspool")


class Engine:
    """All mutable state of an executor."""

    def __init__(
        self, name: str, backend: Backend, reporter: Reporter, base: Context, *, limit: int, capacity: int | None,
        escalate: bool,
    ) -> None:  # fmt: skip
        self.name = name
        self.backend = backend
        self.reporter = reporter
        self.recorder = reporter.recorder
        self.nursery = Nursery(self, name, backend, base)
        self.threads = threads = backend.threads(name)
        self.recorder.alive = lambda: threads.alive
        self.escalate = escalate
        self.slots = SlotLimit(limit)
        self.queue: AdmissionQueue[TaskHandle[Any], Producer[TaskHandle[Any]]] = AdmissionQueue(capacity)
        # All mutable state; touched on the event loop only (finalize excepted).
        self.closing: str | None = None  # None: open; "": draining; else the reason for which tasks are cancelled
        self.signal: Signals | None = None  # what began the closing, if a signal did
        self.when_closing: dict[Callable[[], object], None] = {}  # who waits for what cannot come after that
        self.closed = False
        self.active: dict[TaskHandle[Any], None] = {}
        self.feeds: weakref.WeakSet[Feed] = weakref.WeakSet()  # iterations whose look-ahead follows the limit
        self.since_yield = 0
        self.failures: list[BaseException] = []  # escalated errors
        self._of_failure: weakref.WeakSet[BaseException] = weakref.WeakSet()  # errors that only tell of such a failure
        self.crash: BaseException | None = None  # KeyboardInterrupt or SystemExit of a task or observer
        self._idle: anyio.Event | None = None
        self._watched = False  # somebody says for whom the closing waits
        self._abandoning = threading.RLock()  # a finalizer within it may settle another executor's tasks, or these

    # -- the caller ------------------------------------------------------------------------------------------------

    def check_caller(self, what: str) -> None:
        """See Host."""
        if not self.backend.is_current():
            raise WrongThread(
                f"{what} on executor {self.name!r} was called from another thread or event loop than the executor's; "
                f"from a worker thread of the loop use anyio.from_thread.run(executor.submit, …)"
            )

    def is_destroying(self, error: BaseException | None) -> bool:
        """Whether a block is left because its coroutine is being destroyed where its loop does not run."""
        return is_a(error, GeneratorExit) and not self.backend.is_current()

    async def wait(
        self, what: str, body: Callable[[], Awaitable[T]], needs: Callable[[], Needs], key: object = None, *,
        closing: bool = False,
    ) -> T:  # fmt: skip
        """See Host."""
        self.check_caller(what)
        if CURRENT.get() is None or (current := current_task()) is None:
            return await body()
        return await waiting(Wait(current, self, what, needs, key, closing), body)

    async def check_waiter(self, what: str) -> None:
        """Raise NestedWait if the caller is a task of this executor, or such a task waits for it."""
        self.check_caller(what)
        current = current_task()
        if current is not None and WAITS.chain(current, self):
            await refuse_chain(current, self, what)

    def needs_idle(self) -> Needs:
        """What must end before nothing is queued or active."""
        return len(self.queue.waiting) + len(self.active), chain(self.queue.waiting, self.active)

    def check_open(self) -> None:
        """Raise ExecutorClosed if submissions are no longer taken."""
        if self.closing is not None:
            state = "is closed" if self.closed else "is closing"
            raise self.closed_by(f"executor {self.name!r} {state} and takes no tasks; submit before leaving its block")

    def closed_by(self, text: str) -> ExecutorClosed:
        """The error that says so, noted if a failing task is why: the failure is what leaves the block then."""
        return self._noted(ExecutorClosed(text))

    def _noted(self, error: E) -> E:
        if self.closing == "sibling_failure":
            self._of_failure.add(error)
        return error

    def check_not_closed(self, what: str) -> None:
        """Raise ExecutorClosed if there is nothing any more for which ``what`` could matter."""
        if self.closed:
            raise ExecutorClosed(f"{what} on executor {self.name!r}, which is closed: call it inside its block")

    # -- accepting -------------------------------------------------------------------------------------------------

    def can_accept(self) -> bool:
        """Whether a task that overtakes nobody finds a slot or a queue place now."""
        queue, slots = self.queue, self.slots
        if queue.producers or queue.granted:
            return False
        # What queue.room says then; spelled out, because it is asked for every task.
        waiting = len(queue.waiting)
        return queue.capacity is None or waiting < queue.capacity or (not waiting and slots.used < slots.limit)

    def accept(self, handle: TaskHandle[Any], blocked: float | None = None) -> None:
        """Take the task in: into a free slot, else into the queue. The caller has made sure of room."""
        queue, slots = self.queue, self.slots
        if handle._sink is not None:
            handle._sink.accepted(handle)
        if queue.waiting or slots.used >= slots.limit:
            handle._move("queued")
            earliest = queue.push(handle, handle._plan.deadline)
            self.reporter.accepted(handle, queued=True, blocked=blocked)
            if earliest:
                self.nursery.wake()
        else:
            slots.used += 1
            handle._move("active")
            self.active[handle] = None
            self.reporter.accepted(handle, queued=False, blocked=blocked)
            if handle._completed is None:  # an observer may have cancelled it
                self.nursery.start(handle)

    def block(self, producer: Producer[TaskHandle[Any]]) -> None:
        """The producer joins the line of those who wait for room."""
        self.queue.block(producer)
        self.recorder.producer_blocked(producer)
        if producer.handle._sink is not None:
            producer.handle._sink.asks(1)
        self._grant()  # there is room if only those before it had to be let through

    def come_back(self, producer: Producer[TaskHandle[Any]]) -> None:
        """The producer has woken to use its grant: its task is accepted now, or, since trio wakes tasks in any
        order, when those granted before it have come back too, or, since a resize may have taken the room, when
        there is some again; then it is woken anew."""
        producer.back = True
        self._accept_granted()

    def give_up(self, producer: Producer[TaskHandle[Any]]) -> None:
        """The producer waits no longer; room that was granted to it goes to the next in line."""
        if producer.handle._sink is not None:
            producer.handle._sink.asks(-1)
        if self.queue.unblock(producer):
            self._grant()
            self._accept_granted()

    def _accept_granted(self) -> None:
        queue, slots = self.queue, self.slots
        granted = queue.granted
        while granted and (producer := next(iter(granted))).back and queue.fits(slots.free):
            del granted[producer]
            producer.accepted = True
            if producer.handle._sink is not None:
                producer.handle._sink.asks(-1)
            self.accept(producer.handle, self.recorder.producer_released(producer))
            producer.wake()

    # -- starting --------------------------------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Give free slots to queued tasks, then room to blocked producers."""
        queue, slots = self.queue, self.slots
        started = 0
        while queue.waiting and slots.used < slots.limit:
            if started >= BURST:
                self.nursery.wake()  # it goes on after a loop turn
                break
            started += 1
            slots.used += 1
            handle = queue.pop()
            handle._move("active")
            self.active[handle] = None
            self.recorder.assign(handle._record)
            self.nursery.start(handle)
        if queue.granted:
            self._accept_granted()
        if queue.producers:
            self._grant()

    def resize(self, limit: int) -> None:
        """The number of slots changes now."""
        self.slots.limit = limit
        self.recorder.set_limit(limit)
        self.recorder.worker_limits["thread"] = limit
        self.dispatch()
        for feed in list(self.feeds):
            feed.resized()

    def _grant(self) -> None:
        ready = False
        for producer in self.queue.grant(self.slots.free):
            if producer.back:
                ready = True
            else:
                producer.wake()
        if ready:
            self._accept_granted()

    # -- ending ----------------------------------------------------------------------------------------------------

    def settle(
        self, handle: TaskHandle[Any], outcome: str, value: Any = None, error: BaseException | None = None,
        reason: str = "",
    ) -> None:  # fmt: skip
        """The task's one end. Never awaits; all state has moved before any foreign code runs."""
        assigned = handle._state == "active"
        left = handle._left_running  # read once: its thread may end at any moment
        asked = None if self.closing is None else self.recorder.asked.get(handle._record)
        handle._move(outcome)
        handle._completed = Completed(value, error, handle._item, outcome)
        handle._scope = None
        if assigned:
            del self.active[handle]
            if not left:
                self.slots.used -= 1
        else:
            self.queue.remove(handle)
        tell = None
        try:
            if outcome == "success" and handle._record.span is None and not self.reporter.observed:
                self.recorder.succeed(handle._record)
            else:
                report = self._settle_leaving if left else self.reporter.settled
                tell = report(handle, outcome, error, reason, assigned=assigned)
        except BaseException as broken:  # noqa: BLE001 - whoever waits for the task is told all the same
            self.reporter.broken(broken)
        if self.closing is not None:
            if reason and reason == self.closing:
                self.reporter.cut(handle, asked)
            if asked is not None:
                self.reporter.late(handle, asked)
        if outcome == "error" and self.escalate and error is not None:
            self.failures.append(error)
            if not self.closing:
                self.abort("sibling_failure", cancel_nursery=True)
        sink, handle._sink = handle._sink, None
        if sink is not None:
            sink.completed(handle)
        if handle._event is not None:
            handle._event.set()
        self.dispatch()
        if self._idle is not None and not self.queue.waiting and not self.active:
            self._idle.set()
            self._idle = None
        try:
            if outcome == "error" and logger.isEnabledFor(logging.DEBUG):
                log(logger.debug, "task %r of executor %r failed", handle.name, self.name, exc_info=error)
            if tell is not None:
                tell()
        except BaseException as broken:  # noqa: BLE001 - likewise
            self.reporter.broken(broken)
        # Last, because dropping these may run anybody's finalizers.
        handle._context = None

    def request_cancel(self, handle: TaskHandle[Any], reason: str, message: str | None = None) -> bool:
        """See Host. A task whose function has not been called ends here and now."""
        if handle._completed is not None or handle._request is not None:
            return False
        if handle._scope is not None and handle._scope.cancel_called:
            return False  # its timeout or deadline asked first
        handle._request = CancelRequest(reason, message, self.backend.clock())
        if not handle._began:
            self.settle_cancelled(handle, reason)
        else:
            self.recorder.ask(handle._record, handle._request.at)
            if handle._scope is None:
                handle._scope, handle._late = self.backend.late_scope(handle), True
            handle._scope.cancel()
        return True

    def settle_cancelled(self, handle: TaskHandle[Any], reason: str) -> None:
        """End the task as cancelled."""
        error = self._noted(cancelled_error(handle._item, handle._request, reason))
        self.settle(handle, "cancelled", error=error, reason=reason)

    def settle_timeout(self, handle: TaskHandle[Any]) -> None:
        """End the task as out of time."""
        self.settle(handle, "timeout", error=timeout_error(handle._item, handle._plan.timeout, handle._began))

    def end(self, handle: TaskHandle[Any], error: BaseException) -> None:
        """The function has ended with an exception: the outcome by the table of the semantics."""
        cancelled, rest = split_cancellation(error)
        if rest is not None:
            if self.escalate and not self.closing and (source := self.backend.cancellation_source(cancelled)):
                # It has answered a cancellation of everything with an error: the others end by that cancellation.
                self.abort(source, requests=False)
            self.settle(handle, "error", error=rest)
            return
        request = handle._request
        if request is not None:
            self.settle_cancelled(handle, request.reason)
        elif handle._scope is not None and handle._scope.cancel_called:
            self.settle_timeout(handle)  # nobody asked, so the scope's own deadline did
        else:
            source = self.backend.cancellation_source(cancelled)
            if source is not None:
                # The whole nursery is being cancelled: start nothing more in it.
                self.abort(source, requests=False)
            if handle._completed is None:  # the abort has ended it if its function had not been called
                self.settle_cancelled(handle, source or "unknown")

    def end_anyhow(self, handle: TaskHandle[Any], broken: BaseException) -> None:
        """What the task ended with has broken our own work at its end, or we have: it ends as an error, and its slot is
        free, whatever it was."""
        if not self.backend.is_current():
            self.finalize()
            return
        if handle._completed is None:
            self.settle(handle, "error", error=broken)
        self.reporter.broken(broken)

    def _settle_leaving(
        self, handle: TaskHandle[Any], outcome: str, error: BaseException | None, reason: str, *, assigned: bool
    ) -> Callable[[], None] | None:
        with self._abandoning:  # the thread may end right now, but not be counted as free before it was as abandoned
            if not handle._left_running:
                self.slots.used -= 1
            handle._left_counted = True
            return self.reporter.settled(handle, outcome, error, reason, assigned=assigned)

    def thread_freed(self, handle: TaskHandle[Any]) -> None:
        """The thread that a task left behind has ended (called on that thread): telemetry first, then the slot."""
        with self._abandoning:
            handle._left_running = False
            if not handle._left_counted:
                return
        self.recorder.thread_freed(handle._record.runner)
        self.backend.call_soon_threadsafe(self._thread_freed)

    def _thread_freed(self) -> None:
        self.slots.used -= 1
        self.dispatch()

    # -- closing ---------------------------------------------------------------------------------------------------

    def begin_closing(self, signal: Signals | None = None, reason: str = "") -> None:
        """Take no more submissions; what was accepted goes on. Blocked producers are told."""
        if self.closing is None:
            self.closing = reason
            self.signal = signal
            self.reporter.closing()
            for producer in self.queue.turn_away():
                producer.wake()
            for tell in list(self.when_closing):
                tell()

    def abort(self, reason: str, *, requests: bool = True, cancel_nursery: bool = False) -> None:
        """Close by cancelling everything; ``requests=False``: running tasks are being cancelled from outside."""
        self.begin_closing(reason=reason)
        self.closing = self.closing or reason
        for handle in self.queue.tasks():
            self.request_cancel(handle, reason)
        for handle in list(self.active):
            if requests or not handle._began:
                self.request_cancel(handle, reason)
            else:
                self.recorder.ask(handle._record, self.backend.clock())
        for feed in list(self.feeds):
            feed.cut()
        if self.active and not self._watched:
            self._watched = True
            self.nursery.start_watch(self._watch_unobeyed)
        if cancel_nursery:
            self.nursery.cancel()

    def crashed(self, error: BaseException) -> None:
        """KeyboardInterrupt or SystemExit in a task or an observer, or in what it has made: close. The block
        raises it when left."""
        if self.crash is None:
            self.crash = error
        self.abort("keyboard_interrupt", cancel_nursery=True)

    async def wait_idle(self) -> None:
        """Until nothing is queued or active."""
        while self.queue.waiting or self.active:
            if self._idle is None:
                self._idle = anyio.Event()
            await self._idle.wait()

    async def _watch_unobeyed(self) -> None:
        """Say for which tasks the closing waits that were asked to end, at growing intervals until they do."""
        interval = LATE
        with anyio.CancelScope(shield=True):
            while self.active:
                with anyio.move_on_after(interval):
                    await self.wait_idle()
                if self.active:
                    self.reporter.waits_for(list(self.active))
                    interval *= 2

    def finish(self) -> ShutdownReport:
        """Everything has been settled: close the books, once."""
        self.begin_closing()
        self.closed = True
        self.threads.end()
        return self.reporter.close()

    def left_by(self, leaving: BaseException | None) -> BaseException | None:
        """What leaves the block, where without the tasks ``leaving`` would: a crash, their escalated failures, or it.

        Called once, at the end of everything.
        """
        (crash, failures), self.crash, self.failures = (self.crash, self.failures), None, []
        try:
            if crash is not None or not failures:
                return crash or leaving
            return escalated(f"tasks of executor {self.name!r} failed", failures, leaving, self._of_failure)
        finally:
            del leaving, crash, failures  # see Completed.unwrap

    def finalize(self) -> None:
        """The façade is gone and nobody will leave its block: settle what is left, waking nobody."""
        if not self.closed:
            self.closed = True
            self.closing = "shutdown"
            self._idle = None
            self.slots.limit = 0  # nothing is started in the place of what ends
            self.threads.end()
            self.queue.turn_away()
            for handle in [*self.queue.tasks(), *self.active]:
                handle._event = handle._sink = None  # their loop may be gone, and they with it
                if handle._completed is None:
                    self.settle_cancelled(handle, "shutdown")
            self.reporter.abandon()

    def next_turn(self) -> None:
        """A loop turn has passed, or a queued deadline: end what has run out of time, go on starting."""
        if self.queue.next_deadline() is not None:
            for handle in self.queue.expired(anyio.current_time()):
                if handle._completed is None:  # an observer told of another one may have cancelled it
                    self.settle_timeout(handle)
        self.dispatch()

    def interrupted(self, error: BaseException) -> None:
        """The nursery is being cancelled from outside: start nothing more in it."""
        self.abort(self.backend.cancellation_source(error) or "shutdown", requests=False)
