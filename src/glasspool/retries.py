"""``Retry`` and ``RetryBudget``: which failed tasks run again, when, and how many of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import CoroutineType
from typing import Any, Final

from . import _checks as checks
from ._foreign.guarded import class_name, is_a, is_coroutine_function, leaves, text

__all__ = ["UNSET", "Retry", "RetryBudget", "checked_budget", "checked_retry", "refuse_used_up"]

Errors = type[Exception] | tuple[type[Exception], ...]

UNSET: Final[Any] = object()
"""Stands for a ``retry=`` that was not given, since None means none."""

_USED_UP: Final[Any] = (Iterator, AsyncIterator, CoroutineType)

_LONGEST = 1e9  # seconds; thirty years


@dataclass(frozen=True)
class Retry:
    """A task that fails runs again, after a random delay: the caller's promise that its function may run twice.

    The n-th delay is ``random(0, min(cap, base · 2^(n-1)))`` seconds ("full jitter", AWS Architecture Blog, 2015).
    Meanwhile the task has no slot.

    :param on: what is tried again: an exception type or a tuple of them (a group of exceptions if all in it are of
        these), or a function of the exception. The function returns a bool, None for no, or a number: the exact seconds
        until the next attempt, such as ``glasspool.retry_after`` reads. It must not block. A task that runs out of its
        ``timeout=`` fails with ``TaskTimeout``.
    :param attempts: how often it runs in all, default 3; at least 1.
    :param base: seconds that the first delay is at most, default 0.1; above 0.
    :param cap: seconds that any delay is at most, default 20; at least ``base``.
    :raises TypeError, ValueError: naming the parameter, its value and the fix.
    """

    on: Errors | Callable[[Exception], bool | float | None]
    attempts: int = 3
    base: float = 0.1
    cap: float = 20.0

    def __post_init__(self) -> None:
        _check_on(self.on)
        checks.count("attempts", self.attempts, least=1)
        checks.amount("base", self.base, unit="seconds")
        checks.amount("cap", self.cap, unit="seconds")
        if self.cap < self.base:
            raise ValueError(f"cap must be at least base ({text(self.base)}), got {text(self.cap)}; raise the cap")

    def longest(self, attempt: int) -> float:
        """The most seconds between this failed attempt, from 1, and the next one."""
        return min(self.cap, self.base * 2.0 ** min(attempt - 1, 1000))

    def delay(self, error: Exception, attempt: int, jitter: Callable[[], float]) -> float | None:
        """Seconds until the next attempt after this one, from 1, has failed; None for no next attempt.

        :param jitter: gives a number from 0 to 1.
        :raises Exception: what ``on`` raises, if it is a function; TypeError or ValueError if it returns nonsense.
        """
        on: Any = self.on
        found: Any = _matches(error, on) if is_a(on, (type, tuple)) else on(error)
        if found is None or found is False:
            return None
        if found is True:
            return jitter() * self.longest(attempt)
        if not is_a(found, (int, float)):
            raise TypeError(f"on must return a bool, None or a number of seconds, not {text(found)}")
        if not 0 <= found <= _LONGEST:  # NaN neither
            raise ValueError(f"on must return between 0 and {_LONGEST:g} seconds, not {text(found)}")
        return float(found)


def _check_on(on: Any) -> None:
    kinds: tuple[Any, ...] = tuple(on) if is_a(on, tuple) else (on,)
    if is_a(on, (type, tuple)):
        if not kinds:
            raise ValueError("on must name at least one exception type, got (); leave retry= out to try nothing again")
        for kind in kinds:
            if not is_a(kind, type) or not issubclass(kind, Exception):
                raise TypeError(
                    f"on must be subclasses of Exception, not {text(kind)}; an interrupt or a cancellation is never "
                    f"tried again"
                )
    elif not callable(on):
        raise TypeError(f"on must be an exception type, a tuple of them or a function of the error, not {text(on)}")
    elif is_coroutine_function(on):
        raise TypeError(f"on must be a plain function, not the coroutine function {text(on)}")


def _matches(error: Exception, kinds: Errors) -> bool:
    return is_a(error, kinds) or all(is_a(leaf, kinds) for leaf in leaves(error))


@dataclass(frozen=True)
class RetryBudget:
    """How many retries an executor may make, so that they do not bring down what is failing.

    In each ``window`` at most ``floor + ratio · first attempts``: a server that is down sees at most 1.2 times the
    calls and ten more (the rule of Finagle's and tower's retry budgets). First attempts are those of tasks that may be
    retried; the window moves on by tenths.

    :param ratio: retries for each first attempt, default 0.2; 0 or more.
    :param floor: retries in each window that need no first attempts, default 10; 0 or more.
    :param window: seconds, default 10; at least 0.001.
    :raises TypeError, ValueError: naming the parameter, its value and the fix.
    """

    ratio: float = 0.2
    floor: int = 10
    window: float = 10.0

    def __post_init__(self) -> None:
        if self.ratio != 0 or is_a(self.ratio, bool):
            checks.amount("ratio", self.ratio)
        checks.count("floor", self.floor, least=0)
        checks.amount("window", self.window, least=0.001, unit="seconds")


def checked_retry(value: Any) -> Retry | None:
    """A Retry, or None for none."""
    if value is not None and not isinstance(value, Retry):
        raise TypeError(f"retry must be a glasspool.Retry or None, not {text(value)}; write Retry(on=ConnectionError)")
    return value


def checked_budget(value: Any) -> RetryBudget | None:
    """A RetryBudget, or None for no bound."""
    if value is not None and not isinstance(value, RetryBudget):
        raise TypeError(f"retry_budget must be a glasspool.RetryBudget or None (no bound), not {text(value)}")
    return value


def refuse_used_up(fn: Any, args: tuple[Any, ...]) -> None:
    """Refuse arguments that a first run uses up, for a task that may run again.

    :raises ValueError: one of them is an iterator of a built-in kind (a generator, ``map``, ``zip``, …) or a coroutine.
    """
    found: list[Any] = [*args]
    while is_a(fn, partial):
        found.extend((*fn.args, *fn.keywords.values()))
        fn = fn.func
    for argument in found:
        if class_name(argument)[0] == "builtins" and issubclass(type(argument), _USED_UP):
            raise ValueError(
                f"retry= with the argument {text(argument)}: a second attempt would find it used up; pass a list, or a "
                f"function that makes it, or retry=None"
            )
