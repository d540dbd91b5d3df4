"""Pace: how fast something goes lately."""

from __future__ import annotations

from collections import deque

__all__ = ["FEW", "WINDOW", "Pace"]

WINDOW = 30.0
"""Seconds that a rate looks back: a shorter window jumps with every burst, a longer one reports a stall late."""

FEW = 10
"""Outcomes that a rate looks back at least, however long ago they were: fewer say nothing of slow tasks."""


class Pace:
    """The rate over the last ``WINDOW`` seconds, or over the last ``FEW`` outcomes where that is longer.

    :param now: the instant at which nothing was done yet.
    """

    def __init__(self, now: float) -> None:
        self._marks: deque[tuple[float, int]] = deque([(now, 0)])  # instants, and what was done by then

    def at(self, now: float, done: int) -> float | None:
        """Per second; None as long as nothing is done."""
        marks = self._marks
        if done > marks[-1][1] and now - marks[-1][0] >= WINDOW / 60:
            marks.append((now, done))
        while len(marks) > 1 and now - marks[1][0] >= WINDOW and done - marks[1][1] >= FEW:
            marks.popleft()
        since, before = marks[0]
        return (done - before) / (now - since) if done > before and now > since else None
