"""progress(): an iteration that is shown while it is consumed."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Generic, TypeVar, overload

from glasspool import _checks as checks
from glasspool._foreign.guarded import text
from glasspool.iterators import AsCompleted, InOrder, feed_of, length_of
from glasspool.pile import Pile, ledger_of
from glasspool.stats import Stopped
from glasspool.task import Completed

from .bar import Bar
from .board import BOARD

if sys.version_info >= (3, 11):
    from typing import Self
else:
    from typing_extensions import Self

__all__ = ["Progress", "progress"]

T = TypeVar("T")


@overload
def progress(
    source: AsCompleted[T], description: str | None = None, *, total: int | None = None, disable: bool = False
) -> Progress[Completed[T]]: ...


@overload
def progress(
    source: InOrder[T], description: str | None = None, *, total: int | None = None, disable: bool = False
) -> Progress[T]: ...


@overload
def progress(
    source: Pile, description: str | None = None, *, total: int | None = None, disable: bool = False
) -> Progress[Completed[Any]]: ...


def progress(
    source: AsCompleted[Any] | InOrder[Any] | Pile, description: str | None = None, *, total: int | None = None,
    disable: bool = False,
) -> Progress[Any]:  # fmt: skip
    """The same iteration, shown while it is consumed: what is done, the rate, the time left, and the tasks behind it.

        async for completed in progress(executor.as_completed(fetch, urls), "crawl"):
            ...

    In a terminal it is a bar (with rich, of the extra ``cli``) with the output of ``print`` and logging above it, in
    Jupyter a bar without widgets, elsewhere a line on stderr every ten seconds.

    :param source: what ``executor.as_completed(…)``, ``executor.map(…)`` or ``executor.pile()`` returns.
    :param description: what the bar is called; default the name of the tasks.
    :param total: how many outcomes there will be; default the length of the source, if it has one. For a pile the
        default is what it has given and what is outstanding, which grows with each ``include``.
    :param disable: True: show nothing; default False.
    :raises TypeError, ValueError: naming the parameter, its value and the fix.
    """
    return Progress(source, description, total, disable)


class Progress(Generic[T]):
    """An iteration that is shown while it is consumed; ``glasspool.progress`` makes it.

    An async iterator of what its source gives, and an async context manager that enters and leaves it. What the source
    raises passes. The bar goes when the iteration ends, is closed or left, or when its last reference is lost.
    """

    def __init__(
        self, source: AsCompleted[Any] | InOrder[Any] | Pile, description: str | None, total: int | None, disable: bool
    ) -> None:
        if not isinstance(source, (AsCompleted, InOrder, Pile)):
            raise TypeError(
                f"source must be what executor.as_completed(…), executor.map(…) or executor.pile() returns, not "
                f"{text(source)}; for example progress(executor.as_completed(fn, items))"
            )
        name = None if description is None else checks.string("description", description)
        known = None if total is None else checks.count("total", total, least=0)
        self._source: AsyncIterator[Any] = source
        self._origin = source
        self._bar = None if checks.flag("disable", disable) else _bar(source, name, known)
        self._shown = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        bar = self._bar
        # What has ended stays so, except a pile, which may have got more tasks.
        if bar is not None and not self._shown and (not bar.ended or (isinstance(self._origin, Pile) and bar.pending)):
            self._shown = True
            BOARD.show(bar)
        try:
            found = await self._source.__anext__()
        except BaseException as error:
            if bar is not None:
                self._raised(bar, error)
            raise
        else:
            if bar is not None:
                bar.done += 1
                if not isinstance(self._origin, InOrder) and found.error is not None:
                    bar.errors += 1
            return found  # type: ignore[no-any-return]  # typing.cast would be a call for every task
        finally:
            del self  # an error of the source leads here, and its feed keeps it: losing the iteration would go unseen

    def _raised(self, bar: Bar, error: BaseException) -> None:
        """The bar goes, so that what the program says of the error is alone in the terminal. If the program asks for
        more, it comes back."""
        self._shown = False
        source = self._origin
        failed = isinstance(source, InOrder) and feed_of(source).closed
        if isinstance(error, StopAsyncIteration):
            bar.exhausted = source.stopped is None and (isinstance(source, Pile) or not feed_of(source).closed)
            BOARD.end(bar)
        elif failed and not bar.ended:
            bar.errors += 1
            BOARD.end(bar)
        else:
            BOARD.hide(bar)

    @property
    def stopped(self) -> Stopped | None:
        """What was not taken, if a drain that a signal began has ended the iteration before its source; else None."""
        return self._origin.stopped

    async def aclose(self) -> None:
        """Close the source, as its own ``aclose`` does, and show the last figures."""
        try:
            await self._origin.aclose()
        finally:
            self._end()

    async def __aenter__(self) -> Self:
        await self._origin.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._origin.__aexit__(exc_type, exc, traceback)
        finally:
            self._end()

    def _end(self) -> None:
        self._shown = False
        if self._bar is not None and self._bar.begun:
            BOARD.end(self._bar)

    def __del__(self) -> None:
        if getattr(self, "_bar", None) is not None:  # absent when the constructor refused its arguments
            self._end()

    def __repr__(self) -> str:
        return f"<Progress of {self._origin!r}>"


def _bar(source: AsCompleted[Any] | InOrder[Any] | Pile, description: str | None, total: int | None) -> Bar:
    # A bar is one line, and no control sequence.
    shown = "".join(each if each.isprintable() else " " for each in description or "")
    if isinstance(source, Pile):
        return Bar(shown, ledger_of(source), total, growing=total is None)
    feed = feed_of(source)
    if total is None:
        try:
            total = length_of(source)
        except Exception:  # noqa: BLE001 - the source's own __len__; its items can be taken nevertheless
            total = None
    return Bar(feed.plan.label if description is None else shown, feed.ledger, total, growing=False)
