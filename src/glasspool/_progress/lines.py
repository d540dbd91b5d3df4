"""Lines: a line on stderr every few seconds, where there is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .bar import Bar
from .words import sentence

__all__ = ["Lines", "say"]


def say(line: str) -> None:
    """Write a line to stderr, if there is one and somebody reads it."""
    try:
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - this is the display
    except (OSError, ValueError):  # its reader has gone, or it is closed, or it cannot encode the description
        pass


class Lines:
    """One line for each bar every ten seconds, and one at its end. See Display."""

    every = 10.0  # a log of an hour has 360 of them, and who watches it does not take the program for hung

    def begin(self, bars: Sequence[Bar]) -> None:
        """See Display. There is nothing to tell yet."""

    def draw(self, bars: Sequence[Bar]) -> None:
        """See Display."""
        for bar in bars:
            say(sentence(bar.read()))

    def hide(self, bar: Bar, others: Sequence[Bar]) -> None:
        """See Display. What was written stays."""

    def end(self, bar: Bar, others: Sequence[Bar]) -> None:
        """See Display."""
        say(sentence(bar.read()))

    def close(self) -> None:
        """See Display."""

    def abandon(self) -> None:
        """See Display."""
