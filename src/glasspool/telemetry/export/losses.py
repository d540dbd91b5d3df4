"""Spans and metric points that never reached a collector: counted by kind, and spoken of once each."""

from __future__ import annotations

import logging
from typing import Protocol

from glasspool.telemetry.recording.registry import REGISTRY

__all__ = ["Losses", "Note"]

logger = logging.getLogger("glasspool")


class Note(Protocol):
    """What keeps a sentence for the user and logs it: the handle of ``configure()``."""

    def __call__(self, text: str, *, error: Exception | None = None) -> None:
        """``error`` is logged with its traceback."""
        ...


class Losses:
    """What the exports of this process lose."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._noted: set[str] = set()

    def count(self, kind: str, number: int = 1) -> None:
        """``number`` spans or points are lost. Cheap, and does not log: threads of the application come here."""
        REGISTRY.telemetry_failed(kind, number)

    def explain(self, kind: str, text: str) -> None:
        """Say once why things of this kind are lost."""
        if kind not in self._noted:
            self._noted.add(kind)
            self._note(f"{text}; from now on they are only counted (glasspool.telemetry.failures, kind {kind})")

    def export_failed(self, name: str, error: Exception | None, *, again: bool) -> None:
        """An export of the exporter ``name`` failed; ``again``: as the one before, so all has been said."""
        REGISTRY.telemetry_failed("export")
        if again:
            return
        text = (
            f"exporting {name} failed: is the collector reachable? The work goes on; until an export succeeds again, "
            "failures are only counted (glasspool.telemetry.failures)"
        )
        if name in self._noted:  # the collector comes and goes: notes are kept for ever
            logger.warning("%s", text, exc_info=error)
        else:
            self._noted.add(name)
            self._note(text, error=error)
