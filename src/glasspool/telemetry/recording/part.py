"""What a recorder that keeps figures of its own does when its executor's record opens, closes, or is read."""

from __future__ import annotations

__all__ = ["Part"]


class Part:
    """What takes part in the life of a record; by itself it does nothing."""

    def opened(self) -> None:
        """The record has joined the registry."""

    def closed(self) -> None:
        """It has left the registry."""

    def cleared(self) -> None:
        """It starts anew, in a forked child."""

    def enter(self) -> None:
        """Bring the record up to date: called before every reading, in a turn."""
