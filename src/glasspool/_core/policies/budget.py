"""Budget: how many retries an executor may still make. Plain and synchronous."""

from __future__ import annotations

from glasspool.retries import RetryBudget

__all__ = ["Budget"]

_PARTS = 10  # of a window: what is older is forgotten in steps of a tenth


class Budget:
    """Counts first attempts and retries of the last ``window`` seconds. Changed on the event loop, read anywhere."""

    def __init__(self, rule: RetryBudget) -> None:
        self._ratio, self._floor = rule.ratio, rule.floor
        self._width = rule.window / _PARTS
        self._part = 0  # the newest part that is counted in
        self._firsts = [0] * _PARTS
        self._retries = [0] * _PARTS

    def first(self, now: float) -> None:
        """A task begins its first attempt."""
        self._firsts[self._newest(now)] += 1

    def take(self, now: float) -> bool:
        """Whether one more retry is allowed; then it is counted."""
        if self.available(now) < 1:
            return False
        self._retries[self._newest(now)] += 1
        return True

    def available(self, now: float) -> int:
        """How many retries are allowed now. From any thread."""
        oldest = int(now / self._width) - _PARTS + 1
        kept = [part % _PARTS for part in range(max(oldest, self._part - _PARTS + 1), self._part + 1)]
        earned = self._ratio * sum(self._firsts[place] for place in kept)
        # The sum of many tenths is not exact.
        return max(0, self._floor + int(earned + 1e-9) - sum(self._retries[place] for place in kept))

    def _newest(self, now: float) -> int:
        part = int(now / self._width)
        for passed in range(max(self._part + 1, part - _PARTS + 1), part + 1):
            self._firsts[passed % _PARTS] = self._retries[passed % _PARTS] = 0
        self._part = max(self._part, part)
        return self._part % _PARTS
