"""One finding of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Level", "ok", "problem", "warning"]

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """What one check has found.

    * ``check``: the name of the check, such as ``"otlp"``.
    * ``level``: ``"ok"``, ``"warning"`` (figures or traces may be missing or wrong) or ``"problem"`` (they are).
    * ``found``: what was found.
    * ``why``: why it matters; empty if it is ok.
    * ``fix``: what to do about it; empty if it is ok.
    """

    check: str
    level: Level
    found: str
    why: str = ""
    fix: str = ""


def ok(check: str, found: str) -> Finding:
    """A finding that asks for nothing."""
    return Finding(check, "ok", found)


def warning(check: str, found: str, why: str, fix: str) -> Finding:
    """A finding about what may be missing or wrong."""
    return Finding(check, "warning", found, why, fix)


def problem(check: str, found: str, why: str, fix: str) -> Finding:
    """A finding about what is missing or wrong."""
    return Finding(check, "problem", found, why, fix)
