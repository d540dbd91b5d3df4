"""Spans and metric points that never reached a collector: counted by kind, and spoken of once each."""

from __future__ import annotations

from collections.abc import Callable

from .registry import REGISTRY

__all__ = ["Losses"]


class Losses:
    """What the exports of this process lose. ``say`` takes a sentence for the handle's notes and the log."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say
        self._said: set[str] = set()

    def count(self, kind: str, number: int = 1) -> None:
        """``number`` spans or points are lost. Cheap, and does not log: threads of the application come here."""
        REGISTRY.telemetry_failed(kind, number)

    def explain(self, kind: str, text: str) -> None:
        """Say once why things of this kind are lost."""
        if kind not in self._said:
            self._said.add(kind)
            self._say(f"{text}; from now on they are only counted (glasspool.telemetry.failures, kind {kind})")
