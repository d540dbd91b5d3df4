"""HybridExecutor: runs functions concurrently in one nursery, with bounded concurrency, a bounded queue and telemetry.

    submit ──▶ (wait for room) ──▶ queue ──▶ slot ──▶ backend task ──▶ runner ──▶ outcome ──▶ handle, pile, telemetry

* The *submitter* waits in line while there is no room (_core/admission.py); that is the backpressure.
* The *engine* (_core/engine.py) is the synchronous state machine behind it: slots, queue, outcomes.
* A *task* runs in the nursery, in its submitter's context, on a *runner* (_core/task_body.py, _core/task_state.py).
* The *reporter* (_core/reporter.py) reports each event to recorder, span and observers.
* The *block* (_core/block.py) is the executor between entering and leaving.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from contextvars import copy_context
from functools import partial
from typing import Any, Literal, TypeVar, cast, overload

from . import _checks as checks
from ._core.backend import to_the_end
from ._core.settings import Settings
from ._executor_block import ExecutorBlock
from ._options import TaskOptions
from .iterators import AsCompleted, InOrder
from .limits import Limit, checked_limits
from .pile import Pile
from .rates import Rate, checked_rates
from .retries import Retry, RetryBudget, checked_budget, checked_retry
from .task import Outcome, TaskHandle, unless_cancelled
from .telemetry.observers import Observer, checked_observers
from .telemetry.tracing.spans import Spans

if sys.version_info >= (3, 11):
    from typing import TypeVarTuple, Unpack
else:
    from typing_extensions import TypeVarTuple, Unpack

__all__ = ["HybridExecutor"]

T = TypeVar("T")
A = TypeVar("A")
Ts = TypeVarTuple("Ts")

_BUDGET = RetryBudget()


class HybridExecutor(ExecutorBlock):
    """Runs functions concurrently, at most ``max_in_flight`` at a time, and records metrics and spans.

    Use it as ``async with HybridExecutor("llm", max_in_flight=64) as executor:`` on asyncio or trio. Leaving the
    block normally drains; leaving it by an exception cancels what is left.

    :param name: its name in metrics and spans. The metrics of executors with the same name are summed.
    :param max_in_flight: slots; at least 1.
    :param max_queued: queue places, default 1024; ``0`` is a rendezvous, ``None`` no bound.
    :param on_error: ``"collect"`` (default): a failing task does not affect others. ``"escalate"``: the first failing
        task cancels everything, the block's body too, and the block raises an ``ExceptionGroup`` of the failures.
    :param spans: ``"all"`` (default), ``"parented"`` (only tasks whose submitter has a recording span) or ``"off"``.
    :param max_task_names: distinct task names that metrics show, default 25; 0 shows none.
    :param wait_objective: seconds a task may wait in the queue before it is late. Late tasks are counted, and the
        alerts on waits, on a full queue and on saturation watch this executor. None (default): its tasks may wait.
    :param isolate: whether each task has a backend task (of asyncio or trio) of its own (default). False: successive
        tasks share them, which is cheaper for tiny ones on trio; see ``submit``, where a task may say otherwise.
    :param observers: callables that are called with every event (``glasspool.telemetry.observers.TaskEvent``).
    :param rate: a ``glasspool.Rate``, or several, that the starts of all tasks keep to; None (default) for none.
    :param limits: what may run of the tasks of one ``key=``: a ``glasspool.Limit`` by key. ``"*"``: each key that is
        not named gets one of its own; without it, other keys are refused. None (default) for none.
    :param retry: a ``glasspool.Retry`` for all tasks that do not say ``retry=`` themselves; None (default) for none.
    :param retry_budget: how many retries all tasks together may make, default ``RetryBudget()``; None for no bound.
    :raises TypeError, ValueError: naming the parameter, its value and the fix.
    """

    def __init__(
        self,
        name: str,
        *,
        max_in_flight: int,
        max_queued: int | None = 1024,
        on_error: Literal["collect", "escalate"] = "collect",
        spans: Spans = "all",
        max_task_names: int = 25,
        wait_objective: float | None = None,
        isolate: bool = True,
        observers: Iterable[Observer] = (),
        rate: Rate | Iterable[Rate] | None = None,
        limits: Mapping[str, Limit] | None = None,
        retry: Retry | None = None,
        retry_budget: RetryBudget | None = _BUDGET,
    ) -> None:
        settings = Settings(
            name=checks.name("name", name),
            limit=cast("int", checks.count("max_in_flight", max_in_flight, least=1)),
            capacity=checks.count("max_queued", max_queued, least=0, unbounded=True),
            escalate=checks.choice("on_error", on_error, ("collect", "escalate")) == "escalate",
            spans=cast("Spans", checks.choice("spans", spans, ("all", "parented", "off"))),
            max_task_names=cast("int", checks.count("max_task_names", max_task_names, least=0)),
            wait_objective=checks.wait_objective(wait_objective),
            isolate=checks.flag("isolate", isolate),
            observers=checked_observers(observers),
            rates=checked_rates(rate),
            limits=checked_limits(limits),
            retry=checked_retry(retry),
            retry_budget=checked_budget(retry_budget),
        )
        if settings.capacity == 0 and (settings.rates or settings.limits):
            raise ValueError("max_queued must be at least 1 with rate= or limits=: what they hold waits in the queue")
        super().__init__(settings)

    # -- submitting ------------------------------------------------------------------------------------------------

    @overload
    async def submit(
        self, fn: Callable[[Unpack[Ts]], Awaitable[T]], /, *args: Unpack[Ts], **options: Unpack[TaskOptions]
    ) -> TaskHandle[T]: ...

    @overload
    async def submit(
        self, fn: Callable[[Unpack[Ts]], T], /, *args: Unpack[Ts], **options: Unpack[TaskOptions]
    ) -> TaskHandle[T]: ...

    async def submit(self, fn: Callable[..., Any], /, *args: Any, **options: Any) -> TaskHandle[Any]:  # type: ignore[misc]  # mypy: TypedDict keywords
        """Accept ``fn(*args)`` as a task, waiting for room if there is none, and return its handle.

        Coroutine functions run on the loop, others in a thread. Keywords for ``fn`` go through ``functools.partial``.
        Inside a task of this executor there is always room for one queued child.
        Not every call is a checkpoint, but one in 64 is.

        :param name: the task's name in metrics and spans; default the function's qualified name.
        :param timeout: seconds of running; then the task ends as ``timeout``. 0 means at once, None (default) never.
        :param deadline: an ``anyio.current_time()`` instant that counts while blocked, queued and running, or None.
        :param context: ``"parent"`` (default): a span below the submitter's; ``"link"``: a new trace linked to it.
        :param runner: ``"inline"``, ``"thread"`` or a ``concurrent.futures.Executor``; None (default) by the function.
        :param abandon: whether a thread is left behind when its task is cancelled (default); False waits for it.
        :param metadata: the submitter's own notes, found again in ``completed.item``; default None.
        :param isolate: False: it may share its backend task, and with it ``asyncio.current_task()`` and the owner of
            a lock, with earlier and later tasks. None (default): as the executor's ``isolate`` says.
        :param key: whose limit holds for it, of those that the executor has; None (default) for none. Without limits it
            has no effect.
        :param after: handles of tasks of this executor that must succeed before it starts; default none. If one does
            not, this task is cancelled with the reason ``dependency`` and that one's error as ``__cause__``.
        :param cost: how much of the rates it spends, above 0 and at most their burst; default 1.
        :param retry: a ``glasspool.Retry``: its promise that it may run again when it has failed. ``timeout`` is of
            each attempt then. None for none; default as the executor's ``retry`` says.
        :raises TypeError, ValueError: naming the parameter, its value and the fix.
        :raises TaskTimeout: the deadline passed while there was no room; nothing was accepted.
        :raises ExecutorClosed: the executor is closing or not open.
        :raises NestedWait: there is no room, and waiting for it inside a task closes a circle of waits, or is nested
            more than 1,000 deep.
        :raises WrongThread: from another thread or event loop.
        """
        work = (self._block or self._entered("submit")).work
        work.host.check_caller("submit")
        return TaskHandle(await work.submit(work.plan(fn, args, **options), fn, args, None, copy_context()))

    @overload
    def submit_nowait(
        self, fn: Callable[[Unpack[Ts]], Awaitable[T]], /, *args: Unpack[Ts], **options: Unpack[TaskOptions]
    ) -> TaskHandle[T]: ...

    @overload
    def submit_nowait(
        self, fn: Callable[[Unpack[Ts]], T], /, *args: Unpack[Ts], **options: Unpack[TaskOptions]
    ) -> TaskHandle[T]: ...

    def submit_nowait(self, fn: Callable[..., Any], /, *args: Any, **options: Any) -> TaskHandle[Any]:  # type: ignore[misc]  # mypy: TypedDict keywords
        """Accept ``fn(*args)`` as a task at once, or raise. Options as for ``submit``.

        :raises TypeError, ValueError: naming the parameter, its value and the fix.
        :raises QueueFull: neither a slot nor a queue place is free, or others wait for one. Inside a task of this
            executor only if another child of it is queued as well.
        :raises ExecutorClosed: the executor is closing or not open.
        :raises WrongThread: from another thread or event loop.
        """
        work = self._entered("submit_nowait").work
        work.host.check_caller("submit_nowait")
        return TaskHandle(work.submit_nowait(work.plan(fn, args, **options), fn, args, None, copy_context()))

    @overload
    async def run(
        self, fn: Callable[[Unpack[Ts]], Awaitable[T]], /, *args: Unpack[Ts], **options: Unpack[TaskOptions]
    ) -> T: ...

    @overload
    async def run(self, fn: Callable[[Unpack[Ts]], T], /, *args: Unpack[Ts], **options: Unpack[TaskOptions]) -> T: ...

    async def run(self, fn: Callable[..., Any], /, *args: Any, **options: Any) -> Any:  # type: ignore[misc]  # mypy: TypedDict keywords
        """Submit ``fn(*args)``, wait for it and return its value; options as for ``submit``.

        If ``run`` is cancelled, it cancels the task and waits until the task has ended: a coroutine's cleanup is
        finished when ``run`` raises.

        :raises Exception: whatever ``fn`` raised; ``TaskTimeout`` or ``TaskCancelled`` if it ended so.
        :raises ExecutorClosed: the executor is closing or not open.
        :raises NestedWait: inside a task, where this closes a circle of waits, or is nested over 1,000 deep. A task
            of this executor lends its slot while it waits.
        :raises WrongThread: from another thread or event loop.
        """
        work = self._entered("run").work
        host = work.host
        await host.check_waiter("run")
        task = await work.submit(work.plan(fn, args, **options), fn, args, None, copy_context())
        completed = None
        try:
            try:
                completed = await TaskHandle[Any](task).outcome()
            except BaseException:
                host.request_cancel(task, "parent_scope")
                if task.completed is None:
                    await to_the_end(partial(host.wait, "run", task.until_ended, task.needs, task, closing=True))
                raise
            if completed.outcome is Outcome.CANCELLED:
                await unless_cancelled()
            return completed.unwrap()
        finally:
            del task, completed  # see Completed.unwrap

    # -- many at once ----------------------------------------------------------------------------------------------

    @overload
    def map(
        self, fn: Callable[[A], Awaitable[T]], source: Iterable[A] | AsyncIterable[A], /, **options: Unpack[TaskOptions]
    ) -> InOrder[T]: ...

    @overload
    def map(
        self, fn: Callable[[A], T], source: Iterable[A] | AsyncIterable[A], /, **options: Unpack[TaskOptions]
    ) -> InOrder[T]: ...

    def map(
        self, fn: Callable[..., Any], source: Iterable[Any] | AsyncIterable[Any], /, **options: Unpack[TaskOptions]
    ) -> InOrder[Any]:
        """``fn(item)`` for every item of ``source``, as an async iterator of values in the order of the source.

        The first error is raised and cancels the rest of this call. Sources may be endless or asynchronous: at most
        twice ``max_in_flight`` items are taken ahead of the consumer. Options as for ``submit``.

        :raises TypeError, ValueError: naming the parameter, its value and the fix.
        :raises ExecutorClosed: the executor is closing or not open.
        :raises WrongThread: from another thread or event loop.
        """
        return InOrder(self._entered("map").work, fn, source, {**options})

    @overload
    def as_completed(
        self, fn: Callable[[A], Awaitable[T]], source: Iterable[A] | AsyncIterable[A], /, **options: Unpack[TaskOptions]
    ) -> AsCompleted[T]: ...

    @overload
    def as_completed(
        self, fn: Callable[[A], T], source: Iterable[A] | AsyncIterable[A], /, **options: Unpack[TaskOptions]
    ) -> AsCompleted[T]: ...

    def as_completed(
        self, fn: Callable[..., Any], source: Iterable[Any] | AsyncIterable[Any], /, **options: Unpack[TaskOptions]
    ) -> AsCompleted[Any]:
        """``fn(item)`` for every item of ``source``, as an async iterator of ``Completed`` in order of ending.

        Errors are outcomes: ``completed.unwrap()`` raises them. Otherwise like ``map``, and raises as it does.
        """
        return AsCompleted(self._entered("as_completed").work, fn, source, {**options})

    def pile(self, *, fail_fast: bool = False) -> Pile:
        """A pile of tasks on this executor: include, take outcomes as they come, drain.

        :param fail_fast: the first task that fails or times out cancels the pile's others; default False.
        :raises TypeError: ``fail_fast`` is not a bool.
        :raises WrongThread: from another thread or event loop.
        :raises ExecutorClosed: the executor's block is left, or not entered yet.
        """
        fail_fast = checks.flag("fail_fast", fail_fast)
        block = self._entered("pile")
        work = block.work
        work.host.check_caller("pile")
        if block.left:  # in the block it may be refused what it includes, which a shutdown by a signal expects
            work.closing.check_not_closed("pile")
        if fail_fast:
            block.engine.reporter.fail_fast()
        return Pile(work, fail_fast=fail_fast)
