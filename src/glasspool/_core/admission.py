"""Submission: turns a function and its options into an accepted task, for the executor, piles and iterators."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from concurrent.futures import Executor as FuturesExecutor
from contextlib import nullcontext
from contextvars import Context
from functools import partial
from types import FunctionType
from typing import Any
from weakref import ref

import anyio
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from glasspool import _checks as checks
from glasspool.errors import ExecutorClosed, NestedWait, QueueFull, TaskTimeout
from glasspool.rates import Rate
from glasspool.retries import UNSET, Retry, checked_retry, refuse_used_up
from glasspool.telemetry.recording.call_names import function_name, is_plain
from glasspool.telemetry.tracing.carried_call import Carried

from .backend import Scope
from .engine import Engine
from .functions import is_async
from .handles import checked_after
from .interfaces import AGAIN, NOTHING, Feed, Needs, Sink
from .policies.keys import Keyed, Keys
from .queue import Producer
from .runners.base import Runner
from .runners.futures import FuturesRunner
from .runners.inline import InlineRunner
from .runners.thread import ThreadRunner
from .slot_limit import BURST
from .task_state import CURRENT, Plan, Task, current_task_of

__all__ = ["Submission"]


class Submission:
    """Submits tasks to one engine. Piles and iterations get it as their ``Work`` (work.py).

    :param isolate: for tasks that do not say it themselves.
    :param retry: likewise.
    :param keys: the keys and costs that tasks may have.
    """

    def __init__(self, engine: Engine, keys: Keys, *, isolate: bool, retry: Retry | None) -> None:
        self.engine = engine
        self._isolate = isolate
        self._retry = retry
        self.host = engine.host
        self.backend = engine.backend
        self.closing = engine.closing
        self.slots = engine.slots
        self.since_yield = 0  # submits since the last loop turn
        self._last: tuple[Callable[[], object], Plan] | None = None  # the last plain function, and its plan
        self.keys = keys
        self._inline = InlineRunner()
        self._thread = ThreadRunner(engine.name, engine.threads)

    def plan(self, fn: Callable[..., Any], args: tuple[Any, ...] = (), /, **options: Any) -> Plan:
        """Check a function and its options; see HybridExecutor.submit for what they mean."""
        if options or type(fn) is not FunctionType:
            return self._plan(fn, args, **options)
        last = self._last
        if last is not None and last[0]() is fn:  # most calls are of the same function as the one before
            return last[1]
        plan = self._plan(fn, args)
        if is_plain(fn):
            self._last = ref(fn), plan
        return plan

    def _plan(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        /,
        name: str | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
        context: str = "parent",
        runner: Any = None,
        abandon: bool = True,
        metadata: Any = None,
        isolate: bool | None = None,
        key: Hashable = None,
        cost: float | None = None,
        after: Any = None,
        retry: Any = UNSET,
        **unknown: Any,
    ) -> Plan:
        if unknown:
            raise TypeError(
                f"there is no option {', '.join(map(repr, unknown))}; keywords for the function go through "
                f"functools.partial(fn, ...)"
            )
        on_loop = is_async(fn)
        chosen = self._runner(None if runner is None else checks.runner(runner), on_loop)
        name = function_name(fn, args) if name is None else checks.name("name", name)
        runner_name = "inline" if chosen is None else chosen.name
        isolate = self._isolate if isolate is None else checks.flag("isolate", isolate)
        plan = Plan(name, self.engine.reporter.label(name), chosen, runner_name, isolate=isolate)
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
        if key is not None or cost is not None:
            plan.key, plan.cost = self.keys.checked(key, cost)
        plan.retry = self._retry if retry is UNSET else checked_retry(retry)
        if plan.retry is not None:
            self.engine.retrying()
        if after is not None:
            plan.after = checked_after(after, self.host)
            self.engine.depending()
        return plan

    def keyed(self, options: dict[str, Any]) -> Keyed | None:
        """Take ``key`` and ``cost`` out of the options of an iteration if one of them is a function of the item."""
        if not callable(options.get("key")) and not callable(options.get("cost")):
            return None
        return Keyed(self.keys, options.pop("key", None), options.pop("cost", None))

    async def submit(
        self, plan: Plan, fn: Callable[..., Any], args: tuple[Any, ...], sink: Sink | None, context: Context, *,
        feeding: bool = False,
    ) -> Task:  # fmt: skip
        """Accept the task in ``context``, waiting for room. Called on the loop only.

        :param sink: collects the outcome; None for a task that stands alone.
        :param feeding: whether the caller is an iteration's feeder; no task waits for that.
        :raises TaskTimeout: the deadline passed while there was no room.
        :raises ExecutorClosed: the executor is closing.
        :raises NestedWait: waiting for room inside a task could hang for ever.
        :raises ValueError: it may run again, and an argument would be used up by then.
        """
        engine = self.engine
        self.since_yield += 1
        if self.since_yield >= BURST:
            # Before anything is accepted: a cancelled submitter must not lose a task that it has no handle of.
            self.since_yield = 0
            await checkpoint()
        if self.closing.reason is not None:
            await checkpoint_if_cancelled()
            self._refuse(plan, sink)
        if plan.retry is not None:
            refuse_used_up(fn, args)
        task = Task(self.host, plan, fn, args, sink, context)
        parent = None if CURRENT.get() is None else current_task_of(self.host)
        exceeding = not engine.line.can_accept(plan)
        if not exceeding or engine.line.can_exceed(parent):
            engine.line.accept(task, parent, exceeding=exceeding)
        elif feeding:
            producer = Producer(task, parent=parent)
            while await self._stand_in_line(producer) is AGAIN:
                pass
        else:
            await self._wait_for_room(Producer(task, parent=parent))
        return task

    def submit_nowait(
        self, plan: Plan, fn: Callable[..., Any], args: tuple[Any, ...], sink: Sink | None, context: Context
    ) -> Task:
        """Accept the task in ``context`` at once, or raise. Called on the loop only.

        :raises QueueFull: neither a slot nor a queue place is free, or others wait for one.
        :raises ExecutorClosed: the executor is closing.
        """
        engine = self.engine
        if self.closing.reason is not None:
            self._refuse(plan, sink)
        parent = None if CURRENT.get() is None else current_task_of(self.host)
        exceeding = not engine.line.can_accept(plan)
        if exceeding and not engine.line.can_exceed(parent):
            engine.reporter.rejected(plan, "queue_full")
            raise QueueFull(engine.line.fullness(plan))
        if plan.retry is not None:
            refuse_used_up(fn, args)
        task = Task(self.host, plan, fn, args, sink, context)
        engine.line.accept(task, parent, exceeding=exceeding)
        return task

    def line_up(
        self, plan: Plan, fn: Callable[..., Any], args: tuple[Any, ...], sink: Sink, context: Context,
        wake: Callable[[], object],
    ) -> Producer[Task] | None:  # fmt: skip
        """Accept the task, now or in its turn.

        :param wake: called when the task has been accepted, or was turned away because the executor closes.
        :returns: the producer that waits for room in the caller's place; None if the task was accepted at once.
        :raises ExecutorClosed: the executor is closing.
        """
        engine = self.engine
        if self.closing.reason is not None:
            self._refuse(plan, sink)
        if plan.retry is not None:
            refuse_used_up(fn, args)
        task = Task(self.host, plan, fn, args, sink, context)
        parent = None if CURRENT.get() is None else current_task_of(self.host)
        exceeding = not engine.line.can_accept(plan)
        if not exceeding or engine.line.can_exceed(parent):
            engine.line.accept(task, parent, exceeding=exceeding)
            return None
        producer = Producer(task, back=True, parent=parent)
        producer.wake = wake
        engine.line.block(producer)
        return None if producer.accepted else producer

    def _runner(self, choice: str | FuturesExecutor | None, on_loop: bool) -> Runner | None:
        if choice is None or choice == "inline":
            return None if on_loop else self._thread if choice is None else self._inline
        if on_loop:
            raise ValueError(
                f"runner={choice!r} cannot run a coroutine function: coroutines run on the event loop; "
                f"leave runner out, or pass a plain function"
            )
        if isinstance(choice, FuturesExecutor):
            return FuturesRunner(self.engine.name, choice, self.backend.call_soon_threadsafe, Carried)
        return self._thread

    def _refuse(self, plan: Plan, sink: Sink | None) -> None:
        self.engine.reporter.rejected(plan, self.after_closing(sink))
        self.closing.check_open()

    async def _wait_for_room(self, producer: Producer[Task]) -> None:
        engine, plan, slot = self.engine, producer.task.plan, (self.host,)

        def needs() -> Needs:
            ends = plan.deadline is not None or self.closing.reason is not None
            granted = producer in engine.queue.granted and not producer.back
            return NOTHING if ends or producer.accepted or granted else (1, engine.line.room(producer.task) or slot)

        step = partial(self._stand_in_line, producer)
        try:
            while await self.host.wait("submit without room", step, needs) is AGAIN:
                pass
        except NestedWait as error:
            self.give_up(producer, "queue_full")
            raise NestedWait(f"{error}. {engine.line.figures()}") from None
        except BaseException:
            if producer.accepted:  # while the caller waited for its slot again
                engine.request_cancel(producer.task, "parent_scope")
            elif producer.in_line:  # while the wait was examined again
                self.give_up(producer, "submit_cancelled")
            raise

    async def _stand_in_line(self, producer: Producer[Task]) -> Any:
        """Wait for room. AGAIN: it was granted and is gone, so whether it can come again is to be examined; call it
        again."""
        engine, task = self.engine, producer.task
        plan, again = task.plan, producer.back
        if self.closing.reason is not None and not again:  # while the wait was looked at
            self._refuse(plan, task.sink)
        woken = anyio.Event()
        producer.wake = woken.set
        if not again:
            engine.line.block(producer)
        self.since_yield = 0
        scope = None if plan.deadline is None else engine.backend.scope(plan.deadline)
        try:
            with scope or nullcontext():
                await checkpoint_if_cancelled()  # see Ledger.wait
                if not again or producer in engine.queue.granted:
                    await woken.wait()
                if not again and producer in engine.queue.granted:
                    engine.line.come_back(producer)
                    if not producer.accepted:
                        return AGAIN
                if not producer.accepted:
                    await checkpoint_if_cancelled()  # a cancelled caller gets its own cancellation
        except BaseException:
            if producer.accepted:  # in the very turn in which it was cancelled
                engine.request_cancel(task, "parent_scope")
            else:
                self.give_up(producer, "submit_cancelled")
            raise
        if producer.accepted:
            return None
        late = scope is not None and scope.cancelled_caught
        raise self.out_of_time(producer) if late else self.turned_away(producer)

    def out_of_time(self, producer: Producer[Task]) -> TaskTimeout:
        """The task's deadline has passed while it waited for room."""
        name = producer.task.name
        self.give_up(producer, "submit_timeout")
        return TaskTimeout(f"the deadline of {name!r} passed while submit waited for room; nothing was accepted")

    def turned_away(self, producer: Producer[Task]) -> ExecutorClosed:
        """The executor has closed while the task waited for room."""
        name = producer.task.name
        self.give_up(producer, self.after_closing(producer.task.sink))
        return self.closing.refusal(f"executor {self.engine.name!r} closed while submit of {name!r} waited for room")

    def after_closing(self, sink: Sink | None) -> str:
        """The reason of a refusal after closing. After a signal a pile or an iteration ends normally and reports the
        item that it could not submit, so no caller gets an error."""
        return "submit_cancelled" if sink is not None and self.closing.signal is not None else "already_shutdown"

    def give_up(self, producer: Producer[Task], reason: str) -> None:
        """Stop waiting for room: the call is rejected for this ``reason`` of the catalog."""
        engine, blocked = self.engine, None
        if producer.in_line:  # else the wait was refused before it stood in line
            blocked = engine.reporter.released(producer)
            engine.line.give_up(producer)
        engine.reporter.rejected(producer.task.plan, reason, blocked)

    # -- policies ------------------------------------------------------------------------------------------------

    def set_rates(self, rates: tuple[Rate, ...]) -> None:
        """The executor has these rates from now on."""
        self.keys.resized(rates)
        self.engine.gated().resize(rates)

    def pause(self, seconds: float, key: Hashable) -> None:
        """See HybridExecutor.pause.

        :raises TypeError, ValueError: nothing holds for this key.
        """
        if key is not None:
            self.keys.existing(key)
        if seconds or self.engine.gate is not None:
            self.engine.gated().pause(seconds, key)

    # -- for iterations --------------------------------------------------------------------------------------------

    def follow(self, feed: Feed) -> None:
        """Tell the iteration of changes of the number of slots, and of the closing of everything."""
        self.engine.feeds.add(feed)

    def start_feeder(self, body: Callable[[], Coroutine[Any, Any, None]], scope: Scope, context: Context) -> None:
        """Run ``body`` in the executor's nursery; ``scope`` is its own cancel scope, entered by it.

        :raises ExecutorClosed: the executor is closing.
        """
        self.engine.nursery.start_service(body, scope, context)

    def feeder_ended(self, scope: Scope) -> None:
        """The body that was started with ``scope`` is at its end."""
        self.engine.nursery.service_ended(scope)

    def crashed(self, error: BaseException) -> None:
        """A source raised KeyboardInterrupt or SystemExit, and no consumer will receive it."""
        self.engine.crashed(error)
