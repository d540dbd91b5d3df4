"""Terminal: bars in the last lines of a terminal, one line each. rich draws them and knows what the terminal can show.

What others write is written as they wrote it, by their own stream, after the bars were erased; then these are drawn
again. The cursor is never hidden, so that no end of the process, however sudden, leaves the terminal without one. It
waits in the first column: what Ctrl-C echoes, and what a subprocess writes, does not make the line longer.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.text import Text

from .bar import Bar, Figures
from .streams import Redirection
from .turn import Turn
from .words import fitting, spoken

__all__ = ["Terminal", "terminal_on"]

_STYLES = {
    "count": "bold", "rate": "magenta", "time": "cyan", "in flight": "green", "queued": "yellow", "errors": "bold red",
    "retries": "yellow", "end": "yellow",
}  # fmt: skip
_GAP = "  "
_NARROWEST, _WIDEST = 6, 40  # columns of a bar
_ERASE, _UP = "\r\x1b[K", "\x1b[A"


def terminal_on(stream: TextIO, turn: Turn) -> Terminal | None:
    """The display on this terminal; None if it takes no control sequences, as consoles of old Windows do."""
    # Whether it is a terminal is decided already: FORCE_COLOR and a notebook's variables have no say.
    console = Console(file=stream, force_terminal=True, force_jupyter=False)
    return None if console.legacy_windows else Terminal(stream, console, turn)


class Terminal:
    """See Display.

    :param stream: the terminal.
    :param console: tells its width and colours; nothing is written through it.
    """

    every = 0.2  # looks smooth, and is a small part of a percent of the time

    def __init__(self, stream: TextIO, console: Console, turn: Turn) -> None:
        self._stream = stream
        self._console = console
        self._lines: list[str] = []  # that are in the terminal
        self._latest: list[str] = []  # that should be
        self._within_line = False  # somebody has not completed theirs
        self._gone = False
        self._redirection = Redirection(turn, self.above)
        self._write(_fresh_line(stream))

    def begin(self, bars: Sequence[Bar]) -> None:
        """See Display."""
        self.draw(bars)

    def draw(self, bars: Sequence[Bar]) -> None:
        """See Display."""
        self._latest = [self._drawn(bar.read()) for bar in bars]
        if self._latest != self._lines and not self._within_line:
            self._write(self._erasing() + self._drawing())

    def hide(self, bar: Bar, others: Sequence[Bar]) -> None:
        """See Display."""
        self.draw(others)

    def end(self, bar: Bar, others: Sequence[Bar]) -> None:
        """See Display. Its last line stays, above the others."""
        last = ("\n" if self._within_line else self._erasing()) + self._drawn(bar.read()) + "\n"
        self._within_line = False
        self._latest = [self._drawn(other.read()) for other in others]
        self._write(last + self._drawing())

    def close(self) -> None:
        """See Display."""
        self._redirection.release()

    def abandon(self) -> None:
        """See Display."""
        self._redirection.abandon()

    def above(self, stream: TextIO, text: str) -> None:
        """Write text above the bars, raising what its stream raises."""
        self._write(self._erasing())
        try:
            stream.write(text)
            stream.flush()
        finally:
            self._within_line = not text.endswith("\n")
            if not self._within_line:
                self._write(self._drawing())

    def _erasing(self) -> str:
        lines, self._lines = self._lines, []
        return _ERASE + (_UP + _ERASE) * (len(lines) - 1) if lines else ""

    def _drawing(self) -> str:
        self._lines = self._latest
        return "\n".join(self._lines) + "\r" if self._lines else ""

    def _write(self, text: str) -> None:
        if text and not self._gone:
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):  # hung up, or closed by the program
                self._gone = True

    # -- one line --------------------------------------------------------------------------------------------------

    def _drawn(self, figures: Figures) -> str:
        """The line of one bar, of at most one column less than the terminal has: the last one may begin a new line."""
        room = max(1, self._console.width - 1)
        description, parts, width = self._composed(figures, room)
        texts = Text(_GAP).join(Text(text, _STYLES.get(kind, "")) for kind, text in parts.items())
        texts.truncate(max(1, room - cell_len(description) - width))
        pieces: list[Text | ProgressBar] = [Text(description), texts]
        if width:
            style = "green" if figures.complete else "yellow" if figures.ended else "cyan"
            pieces[1:1] = [
                ProgressBar(
                    figures.total, figures.done, width=width, style="bright_black", complete_style=style,
                    finished_style=style,
                ),
                Text(_GAP),
            ]  # fmt: skip
        with self._console.capture() as captured:
            for piece in pieces:
                self._console.print(piece, end="", soft_wrap=True)
        return captured.get()

    def _composed(self, figures: Figures, room: int) -> tuple[str, dict[str, str], int]:
        """The description, the parts that there is room for, and the columns that are left for the bar."""
        most = max(0, room // 3)
        name = Text(figures.description)
        name.truncate(most, overflow="crop" if self._console.options.ascii_only else "ellipsis")
        description = name.plain + _GAP if name.plain and most > len(_GAP) else ""

        def free(kept: dict[str, str]) -> int:
            return room - cell_len(description) - sum(len(text) + len(_GAP) for text in kept.values()) + len(_GAP)

        parts = spoken(figures)
        without_share = {kind: text for kind, text in parts.items() if kind != "share"}
        width = free(without_share) - len(_GAP)
        if not figures.total or width < _NARROWEST:
            return description, fitting(parts, lambda kept: free(kept) >= 0), 0
        return description, without_share, min(width, _WIDEST)


def _fresh_line(stream: TextIO) -> str:
    """What leads to the first column of a line that is empty: nothing tells whether others have completed theirs.

    As many spaces as there are columns lead to the next line, except from the first column.
    """
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return ""
    return " " * columns + _ERASE if columns else ""
