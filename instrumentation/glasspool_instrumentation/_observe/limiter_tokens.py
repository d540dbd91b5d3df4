"""A capacity limiter's own figures: tokens lent, number of tokens, and waiters; now and over time.

They include tokens that coroutines hold; a token is lent from its grant to its release. Current figures are read from
the limiter, from any thread, as a length or an attribute. For the figures over time the limiter's set of borrowers is
replaced by a set that reports when a token is lent and returned. A limiter without such a set is read when calls begin
and end, and at each collection.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Sized
from math import inf
from types import ModuleType
from typing import Any, NamedTuple

from glasspool._foreign.limiter_parts import borrowers_of, put_borrowers, resolve, waiters_of
from glasspool._foreign.trio_ import running_trio
from glasspool.telemetry.recording.executor_record import ExecutorRecord
from glasspool.telemetry.recording.part import Part
from glasspool_instrumentation._patch.patching import Patch, Patches

__all__ = ["Claim", "LimiterTokens", "is_limiter", "patches"]


def is_limiter(found: object) -> bool:
    """Can it be shown? trio takes anything for a limiter that can be acquired and released."""
    return all(hasattr(found, wanted) for wanted in ("total_tokens", "borrowed_tokens"))


class _Lent(NamedTuple):
    """Tokens in use, how many there are (None: no bound), whether all are taken; and what to add for the time counters.

    These are ``figure * now + offset``, as in SlotClock. All is in one tuple that is replaced whole: a signal handler
    that comes in between and reads sees nothing halfway.
    """

    used: float = 0
    limit: float | None = None
    full: bool = False
    used_offset: float = 0.0
    limit_offset: float = 0.0
    full_offset: float = 0.0

    @property
    def of_limit(self) -> float:
        """Tokens in use of those there are: none where nothing bounds them."""
        return 0 if self.limit is None else self.used


class LimiterTokens(Part):
    """The tokens of a limiter, as its record shows them.

    :param record: that of the calls that pass the limiter.
    """

    def __init__(self, limiter: Any, record: ExecutorRecord) -> None:
        self._limiter = weakref.ref(limiter)
        self._record = record
        self._lent = _Lent()
        self.told = False  # of every token that is lent and given back
        record.part = self
        record.shown_slots = self
        self.opened()

    def cleared(self) -> None:
        """See Part."""
        self._lent = _Lent()

    def opened(self) -> None:
        """See Part."""
        self.told = _be_told(self._limiter(), self)
        self.look()

    def closed(self) -> None:
        """See Part."""
        borrowers = _borrowers_of(self._limiter())
        if borrowers is not None:
            borrowers.told = tuple(other for other in borrowers.told if other is not self)

    def enter(self) -> None:
        """See Part."""
        self._look()

    def look(self) -> None:
        """Read the current state of the limiter."""
        if self._record.joined:
            self._record.in_turn(self._look)

    def _look(self) -> None:
        limiter = self._limiter()
        if limiter is None:
            self._take_over(0, 0, 0)
            return
        try:
            borrowed, total = limiter.borrowed_tokens, limiter.total_tokens
        except Exception:  # noqa: BLE001 - a custom limiter; no reading and no call may fail because of it
            self._record.telemetry_failed("callback")
        else:
            self._take_over(borrowed, self.queued, None if total == inf else total)

    def lends(self, borrowers: Sized, waiters: Sized) -> None:
        """A token was lent or returned: the numbers of borrowers and waiters."""
        if self._record.joined:
            self._record.in_turn(self._lends, borrowers, waiters)

    def _lends(self, borrowers: Sized, waiters: Sized) -> None:
        # Counted in the turn: what re-enters before it and lends another one comes first.
        self._take_over(len(borrowers), len(waiters), self._lent.limit)

    def _take_over(self, borrowed: int, waiting: int, limit: float | None) -> None:
        used: float = borrowed
        if waiting and limit is not None and borrowed < limit:
            used = limit  # tasks wait only for tokens that are being passed on
        full = limit is not None and (waiting > 0 or used >= max(limit, 1))
        old = self._lent
        if used == old.used and limit == old.limit and full is old.full:
            return
        now = self._record.clock()
        new = _Lent(used, limit, full)
        self._lent = new._replace(
            used_offset=old.used_offset + (old.of_limit - new.of_limit) * now,
            limit_offset=old.limit_offset + ((old.limit or 0) - (limit or 0)) * now,
            full_offset=old.full_offset + (old.full - full) * now,
        )

    # -- see SlotFigures -------------------------------------------------------------------------------------------

    @property
    def queued(self) -> int:
        """The number of waiters for a token now, of any kind."""
        waiters = waiters_of(self._limiter())
        return self._record.slots.queued if waiters is None else len(waiters)

    @property
    def limit(self) -> float | None:
        """Tokens there are now; None when there is no bound."""
        return self._lent.limit

    def used(self) -> float:
        """Tokens that are lent now."""
        return self._lent.used

    def handed_over(self) -> int:
        """None: who waits is lent a token in the instant in which one is given back."""
        return 0

    def used_time(self, now: float) -> float:
        """Token-seconds lent since open, while there was a bound."""
        return self._lent.of_limit * now + self._lent.used_offset

    def limit_time(self, now: float) -> float:
        """Token-seconds on offer since open."""
        return (self._lent.limit or 0) * now + self._lent.limit_offset

    def saturated_time(self, now: float) -> float:
        """Seconds since open with every token lent."""
        return self._lent.full * now + self._lent.full_offset


class Claim:
    """A call's claim on a token: ``granted`` is called in the instant in which the limiter lends it.

    ``of`` says to whom. Where only the library knows that, it is given the claim as its limiter.
    """

    __slots__ = ("_borrower", "_borrowers", "_granted", "_limiter")

    def __init__(self, limiter: Any, granted: Callable[[], None]) -> None:
        self._limiter = limiter
        self._borrowers = _borrowers_of(limiter)
        self._borrower: object = None
        self._granted = granted

    def of(self, borrower: object) -> None:
        """The token will be lent to ``borrower``."""
        if self._borrowers is not None:
            self._borrower = borrower
            self._borrowers.claims[borrower] = self._granted

    def of_this_task(self) -> None:
        """The token will be lent to the task that runs in this thread."""
        trio = running_trio()
        self.of(asyncio.current_task() if trio is None else trio.current_task())

    def end(self) -> None:
        """There is nothing more to be granted."""
        if self._borrowers is not None:
            self._borrowers.claims.pop(self._borrower, None)
            self._borrower = None  # a task, which on Python 3.10 keeps the error that leads to this claim

    # These return what the limiter returns and have no frame of their own in anybody's traceback.

    def acquire_on_behalf_of(self, borrower: object) -> Any:
        """As trio and anyio call it."""
        self.of(borrower)
        return self._limiter.acquire_on_behalf_of(borrower)

    def release_on_behalf_of(self, borrower: object) -> Any:
        """As trio and anyio call it."""
        return self._limiter.release_on_behalf_of(borrower)


class _Borrowers(set[Any]):
    """A limiter's set of borrowers that tells those in ``told``, and ``claims`` by their borrower. No way leads back to
    the limiter, which would be garbage only the collector can find."""

    __slots__ = ("claims", "told", "waiters")

    def __init__(self, borrowers: set[Any], waiters: Sized) -> None:
        super().__init__(borrowers)
        self.waiters = waiters
        self.told: tuple[LimiterTokens, ...] = ()
        self.claims: dict[object, Callable[[], None]] = {}

    def add(self, borrower: Any) -> None:
        super().add(borrower)
        self._tell()
        granted = self.claims.pop(borrower, None)
        if granted is not None:
            granted()

    def remove(self, borrower: Any) -> None:
        super().remove(borrower)
        self._tell()

    def discard(self, borrower: Any) -> None:
        super().discard(borrower)
        self._tell()

    def _tell(self) -> None:
        for tokens in self.told:
            tokens.lends(self, self.waiters)


def _borrowers_of(limiter: Any) -> _Borrowers | None:
    found = borrowers_of(limiter)
    return found if isinstance(found, _Borrowers) else None


def _be_told(limiter: Any, tokens: LimiterTokens) -> bool:
    """Have the limiter's set of borrowers tell these tokens; called on the limiter's own loop. False if it cannot."""
    resolve(limiter)
    waiters, borrowers = waiters_of(limiter), borrowers_of(limiter)
    if waiters is None or borrowers is None:
        return False
    if type(borrowers) is set:
        borrowers = _Borrowers(borrowers, waiters)
        put_borrowers(limiter, borrowers)
    if not isinstance(borrowers, _Borrowers):
        return False
    if tokens not in borrowers.told:
        borrowers.told += (tokens,)
    return True


def _total_tokens(patch: Patch, original: Any) -> Any:
    def set_total_tokens(self: Any, value: float) -> None:
        original.fset(self, value)
        borrowers = _borrowers_of(self) if patch.active else None
        for tokens in borrowers.told if borrowers is not None else ():
            tokens.look()

    return _Property(original.fget, set_total_tokens, doc=original.__doc__)


class _Property(property):
    """A property that can be marked as a replacement."""


def _patches_of(module: ModuleType) -> list[Patch]:
    limiter = getattr(module, "CapacityLimiter", None)
    if not isinstance(getattr(limiter, "total_tokens", None), property):
        return []
    return [Patch(limiter, "total_tokens", _total_tokens)]


patches = Patches({"anyio._backends._asyncio": _patches_of, "trio._sync": _patches_of})
"""Who changes the number of tokens says so. For the instrumentors of anyio and trio alike."""
