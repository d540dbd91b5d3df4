"""PushedFeed: an asynchronous source, which a feeder task in the nursery reads.

So a slow source does not delay outcomes that are ready.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar
from weakref import ref

import anyio

from glasspool._foreign.guarded import is_a
from glasspool.errors import ExecutorClosed

from .backend import Scope, cancels_only
from .feed import READING, Feed
from .ledger import Ledger
from .work import Work

__all__ = ["PushedFeed"]

L = TypeVar("L", bound=Ledger[Any])
_NO_ITEM: Any = object()


class PushedFeed(Feed[L]):
    """An asynchronous source on its way into the executor. Parameters: see Feed."""

    def __init__(
        self, work: Work, what: str, ledger: L, fn: Callable[..., Any], source: AsyncIterable[Any],
        options: dict[str, Any],
    ) -> None:  # fmt: skip
        super().__init__(work, what, ledger, fn, options)
        self._source: AsyncIterator[Any] = aiter(source)
        self._feeder: Scope | None = None  # of the feeder, once it was started
        self._closing = work.backend.scope(math.inf)  # around the closing of the source
        self._taken: anyio.Event | None = None  # the feeder waits for the consumer
        self._asking = False  # the feeder waits for the source
        self._in_hand: Any = _NO_ITEM  # what the source gave the feeder, not yet accepted
        work.follow(self)

    # -- the consumer ----------------------------------------------------------------------------------------------

    def refill(self, ready: bool) -> None:
        """See Feed: start the feeder, or let it go on."""
        work = self.work
        if work.backend.running() is not work.backend.loop:
            work.host.check_caller(self.what)
        if self._feeder is None and not self.closed and not self.exhausted:
            if work.closing.reason is None:
                self._start_feeder()
            else:
                self.cut_short()
        elif self._taken is not None:
            self._taken.set()

    async def changed(self) -> None:
        """See Feed."""
        await self.ledger.wait()

    def resized(self) -> None:
        """See Feed."""
        super().resized()
        if self._taken is not None:
            self._taken.set()

    def cut(self) -> None:
        """See Feed."""
        self._closing.cancel()

    def let_go(self) -> None:
        """See Feed. The feeder closes the source itself."""
        if self._feeder is not None:
            self._feeder.cancel()

    @property
    def feeding(self) -> bool:
        """See Feed."""
        return self._feeder is not None

    async def close_source(self) -> None:
        """See Feed."""
        if (aclose := getattr(self._source, "aclose", None)) is not None:
            call = self.work.backend.call
            await (aclose() if call is None else call(aclose, ()))

    # -- the feeder ------------------------------------------------------------------------------------------------

    def _start_feeder(self) -> None:
        scope = self.work.backend.scope(math.inf)
        # In a context like the consumer's, as a synchronous source is read in.
        self.work.start_feeder(partial(self._run_feeder, scope), scope, copy_context())
        self._feeder = scope

    async def _run_feeder(self, scope: Scope) -> None:
        backend, listeners = self.work.backend, self.work.closing.when_begun
        READING.set((*READING.get(), ref(self)))
        listeners[self._stop_asking] = None
        ended = False  # the source has, by itself or by an error
        error: BaseException | None = None
        try:
            try:
                with scope:
                    ended = await self._submit_all()
            finally:
                with self._closing:
                    await self.close_source()
        except BaseException as raised:  # raised by the consumer, after the outcomes accepted before
            if is_a(raised, GeneratorExit) and not backend.is_current():
                raise  # it is this coroutine that is destroyed, not the source
            if cancels_only(raised) and backend.cancellation_source(raised) is not None:
                raise  # everything here is being cancelled
            ended, error = True, raised
        finally:
            listeners.pop(self._stop_asking, None)
            self.work.feeder_ended(scope)
            item, self._in_hand = self._in_hand, _NO_ITEM
            if ended or self.closed:
                self.end(error)
            else:
                self.cut_short(*(() if item is _NO_ITEM else (item,)))
            del error, item  # see Completed.unwrap

    def _stop_asking(self) -> None:
        """The executor accepts no more tasks: stop waiting for the source."""
        if self._asking and self._feeder is not None:
            self._feeder.cancel()

    async def _submit_all(self) -> bool:
        """Submit the source's items; returns whether the source has ended."""
        work, closing = self.work, self.work.closing
        while closing.reason is None:
            if not await self._ask():
                return True
            try:
                plan = self.plan_of(self._in_hand)
                if plan is None:
                    break
                task = await work.submit(
                    plan, self.fn, (self._in_hand,), self.ledger, self.context.copy(), feeding=True
                )
            except ExecutorClosed:
                break
            self._in_hand = _NO_ITEM
            if self.closed:  # while it was waiting for room
                work.host.request_cancel(task, "explicit")
            del task  # the source may take its time with the next
            while self.full() and not self.closed:  # before the next is taken: it would be one too many
                self._taken = anyio.Event()
                await self._taken.wait()
            if self.closed:
                break
        return False

    async def _ask(self) -> bool:
        """Wait for the next item; False if there is none."""
        call = self.work.backend.call
        self._asking = True
        try:
            self._in_hand = await (anext(self._source) if call is None else call(anext, (self._source,)))
        except StopAsyncIteration:
            return False
        finally:
            self._asking = False
        return True
