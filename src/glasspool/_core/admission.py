"""From a function and its options to an accepted task; what executor, piles and iterators submit through."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor as FuturesExecutor
from contextvars import Context
from functools import partial
from typing import Any

import anyio
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from glasspool import _checks as checks
from glasspool.errors import ExecutorClosed, NestedWait, QueueFull, TaskTimeout
from glasspool.task import Plan, TaskHandle, WorkItem
from glasspool.telemetry.recording.call_names import function_name
from glasspool.telemetry.recording.recorder import TaskRecord
from glasspool.telemetry.tracing.carried_call import Carried

from .engine import Engine
from .interfaces import NOTHING, Needs, Sink
from .queue import Producer
from .runners.base import Runner
from .runners.futures import FuturesRunner
from .runners.inline import InlineRunner
from .runners.thread import ThreadRunner
from .slot_limit import BURST

__all__ = ["Submission"]


class Submission:
    """The way in to one engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._inline = InlineRunner()
        self._thread = ThreadRunner(engine.name, engine.threads)

    def plan(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...] = (),
        /,
        name: str | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
        context: str = "parent",
        runner: Any = None,
        abandon: bool = True,
        metadata: Any = None,
        **unknown: Any,
    ) -> Plan:
        """Check a function and its options; see HybridExecutor.submit for what they mean."""
        if unknown:
            raise TypeError(
                f"there is no option {', '.join(map(repr, unknown))}; keywords for the function go through "
                f"functools.partial(fn, ...)"
            )
        is_async = checks.function_kind(fn)
        chosen: Runner | None
        if runner is None:
            chosen = None if is_async else self._thread
        else:
            chosen = self._runner(checks.runner(runner), is_async)
        name = function_name(fn, args) if name is None else checks.name("name", name)
        plan = Plan(name, self.engine.recorder.label(name), chosen, "inline" if chosen is None else chosen.name)
        if timeout is not None:
            plan.timeout = checks.seconds("timeout", timeout)
        if deadline is not None:
            plan.deadline = checks.seconds("deadline", deadline, instant=True)
        if type(context) is not str or context != "parent":
            plan.link = checks.choice("context", context, ("parent", "link")) == "link"
        if abandon is not True:
            plan.abandon = checks.flag("abandon", abandon)
        if metadata is not None:
            plan.metadata = checks.metadata(metadata)
        return plan

    async def submit(
        self, plan: Plan, fn: Callable[..., Any], args: tuple[Any, ...], sink: Sink | None, context: Context, *,
        feeding: bool = False,
    ) -> TaskHandle[Any]:  # fmt: skip
        """Accept the task in ``context``, waiting for room. ``sink`` collects the outcome. Called on the loop only.

        ``feeding``: the caller is an iteration's feeder, for which no task has to wait.
        """
        engine = self.engine
        engine.since_yield += 1
        if engine.since_yield >= BURST:
            # Before anything is accepted: a cancelled submitter must not lose a task that it has no handle of.
            engine.since_yield = 0
            await checkpoint()
        if engine.closing is not None:
            await checkpoint_if_cancelled()
            self._refuse(plan, sink)
        handle = self._handle(plan, fn, args, sink, context)
        if engine.can_accept():
            engine.accept(handle)
        elif feeding:
            await self._stand_in_line(Producer(handle))
        else:
            await self._wait_for_room(handle)
        return handle

    def submit_nowait(
        self, plan: Plan, fn: Callable[..., Any], args: tuple[Any, ...], sink: Sink | None, context: Context
    ) -> TaskHandle[Any]:
        """Accept the task in ``context`` at once, or raise. Called on the loop only."""
        engine = self.engine
        if engine.closing is not None:
            self._refuse(plan, sink)
        if not engine.can_accept():
            engine.reporter.rejected(plan, "queue_full")
            raise QueueFull(self._fullness())
        handle = self._handle(plan, fn, args, sink, context)
        engine.accept(handle)
        return handle

    def line_up(
        self, plan: Plan, fn: Callable[..., Any], args: tuple[Any, ...], sink: Sink, context: Context,
        wake: Callable[[], object],
    ) -> Producer[TaskHandle[Any]] | None:  # fmt: skip
        """Accept the task, now or in its turn. Returns the producer that waits for room in its stead, if one must.

        ``wake`` is called when it has been accepted, or was turned away because the executor closes.
        """
        engine = self.engine
        if engine.closing is not None:
            self._refuse(plan, sink)
        handle = self._handle(plan, fn, args, sink, context)
        if engine.can_accept():
            engine.accept(handle)
            return None
        producer = Producer(handle, back=True)
        producer.wake = wake
        engine.block(producer)
        return None if producer.accepted else producer

    def _handle(
        self, plan: Plan, fn: Callable[..., Any], args: tuple[Any, ...], sink: Sink | None, context: Context
    ) -> TaskHandle[Any]:
        record = TaskRecord(plan.name, plan.runner_name, plan.label)
        item = WorkItem(record.id, plan.name, fn, args, plan.metadata)
        return TaskHandle(self.engine, item, plan, context, sink, record)

    def _runner(self, choice: str | FuturesExecutor | None, is_async: bool) -> Runner | None:
        if choice == "inline":
            return None if is_async else self._inline
        if is_async:
            raise ValueError(
                f"runner={choice!r} cannot run a coroutine function: coroutines run on the event loop; "
                f"leave runner out, or pass a plain function"
            )
        if isinstance(choice, FuturesExecutor):
            return FuturesRunner(self.engine.name, choice, self.engine.backend.call_soon_threadsafe, Carried)
        return self._thread

    def _refuse(self, plan: Plan, sink: Sink | None) -> None:
        self.engine.reporter.rejected(plan, self.after_closing(sink))
        self.engine.check_open()

    async def _wait_for_room(self, handle: TaskHandle[Any]) -> None:
        engine, plan = self.engine, handle._plan
        producer = Producer(handle)

        def needs() -> Needs:
            ends = plan.deadline is not None or engine.closing is not None
            return NOTHING if ends or producer.accepted or producer in engine.queue.granted else (1, (engine,))

        try:
            await engine.wait("submit without room", partial(self._stand_in_line, producer), needs)
        except NestedWait as error:
            engine.reporter.rejected(plan, "queue_full")
            raise NestedWait(f"{error}. {self._figures()}") from None

    async def _stand_in_line(self, producer: Producer[TaskHandle[Any]]) -> None:
        engine, handle = self.engine, producer.handle
        plan = handle._plan
        if engine.closing is not None:  # while the wait was looked at
            self._refuse(plan, handle._sink)
        woken = anyio.Event()
        producer.wake = woken.set
        engine.block(producer)
        engine.since_yield = 0
        scope = engine.backend.scope(math.inf if plan.deadline is None else plan.deadline)
        try:
            with scope:
                await woken.wait()
                if producer in engine.queue.granted:
                    woken = anyio.Event()
                    producer.wake = woken.set
                    engine.come_back(producer)
                    if not producer.accepted:
                        await woken.wait()
                if not producer.accepted:
                    await checkpoint_if_cancelled()  # who is cancelled is not told that the executor was, too
        except BaseException:
            if producer.accepted:  # in the very turn in which it was cancelled
                engine.request_cancel(handle, "parent_scope")
            else:
                self.give_up(producer, "submit_cancelled")
            raise
        if producer.accepted:
            return
        raise self.out_of_time(producer) if scope.cancelled_caught else self.turned_away(producer)

    def out_of_time(self, producer: Producer[TaskHandle[Any]]) -> TaskTimeout:
        """The task's deadline has passed while it waited for room."""
        name = producer.handle.name
        self.give_up(producer, "submit_timeout")
        return TaskTimeout(f"the deadline of {name!r} passed while submit waited for room; nothing was accepted")

    def turned_away(self, producer: Producer[TaskHandle[Any]]) -> ExecutorClosed:
        """The executor has closed while the task waited for room."""
        name = producer.handle.name
        self.give_up(producer, self.after_closing(producer.handle._sink))
        return self.engine.closed_by(f"executor {self.engine.name!r} closed while submit of {name!r} waited for room")

    def after_closing(self, sink: Sink | None) -> str:
        """The reason of a refusal after closing. A signal ends a pile or an iteration in order: it hands back what it
        had in hand, and nobody is refused anything."""
        return "submit_cancelled" if sink is not None and self.engine.signal is not None else "already_shutdown"

    def give_up(self, producer: Producer[TaskHandle[Any]], reason: str) -> None:
        """Wait for room no longer: the call never becomes a task, for this ``reason`` of the contract."""
        engine = self.engine
        blocked = engine.recorder.producer_released(producer)
        engine.give_up(producer)
        engine.reporter.rejected(producer.handle._plan, reason, blocked)

    def _fullness(self) -> str:
        return f"{self._figures()}; wait with `await submit`, or raise max_queued"

    def _figures(self) -> str:
        stats = self.engine.reporter.stats()
        return (
            f"executor {self.engine.name!r} holds {stats.queued} of {self.engine.queue.capacity} queued tasks and "
            f"{stats.slots_used} of {stats.slots_limit} slots, the oldest has waited {stats.oldest_queued_age:.1f} s "
            f"and {stats.pending} producers are blocked"
        )
