"""Texts of others as the doctor may show them: on one line, and short."""

from __future__ import annotations

__all__ = ["error_text", "plain"]

_LONGEST = 100


def plain(text: str, longest: int = _LONGEST) -> str:
    """The text on one line, without control characters, shortened."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def error_text(error: BaseException) -> str:
    """What the system calls this error; else its class, since other messages may repeat an address with a password."""
    strerror = getattr(error, "strerror", None)
    return plain(strerror) if isinstance(strerror, str) and strerror else type(error).__name__
