"""Pile: a view of some tasks of an executor: include, take outcomes as they come, drain. It opens no nursery."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import Any, Protocol, TypeVar, overload

import anyio

from . import _checks as checks
from ._core.backend import cancels_only, to_the_end
from ._core.interfaces import AGAIN, Needs
from ._core.pile_ledger import PileLedger
from ._core.work import Work
from ._foreign.guarded import is_a
from ._options import TaskOptions
from .errors import ExecutorClosed, PileEmpty
from .stats import PileStats, Stopped
from .task import Completed, Outcome, TaskHandle

if sys.version_info >= (3, 11):
    from typing import Self, TypeVarTuple, Unpack
else:
    from exceptiongroup import BaseExceptionGroup
    from typing_extensions import Self, TypeVarTuple, Unpack

__all__ = ["Drained", "Include", "Pile", "ledger_of"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Drained(list[Completed[Any]]):
    """Outcomes in order of ending."""

    def values(self) -> list[Any]:
        """The values of the successes."""
        return [completed.value for completed in self if completed.outcome is Outcome.SUCCESS]

    def raise_errors(self) -> None:
        """Raise the errors, timeouts and cancellations together as one (Base)ExceptionGroup, if there are any."""
        errors = [completed.error for completed in self if completed.error is not None]
        if errors:
            group = BaseExceptionGroup(f"{len(errors)} of {len(self)} tasks did not succeed", errors)
            try:
                raise group
            finally:
                del group, errors, self  # see Completed.unwrap


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


class Pile:
    """Some tasks of one executor. Made by ``executor.pile()``; piles of one executor are independent of each other.

    Leaving its block normally waits for the pile's tasks; leaving it by an exception cancels them, but no other tasks.
    Each outcome is given once, in order of ending, also to several consumers, and held without bound until taken.
    """

    def __init__(self, work: Work, *, fail_fast: bool) -> None:
        self._work = work
        # All mutable state; touched on the executor's event loop only.
        self._ledger = PileLedger(work.host, fail_fast=fail_fast)
        self._producers = 0
        self._refused = 0  # includes, since a signal began a drain
        self._refusals: weakref.WeakSet[ExecutorClosed] = weakref.WeakSet()  # the errors that said so

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

        :raises TypeError, ValueError: naming the parameter, its value and the fix.
        :raises TaskTimeout: the deadline passed while there was no room; nothing was accepted.
        :raises ExecutorClosed: the executor or the pile is closed.
        :raises NestedWait: there is no room, and waiting for it inside a task closes a circle of waits.
        :raises WrongThread: from another thread or event loop.
        """
        work = self._work
        work.host.check_caller("pile.include")
        if self._ledger.closed is not None:
            self._refuse()
        plan = work.plan(fn, args, **options)
        try:
            task = await work.submit(plan, fn, args, self._ledger, copy_context())
        except ExecutorClosed as error:
            if work.closing.signal is not None:
                self._refused += 1
                self._refusals.add(error)
            raise
        if self._ledger.closed is not None:  # closed while there was no room
            work.host.request_cancel(task, self._ledger.closed)
        return TaskHandle(task)

    def producer(self) -> AbstractContextManager[Include]:
        """``with pile.producer() as include:`` keeps iteration going while such a block is open, even with nothing
        outstanding. It is for tasks that include while another task consumes.

        When an ``include`` is refused because a signal began a drain, the block ends without an exception: outcomes of
        accepted tasks are still delivered, and ``stopped`` counts the refused calls.
        """
        return _Producing(self)

    # -- taking out ------------------------------------------------------------------------------------------------

    async def next_completed(self) -> Completed[Any]:
        """The next outcome, in order of ending; waits for one if there is none yet.

        :raises PileEmpty: nothing is outstanding and no producer is open.
        :raises NestedWait: inside a task, where this closes a circle of waits, or is nested more than 1,000 deep.
        """
        completed = await self._next()
        if completed is None:
            raise PileEmpty("the pile has no outstanding task and no untaken outcome; include something first")
        return completed

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Completed[Any]:
        if self._ledger.ready:
            self._work.host.check_caller("pile")
            return self._ledger.take()
        completed = await self._next()
        if completed is None:
            raise StopAsyncIteration
        return completed

    async def drain(self) -> Drained:
        """Wait until nothing is outstanding and no producer is open, and give every untaken outcome.

        :raises NestedWait: inside a task, where this closes a circle of waits, or is nested more than 1,000 deep.
        """
        drained = Drained()
        await self._until_idle("pile.drain")
        while self._ledger.ready:
            drained.append(self._ledger.take())
        return drained

    async def _next(self) -> Completed[Any] | None:
        ledger, host = self._ledger, self._work.host

        async def changed() -> Any:
            if not ledger.ready and self._more_to_come:
                await self._change()
            return None if ledger.ready or not self._more_to_come else AGAIN

        host.check_caller("pile")
        while not ledger.ready:
            if not self._more_to_come:
                return None
            await host.wait("waiting for a pile", changed, self._needs, ledger)
        return ledger.take()

    def _needs(self) -> Needs:
        return self._ledger.needs_one(self._work.host, self._producers)

    async def _until_idle(self, what: str) -> None:
        ledger, host = self._ledger, self._work.host

        async def idle() -> Any:
            grown = ledger.grown
            while self._more_to_come and ledger.grown == grown:
                await self._change()
                if not ledger.outstanding:
                    break
            return AGAIN if self._more_to_come else None

        host.check_caller(what)
        while self._more_to_come:
            await host.wait(what, idle, ledger.needs_all, ledger)

    @property
    def _more_to_come(self) -> bool:
        # Once the executor takes no more tasks, no producer can include any.
        return bool(self._ledger.outstanding or (self._producers and self._work.closing.reason is None))

    async def _change(self) -> None:
        """Until the ledger has changed, or the executor takes no more tasks."""
        told = self._work.closing.when_begun
        wake = partial(self._ledger.wake)  # one for each who waits
        told[wake] = None
        try:
            await self._ledger.wait()
        finally:
            told.pop(wake, None)

    # -- ending ----------------------------------------------------------------------------------------------------

    def cancel(self, message: str | None = None) -> int:
        """Ask all outstanding tasks of this pile to end.

        :param message: free text for their spans and for the ``TaskCancelled`` that waiting raises; default None.
        :returns: how many requests were recorded: one for each task that had no earlier request.
        :raises TypeError: ``message`` is neither a str nor None.
        :raises WrongThread: from another thread or event loop.
        """
        message = checks.message(message)
        self._work.host.check_caller("pile.cancel")
        return self._ledger.cancel("explicit", message)

    async def aclose(self) -> None:
        """Accept no more tasks, cancel the outstanding ones and wait until they have ended. Idempotent.

        :raises NestedWait: inside one of them, which cannot end while it waits for itself; all have been cancelled.
        """
        self._work.host.check_caller("pile.aclose")
        await self._close("explicit")

    async def __aenter__(self) -> Self:
        self._work.host.check_caller("entering a pile")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._work.host.is_destroying(exc):
            return
        self._work.host.check_caller("leaving a pile")
        if exc is not None:
            cancelled = cancels_only(exc)
            try:
                await self._close("parent_scope" if cancelled else "shutdown")
            except anyio.get_cancelled_exc_class():
                # The failure that is leaving the block must not be lost by this. A cancelled caller stays cancelled.
                if cancelled:
                    raise
            return
        try:
            await self._until_idle("leaving a pile")
        except BaseException:
            await self._close("parent_scope")
            raise
        self._ledger.close("shutdown")

    async def _close(self, reason: str) -> None:
        ledger = self._ledger
        ledger.close(reason)

        async def ended() -> None:
            while ledger.outstanding:
                await ledger.wait()

        # Even inside a task of the executor: cancelled tasks need no slot of others to end.
        await to_the_end(lambda: self._work.host.wait("closing a pile", ended, ledger.needs_all, ledger, closing=True))

    def _refuse(self) -> None:
        raise ExecutorClosed(f"the pile is closed ({self._ledger.closed}) and takes no tasks; make a new one")

    # -- looking ---------------------------------------------------------------------------------------------------

    @property
    def stopped(self) -> Stopped | None:
        """How many includes were refused, if that was for a drain that a signal began; else None."""
        signal = self._work.closing.signal
        return Stopped(signal, self._refused, (), None) if signal is not None and self._refused else None

    def stats(self) -> PileStats:
        """The figures of the pile's own tasks now. The cost grows with its outstanding tasks, as that of ``repr``
        does."""
        self._work.host.check_caller("pile.stats")
        return self._stats()

    def _stats(self) -> PileStats:
        queued, in_flight = self._ledger.standing()
        ended = self._ledger.ended
        return PileStats(
            queued, in_flight, ended[Outcome.SUCCESS], ended[Outcome.ERROR], ended[Outcome.TIMEOUT],
            ended[Outcome.CANCELLED], len(self._ledger.ready),
        )  # fmt: skip

    def __repr__(self) -> str:
        stats = self._stats()
        return f"<Pile {stats.in_flight} in flight · {stats.queued} queued · {stats.untaken} untaken>"


class _Producing:
    """See ``Pile.producer``."""

    def __init__(self, pile: Pile) -> None:
        self._pile = pile

    def __enter__(self) -> Include:
        pile = self._pile
        pile._work.host.check_caller("pile.producer")
        pile._producers += 1
        return pile.include

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        pile = self._pile
        if pile._work.host.is_destroying(exc):
            pile._work.backend.call_soon_threadsafe(self._leave)
            return False
        pile._work.host.check_caller("leaving pile.producer")
        self._leave()
        return is_a(exc, ExecutorClosed) and exc in pile._refusals

    def _leave(self) -> None:
        self._pile._producers -= 1
        self._pile._ledger.wake()


def ledger_of(pile: Pile) -> PileLedger:
    """The pile's tasks and outcomes."""
    return pile._ledger
