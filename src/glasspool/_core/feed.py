"""Feed: submits the items of a source to the executor, for ``map`` and ``as_completed``.

This module has the parts that both kinds of sources share: waiting for an outcome, the source's error, and closing.
pulled_feed.py takes items from synchronous sources, pushed_feed.py from asynchronous ones.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, Generic, TypeVar, cast
from weakref import ref

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from glasspool._foreign.guarded import interrupt_in, is_a, log
from glasspool.errors import NestedWait
from glasspool.stats import Stopped

from .backend import cancels_only, to_the_end
from .interfaces import AGAIN, NOTHING, Needs
from .ledger import Ledger
from .task_state import Plan
from .work import Work

__all__ = ["READING", "Feed"]

L = TypeVar("L", bound=Ledger[Any])
logger = logging.getLogger("glasspool")

READING: ContextVar[tuple[ref[Feed[Any]], ...]] = ContextVar("glasspool_reading", default=())
"""The iterations whose asynchronous sources are being read in this context, the innermost last."""


class Feed(ABC, Generic[L]):
    """Submits the items of a source. An error of the source is kept until the outcomes of its items have been yielded.

    :param what: the call that made it, as messages name it.
    :param ledger: collects the outcomes of its tasks.
    :param options: the task options of the call.
    """

    def __init__(
        self, work: Work, what: str, ledger: L, fn: Callable[..., Any], options: dict[str, Any]
    ) -> None:  # fmt: skip
        work.host.check_caller(what)
        work.closing.check_open()
        self._keyed = work.keyed(options)  # before what follows: it takes its own out
        self.plan = work.plan(fn, **options)
        self.work = work
        self.what = what
        self.ledger = ledger
        self.fn = fn
        self.context: Context = copy_context()
        # All mutable state; touched on the executor's event loop only.
        self.error: BaseException | None = None
        self.interrupted = False  # it is, or has in it, a KeyboardInterrupt or SystemExit
        self.exhausted = self.closed = False
        self.stopped: Stopped | None = None

    @property
    def one_by_one(self) -> bool:
        """Whether the task of each item has a plan of its own."""
        return self._keyed is not None or bool(self.plan.after)

    def plan_of(self, item: Any) -> Plan | None:
        """How the task of this item is run; None if it is not, because a function that was asked has closed the
        iteration.

        :raises TypeError, ValueError: its key or its cost is refused; and what the functions that give them raise.
        """
        if self._keyed is None:
            return self.plan.for_one(self.plan.key, self.plan.cost) if self.plan.after else self.plan
        try:
            found = self._keyed.of(item)
        except (StopIteration, StopAsyncIteration) as error:  # which would end the iteration, as if there were no more
            raise RuntimeError(f"the key= or cost= of {self.what} raised {type(error).__name__}") from error
        return None if self.closed else self.plan.for_one(*found)

    # -- what the kind of source decides ---------------------------------------------------------------------------

    @abstractmethod
    def refill(self, ready: bool) -> None:
        """Take as many items from the source as the limit allows; before that, refuse a caller on another loop.

        Called for each requested outcome; ``ready``: an outcome can be yielded.
        """

    @abstractmethod
    async def changed(self) -> None:
        """Wait until the ledger has changed, or ``refill`` has more to do."""

    @abstractmethod
    def let_go(self) -> None:
        """The feed was closed: give up the item in hand, and close a source that can be closed at once."""

    def resized(self) -> None:
        """See Feed of interfaces.py: there may be more to take, or room for it."""
        self.ledger.wake()

    def cut(self) -> None:
        """See Feed of interfaces.py."""

    @property
    def feeding(self) -> bool:
        """Whether a feeder reads the source, which closes it at its own end."""
        return False

    async def close_source(self) -> None:
        """Close an asynchronous source that no feeder reads."""

    def remaining(self) -> int | None:
        """How many items the source still has, if it can tell."""
        return None

    # -- waiting ---------------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether no more outcomes are yielded."""
        return self.closed or (self.exhausted and not self.ledger.pending)

    def full(self) -> bool:
        """Whether the limit of items taken ahead of the consumer is reached."""
        return self.ledger.pending >= 2 * self.work.slots.limit

    async def wait(self) -> None:
        """Until the ledger has changed or the item in hand has been accepted; called right after ``refill``."""
        self.check_reader(f"the next item of {self.what}")
        await self.work.host.wait(self.what, self._wait, self._needs, self.ledger)

    async def _wait(self) -> Any:
        if not self.ledger.available and not self.finished:
            self.work.since_yield = 0  # every way from here takes a loop turn
            await self.changed()
        # Where a feeder reads the source, the consumer has nothing to do until there is an outcome.
        return AGAIN if self.feeding and not self.ledger.available and not self.finished else None

    def _needs(self) -> Needs:
        if self.ledger.asking and self.plan.deadline is not None:
            return NOTHING
        return self.ledger.needs_one(self.work.host, 0 if self.exhausted else 1)

    def check_reader(self, what: str) -> None:
        """Refuse a wait inside the iteration's own source, which would wait for itself.

        :raises NestedWait: the caller is that source.
        """
        if not self.exhausted and any(reading() is self for reading in READING.get()):
            raise NestedWait(
                f"{what} inside the iteration's own source would hang for ever: it waits for the source. Return from "
                f"the source instead, or let the code that consumes the iteration do this"
            )

    # -- the end of the source -------------------------------------------------------------------------------------

    def end(self, error: BaseException | None) -> None:
        """The source has ended, by ``error`` if that is not None."""
        self.exhausted = True
        self.error = error
        self.interrupted = error is not None and interrupt_in(error) is not None
        self.ledger.wake()
        if self.closed:
            self.pass_interrupt()

    def cut_short(self, *items: Any) -> None:
        """The executor accepts no more tasks, and the source has not ended. Its remaining items stay in it.

        ``items`` were taken from it and have not been accepted.
        """
        closing = self.work.closing
        if closing.signal is None:
            name = self.work.host.name
            self.end(closing.refusal(f"executor {name!r} closed before {self.what} had read its source"))
            return
        remaining = self.remaining()
        if items or remaining != 0:
            self.stopped = Stopped(closing.signal, len(items), items, remaining)
        self.end(None)

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
        """See Feed of interfaces.py."""
        if self.interrupted and self.error is not None:
            self.interrupted = False
            self.work.crashed(cast("BaseException", interrupt_in(self.error)))

    # -- closing ---------------------------------------------------------------------------------------------------

    def close(self, reason: str = "explicit") -> None:
        """Cancel what is unfinished and close the source."""
        if self.closed:
            return
        self.closed = True
        self.pass_interrupt()
        self.give_up()
        for task in self.ledger.unfinished():
            self.work.host.request_cancel(task, reason)
        self.ledger.wake()
        self.let_go()

    def give_up(self) -> None:
        """Withdraw the item that waits for room."""

    def lose(self) -> None:
        """Close when the last reference is gone: there is no consumer to raise the source's own errors to."""
        try:
            self.close()
        except (KeyboardInterrupt, SystemExit) as error:
            self.work.crashed(error)
        except BaseException:  # noqa: BLE001 - the loop that calls this would take it for its own
            name = self.work.host.name
            log(logger.exception, "closing the source of %s of executor %r failed", self.what, name)

    async def aclose(self, leaving: BaseException | None = None) -> None:
        """The same, and wait until the unfinished tasks and the feeder have ended. When cancelled, also cancel the
        closing of the source.

        ``leaving``: the exception that is leaving the block.
        """
        self.work.host.check_caller(f"closing {self.what}")
        feeding = self.feeding
        try:
            self.close()
        finally:
            self.check_reader(f"closing {self.what}")
            try:
                await self._until_ended(feeding)
            except anyio.get_cancelled_exc_class():
                # The failure that is leaving the block must not be lost by this. A cancelled caller stays cancelled.
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
                    await self.close_source()

    async def _until_ended(self, feeding: bool) -> None:
        await self.work.host.wait(
            f"closing {self.what}", partial(self._ended, feeding), self.ledger.needs_all, self.ledger, closing=True
        )

    async def _ended(self, feeding: bool) -> None:
        while self.ledger.outstanding or (feeding and not self.exhausted):
            await self.ledger.wait()
