"""Pile: a view over some tasks of an executor: include, take outcomes as they come, drain. Never a second nursery."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

import anyio

from ._backend import split_cancellation
from .collecting import Ledger
from .errors import ExecutorClosed, PileEmpty
from .options import TaskOptions
from .task import Completed, Outcome, TaskHandle, TaskState

if sys.version_info >= (3, 11):
    from typing import Self, TypeVarTuple, Unpack
else:
    from exceptiongroup import BaseExceptionGroup
    from typing_extensions import Self, TypeVarTuple, Unpack

if TYPE_CHECKING:
    from .submission import Submission  # handed in, never made here

__all__ = ["Drained", "Include", "Pile", "PileStats"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True)
class PileStats:
    """A pile's own tasks at one moment; ``untaken`` outcomes are held for whoever asks next."""

    queued: int
    in_flight: int
    succeeded: int
    failed: int
    timed_out: int
    cancelled: int
    untaken: int

    @property
    def submitted(self) -> int:
        """Tasks included so far."""
        return self.queued + self.in_flight + self.succeeded + self.failed + self.timed_out + self.cancelled


class Drained(list[Completed[Any]]):
    """Outcomes in order of ending."""

    def values(self) -> list[Any]:
        """The values of the successes."""
        return [completed.value for completed in self if completed.outcome is Outcome.SUCCESS]

    def raise_errors(self) -> None:
        """Raise the errors, timeouts and cancellations together as one (Base)ExceptionGroup, if there are any."""
        errors = [completed.error for completed in self if completed.error is not None]
        if errors:
            raise BaseExceptionGroup(f"{len(errors)} of {len(self)} tasks did not succeed", errors)


class Include(Protocol):
    """``pile.include``, as a producer holds it."""

    @overload
    async def __call__(
        self, fn: Callable[[Unpack[Ts]], Awaitable[T]], /, *args: Unpack[Ts], **options: Unpack[TaskOptions]
    ) -> TaskHandle[T]: ...

    @overload
    async def __call__(
        self, fn: Callable[[Unpack[Ts]], T], /, *args: Unpack[Ts], **options: Unpack[TaskOptions]
    ) -> TaskHandle[T]: ...


class _PileLedger(Ledger[Any], Generic[T]):
    """Counts ends, and tells the pile of the first failure."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = dict.fromkeys(Outcome, 0)
        self.on_failure: Callable[[], None] | None = None

    def completed(self, handle: TaskHandle[Any]) -> None:
        """See Sink."""
        super().completed(handle)
        completed = handle._completed
        assert completed is not None, "called after the end"  # noqa: S101 - for the type checker
        self.ended[completed.outcome] += 1
        if completed.outcome in (Outcome.ERROR, Outcome.TIMEOUT) and self.on_failure is not None:
            self.on_failure()


class Pile:
    """Some tasks of one executor. Made by ``executor.pile()``; several share an executor without seeing each other.

    Leaving its block normally waits for the pile's tasks, leaving it by an exception cancels them, and nothing else.
    Outcomes are given once, in order of ending, also to several consumers, and held without bound until taken.
    """

    def __init__(self, work: Submission, *, fail_fast: bool) -> None:
        self._work = work
        # All mutable state; touched on the executor's event loop only.
        self._ledger: _PileLedger[Any] = _PileLedger()
        self._producers = 0
        self._closed: str | None = None  # the reason for which tasks are cancelled, once that has been decided
        if fail_fast:
            self._ledger.on_failure = self._first_failure

    # -- putting in ------------------------------------------------------------------------------------------------

    @overload
    async def include(
        self, fn: Callable[[Unpack[Ts]], Awaitable[T]], /, *args: Unpack[Ts], **options: Unpack[TaskOptions]
    ) -> TaskHandle[T]: ...

    @overload
    async def include(
        self, fn: Callable[[Unpack[Ts]], T], /, *args: Unpack[Ts], **options: Unpack[TaskOptions]
    ) -> TaskHandle[T]: ...

    async def include(self, fn: Callable[..., Any], /, *args: Any, **options: Any) -> TaskHandle[Any]:  # type: ignore[misc]  # mypy: TypedDict keywords
        """Submit ``fn(*args)`` to the executor as one of this pile's tasks; see ``HybridExecutor.submit``.

        :raises ExecutorClosed: the executor or the pile is closed.
        """
        self._check_open()
        work = self._work
        handle = await work.submit(work.plan(fn, args, **options), fn, args, self._ledger, copy_context())
        if self._closed is not None:  # closed while there was no room
            self._work.engine.request_cancel(handle, self._closed)
        return handle

    @contextmanager
    def producer(self) -> Generator[Include, None, None]:
        """``with pile.producer() as include:`` iteration goes on while such a block is open, even with nothing
        outstanding. For tasks that include while another task consumes."""
        self._work.engine.check_caller("pile.producer")
        self._producers += 1
        try:
            yield self.include
        finally:
            self._producers -= 1
            self._ledger.wake()

    # -- taking out ------------------------------------------------------------------------------------------------

    async def next_completed(self) -> Completed[Any]:
        """The next outcome, in order of ending; waits for one if there is none yet.

        :raises PileEmpty: nothing is outstanding and no producer is open.
        :raises NestedWait: inside a task of the same executor.
        """
        completed = await self._next()
        if completed is None:
            raise PileEmpty("the pile has no outstanding task and no untaken outcome; include something first")
        return completed

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Completed[Any]:
        completed = await self._next()
        if completed is None:
            raise StopAsyncIteration
        return completed

    async def drain(self) -> Drained:
        """Wait until nothing is outstanding and no producer is open, and give every untaken outcome."""
        drained = Drained()
        self._work.engine.check_caller("pile.drain")
        await self._until_idle("pile.drain")
        while self._ledger.ready:
            drained.append(self._ledger.take())
        return drained

    async def _next(self) -> Completed[Any] | None:
        ledger = self._ledger
        self._work.engine.check_caller("pile")
        while not ledger.ready:
            if not ledger.outstanding and not self._producers:
                return None
            self._work.engine.check_waiter("waiting for a pile")
            await ledger.wait()
        return ledger.take()

    async def _until_idle(self, what: str) -> None:
        while self._ledger.outstanding or self._producers:
            self._work.engine.check_waiter(what)
            await self._ledger.wait()

    # -- ending ----------------------------------------------------------------------------------------------------

    def cancel(self, message: str | None = None) -> int:
        """Ask all outstanding tasks of this pile to end; how many requests were recorded."""
        if message is not None and not isinstance(message, str):
            raise TypeError(f"message must be a str or None, not {message!r}")
        self._work.engine.check_caller("pile.cancel")
        return self._cancel("explicit", message)

    async def aclose(self) -> None:
        """Take no more tasks, cancel the outstanding ones and wait until they have ended. Idempotent."""
        self._work.engine.check_caller("pile.aclose")
        await self._close("explicit")

    async def __aenter__(self) -> Self:
        self._work.engine.check_caller("entering a pile")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is not None:
            await self._close("parent_scope" if split_cancellation(exc)[1] is None else "shutdown")
            return
        try:
            await self._until_idle("leaving a pile")
        except BaseException:
            await self._close("parent_scope")
            raise
        self._closed = self._closed or "shutdown"

    async def _close(self, reason: str) -> None:
        self._closed = self._closed or reason
        self._cancel(reason)
        # Even inside a task of the executor: cancelled tasks need no slot of others to end.
        with anyio.CancelScope(shield=True):
            while self._ledger.outstanding:
                await self._ledger.wait()

    def _cancel(self, reason: str, message: str | None = None) -> int:
        engine = self._work.engine
        return sum(engine.request_cancel(handle, reason, message) for handle in self._ledger.unfinished())

    def _first_failure(self) -> None:
        self._ledger.on_failure = None
        self._closed = self._closed or "sibling_failure"
        self._cancel("sibling_failure")

    def _check_open(self) -> None:
        if self._closed is not None:
            raise ExecutorClosed(f"the pile is closed ({self._closed}) and takes no tasks; make a new one")

    # -- looking ---------------------------------------------------------------------------------------------------

    def stats(self) -> PileStats:
        """The figures of the pile's own tasks now."""
        outstanding = self._ledger.unfinished()
        queued = sum(handle.state is TaskState.QUEUED for handle in outstanding)
        ended = self._ledger.ended
        return PileStats(
            queued, len(outstanding) - queued, ended[Outcome.SUCCESS], ended[Outcome.ERROR],
            ended[Outcome.TIMEOUT], ended[Outcome.CANCELLED], len(self._ledger.ready),
        )  # fmt: skip

    def __repr__(self) -> str:
        stats = self.stats()
        return f"<Pile {stats.in_flight} in flight · {stats.queued} queued · {stats.untaken} untaken>"
