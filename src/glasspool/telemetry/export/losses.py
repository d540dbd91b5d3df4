"""Counts spans and metric points that never reached a collector, by kind, and reports each kind once."""

from __future__ import annotations

import logging
from typing import Protocol

from glasspool.telemetry.recording.registry import REGISTRY

__all__ = ["Losses", "Note"]

logger = logging.getLogger("glasspool")


class Note(Protocol):
    """A function that logs a message and keeps it for the user: a method of the handle of ``configure()``."""

    def __call__(self, text: str, *, error: Exception | None = None) -> None:
        """``error`` is logged with its traceback."""
        ...


class Losses:
    """The losses of this process's exports."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._noted: set[str] = set()

    def count(self, kind: str, number: int = 1) -> None:
        """Count ``number`` lost spans or points. It is cheap and does not log, since threads of the application call
        it."""
        REGISTRY.telemetry_failed(kind, number)

    def explain(self, kind: str, text: str) -> None:
        """Report once why data of this kind is lost."""
        if kind not in self._noted:
            self._noted.add(kind)
            self._note(f"{text}; from now on they are only counted (glasspool.telemetry.failures, kind {kind})")

    def export_failed(self, name: str, error: Exception | None, *, again: bool) -> None:
        """Count a failed export of the exporter ``name``; ``again``: the one before failed too, so it is not
        reported."""
        REGISTRY.telemetry_failed("export")
        if again:
            return
        text = (
            f"exporting {name} failed: is the collector reachable? The work goes on; until an export succeeds again, "
            "failures are only counted (glasspool.telemetry.failures)"
        )
        if name in self._noted:  # only logged: notes are kept for ever, and a collector may fail many times
            logger.warning("%s", text, exc_info=error)
        else:
            self._noted.add(name)
            self._note(text, error=error)
