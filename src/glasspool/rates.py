"""Rates, and why a task is held: plain values, which the executor is given or gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from . import _checks as checks
from ._foreign.guarded import is_a, text

__all__ = ["Hold", "Rate", "checked_rates"]


@dataclass(frozen=True)
class Rate:
    """So much in each ``per`` seconds: ``Rate(500, per=60)`` is 500 a minute, one every 0.12 s.

    In any span of ``per`` seconds at most ``count + burst - 1`` is used (of costs that are no whole numbers, less than
    ``count + burst``). Starts are spaced evenly; ``burst`` says how
    much may be used at once after a rest. The algorithm is GCRA (ITU-T I.371), exact to the nanosecond.

    :param count: how much; above 0.
    :param per: seconds, default 1; above 0.
    :param burst: how much at once, default 1; at least 1. A task that costs more than this is refused.
    :param of: ``"cost"`` (default): counts the tasks' ``cost``, which is 1 unless given; ``"starts"``: counts tasks.
    :raises TypeError, ValueError: naming the parameter, its value and the fix.
    """

    count: float
    per: float = 1.0
    burst: float = 1
    of: Literal["cost", "starts"] = "cost"

    def __post_init__(self) -> None:
        checks.amount("count", self.count, least=1e-9)
        checks.amount("per", self.per, unit="seconds")
        checks.amount("burst", self.burst, least=1)
        checks.choice("of", self.of, ("cost", "starts"))


class Hold(NamedTuple):
    """Why a queued task may not start, though a slot were free.

    ``reason`` is rate, limit, pause, retry or dependency. ``limit`` is the configured name of its key (``"*"`` for keys
    without a name of their own), None for what holds the whole executor. ``until`` is the ``anyio.current_time()``
    instant at which it may start, None where that is not known.
    """

    reason: str
    limit: str | None
    until: float | None


def checked_rates(value: Any, parameter: str = "rate") -> tuple[Rate, ...]:
    """One rate, several, or None for none."""
    if value is None:
        return ()
    if isinstance(value, Rate):
        return (value,)
    found: list[Any] = list(value) if issubclass(type(value), Iterable) and not is_a(value, (str, bytes)) else [value]
    for each in found:
        if not isinstance(each, Rate):
            raise TypeError(f"{parameter} must be one or several glasspool.Rate, not {text(value)}; write Rate(10)")
    return tuple(found)
