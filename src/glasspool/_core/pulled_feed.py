"""PulledFeed: a synchronous source, which its consumer reads when it requests an outcome.

An item that finds no room is kept until its turn comes in the line of blocked producers; no task waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import length_hint
from typing import Any, TypeVar, cast

from anyio.lowlevel import checkpoint

from glasspool._foreign.guarded import text
from glasspool.errors import ExecutorClosed

from .feed import Feed
from .ledger import Ledger
from .queue import Producer
from .slot_limit import BURST
from .task_state import Task
from .work import Work

__all__ = ["PulledFeed"]

L = TypeVar("L", bound=Ledger[Any])

_PLAIN = cast("tuple[Any, ...]", ((), [], "", b"", {}, {}.items(), {}.values(), set(), range(0)))
_WITHOUT_CODE: frozenset[Any] = frozenset(map(type, map(iter, _PLAIN)))
"""Iterators that run no user code."""


class PulledFeed(Feed[L]):
    """A synchronous source on its way into the executor. Parameters: see Feed."""

    def __init__(
        self, work: Work, what: str, ledger: L, fn: Callable[..., Any], source: Any,
        options: dict[str, Any],
    ) -> None:  # fmt: skip
        super().__init__(work, what, ledger, fn, options)
        if not issubclass(type(source), Iterable):
            raise TypeError(f"source must be an iterable or an async iterable, not {text(source)}")
        self._items: Iterator[Any] = iter(source)
        self._take: Callable[[Any], Any] = next if type(self._items) in _WITHOUT_CODE else work.backend.take
        self._in_line: Producer[Task] | None = None  # of the item in hand: taken, but not yet accepted
        work.follow(self)

    def refill(self, ready: bool) -> None:
        """See Feed. While an outcome is ready the source is read in batches, which costs less."""
        work, ledger, limit = self.work, self.ledger, self.work.slots.limit
        if work.backend.running() is not work.backend.loop:
            work.host.check_caller(self.what)
        # A batch is a quarter of what may be taken ahead: the rest is enough to keep the slots busy.
        if self._in_line is not None or ledger.pending >= 2 * limit or (ready and 2 * ledger.pending > 3 * limit):
            return
        self._submit_some(min(BURST - work.since_yield, 2 * limit - ledger.pending))
        if work.closing.reason is not None and not self.exhausted:
            self.cut_short()

    def _submit_some(self, allowed: int) -> None:
        """Take and submit at most so many items, until one finds no room."""
        work, closing = self.work, self.work.closing
        items, take, wake = self._items, self._take, self._room
        plan, fn, ledger, context, keyed = self.plan, self.fn, self.ledger, self.context, self.one_by_one
        room = allowed
        while room > 0 and not self.exhausted and not self.closed and closing.reason is None:
            room -= 1
            try:
                item = take(items)
                if keyed:
                    own = self.plan_of(item)
                    if own is None:
                        break
                    plan = own
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
                self.cut_short(item)
                break
            finally:
                del item  # the consumer may take its time
            if producer is not None:
                self._hold(producer)
                break
        work.since_yield += allowed - room

    def _hold(self, producer: Producer[Task]) -> None:
        """The item that was taken finds no room yet."""
        if self.closed:  # by an observer
            self.work.give_up(producer, "submit_cancelled")
        elif self.work.closing.reason is not None:  # likewise
            self._turned_away(producer)
        else:
            self._in_line = producer

    def _room(self) -> None:
        """The item that waited has been accepted, or will not be because the executor closes."""
        producer, self._in_line = self._in_line, None
        if producer is not None and not producer.accepted:
            self._turned_away(producer)
        self.ledger.wake()

    def _turned_away(self, producer: Producer[Task]) -> None:
        self.work.give_up(producer, self.work.after_closing(self.ledger))
        self.cut_short(*producer.task.item.arguments)

    async def changed(self) -> None:
        """See Feed."""
        producer = self._in_line
        if producer is None and not self.exhausted and not self.full():
            await checkpoint()  # refill stopped for a loop turn, not for want of room
        elif producer is None or self.plan.deadline is None:
            await self.ledger.wait()
        else:
            scope = self.work.backend.scope(self.plan.deadline)
            with scope:
                await self.ledger.wait()
            if scope.cancelled_caught and self._in_line is producer:
                self._in_line = None
                self.end(self.work.out_of_time(producer))

    def give_up(self) -> None:
        """See Feed."""
        producer, self._in_line = self._in_line, None
        if producer is not None:
            self.work.give_up(producer, "submit_cancelled")

    def let_go(self) -> None:
        """See Feed. The source's own ``close`` may raise."""
        if (close := getattr(self._items, "close", None)) is not None:
            close()

    def remaining(self) -> int | None:
        """See Feed."""
        try:
            found = length_hint(self._items, -1)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - the source's own; it cannot tell
            return None
        return None if found < 0 else found
