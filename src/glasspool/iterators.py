"""The async iterators of ``executor.map`` and ``executor.as_completed``, which submit the items of a source.

A synchronous source is read by its consumer, an asynchronous one by a feeder in the nursery (_core/feed.py). No scope
and no task group is open while the consumer's own code runs: a plain ``break`` is safe. The iterator refers to its feed
but not the other way round, so losing the last reference to the iterator is noticed and cancels the tasks that have not
ended, without waiting for them.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, Callable, Sized
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from ._core.feed import Feed
from ._core.ledger import Ledger, OrderedLedger
from ._core.pulled_feed import PulledFeed
from ._core.pushed_feed import PushedFeed
from ._core.work import Work
from .stats import Stopped
from .task import Completed, Outcome, unless_cancelled

if sys.version_info >= (3, 11):
    from typing import Self
else:
    from typing_extensions import Self

__all__ = ["AsCompleted", "InOrder", "feed_of", "length_of"]

T = TypeVar("T")
L = TypeVar("L", bound=Ledger[Any])


def _feed(
    work: Work, what: str, ledger: L, fn: Callable[..., Any], source: Any, options: dict[str, Any]
) -> Feed[L]:  # fmt: skip
    if issubclass(type(source), AsyncIterable):
        return PushedFeed(work, what, ledger, fn, source, options)
    return PulledFeed(work, what, ledger, fn, source, options)


class _Iteration(Generic[T]):
    """The common part of both iterators: closing."""

    _feed: Feed[Any]
    _source: object  # kept for its length, which nobody asks for but a progress display

    def __aiter__(self) -> Self:
        return self

    @property
    def stopped(self) -> Stopped | None:
        """What was not taken, if a drain that a signal began has ended the iteration before its source; else None."""
        return self._feed.stopped

    async def aclose(self) -> None:
        """Cancel the call's own unfinished tasks, wait for their ends and close the source. Idempotent.

        If this call is cancelled, an asynchronous source that is slow to close is cancelled too.

        :raises NestedWait: inside one of them, which cannot end while it waits for itself; all have been cancelled.
        :raises WrongThread: from another thread or event loop.
        """
        await self._feed.aclose()

    async def __aenter__(self) -> Self:
        self._feed.work.host.check_caller(f"entering {self._feed.what}")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._feed.work.host.is_destroying(exc):
            await self._feed.aclose(exc)

    def __del__(self) -> None:
        feed = getattr(self, "_feed", None)  # absent when the constructor refused its arguments
        if feed is None:
            return
        if not feed.interrupted:
            feed.error = None  # there is no caller to raise it to; its traceback leads to the feed
        if feed.interrupted or not (feed.closed or feed.finished):
            # Any thread may collect garbage; tasks are cancelled on their own loop only.
            feed.work.backend.call_soon_threadsafe(feed.lose)


class AsCompleted(_Iteration[T]):
    """Outcomes in order of ending, as ``executor.as_completed`` returns them.

    An async iterator of ``glasspool.Completed``; also an async context manager that closes it. Taking the next outcome
    raises the source's own error, after the outcomes of its earlier items; ``glasspool.ExecutorClosed`` if the executor
    closed before the source had ended; and ``glasspool.NestedWait`` inside a task, where waiting closes a circle of
    waits, or is nested more than 1,000 deep. A task of the same executor lends its slot while it waits.
    """

    def __init__(self, work: Work, fn: Callable[..., Any], source: Any, options: dict[str, Any]) -> None:
        self._source = source
        self._ledger: Ledger[T] = Ledger()
        self._feed = _feed(work, "as_completed", self._ledger, fn, source, options)

    async def __anext__(self) -> Completed[T]:
        feed, ledger = self._feed, self._ledger
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
    """Values in the order of the source, as ``executor.map`` returns them.

    An async iterator of values; also an async context manager that closes it. Taking the next value raises the task's
    own error, which cancels the rest of the call, and otherwise what ``glasspool.AsCompleted`` raises.
    """

    def __init__(self, work: Work, fn: Callable[..., Any], source: Any, options: dict[str, Any]) -> None:
        self._source = source
        self._ledger: OrderedLedger[T] = OrderedLedger()
        self._feed = _feed(work, "map", self._ledger, fn, source, options)

    async def __anext__(self) -> T:
        feed, ledger = self._feed, self._ledger
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


def feed_of(iteration: _Iteration[Any]) -> Feed[Any]:
    """What the iteration has submitted and has still to submit, for the rest of the package."""
    return iteration._feed


def length_of(iteration: _Iteration[Any]) -> int | None:
    """How many outcomes it has still to give, if its source can tell. The source's own ``__len__`` may raise."""
    feed, source = iteration._feed, iteration._source
    left = feed.remaining()
    if left is None and hasattr(type(source), "__len__"):
        left = len(cast("Sized", source))  # a collection whose iterator is a generator
    return None if left is None else left + feed.ledger.pending + feed.ledger.asking
