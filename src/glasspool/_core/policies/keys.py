"""Keys: which keys and costs the tasks of one executor may have."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from glasspool import _checks as checks
from glasspool._foreign.guarded import is_coroutine_function, text
from glasspool.rates import Rate

from .limiter import Limiter, name_of
from .meter import ONE, billionths

__all__ = ["Keyed", "Keys"]


class Keys:
    """Checks keys and costs.

    :param limits: by configured name, and ``"*"`` for the other keys.
    :param rates: of the whole executor.
    """

    def __init__(self, limits: Mapping[str, Limiter], rates: tuple[Rate, ...]) -> None:
        self._limits = limits
        self._whole = Limiter(None, rates)

    def resized(self, rates: tuple[Rate, ...]) -> None:
        """The executor has other rates from now on."""
        self._whole.rates = rates

    def checked(self, key: Any, cost: Any) -> tuple[Hashable, int]:
        """The key, and the cost (None: 1), of a task.

        :raises TypeError, ValueError: naming the parameter, its value and the fix.
        """
        limiter = None if key is None else self._limit_of(key)
        if cost is None:
            return key, ONE
        found = billionths(checks.amount("cost", cost))
        bounds = [bound for each in (self._whole, limiter) if each is not None and (bound := each.most()) is not None]
        if not bounds:
            raise ValueError(
                f"cost={text(cost)} is counted by no rate of this task: give the executor rate=Rate(...), or its key a "
                f"Limit(rate=Rate(...)) with of='cost'"
            )
        most, rate = min(bounds, key=lambda bound: bound[0])
        if found > most:
            raise ValueError(
                f"cost must be at most the burst of {rate}, got {text(cost)}: such a task could never start; raise the "
                f"burst"
            )
        return key, found

    def existing(self, key: Any) -> None:
        """Refuse a key that holds nothing back: for calls that are about nothing but the key.

        :raises ValueError: no limits are configured, or none for this key.
        """
        if not self._limits:
            raise ValueError(f"key={text(key)} has no limit: the executor was made without limits=")
        self._limit_of(key)

    def _limit_of(self, key: Any) -> Limiter | None:
        try:
            hash(key)
        except Exception:  # noqa: BLE001 - what an object raises that cannot be hashed
            raise TypeError(f"key must be hashable, such as a str, not {text(key)}") from None
        if not self._limits:
            return None
        name = name_of(key, self._limits)
        if name is None or key == "*":
            names = ", ".join(map(repr, self._limits))
            raise ValueError(
                f"key must be one that limits= names ({names}), got {text(key)}; '*' in limits= allows any other key"
            )
        return self._limits[name]


class Keyed:
    """The ``key=`` and ``cost=`` of an iteration, either of which may be a function of the item."""

    def __init__(self, keys: Keys, key: Any, cost: Any) -> None:
        for name, given in (("key", key), ("cost", cost)):
            if is_coroutine_function(given):
                raise TypeError(
                    f"{name} must be a plain function of the item, not the coroutine function {text(given)}"
                )
        self._keys = keys
        self._key: Callable[[Any], Any] = key if callable(key) else lambda _: key
        self._cost: Callable[[Any], Any] = cost if callable(cost) else lambda _: cost

    def of(self, item: Any) -> tuple[Hashable, int]:
        """The key and the cost of this item.

        :raises TypeError, ValueError: naming the parameter, its value and the fix.
        """
        return self._keys.checked(self._key(item), self._cost(item))
