"""Meter: the state of one rate, by the generic cell rate algorithm (GCRA).

A claim of cost c may be made when ``now >= tat - (burst - c) * per / count``; then ``tat = max(tat, now) + c * per /
count``. So in any half-open window of ``per`` seconds the claims add up to at most ``count + burst - 1`` (of amounts
that are no whole numbers, to less than ``count + burst``). The "theoretical arrival time" and the formula are those of
ITU-T I.371 (1996), annex A.

Instants are whole nanoseconds and amounts whole billionths: with floats the sum of many intervals would drift, and a
claim come too early.
"""

from __future__ import annotations

from math import ceil, inf, nextafter

__all__ = ["ONE", "Meter", "billionths", "billionths_of_bound", "nanoseconds", "seconds_from"]

ONE = 1_000_000_000
"""One of anything that is counted in billionths: a second, a task, a unit of cost."""


def billionths(amount: float) -> int:
    """A cost, rounded up."""
    return amount * ONE if type(amount) is int else ceil(amount * ONE)


def billionths_of_bound(amount: float) -> int:
    """A count or a burst, rounded down, and at least one billionth."""
    return max(1, int(amount * ONE))


def nanoseconds(instant: float) -> int:
    """An instant of the loop's clock, rounded down."""
    return int(instant * ONE)


def seconds_from(instant: int) -> float:
    """The first instant of the loop's clock that ``nanoseconds`` rounds to this one or a later one."""
    found = instant / ONE
    while nanoseconds(found) < instant:
        found = nextafter(found, inf)
    return found


class Meter:
    """What was claimed of one rate. Plain and synchronous; what is claimed is given in billionths.

    :param count: so much may be claimed in each ``per`` seconds.
    :param burst: so much may be claimed at once after a rest.
    """

    __slots__ = ("_base", "_burst", "_count", "_per", "_spent")

    def __init__(self, count: float, per: float, burst: float) -> None:
        self._count, self._per, self._burst = (
            billionths_of_bound(count),
            max(1, int(per * ONE)),
            billionths_of_bound(burst),
        )
        # The theoretical arrival time is base + spent * per / count.
        self._base = 0
        self._spent = 0

    def _set(self, count: float, per: float, burst: float) -> None:
        self._count, self._burst = billionths_of_bound(count), billionths_of_bound(burst)
        self._per = max(1, int(per * ONE))

    def ready_at(self, cost: int) -> int:
        """The first instant at which so much may be claimed. More than the burst is claimed as the burst."""
        return self._instant(self._spent - self._burst + min(cost, self._burst))

    def claim(self, cost: int, now: int) -> None:
        """Claim so much now."""
        if now > self._instant(self._spent):  # it has rested: what was not used is not saved up
            self._base, self._spent = now, 0
        periods, self._spent = divmod(self._spent + cost, self._count)
        self._base += periods * self._per

    def available(self, now: int) -> float:
        """What may be claimed now."""
        return max(0, self._burst - self._debt(now)) / ONE

    def rests(self, now: int) -> bool:
        """Whether nothing is left of earlier claims."""
        return now >= self._instant(self._spent)

    def resize(self, count: float, per: float, burst: float, now: int) -> None:
        """Another rate from now on: what was spent and has not been made up for by now is still spent."""
        debt = self._debt(now)
        self._count, self._per, self._burst = (
            billionths_of_bound(count),
            max(1, int(per * ONE)),
            billionths_of_bound(burst),
        )
        self._base, self._spent = now, min(debt, self._burst)

    def _debt(self, now: int) -> int:
        return max(0, self._spent - (now - self._base) * self._count // self._per)

    def _instant(self, spent: int) -> int:
        return self._base - (-spent * self._per // self._count)
