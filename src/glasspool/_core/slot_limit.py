"""SlotLimit: how many tasks may be in flight. Plain and synchronous."""

from __future__ import annotations

__all__ = ["BURST", "SlotLimit"]

BURST = 64
"""Task starts (and submits) between two loop turns. More is faster; fewer delays the rest of the program less: 64 tiny
tasks take about half a millisecond."""


class SlotLimit:
    """``limit`` slots, of which ``used`` are held. After shrinking more may be held than there are."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    @property
    def free(self) -> int:
        """Slots that can be taken now; negative while a shrunk limit is exceeded."""
        return self.limit - self.used
