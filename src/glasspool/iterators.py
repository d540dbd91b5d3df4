"""``executor.map`` and ``executor.as_completed``: typed async iterators that feed themselves from a source.

A synchronous source is read by its consumer, an asynchronous one by a feeder in the nursery, so that a slow source
never delays a completion that is ready. An item that finds no room is in hand until its turn comes in the line of
blocked producers; nobody has to wait for that. No scope and no task group is open while the consumer has the floor: a
plain ``break`` is safe. The façade refers to the state but not the other way round, so losing the last reference to
the façade is noticed and cancels the tasks that have not ended, without waiting for them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextvars import Context, ContextVar, copy_context
from functools import partial
from operator import length_hint
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast
from weakref import ref

import anyio
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from ._core.backend import Scope, cancels_only, to_the_end
from ._core.interfaces import NOTHING, Needs
from ._core.outcomes import Ledger, OrderedLedger
from ._core.queue import Producer
from ._core.slot_limit import BURST
from ._foreign.guarded import interrupt_in, is_a, log, text
from .errors import ExecutorClosed, NestedWait
from .stats import Stopped
from .task import Completed, Outcome, TaskHandle, unless_cancelled

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._core.admission import Submission  # handed in, never made here

__all__ = ["AsCompleted", "InOrder"]

T = TypeVar("T")
logger = logging.getLogger("glasspool")
_NO_ITEM: Any = object()
_PLAIN: tuple[Any, ...] = ((), [], "", b"", {}, {}.items(), {}.values(), set(), range(0))
_WITHOUT_CODE = frozenset(type(iter(source)) for source in _PLAIN)
"""Iterators of which nothing runs that a user has written."""
_READING: ContextVar[tuple[ref[_Feed], ...]] = ContextVar("glasspool_reading", default=())
"""The iterations whose asynchronous sources are being read in this context, the innermost last."""


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
        self.interrupted = False  # it is, or has in it, a KeyboardInterrupt or SystemExit
        self.exhausted = self.closed = False
        self.stopped: Stopped | None = None
        self._in_line: Producer[TaskHandle[Any]] | None = None  # of the item in hand: taken, but not yet accepted
        self._items: Iterator[Any] | None = None
        self._take: Callable[[Any], Any] = next
        self._later: AsyncIterator[Any] | None = None
        self._feeder: Scope | None = None
        self._closing = work.engine.backend.scope(math.inf)  # around the closing of an asynchronous source
        self._taken: anyio.Event | None = None  # the feeder waits for the consumer
        self._asking = False  # the feeder waits for the source
        self._in_hand: Any = _NO_ITEM  # what the source gave the feeder, not yet accepted
        kind = type(source)
        if issubclass(kind, AsyncIterable):
            self._later = aiter(source)
        elif issubclass(kind, Iterable):
            self._items = iter(source)
            if type(self._items) not in _WITHOUT_CODE:
                self._take = work.engine.backend.take
        else:
            raise TypeError(f"source must be an iterable or an async iterable, not {text(source)}")
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
        self._check_reader(f"the next item of {self.what}")
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
        Called for each outcome that is asked for, and first of all, so it looks who does.
        """
        if not self.work.engine.backend.is_current():
            self.work.engine.check_caller(self.what)
        if self._later is not None:
            if self._feeder is None and not self.closed and not self.exhausted:
                if self.work.engine.closing is None:
                    self._start_feeder(self._later)
                else:
                    self._cut_short()
            elif self._taken is not None:
                self._taken.set()
            return
        work, ledger = self.work, self.ledger
        engine, limit = work.engine, work.engine.slots.limit
        # A batch is a quarter of what may be taken ahead: enough is queued yet to keep the slots busy.
        if self._in_line is not None or ledger.pending >= 2 * limit or (ready and 2 * ledger.pending > 3 * limit):
            return
        items: Any = self._items
        plan, fn, context, wake, take = self.plan, self.fn, self.context, self._room, self._take
        allowed = room = min(BURST - engine.since_yield, 2 * limit - ledger.pending)
        while room > 0 and not self.exhausted and not self.closed and engine.closing is None:
            room -= 1
            try:
                item = take(items)
            except StopIteration:
                self.end(None)
                break
            except (KeyboardInterrupt, SystemExit):
                raise  # out of the consumer, which runs at this moment
            except BaseException as error:  # noqa: BLE001 - raised by the consumer, after the outcomes accepted before
                self.end(error)
                break
            try:
                producer = work.line_up(plan, fn, (item,), ledger, context.copy(), wake)
            except ExecutorClosed:  # the source itself has closed it
                self._cut_short(item)
                break
            finally:
                del item  # the consumer may take its time
            if producer is not None:
                self._hold(producer)
                break
        engine.since_yield += allowed - room
        if engine.closing is not None and not self.exhausted:
            self._cut_short()

    def _hold(self, producer: Producer[TaskHandle[Any]]) -> None:
        """There is no room for the item in hand yet."""
        if self.closed:  # by an observer
            self.work.give_up(producer, "submit_cancelled")
        elif self.work.engine.closing is not None:  # likewise
            self._turned_away(producer)
        else:
            self._in_line = producer

    def _room(self) -> None:
        """The item in hand has been accepted, or there will be no room because the executor closes."""
        producer, self._in_line = self._in_line, None
        if producer is not None and not producer.accepted:
            self._turned_away(producer)
        self.ledger.wake()

    def _turned_away(self, producer: Producer[TaskHandle[Any]]) -> None:
        self.work.give_up(producer, self.work.after_closing(producer.handle._sink))
        self._cut_short(*producer.handle.item.arguments)

    def _cut_short(self, *items: Any) -> None:
        """The executor takes no more tasks, and the source has not ended. What it still has is left to it.

        ``items`` were taken from it and have not been accepted.
        """
        engine = self.work.engine
        if engine.signal is None:
            self.end(engine.closed_by(f"executor {engine.name!r} closed before {self.what} had read its source"))
            return
        remaining = _remaining(self._items)
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
        self.error = error
        self.interrupted = error is not None and interrupt_in(error) is not None
        self.ledger.wake()
        if self.closed:
            self.pass_interrupt()

    async def raise_error(self) -> None:
        """Raise the source's error, once."""
        if self.error is not None:
            await checkpoint_if_cancelled()
        error, self.error, self.interrupted = self.error, None, False
        if error is not None:
            try:
                if is_a(error, StopAsyncIteration):  # of a synchronous source: raised here, it would end the iteration
                    raise RuntimeError(f"the source of {self.what} raised StopAsyncIteration") from error
                raise error
            finally:
                del error  # see Completed.unwrap

    def pass_interrupt(self) -> None:
        """See Feed of the engine."""
        if self.interrupted and self.error is not None:
            self.interrupted = False
            self.work.engine.crashed(cast("BaseException", interrupt_in(self.error)))

    def close(self, reason: str = "explicit") -> None:
        """Cancel what is unfinished and close the source."""
        if self.closed:
            return
        self.closed = True
        self.pass_interrupt()
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
        engine = self.work.engine
        try:
            self.close()
        except (KeyboardInterrupt, SystemExit) as error:
            engine.crashed(error)
        except BaseException:  # noqa: BLE001 - the loop that calls this would take it for its own
            log(logger.exception, "closing the source of %s of executor %r failed", self.what, engine.name)

    async def aclose(self, leaving: BaseException | None = None) -> None:
        """The same, and wait until the unfinished and the feeder have ended. Cancelled, cut the closing of the source.

        ``leaving``: the exception by which a block is being left.
        """
        self.work.engine.check_caller(f"closing {self.what}")
        feeding = self._feeder is not None
        try:
            self.close()
        finally:
            self._check_reader(f"closing {self.what}")
            try:
                await self._until_ended(feeding)
            except anyio.get_cancelled_exc_class():
                # A failure that the block is left by is not to be lost for that. Whoever was cancelled still is.
                failing = leaving is not None and not cancels_only(leaving)
                self.cut()
                try:
                    await to_the_end(partial(self._until_ended, feeding))
                except anyio.get_cancelled_exc_class():
                    if not failing:
                        raise
                if not failing:
                    raise
            finally:
                if not feeding:
                    await self._close(self._later)

    async def _until_ended(self, feeding: bool) -> None:
        await self.work.engine.wait(
            f"closing {self.what}", partial(self._ended, feeding), self.ledger.needs_all, self.ledger, closing=True
        )

    def cut(self) -> None:
        """See Feed of the engine."""
        self._closing.cancel()

    async def _ended(self, feeding: bool) -> None:
        while self.ledger.outstanding or (feeding and not self.exhausted):
            await self.ledger.wait()

    def _check_reader(self, what: str) -> None:
        """Raise NestedWait in the iteration's own source, which would wait for itself."""
        if not self.exhausted and any(reading() is self for reading in _READING.get()):
            raise NestedWait(
                f"{what} inside the iteration's own source would hang for ever: it waits for the source. Return from "
                f"the source instead, or let the code that consumes the iteration do this"
            )

    def _start_feeder(self, source: AsyncIterator[Any]) -> None:
        scope = self.work.engine.backend.scope(math.inf)
        # In a context like the consumer's, as a synchronous source is read in.
        self.work.engine.nursery.start_service(partial(self._run_feeder, source, scope), scope, copy_context())
        self._feeder = scope

    async def _run_feeder(self, source: AsyncIterator[Any], scope: Scope) -> None:
        engine = self.work.engine
        _READING.set((*_READING.get(), ref(self)))
        engine.when_closing[self.stop_asking] = None
        ended = False  # the source has, by itself or by an error
        error: BaseException | None = None
        try:
            try:
                with scope:
                    ended = await self._feed_from(source)
            finally:
                with self._closing:
                    await self._close(source)
        except BaseException as raised:  # raised by the consumer, after the outcomes accepted before
            if is_a(raised, GeneratorExit) and not engine.backend.is_current():
                raise  # it is this coroutine that is destroyed, not the source
            if cancels_only(raised) and engine.backend.cancellation_source(raised) is not None:
                raise  # everything here is being cancelled
            ended, error = True, raised
        finally:
            engine.when_closing.pop(self.stop_asking, None)
            engine.nursery.services.discard(scope)
            item, self._in_hand = self._in_hand, _NO_ITEM
            if ended or self.closed:
                self.end(error)
            else:
                self._cut_short(*(() if item is _NO_ITEM else (item,)))
            del error, item  # see Completed.unwrap

    async def _feed_from(self, source: AsyncIterator[Any]) -> bool:
        """Submit what the source gives; whether it was all."""
        engine = self.work.engine
        call = engine.backend.call
        while engine.closing is None:
            self._asking = True
            try:
                self._in_hand = await (anext(source) if call is None else call(anext, (source,)))
            except StopAsyncIteration:
                return True
            finally:
                self._asking = False
            try:
                handle = await self.work.submit(
                    self.plan, self.fn, (self._in_hand,), self.ledger, self.context.copy(), feeding=True
                )
            except ExecutorClosed:
                break
            self._in_hand = _NO_ITEM
            if self.closed:  # while it was waiting for room
                engine.request_cancel(handle, "explicit")
            del handle  # the source may take its time with the next
            while self.full() and not self.closed:  # before the next is taken: it would be one too many
                self._taken = anyio.Event()
                await self._taken.wait()
            if self.closed:
                break
        return False

    async def _close(self, source: Any) -> None:
        if (aclose := getattr(source, "aclose", None)) is not None:
            call = self.work.engine.backend.call
            await (aclose() if call is None else call(aclose, ()))


def _remaining(items: Iterator[Any] | None) -> int | None:
    if items is None:
        return None
    try:
        found = length_hint(items, -1)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - the source's own; it cannot tell
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
        """Cancel the call's own unfinished tasks, wait for their ends and close the source. Idempotent.

        When it is cancelled itself, an asynchronous source that is slow to close is cancelled too.

        :raises NestedWait: inside one of them, which cannot end while it waits for itself; all have been cancelled.
        """
        await self._feed.aclose()

    async def __aenter__(self) -> Self:
        self._feed.work.engine.check_caller(f"entering {self._feed.what}")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._feed.work.engine.is_destroying(exc):
            await self._feed.aclose(exc)

    def __del__(self) -> None:
        feed = getattr(self, "_feed", None)  # absent when the constructor refused its arguments
        if feed is None:
            return
        if not feed.interrupted:
            feed.error = None  # nobody is there to be told; its traceback leads to the feed
        if feed.interrupted or not (feed.closed or feed.finished):
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
                if ledger.ready and not feed.closed and not feed.interrupted:
                    return ledger.take()
                if feed.finished or feed.interrupted:
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
                if (ready or ledger.available) and not feed.closed and not feed.interrupted:
                    completed = ledger.take()
                    if completed.error is not None:
                        feed.close("sibling_failure")
                        ledger.forget()
                        if completed.outcome is Outcome.CANCELLED:
                            await unless_cancelled()
                    return completed.unwrap()
                if feed.finished or feed.interrupted:
                    await feed.raise_error()
                    raise StopAsyncIteration
                await feed.wait()
        finally:
            del self, completed  # see AsCompleted and Completed.unwrap
