"""``Limit``: what may run of the tasks of one key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from . import _checks as checks
from ._core.policies.limiter import Limiter
from ._foreign.guarded import text
from .rates import Rate, checked_rates

__all__ = ["Limit", "checked_limits"]


class _Unchanged:
    """Stands for an argument that was not given."""

    def __repr__(self) -> str:
        return "<unchanged>"


_UNCHANGED: Final[Any] = _Unchanged()


class Limit:
    """What may run of the tasks of one key. One object may be given to several executors of one event loop, which
    then share it.

    :param in_flight: how many may run at a time, at least 1; None (default) for no bound but the executor's.
    :param rate: a ``Rate``, or several (such as requests and tokens a minute), which must all allow a start; None
        (default) for none.
    :param max_queued: how many of an executor's queue places its tasks may have, at least 1; None (default) for no
        bound but the executor's. Who submits more waits in a line of its own.
    :raises TypeError, ValueError: naming the parameter, its value and the fix.
    """

    def __init__(
        self, in_flight: int | None = None, rate: Rate | Iterable[Rate] | None = None, max_queued: int | None = None
    ) -> None:
        places = checks.count("max_queued", max_queued, least=1, unbounded=True)
        permits, rates = checks.count("in_flight", in_flight, least=1, unbounded=True), checked_rates(rate)
        if permits is None and not rates and places is None:
            raise ValueError("Limit() limits nothing: give in_flight=, rate= or max_queued=")
        self._limiter = Limiter(permits, rates, places)

    @property
    def in_flight(self) -> int | None:
        """How many may run at a time."""
        return self._limiter.in_flight

    @property
    def rate(self) -> tuple[Rate, ...]:
        """Its rates."""
        return self._limiter.rates

    @property
    def max_queued(self) -> int | None:
        """How many queue places its tasks may have in each executor."""
        return self._limiter.max_queued

    def resize(self, *, in_flight: int | None = _UNCHANGED, rate: Rate | Iterable[Rate] | None = _UNCHANGED) -> None:
        """Change it, for every executor that uses it, and for every key that has it as ``"*"``.

        What was spent of a rate and has not been made up for stays spent. Called on the event loop of its executors.

        :param in_flight: as in the constructor; left out: as before.
        :param rate: likewise.
        :raises TypeError, ValueError: naming the parameter, its value and the fix.
        :raises WrongThread: from another thread or event loop than that of its open executors.
        """
        limiter = self._limiter
        if in_flight is _UNCHANGED and rate is _UNCHANGED:
            raise TypeError("resize() changes nothing: give in_flight= or rate=")
        permits = limiter.in_flight
        if in_flight is not _UNCHANGED:
            permits = checks.count("in_flight", in_flight, least=1, unbounded=True)
        rates = limiter.rates if rate is _UNCHANGED else checked_rates(rate)
        if permits is None and not rates and limiter.max_queued is None:
            raise ValueError("resize() would leave no limit: give in_flight= or rate=")
        limiter.resize(permits, rates)

    def __repr__(self) -> str:
        return f"<Limit in_flight={self.in_flight} rate={self.rate} max_queued={self.max_queued}>"


def checked_limits(value: Any) -> dict[str, Limiter]:
    """The states of an executor's limits by configured name.

    :raises TypeError, ValueError: ``value`` is no mapping of non-empty strings to limits.
    """
    if value is None:
        return {}
    if not issubclass(type(value), Mapping):
        raise TypeError(f"limits must be a mapping of keys to glasspool.Limit, not {text(value)}")
    found: dict[str, Limiter] = {}
    for key, limit in value.items():
        name = checks.name("a key of limits", key)
        if not isinstance(limit, Limit):
            raise TypeError(f"limits[{name!r}] must be a glasspool.Limit, not {text(limit)}; write Limit(in_flight=8)")
        found[name] = limit._limiter
    return found
