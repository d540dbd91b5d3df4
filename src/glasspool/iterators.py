"""``executor.map`` and ``executor.as_completed``: typed async iterators that feed themselves from a source.

A synchronous source is read by its consumer, an asynchronous one by a feeder in the nursery, so that a slow source
never delays a completion that is ready. An item that finds no room is in hand until its turn comes in the line of
blocked producers; nobody has to wait for that. No scope and no task group is open while the consumer has the floor: a
plain ``break`` is safe. The façade refers to the state but not the other way round, so losing the last reference to
the façade is noticed and cancels what is unfinished.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextvars import Context, copy_context
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from .collecting import Ledger, OrderedLedger
from .errors import ExecutorClosed
from .host import NOTHING, Needs
from .limits import BURST
from .queue import Producer
from .task import Completed, TaskHandle

if TYPE_CHECKING:
    from typing_extensions import Self

    from .submission import Submission  # handed in, never made here

__all__ = ["AsCompleted", "InOrder"]

T = TypeVar("T")
logger = logging.getLogger("glasspool")


class _Feed:
    """A source on its way into the executor. Errors of the source are kept until what it gave has been handed out."""

    def __init__(
        self,
        work: Submission,
        what: str,
        ledger: Ledger[Any],
        fn: Callable[..., Any],
        source: Any,
        options: Mapping[str, Any],
    ) -> None:
        work.engine.check_caller(what)
        work.engine.check_open()
        self.plan = work.plan(fn, **options)
        self.work = work
        self.what = what
        self.ledger = ledger
        self.fn = fn
        self.context: Context = copy_context()
        self.error: BaseException | None = None
        self.exhausted = self.closed = False
        self._in_line: Producer[TaskHandle[Any]] | None = None  # of the item in hand: taken, but not yet accepted
        self._items: Iterator[Any] | None = None
        self._later: AsyncIterator[Any] | None = None
        self._feeder: anyio.CancelScope | None = None
        self._taken: anyio.Event | None = None  # the feeder waits for the consumer
        if isinstance(source, AsyncIterable):
            self._later = aiter(source)
        elif isinstance(source, Iterable):
            self._items = iter(source)
        else:
            raise TypeError(f"source must be an iterable or an async iterable, not {source!r}")
        work.engine.feeds.add(self)

    @property
    def finished(self) -> bool:
        """Whether nothing more is handed out."""
        return self.closed or (self.exhausted and not self.ledger.pending)

    def full(self) -> bool:
        """Whether as much has been taken ahead of the consumer as may be."""
        return self.ledger.pending >= 2 * self.work.engine.slots.limit

    def resized(self) -> None:
        """See Feed of the engine: there may be more to take, or room for it."""
        self.ledger.wake()
        if self._taken is not None:
            self._taken.set()

    async def wait(self) -> None:
        """Until the ledger has changed or the item in hand has been accepted; called right after ``refill``."""
        await self.work.engine.wait(self.what, self._wait, self._needs, self.ledger)

    def _needs(self) -> Needs:
        if self.ledger.asking and self.plan.deadline is not None:
            return NOTHING
        return self.ledger.needs_one(self.work.engine, 0 if self.exhausted else 1)

    async def _wait(self) -> None:
        engine, producer = self.work.engine, self._in_line
        if self.ledger.available or self.finished:
            return
        engine.since_yield = 0  # every way from here takes a loop turn
        if self._items is not None and not self.exhausted and producer is None and not self.full():
            await checkpoint()  # refill stopped for a loop turn, not for want of room
        elif producer is None or self.plan.deadline is None:
            await self.ledger.wait()
        else:
            scope = engine.backend.scope(self.plan.deadline)
            with scope:
                await self.ledger.wait()
            if scope.cancelled_caught and self._in_line is producer:
                self._in_line = None
                self.end(self.work.out_of_time(producer))

    def refill(self, ready: bool) -> None:
        """Take from a synchronous source as much as may be, or start the feeder of an asynchronous one.

        While an outcome is ``ready`` to be handed out a synchronous source is read in batches, which costs less.
        """
        if self._later is not None:
            if self._feeder is None and not self.closed:
                self._start_feeder(self._later)
            elif self._taken is not None:
                self._taken.set()
            return
        work, ledger = self.work, self.ledger
        engine, limit = work.engine, work.engine.slots.limit
        # A batch is a quarter of what may be taken ahead: enough is queued yet to keep the slots busy.
        if self._in_line is not None or ledger.pending >= 2 * limit or (ready and 2 * ledger.pending > 3 * limit):
            return
        engine.check_caller(self.what)
        items: Any = self._items
        plan, fn, context, wake = self.plan, self.fn, self.context, self._room
        allowed = room = min(BURST - engine.since_yield, 2 * limit - ledger.pending)
        while room > 0 and not self.exhausted and not self.closed:
            room -= 1
            try:
                producer = work.line_up(plan, fn, (next(items),), ledger, context.copy(), wake)
            except StopIteration:
                self.end(None)
            except Exception as error:  # noqa: BLE001 - raised by the consumer, after the outcomes accepted before
                self.end(error)
            else:
                if producer is not None:
                    self._hold(producer)
                    break
        engine.since_yield += allowed - room

    def _hold(self, producer: Producer[TaskHandle[Any]]) -> None:
        """There is no room for the item in hand yet."""
        if self.closed:  # by an observer
            self.work.give_up(producer, "submit_cancelled")
        elif self.work.engine.closing is not None:  # likewise
            self.end(self.work.turned_away(producer))
        else:
            self._in_line = producer

    def _room(self) -> None:
        """The item in hand has been accepted, or there will be no room because the executor closes."""
        producer, self._in_line = self._in_line, None
        if producer is not None and not producer.accepted:
            self.end(self.work.turned_away(producer))
        self.ledger.wake()

    def end(self, error: BaseException | None) -> None:
        """The source has ended, by ``error`` if that is not None."""
        self.exhausted = True
        self.error = error
        self.ledger.wake()

    async def raise_error(self) -> None:
        """Raise the source's error, once."""
        error, self.error = self.error, None
        if error is not None:
            try:
                await checkpoint_if_cancelled()
                raise error
            finally:
                del error  # see Completed.unwrap

    def close(self, reason: str = "explicit") -> None:
        """Cancel what is unfinished and close the source."""
        if self.closed:
            return
        self.closed = True
        producer, self._in_line = self._in_line, None
        if producer is not None:
            self.work.give_up(producer, "submit_cancelled")
        for handle in self.ledger.unfinished():
            self.work.engine.request_cancel(handle, reason)
        self.ledger.wake()
        if self._feeder is not None:
            self._feeder.cancel()  # it closes its source itself
        elif (close := getattr(self._items, "close", None)) is not None:
            close()

    def lose(self) -> None:
        """Close when the last reference is gone: nobody is there to be told of the source's own errors."""
        try:
            self.close()
        except Exception:
            logger.exception("closing the source of %s of executor %r failed", self.what, self.work.engine.name)

    async def aclose(self) -> None:
        """The same, and wait until the unfinished and the feeder have ended."""
        feeding = self._feeder is not None
        try:
            self.close()
        finally:
            with anyio.CancelScope(shield=True):
                await self.work.engine.wait(
                    f"closing {self.what}", partial(self._ended, feeding), self.ledger.needs_all, self.ledger,
                    closing=True,
                )  # fmt: skip
                if not feeding and (aclose := getattr(self._later, "aclose", None)) is not None:
                    await aclose()

    async def _ended(self, feeding: bool) -> None:
        while self.ledger.outstanding or (feeding and not self.exhausted):
            await self.ledger.wait()

    def _start_feeder(self, source: AsyncIterator[Any]) -> None:
        scope = self._feeder = anyio.CancelScope()
        self.work.engine.nursery.start_service(partial(self._run_feeder, source, scope), scope)

    async def _run_feeder(self, source: AsyncIterator[Any], scope: anyio.CancelScope) -> None:
        name = self.work.engine.name
        error: Exception | None = ExecutorClosed(f"executor {name!r} closed before {self.what} had read its source")
        try:
            with scope:
                try:
                    async for item in source:
                        handle = await self.work.submit(
                            self.plan, self.fn, (item,), self.ledger, self.context.copy(), feeding=True
                        )
                        if self.closed:  # while it was waiting for room
                            self.work.engine.request_cancel(handle, "explicit")
                        del item, handle  # the source may take its time with the next
                        while self.full() and not self.closed:  # before the next is taken: it would be one too many
                            self._taken = anyio.Event()
                            await self._taken.wait()
                        if self.closed:
                            break
                    error = None
                finally:
                    with anyio.CancelScope(shield=True):
                        if (aclose := getattr(source, "aclose", None)) is not None:
                            await aclose()
            if self.closed:
                error = None  # the iteration was closed, not the executor
        except Exception as raised:  # noqa: BLE001 - raised by the consumer, after the outcomes accepted before
            error = raised
        finally:
            self.work.engine.nursery.services.discard(scope)
            self.end(error)
            del error  # see Completed.unwrap


class _Iteration(Generic[T]):
    """What both iterators share: closing."""

    _feed: _Feed

    def __aiter__(self) -> Self:
        return self

    async def aclose(self) -> None:
        """Cancel the call's own unfinished tasks, wait for their ends and close the source. Idempotent.

        :raises NestedWait: inside one of them, which cannot end while it waits for itself; all have been cancelled.
        """
        await self._feed.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._feed.aclose()

    def __del__(self) -> None:
        feed = getattr(self, "_feed", None)  # absent when the constructor refused its arguments
        if feed is None:
            return
        feed.error = None  # nobody is there to be told; its traceback leads to the feed
        if not feed.closed and not feed.finished:
            # Any thread may collect garbage; tasks are cancelled on their own loop only.
            feed.work.engine.backend.call_soon_threadsafe(feed.lose)


class AsCompleted(_Iteration[T]):
    """Outcomes in order of ending. An async iterator; also an async context manager that closes it."""

    def __init__(self, work: Submission, fn: Callable[..., Any], source: Any, options: Mapping[str, Any]) -> None:
        self._feed = _Feed(work, "as_completed", Ledger(), fn, source, options)

    async def __anext__(self) -> Completed[T]:
        feed, ledger = self._feed, self._feed.ledger
        try:
            while True:
                feed.refill(bool(ledger.ready))
                if ledger.ready and not feed.closed:
                    return ledger.take()
                if feed.finished:
                    await feed.raise_error()
                    raise StopAsyncIteration
                await feed.wait()
        finally:
            del self  # an error of the source leads here, and its feed keeps it: losing the iteration would go unseen


class InOrder(_Iteration[T]):
    """Values in the order of the source. An async iterator; also an async context manager that closes it."""

    def __init__(self, work: Submission, fn: Callable[..., Any], source: Any, options: Mapping[str, Any]) -> None:
        self._ordered: OrderedLedger[T] = OrderedLedger()
        self._feed = _Feed(work, "map", self._ordered, fn, source, options)

    async def __anext__(self) -> T:
        feed, ledger = self._feed, self._ordered
        completed: Completed[T] | None = None
        try:
            while True:
                ready = ledger.available
                feed.refill(ready)
                if (ready or ledger.available) and not feed.closed:
                    completed = ledger.take()
                    if completed.error is not None:
                        feed.close("sibling_failure")
                        ledger.forget()
                    return completed.unwrap()
                if feed.finished:
                    await feed.raise_error()
                    raise StopAsyncIteration
                await feed.wait()
        finally:
            del self, completed  # see AsCompleted and Completed.unwrap
