"""From a function and its options to an accepted task; what executor, piles and iterators submit through."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import Executor as FuturesExecutor
from contextvars import Context, copy_context
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from . import options as check
from .engine import BURST, Engine, Producer
from .errors import ExecutorClosed, NestedWait, QueueFull, TaskTimeout
from .runners.base import Runner
from .runners.futures import FuturesRunner
from .runners.inline import InlineRunner
from .runners.thread import ThreadRunner
from .task import CURRENT, Sink, TaskHandle, WorkItem
from .telemetry.tracing import function_name

__all__ = ["Submission"]


class Submission:
    """The way in to one engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._inline = InlineRunner()
        self._thread = ThreadRunner()

    async def submit(
        self,
        sink: Sink | None,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        options: Mapping[str, Any],
        within: Context | None = None,
    ) -> TaskHandle[Any]:
        """See HybridExecutor.submit. ``sink`` collects the outcome; ``within`` is the context, if not the caller's."""
        engine = self.engine
        engine.check_caller("submit")
        handle = self._prepare(fn, args, sink, **options)
        if within is not None:
            handle._context = within.copy()
        engine.since_yield += 1
        if engine.since_yield >= BURST:
            # Before anything is accepted: a cancelled submitter must not lose a task that it has no handle of.
            engine.since_yield = 0
            await checkpoint()
        self._check_open(handle)
        if engine.can_accept():
            engine.accept(handle)
        else:
            await self._wait_for_room(handle)
        return handle

    def submit_nowait(
        self, sink: Sink | None, fn: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]
    ) -> TaskHandle[Any]:
        """See HybridExecutor.submit_nowait."""
        engine = self.engine
        engine.check_caller("submit_nowait")
        handle = self._prepare(fn, args, sink, **options)
        self._check_open(handle)
        if not engine.can_accept():
            engine.reporter.rejected(handle.name, handle._record.runner, "queue_full")
            raise QueueFull(self._fullness())
        engine.accept(handle)
        return handle

    def accept_if_room(
        self, sink: Sink, fn: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any], context: Context
    ) -> bool:
        """Accept the task in ``context`` if it overtakes nobody and finds room; False, uncounted, if not."""
        engine = self.engine
        if engine.closing is None and not engine.can_accept():
            return False
        handle = self._prepare(fn, args, sink, **options)
        handle._context = context.copy()
        self._check_open(handle)
        engine.accept(handle)
        return True

    def _prepare(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        sink: Sink | None,
        name: str | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
        context: str = "parent",
        runner: Any = None,
        abandon: bool = True,
        metadata: Any = None,
        **unknown: Any,
    ) -> TaskHandle[Any]:
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
        name = function_name(fn) if name is None else check.name("name", name)
        engine = self.engine
        record = engine.recorder.task(name, "inline" if chosen is None else chosen.name)
        item = WorkItem(record.id, name, fn, args, None if metadata is None else check.metadata(metadata))
        handle: TaskHandle[Any] = TaskHandle(engine, item, copy_context(), chosen)
        handle._record = record
        handle._sink = sink
        if timeout is not None:
            handle._timeout = check.seconds("timeout", timeout)
        if deadline is not None:
            handle._deadline = check.seconds("deadline", deadline, instant=True)
        if context != "parent":
            handle._link = check.choice("context", context, ("parent", "link")) == "link"
        if abandon is not True:
            if not isinstance(abandon, bool):
                raise TypeError(f"abandon must be a bool, not {abandon!r}")
            handle._abandon = abandon
        return handle

    def _runner(self, choice: str | FuturesExecutor | None, is_async: bool) -> Runner | None:
        if choice == "inline":
            return None if is_async else self._inline
        if is_async:
            raise ValueError(
                f"runner={choice!r} cannot run a coroutine function: coroutines run on the event loop; "
                f"leave runner out, or pass a plain function"
            )
        if isinstance(choice, FuturesExecutor):
            return FuturesRunner(choice, self.engine.backend.call_soon_threadsafe)
        return self._thread

    def _check_open(self, handle: TaskHandle[Any]) -> None:
        if self.engine.closing is not None:
            self.engine.reporter.rejected(handle.name, handle._record.runner, "already_shutdown")
            self.engine.check_open()

    async def _wait_for_room(self, handle: TaskHandle[Any]) -> None:
        engine, reporter = self.engine, self.engine.reporter
        name, runner = handle.name, handle._record.runner
        current = CURRENT.get()
        if current is not None and current._host is engine and not current.done:
            reporter.rejected(name, runner, "queue_full")
            raise NestedWait(
                f"submit inside task {current.name!r} of the same executor would wait for room while holding a slot, "
                f"which could hang for ever: {self._fullness()}"
            )
        producer = engine.block()
        engine.since_yield = 0
        deadline = math.inf if handle._deadline is None else handle._deadline
        try:
            with anyio.CancelScope(deadline=deadline) as scope:
                await producer.event.wait()
        except BaseException:
            self._give_up(producer, handle, "submit_cancelled")
            raise
        if scope.cancelled_caught:
            self._give_up(producer, handle, "submit_timeout")
            raise TaskTimeout(f"the deadline of {name!r} passed while submit waited for room; nothing was accepted")
        if not producer.granted or engine.closing is not None:
            self._give_up(producer, handle, "already_shutdown")
            raise ExecutorClosed(f"executor {engine.name!r} closed while submit of {name!r} waited for room")
        blocked = engine.recorder.producer_released(producer)
        engine.queue.reserved -= 1
        engine.accept(handle, blocked)

    def _give_up(self, producer: Producer, handle: TaskHandle[Any], reason: str) -> None:
        engine = self.engine
        blocked = engine.recorder.producer_released(producer)
        if producer.granted:
            engine.return_grant()
        else:
            engine.queue.unblock(producer)
        engine.reporter.rejected(handle.name, handle._record.runner, reason, blocked)

    def _fullness(self) -> str:
        stats = self.engine.reporter.stats()
        return (
            f"executor {self.engine.name!r} holds {stats.queued} of {self.engine.queue.capacity} queued tasks and "
            f"{stats.slots_used} of {stats.slots_limit} slots, the oldest has waited {stats.oldest_queued_age:.1f} s "
            f"and {stats.pending} producers are blocked; wait with `await submit`, or raise max_queued"
        )
