"""Display: where bars are shown. This chooses one by what stderr is."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Protocol

from .bar import Bar
from .lines import Lines, say
from .notebook import Notebook, in_notebook
from .streams import is_terminal
from .turn import Turn

__all__ = ["Display", "chosen"]

_MISSING = "glasspool: without rich there is no bar, only a line every few seconds: pip install 'glasspool[cli]'"
_said: list[str] = []  # what is said once in a process


class Display(Protocol):
    """Where bars are shown. All calls come one at a time, from any thread."""

    every: float
    """Seconds between two drawings."""

    def begin(self, bars: Sequence[Bar]) -> None:
        """The last of these bars was added."""

    def draw(self, bars: Sequence[Bar]) -> None:
        """Show the figures of this moment."""

    def hide(self, bar: Bar, others: Sequence[Bar]) -> None:
        """The bar is not shown for now."""

    def end(self, bar: Bar, others: Sequence[Bar]) -> None:
        """Show the last figures of this bar."""

    def close(self) -> None:
        """There are no more bars."""

    def abandon(self) -> None:
        """This is another process now, in which there are none: write nothing."""


def chosen(turn: Turn) -> Display:
    """The display of this process at this moment.

    :param turn: the display's own way to have a turn, for what others write.
    """
    if in_notebook():
        return Notebook()
    stream: Any = sys.stderr
    if is_terminal(stream) and os.environ.get("TERM") not in ("dumb", "unknown"):
        try:
            from .terminal import terminal_on
        except ImportError:
            if _MISSING not in _said:
                _said.append(_MISSING)
                say(_MISSING)
        else:
            return terminal_on(stream, turn) or Lines()
    return Lines()
