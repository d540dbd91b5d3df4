"""``executor.map`` and ``executor.as_completed``: typed async iterators that feed themselves from a source.

A synchronous source is read by its consumer, an asynchronous one by a feeder in the nursery, so that a slow source
never delays a completion that is ready. No scope and no task group is open while the consumer has the floor: a plain
``break`` is safe. The façade refers to the state but not the other way round, so losing the last reference to the
façade is noticed and cancels what is unfinished.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextvars import Context, copy_context
from functools import partial
from operator import length_hint
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from .closing import Stopped
from .collecting import Ledger, OrderedLedger
from .errors import ExecutorClosed
from .limits import BURST
from .task import Completed

if TYPE_CHECKING:
    from typing_extensions import Self

    from .submission import Submission  # handed in, never made here

__all__ = ["AsCompleted", "InOrder"]

T = TypeVar("T")
logger = logging.getLogger("glasspool")
_NOTHING: Any = object()


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
        self.stopped: Stopped | None = None
        self._held: Any = _NOTHING  # taken from the source, not yet accepted
        self._items: Iterator[Any] | None = None
        self._later: AsyncIterator[Any] | None = None
        self._feeder: anyio.CancelScope | None = None
        self._taken: anyio.Event | None = None  # the feeder waits for the consumer
        self._asking = False  # the feeder waits for the source
        self._in_hand: Any = _NOTHING  # what it gave the feeder, not yet accepted
        if isinstance(source, AsyncIterable):
            self._later = aiter(source)
        elif isinstance(source, Iterable):
            self._items = iter(source)
        else:
            raise TypeError(f"source must be an iterable or an async iterable, not {source!r}")

    @property
    def finished(self) -> bool:
        """Whether nothing more is handed out."""
        return self.closed or (self.exhausted and not self.ledger.pending)

    def full(self) -> bool:
        """Whether enough has been taken ahead of the consumer."""
        return self.ledger.pending > 2 * self.work.engine.slots.limit

    async def wait(self) -> None:
        """Until the ledger has changed; with nothing outstanding, until the item in hand has been accepted."""
        self.work.engine.check_waiter(self.what)
        self.work.engine.since_yield = 0  # every way from here takes a loop turn
        if self._held is not _NOTHING and not self.ledger.outstanding:
            try:
                await self._submit(self._held)
            except ExecutorClosed:
                self.cut_short()
            except Exception as error:  # noqa: BLE001 - raised by the consumer, after the outcomes accepted before
                self.end(error)
            self._held = _NOTHING
        elif not self.exhausted and self._items is not None and self._held is _NOTHING and not self.full():
            await checkpoint()  # refill stopped for a loop turn, not for want of room
        else:
            await self.ledger.wait()

    async def _submit(self, item: Any) -> None:
        handle = await self.work.submit(self.plan, self.fn, (item,), self.ledger, self.context.copy())
        if self.closed:  # while it was waiting for room
            self.work.engine.request_cancel(handle, "explicit")

    def refill(self) -> None:
        """Take from a synchronous source as much as there is room for, or start the feeder of an asynchronous one."""
        if self._later is not None:
            if self._feeder is None and not self.closed:
                self._start_feeder(self._later)
            elif self._taken is not None:
                self._taken.set()
            return
        work, ledger, plan, fn, context = self.work, self.ledger, self.plan, self.fn, self.context
        items: Any = self._items
        limit = work.engine.slots.limit
        if ledger.pending > 2 * limit and self._held is _NOTHING:
            return  # in batches: it costs less
        work.engine.check_caller(self.what)
        if work.engine.closing is not None and not self.exhausted:
            if self._held is not _NOTHING:
                work.engine.reporter.rejected(plan, "already_shutdown")
            self.cut_short()
        allowed = room = min(BURST - work.engine.since_yield, 2 * limit + 16 - ledger.pending)
        while (room > 0 or self._held is not _NOTHING) and not self.exhausted and not self.closed:
            room -= 1
            try:
                if self._held is _NOTHING:
                    self._held = next(items)
                if not work.accept_if_room(plan, fn, (self._held,), ledger, context.copy()):
                    break
                self._held = _NOTHING
            except StopIteration:
                self.end(None)
            except Exception as error:  # noqa: BLE001 - raised by the consumer, after the outcomes accepted before
                self.end(error)
        work.engine.since_yield += allowed - room

    def cut_short(self) -> None:
        """The executor takes no more tasks, and the source has not ended. What it still has is left to it."""
        engine = self.work.engine
        items = tuple(item for item in (self._held, self._in_hand) if item is not _NOTHING)
        remaining = _remaining(self._items)
        if engine.signal is None:
            self.end(ExecutorClosed(f"executor {engine.name!r} closed before {self.what} had read its source"))
            return
        if items or remaining != 0:
            self.stopped = Stopped(engine.signal, len(items), items, remaining)
        self.end(None)

    def stop_asking(self) -> None:
        """The executor takes no more tasks: there is no use in waiting for the source."""
        if self._asking and self._feeder is not None:
            self._feeder.cancel()

    def end(self, error: BaseException | None) -> None:
        """The source has ended, by ``error`` if that is not None."""
        self.exhausted = True
        self._held = self._in_hand = _NOTHING
        self.error = error
        self.ledger.wake()

    def take_error(self) -> BaseException | None:
        """The source's error, once."""
        error, self.error = self.error, None
        return error

    def close(self, reason: str = "explicit") -> None:
        """Cancel what is unfinished and close the source."""
        if self.closed:
            return
        self.closed = True
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
                while self.ledger.outstanding or (feeding and not self.exhausted):
                    await self.ledger.wait()
                if not feeding and (aclose := getattr(self._later, "aclose", None)) is not None:
                    await aclose()

    def _start_feeder(self, source: AsyncIterator[Any]) -> None:
        scope = self._feeder = anyio.CancelScope()
        self.work.engine.nursery.start_service(partial(self._run_feeder, source, scope), scope)

    async def _run_feeder(self, source: AsyncIterator[Any], scope: anyio.CancelScope) -> None:
        engine = self.work.engine
        engine.when_closing[self.stop_asking] = None
        ended = False  # the source has, by itself or by an error
        error: Exception | None = None
        try:
            with scope:
                try:
                    ended = await self._feed_from(source)
                finally:
                    with anyio.CancelScope(shield=True):
                        if (aclose := getattr(source, "aclose", None)) is not None:
                            await aclose()
        except Exception as raised:  # noqa: BLE001 - raised by the consumer, after the outcomes accepted before
            ended, error = True, raised
        finally:
            engine.when_closing.pop(self.stop_asking, None)
            engine.nursery.services.discard(scope)
            if ended or self.closed:
                self.end(error)
            else:
                self.cut_short()

    async def _feed_from(self, source: AsyncIterator[Any]) -> bool:
        """Submit what the source gives; whether it was all."""
        engine = self.work.engine
        while engine.closing is None:
            self._asking = True
            try:
                self._in_hand = await anext(source)
            except StopAsyncIteration:
                return True
            finally:
                self._asking = False
            while self.full():
                self._taken = anyio.Event()
                await self._taken.wait()
            if self.closed:  # in the turn in which the feeder was woken
                break
            try:
                await self._submit(self._in_hand)
            except ExecutorClosed:
                break
            self._in_hand = _NOTHING
        return False


def _remaining(items: Iterator[Any] | None) -> int | None:
    if items is None:
        return None
    try:
        found = length_hint(items, -1)
    except Exception:  # noqa: BLE001 - the source's own; it cannot tell
        return None
    return None if found < 0 else found


class _Iteration(Generic[T]):
    """What both iterators share: closing."""

    _feed: _Feed

    def __aiter__(self) -> Self:
        return self

    @property
    def stopped(self) -> Stopped | None:
        """What was not taken, if a drain that a signal began has ended the iteration before its source; else None."""
        return self._feed.stopped

    async def aclose(self) -> None:
        """Cancel the call's own unfinished tasks, wait for their ends and close the source. Idempotent."""
        await self._feed.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._feed.aclose()

    def __del__(self) -> None:
        feed = getattr(self, "_feed", None)  # absent when the constructor refused its arguments
        if feed is not None and not feed.closed and not feed.finished:
            # Any thread may collect garbage; tasks are cancelled on their own loop only.
            feed.work.engine.backend.call_soon_threadsafe(feed.lose)


class AsCompleted(_Iteration[T]):
    """Outcomes in order of ending. An async iterator; also an async context manager that closes it."""

    def __init__(self, work: Submission, fn: Callable[..., Any], source: Any, options: Mapping[str, Any]) -> None:
        self._feed = _Feed(work, "as_completed", Ledger(), fn, source, options)

    async def __anext__(self) -> Completed[T]:
        feed, ledger = self._feed, self._feed.ledger
        while True:
            feed.refill()
            if ledger.ready and not feed.closed:
                return ledger.take()
            if feed.finished:
                if (error := feed.take_error()) is not None:
                    await checkpoint_if_cancelled()
                    raise error
                raise StopAsyncIteration
            await feed.wait()


class InOrder(_Iteration[T]):
    """Values in the order of the source. An async iterator; also an async context manager that closes it."""

    def __init__(self, work: Submission, fn: Callable[..., Any], source: Any, options: Mapping[str, Any]) -> None:
        self._ordered: OrderedLedger[T] = OrderedLedger()
        self._feed = _Feed(work, "map", self._ordered, fn, source, options)

    async def __anext__(self) -> T:
        feed, ledger = self._feed, self._ordered
        while True:
            feed.refill()
            if ledger.head_done and not feed.closed:
                completed = ledger.take()
                if completed.error is not None:
                    feed.close("sibling_failure")
                    ledger.forget()
                return completed.unwrap()
            if feed.finished:
                if (error := feed.take_error()) is not None:
                    await checkpoint_if_cancelled()
                    raise error
                raise StopAsyncIteration
            await feed.wait()
