"""What readings ask of that which holds an executor's queued tasks back: its rates, its limits, a pause."""

from __future__ import annotations

from typing import NamedTuple, Protocol

__all__ = ["Holds", "LimitFigures"]


class LimitFigures(NamedTuple):
    """One limit now.

    ``limit`` identifies it where several executors share it; ``name`` is its configured name; ``usage`` tasks in
    flight; ``capacity`` how many there may be, None for no bound; ``available`` how many tasks of cost 1 could start.
    """

    limit: int
    name: str
    usage: int
    capacity: int | None
    available: float


class Holds(Protocol):
    """Asked from any thread."""

    @property
    def names(self) -> tuple[str, ...]:
        """The configured names of its limits."""
        ...

    def held(self) -> dict[str, int]:
        """How many queued tasks are held, by reason."""
        ...

    def limits(self) -> list[tuple[int, str, int, int | None, float]]:
        """The fields of ``LimitFigures`` for each of its limits."""
        ...
