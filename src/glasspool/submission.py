"""From a function and its options to an accepted task; what executor, piles and iterators submit through."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor as FuturesExecutor
from contextvars import Context
from typing import Any

import anyio
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from . import options as check
from .engine import Engine
from .errors import ExecutorClosed, NestedWait, QueueFull, TaskTimeout
from .limits import BURST
from .queue import Producer
from .runners.base import Runner
from .runners.futures import FuturesRunner
from .runners.inline import InlineRunner
from .runners.thread import ThreadRunner
from .task import CURRENT, Plan, Sink, TaskHandle, WorkItem
from .telemetry.carrying import Carried
from .telemetry.names import function_name
from .telemetry.recorder import TaskRecord

__all__ = ["Submission"]


class Submission:
    """The way in to one engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._inline = InlineRunner()
        self._thread = ThreadRunner()

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
        is_async = check.function_kind(fn)
        chosen: Runner | None
        if runner is None:
            chosen = None if is_async else self._thread
        else:
            chosen = self._runner(check.runner(runner), is_async)
        name = function_name(fn, args) if name is None else check.name("name", name)
        plan = Plan(name, self.engine.recorder.label(name), chosen, "inline" if chosen is None else chosen.name)
        if timeout is not None:
            plan.timeout = check.seconds("timeout", timeout)
        if deadline is not None:
            plan.deadline = check.seconds("deadline", deadline, instant=True)
        if context != "parent":
            plan.link = check.choice("context", context, ("parent", "link")) == "link"
        if abandon is not True:
            if not isinstance(abandon, bool):
                raise TypeError(f"abandon must be a bool, not {abandon!r}")
            plan.abandon = abandon
        if metadata is not None:
            plan.metadata = check.metadata(metadata)
        return plan

    async def submit(
        self, plan: Plan, fn: Callable[..., Any], args: tuple[Any, ...], sink: Sink | None, context: Context
    ) -> TaskHandle[Any]:
        """Accept the task in ``context``, waiting for room. ``sink`` collects the outcome."""
        engine = self.engine
        engine.check_caller("submit")
        engine.since_yield += 1
        if engine.since_yield >= BURST:
            # Before anything is accepted: a cancelled submitter must not lose a task that it has no handle of.
            engine.since_yield = 0
            await checkpoint()
        if engine.closing is not None:
            await checkpoint_if_cancelled()
            self._refuse(plan)
        handle = self._handle(plan, fn, args, sink, context)
        if engine.can_accept():
            engine.accept(handle)
        else:
            await self._wait_for_room(handle)
        return handle

    def submit_nowait(
        self, plan: Plan, fn: Callable[..., Any], args: tuple[Any, ...], sink: Sink | None, context: Context
    ) -> TaskHandle[Any]:
        """Accept the task in ``context`` at once, or raise."""
        engine = self.engine
        engine.check_caller("submit_nowait")
        if engine.closing is not None:
            self._refuse(plan)
        if not engine.can_accept():
            engine.reporter.rejected(plan, "queue_full")
            raise QueueFull(self._fullness())
        handle = self._handle(plan, fn, args, sink, context)
        engine.accept(handle)
        return handle

    def accept_if_room(
        self, plan: Plan, fn: Callable[..., Any], args: tuple[Any, ...], sink: Sink, context: Context
    ) -> bool:
        """Accept the task if it overtakes nobody and finds room; False, uncounted, if not."""
        engine = self.engine
        if engine.closing is not None:
            self._refuse(plan)
        if not engine.can_accept():
            return False
        engine.accept(self._handle(plan, fn, args, sink, context))
        return True

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
            return FuturesRunner(choice, self.engine.backend.call_soon_threadsafe, Carried)
        return self._thread

    def _refuse(self, plan: Plan) -> None:
        self.engine.reporter.rejected(plan, "already_shutdown")
        self.engine.check_open()

    async def _wait_for_room(self, handle: TaskHandle[Any]) -> None:
        engine, plan = self.engine, handle._plan
        current = CURRENT.get()
        if current is not None and current._host is engine and not current.done:
            engine.reporter.rejected(plan, "queue_full")
            raise NestedWait(
                f"submit inside task {current.name!r} of the same executor would wait for room while holding a slot, "
                f"which could hang for ever: {self._fullness()}"
            )
        producer = engine.block(handle)
        engine.since_yield = 0
        deadline = math.inf if plan.deadline is None else plan.deadline
        try:
            with anyio.CancelScope(deadline=deadline) as scope:
                await producer.event.wait()
                if producer in engine.queue.granted:
                    engine.come_back(producer)
                    if not producer.accepted:
                        await producer.event.wait()
                if not producer.accepted:
                    await checkpoint_if_cancelled()  # who is cancelled is not told that the executor was, too
        except BaseException:
            if producer.accepted:  # in the very turn in which it was cancelled
                engine.request_cancel(handle, "parent_scope")
            else:
                self._give_up(producer, plan, "submit_cancelled")
            raise
        if producer.accepted:
            return
        if scope.cancelled_caught:
            self._give_up(producer, plan, "submit_timeout")
            raise TaskTimeout(
                f"the deadline of {plan.name!r} passed while submit waited for room; nothing was accepted"
            )
        self._give_up(producer, plan, "already_shutdown")
        raise ExecutorClosed(f"executor {engine.name!r} closed while submit of {plan.name!r} waited for room")

    def _give_up(self, producer: Producer[TaskHandle[Any]], plan: Plan, reason: str) -> None:
        engine = self.engine
        blocked = engine.recorder.producer_released(producer)
        engine.give_up(producer)
        engine.reporter.rejected(plan, reason, blocked)

    def _fullness(self) -> str:
        stats = self.engine.reporter.stats()
        return (
            f"executor {self.engine.name!r} holds {stats.queued} of {self.engine.queue.capacity} queued tasks and "
            f"{stats.slots_used} of {stats.slots_limit} slots, the oldest has waited {stats.oldest_queued_age:.1f} s "
            f"and {stats.pending} producers are blocked; wait with `await submit`, or raise max_queued"
        )
