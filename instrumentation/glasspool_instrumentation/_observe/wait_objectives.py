"""Wait objectives by executor name, for executors that an instrumentor finds."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from glasspool import _checks as checks

__all__ = ["WaitObjectives"]


class WaitObjectives:
    """Maps name patterns to seconds: ``{"web-*": 0.25}``. The first pattern that matches counts.

    :param given: the patterns with their objectives; None for none.
    :raises TypeError: it is not a mapping of patterns to numbers; the message names the pattern.
    :raises ValueError: an objective is not above 0; the message names the pattern.
    """

    __slots__ = ("_seconds",)

    def __init__(self, given: object = None) -> None:
        if given is not None and not isinstance(given, Mapping):
            raise TypeError(f"wait_objectives= takes a dict such as {{'web-*': 0.25}}; got {given!r}")
        self._seconds: list[tuple[str, float | None]] = []
        for pattern, seconds in (given or {}).items():
            if not isinstance(pattern, str) or not pattern:
                raise TypeError(f"wait_objectives= takes name patterns, such as 'web-*'; got {pattern!r}")
            self._seconds.append((pattern, checks.wait_objective(seconds, f"wait_objectives[{pattern!r}]")))

    def __call__(self, name: str) -> float | None:
        """The objective of the executor with this name, in seconds; None if it has none."""
        return next((seconds for pattern, seconds in self._seconds if fnmatchcase(name, pattern)), None)
