"""Text that others give us, as metrics and spans can carry it: UTF-8, on one line, of a bounded length."""

from __future__ import annotations

import re

__all__ = ["NAME_LENGTH", "SHOWN", "TEXT_LENGTH", "printable"]

NAME_LENGTH = 200
"""Characters of a name: of executors, tasks, limits, event loops and types of errors."""

TEXT_LENGTH = 1024
"""Characters of what is said of an error or a cancellation."""

# Lone surrogates, which os.fsdecode makes of a file name that is not UTF-8, have no encoding: one of them in a label
# makes the whole exposition fail, and an OTLP batch.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def printable(text: str, most: int = NAME_LENGTH) -> str:
    """The text without what cannot be encoded or shown: spaces for tabs and line breaks, � for the rest; cut at
    ``most`` characters, the last of which is then an ellipsis."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return cut if cut.isascii() and cut.isprintable() else _UNPRINTABLE.sub(_replacement, cut)


class _Shown(dict[str, str]):
    """What is shown of each name that came in: asked by ``SHOWN[name]``, which makes no call for a known one."""

    def __missing__(self, name: str) -> str:
        shown = printable(name)
        if len(name) <= NAME_LENGTH:  # an endless one is not kept
            if len(self) >= _KEPT:
                self.clear()
            self[name] = shown
        return shown


_KEPT = 1024  # names: a program has fewer, unless it makes them up as it goes

SHOWN = _Shown()
"""Names of tasks, functions, threads and types of errors as metrics and spans show them."""


def _replacement(found: re.Match[str]) -> str:
    return " " if found[0].isspace() else "�"
