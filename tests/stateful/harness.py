"""One executor on a virtual loop and the model of it; every operation is applied to both."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import anyio
import prometheus_client

from glasspool import ExecutorClosed, HybridExecutor, QueueFull, TaskHandle, TaskState
from glasspool.telemetry.catalog import TASK_OVERDUE_AGE, TASK_OVERDUE_LONGEST, Metric
from glasspool.telemetry.observers import TaskEvent
from glasspool.telemetry.prometheus import register
from glasspool.telemetry.recording.registry import REGISTRY

from .account import Account, Collector, Task
from .comparison import events_of, samples_of, samples_shown, spelled, stats_of, without
from .programs import ByHand, Program, Script, tick_of
from .virtual import World
from .waiting import Caller, ForEnd, ForHandle, ForRoom, ForShutdown, Waiter

__all__ = ["Harness", "Left", "chosen"]

NAME = "machine"
STATES = {
    "success": TaskState.SUCCEEDED,
    "error": TaskState.FAILED,
    "timeout": TaskState.TIMED_OUT,
    "cancelled": TaskState.CANCELLED,
}


class Left(Exception):
    """What a block is left by."""


def chosen(items: Any, which: int) -> Any:
    """One of the items; there is one."""
    items = list(items)
    return items[which % len(items)]


def agree(what: str, found: Mapping[Any, Any], expected: Mapping[Any, Any]) -> None:
    """Both have the same entries; a failure shows those that differ."""
    if found != expected:
        keys = [key for key in {**found, **expected} if found.get(key) != expected.get(key)]
        differ = "; ".join(f"{key}: {found.get(key)} instead of {expected.get(key)}" for key in keys)
        raise AssertionError(f"{what}: {differ}")


class Harness:
    """All methods but the constructor are called on the virtual loop."""

    unknown: tuple[Metric, ...] = (TASK_OVERDUE_AGE, TASK_OVERDUE_LONGEST)
    """Metrics that the account does not know: those of twenty runs and more are tested elsewhere."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.handles: dict[Task, TaskHandle[Any]] = {}
        self.scripts: dict[str, Script] = {}
        self.waiters: list[Waiter] = []
        self.reactions: list[tuple[str, Callable[[], object]]] = []
        self.how = ""  # the block is left
        self.pool = ByHand(self._begin_in_pool)
        self._tasks: dict[int, Task] = {}
        self._events: dict[str, list[tuple[Any, ...]]] = {}
        self._refusals: list[tuple[str, str, float | None]] = []
        self._number = 0
        self._fragile = ""  # at which kind of event the second observer fails
        self._broken = False
        self._leave = anyio.Event()
        self._owner = Caller()
        REGISTRY.reset()
        self._metrics = prometheus_client.CollectorRegistry()
        register(self._metrics)

    def open(self, limit: int, capacity: int | None, on_error: Literal["collect", "escalate"] = "collect") -> None:
        """Enter the executor's block, in a task of its own."""
        self.account = Account(anyio.current_time, limit, capacity, on_error == "escalate")
        self.executor = HybridExecutor(
            NAME, max_in_flight=limit, max_queued=capacity, max_task_names=0, on_error=on_error,
            observers=[self._observe, self._fail],
        )  # fmt: skip
        self.world.group.start_soon(self._owner.wait, self._own)

    async def _own(self) -> None:
        async with self.executor:
            await self._leave.wait()
            if self.how == "by an exception":
                raise Left

    @property
    def is_open(self) -> bool:
        """Whether tasks are taken."""
        return self.account.closing is None

    @property
    def is_left(self) -> bool:
        """Whether the block is being left."""
        return bool(self.how) or self.account.body_cancelled

    # -- observers -------------------------------------------------------------------------------------------------

    def _observe(self, event: TaskEvent) -> None:
        try:
            self._note(event)
        except BaseException as error:
            self.account.faults.append(f"in the observer: {error!r}")
            raise

    def _note(self, event: TaskEvent) -> None:
        self.account.tick()
        if event.kind == "rejected":
            self._refusals.append((self.task_of(event).name, event.error_type, event.wait))
        elif event.kind == "submitted":
            task = self._tasks[event.task_id] = self.task_of(event)
            self._events[task.name] = [spelled(event)]
            self.account.accept(task)
        else:
            task = self._tasks[event.task_id]
            self._events[task.name].append(spelled(event))
            if event.kind == "started":
                self.account.begin(task)
            elif event.outcome == "cancelled":
                self.account.meet(task)
            elif event.outcome == "timeout":
                self.account.has_no_time(task)
        stats = self.executor.stats()
        ended = stats.succeeded + stats.failed + stats.timed_out + stats.cancelled
        self.account.require(stats.submitted == stats.queued + stats.in_flight + ended, "statistics do not add up")
        bound = self.account.capacity
        own = sum(task.nested for task in self.account.queue)  # each parent has a place for one of these
        self.account.require(bound is None or stats.queued <= bound + own, "more are queued than there are places")
        for reaction in [reaction for reaction in self.reactions if reaction[0] == event.kind][:1]:
            self.reactions.remove(reaction)
            reaction[1]()

    def task_of(self, event: TaskEvent) -> Task:
        """The task that is being submitted, or refused."""
        return self.scripts[event.name].task

    def _fail(self, event: TaskEvent) -> None:
        self.account.require(not self._broken, "an observer that has failed was called again")
        if event.kind == self._fragile:
            self._broken = True
            self.account.broken_observers += 1
            raise LookupError("a broken observer")

    def break_observer(self, kind: str) -> None:
        """The second observer fails at the next event of this kind."""
        self._fragile = kind

    # -- submitting ------------------------------------------------------------------------------------------------

    def unique(self, seconds: int | None) -> float | None:
        """So many seconds and a fraction that no other call has; 0 and None are themselves."""
        self._number += 1
        return seconds and seconds + tick_of(self._number)

    def script(self, program: Program, collector: Collector | None = None) -> Script:
        """A new call, not made yet."""
        now, tick = self.account.tick(), self.unique(1)
        assert tick is not None
        timeout = math.inf if program.timeout is None else program.timeout and program.timeout - 1 + tick
        deadline = math.inf if program.deadline is None else now + (program.deadline and program.deadline - 1 + tick)
        task = Task(
            f"task {self._number}",
            runner="futures" if program.where == "pool" else "inline",
            timeout=timeout,
            deadline=deadline,
            abandon=program.abandon,
            startable=program.obeys != "late",
            called=now,
            collector=collector,
        )
        spawn = partial(self.nowait, Program(), within=True)
        script = self.scripts[task.name] = Script(self.account, task, program, self._number, spawn)
        return script

    def call(self, method: Callable[..., Any], script: Script) -> Any:
        """Call ``submit``, ``run``, ``include``, … for the script."""
        task, where = script.task, script.program.where
        options: dict[str, Any] = {"name": task.name}
        if task.timeout < math.inf:
            options["timeout"] = task.timeout
        if task.deadline < math.inf:
            options["deadline"] = task.deadline
        if where == "pool":
            return method(print, task.name, runner=self.pool, abandon=task.abandon, **options)
        if where == "inline":
            return method(script.plain, runner="inline", **options)
        return method(script.run, **options)

    def nowait(self, program: Program, *, within: bool = False) -> None:
        """``submit_nowait``; ``within`` a step, when the executor may be behind the account or before it."""
        script = self.script(program)
        task = script.task
        task.nested = within
        room = self.is_open and not self.account.line and self.account.room()
        try:
            handle = self.call(self.executor.submit_nowait, script)
        except (QueueFull, ExecutorClosed) as error:
            refused = within or not room or not self.is_open
            self.account.require(refused, f"{task.name} found no room, though there is some: {error}")
            self.account.require(isinstance(error, QueueFull) == self.is_open, f"{task.name} was refused by {error!r}")
            self.account.reject(task, "queue_full" if self.is_open else "already_shutdown")
        else:
            assert task.accepted is not None
            assert within or room, f"{task.name} found room, though there is none"
            self.handles[task] = handle

    def submit(self, program: Program, *, run: bool = False) -> None:
        """A caller submits and waits for room, or runs a task and waits for its end."""
        script = self.script(program)
        if run:
            self.wait_for_room(ForEnd(script.task), script, self.executor.run)
        else:
            self.wait_for_room(ForRoom(script.task), script, self.executor.submit)

    def wait_for_room(self, waiter: Waiter, script: Script, method: Callable[..., Any]) -> None:
        """Make a call that may wait for room, in a task of its own."""
        task = script.task
        if not self.is_open:
            self.account.reject(task, "already_shutdown")
        elif self.account.line or not self.account.room():
            self.account.block(task)

        async def call() -> Any:
            try:
                result = await self.call(method, script)
            except anyio.get_cancelled_exc_class():
                if task.accepted is None:
                    self.account.reject(task, "submit_cancelled")
                raise
            if isinstance(result, TaskHandle):
                self.handles[task] = result
            return result

        self.start(waiter, call)

    def start(self, waiter: Waiter, call: Callable[[], Any]) -> None:
        """Let the waiter wait."""
        self.waiters.append(waiter)
        self.world.group.start_soon(waiter.wait, call)

    # -- what happens to tasks -------------------------------------------------------------------------------------

    def _begin_in_pool(self, name: str) -> Task:
        task = self.scripts[name].task
        self.account.call(task)
        return task

    def let(self, script: Script, *, within: bool = False) -> None:
        """A task that waits to be let go may end; one in the pool not ``within`` a step, since it takes a turn."""
        script.go.set()
        task, future = script.task, self.pool.calls.get(script.task)
        if future is not None and not future.done() and not within:
            value, error = script.result(script.program.ending)
            self.account.end(task, value, error)
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

    def cancel(self, which: int, *, within: bool = False) -> None:
        """By its handle. Only the first request counts, and only before the end."""
        if self.handles:
            task, message = chosen(self.handles, which), f"message {which}"
            expected = self.account.cancel(task, "explicit", message)
            recorded = self.handles[task].cancel(message)
            if recorded and not expected and within:
                self.account.overtake(task, "explicit", message)
            else:
                assert recorded == expected, f"cancelling {task.name}: {recorded} instead of {expected}"

    def wait(self, which: int) -> None:
        """For a task's end, by its handle."""
        task = chosen(self.handles, which)

        async def call() -> Any:
            return await self.handles[task]

        self.start(ForHandle(task), call)

    def stop_waiting(self, which: int) -> None:
        """Cancel all waiters, except those that close or leave something."""
        waiting = [waiter for waiter in self.waiters if not waiter.done and not waiter.patient]
        if waiting:
            waiter = chosen(waiting, which)
            waiter.scope.cancel()
            if isinstance(waiter, (ForRoom, ForEnd)):
                waiter.task.doomed = "parent_scope"
                # One that has not begun may begin, or end otherwise, before its waiter hears of it.
                if waiter.task.began is not None:
                    self.account.meet(waiter.task)

    def resize(self, limit: int) -> None:
        """More slots or fewer, until all is over."""
        self.account.tick()
        before, over = self.account.limit, self.account.closed_at is not None
        self.account.resize(limit)
        try:
            self.executor.resize(limit)
        except ExecutorClosed:
            assert over, "an executor that is not closed was not resized"
            self.account.limit = before

    # -- closing ---------------------------------------------------------------------------------------------------

    def shutdown(self, grace: int | None) -> None:
        """A caller closes the executor."""
        exact = self.unique(grace)
        self.account.close(exact)
        self.start(ForShutdown(), partial(self.executor.shutdown, grace=exact))

    def leave(self, how: str) -> None:
        """The block is left: normally, by an exception, by a cancellation."""
        self.account.tick()
        self.how = how
        if how == "by a cancellation":
            self._owner.scope.cancel()
            self.account.abort("parent_scope", recorded=False)
            return
        self._leave.set()
        if how == "by an exception":
            self.account.abort("shutdown")
        else:
            self.account.close()

    @property
    def is_over(self) -> bool:
        """Whether the block has been left and nothing goes on."""
        return self._owner.done and not self.account.left and not self.waiters

    async def go_on(self) -> None:
        """Towards the end: functions that wait for their release may end."""
        self.reactions.clear()
        busy = [self.scripts[task.name] for task, future in self.pool.calls.items() if not future.done()]
        for script in busy[:1] or list(self.scripts.values()):  # a pool's call ends before its task does
            self.let(script)
        await anyio.sleep(20)
        if not self.is_left:
            self.leave("normally")

    async def release(self) -> None:
        """Whatever has happened: nothing keeps the loop from its end."""
        for script in self.scripts.values():
            script.go.set()
        for future in self.pool.calls.values():
            if not future.done():
                future.set_result(None)

    # -- what must be true, when the loop is quiet -----------------------------------------------------------------

    def check(self) -> None:
        """The executor says what the account says, and nothing is left undone."""
        account = self.account
        account.next_step()
        assert not account.faults, account.faults
        agree("statistics", vars(self.executor.stats()), vars(stats_of(account)))
        shown, expected = samples_shown(self._metrics, NAME, account), samples_of(account)
        agree("samples", without(self.unknown, shown), without(self.unknown, expected))
        agree("events", self._events, {task.name: events_of(task) for task in account.tasks})
        agree("refusals", Counter(self._refusals), Counter(account.rejections))
        used = len(account.active) + len(account.left)
        assert not account.queue or used >= account.limit, "a slot is idle"
        assert not account.line or not account.room(), "a producer waits though there is room"
        for task in account.active:
            assert task.began is not None, f"{task.name} has a slot and does not begin"
        for task, handle in self.handles.items():
            state = STATES.get(task.outcome) or (TaskState.QUEUED if task in account.queue else TaskState.ACTIVE)
            assert (handle.state, handle.done) == (state, task.ended is not None)
        for waiter in self.waiters:
            assert waiter.agrees(account), f"{type(waiter).__name__} is late, or early"
            if waiter.done and not waiter.scope.cancel_called:
                waiter.verify(account)
        self.waiters = [waiter for waiter in self.waiters if not waiter.done]
        assert self._owner.done == (self.is_left and account.closed_at is not None), "the block is left late, or early"

    def check_end(self) -> None:
        """Nothing is left, and what left the block is what happened."""
        account, error = self.account, self._owner.error
        assert not [*account.queue, *account.active, *account.left, *self.waiters]
        if account.interrupt is not None:
            assert error is account.interrupt
        elif self.how == "by an exception":
            raised = [error] if type(error) is Left else list(getattr(error, "exceptions", []))
            left = [each for each in raised if type(each) is Left]
            assert len(left) == 1
            assert [each for each in raised if each is not left[0]] == account.failures
        elif account.failures:
            assert list(getattr(error, "exceptions", [])) == account.failures
        else:
            assert error is None
