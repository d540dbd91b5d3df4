"""What ``print`` and logging write while bars are in the terminal goes above them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TextIO, cast

from .turn import Turn

__all__ = ["Redirection", "is_terminal"]


def is_terminal(stream: Any) -> bool:
    """Whether it is a terminal; a program may have no stream at all, or a closed one."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError, OSError):
        return False


class _Above:
    """Stands for a stream while bars are shown: whole lines go above them. Everything else is the stream's own.

    The beginning of a line is kept until it is complete, or until it is flushed.
    """

    def __init__(self, stream: TextIO, turn: Turn, above: Callable[[TextIO, str], object]) -> None:
        self.stream = stream
        self._turn = turn
        self._above: Callable[[TextIO, str], object] | None = above  # None: no bars any more
        self._rest = ""

    def write(self, text: str) -> int:
        """As that of the stream."""
        if self._above is None or not isinstance(text, str):
            return self.stream.write(text)
        self._turn.take(partial(self._write, text))
        return len(text)

    def _write(self, text: str) -> None:
        lines, newline, self._rest = (self._rest + text).rpartition("\n")
        if newline:
            self._put(lines + newline)

    def writelines(self, lines: Iterable[str]) -> None:
        """As that of the stream."""
        self.write("".join(lines))

    def flush(self) -> None:
        """As that of the stream."""
        if self._above is None:
            self.stream.flush()
        else:
            self._turn.take(self._flush)

    def _flush(self) -> None:
        rest, self._rest = self._rest, ""
        if rest:
            self._put(rest)

    def _put(self, text: str) -> None:
        if self._above is None:
            self.stream.write(text)
        else:
            self._above(self.stream, text)

    def release(self) -> None:
        """There are no more bars. Who has kept this writes to the stream itself."""
        self._flush()
        self._above = None

    def abandon(self) -> None:
        """The same in a child process: what was kept is the parent's to write."""
        self._above, self._rest = None, ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class Redirection:
    """Puts itself in place of stdout, stderr and the streams of logging handlers, as far as they are terminals.

    :param above: writes text to a stream, above the bars.
    """

    def __init__(self, turn: Turn, above: Callable[[TextIO, str], object]) -> None:
        self._standing: dict[str, _Above] = {}  # by the name in sys
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if is_terminal(stream):
                self._standing[name] = _Above(stream, turn, above)
                setattr(sys, name, self._standing[name])
        # Handlers made before hold the streams. Their own lock is not taken: who logs holds it and waits for a turn.
        for handler in _handlers():
            for each in self._standing.values():
                if handler.stream is each.stream:
                    handler.stream = cast("TextIO", each)

    def release(self) -> None:
        """Put everything back, unless others have replaced it meanwhile."""
        for each in self._standing.values():
            each.release()
        self._put_back()

    def abandon(self) -> None:
        """The same in a child process, in which nothing is to be written."""
        for each in self._standing.values():
            each.abandon()
        self._put_back()

    def _put_back(self) -> None:
        for name, each in self._standing.items():
            if getattr(sys, name) is each:
                setattr(sys, name, each.stream)
            for handler in _handlers():  # also those that were made since
                if handler.stream is each:
                    handler.stream = each.stream


def _handlers() -> Iterator[logging.StreamHandler[Any]]:
    """The handlers of all loggers that write to a stream."""
    loggers = [logging.root, *tuple(logging.root.manager.loggerDict.values())]
    for logger in loggers:
        if isinstance(logger, logging.Logger):  # not a placeholder for one
            for handler in tuple(logger.handlers):
                if isinstance(handler, logging.StreamHandler):
                    yield handler
