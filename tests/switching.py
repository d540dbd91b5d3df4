"""Lets a thread end at a chosen line of another one, to test every step of their shared state."""

from __future__ import annotations

import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

from .tracing import tracing

LIMIT = 60.0
PAUSE = 0.05
"""Seconds that the traced thread stands still for the other, which may have to wait for a lock that this one holds."""


class EndsAt:
    """``blocked``, called in a thread, returns when another one has run ``switch`` lines of ``files`` in ``tracing``.

    That one then waits until the first of ``last`` has returned in the thread.
    """

    def __init__(self, switch: int, files: Collection[str], last: Collection[CodeType]) -> None:
        self._switch = switch
        self._files = files
        self._last = last
        self._lines = 0
        self._go = threading.Event()
        self.started, self.ended = threading.Event(), threading.Event()

    @property
    def reached(self) -> bool:
        """Whether there were so many lines."""
        return self._lines >= self._switch

    def blocked(self) -> None:
        sys.setprofile(self._watch)
        self.started.set()
        assert self._go.wait(LIMIT)

    @contextmanager
    def tracing(self) -> Iterator[None]:
        try:
            with tracing(self._trace):
                yield
        finally:
            self._go.set()

    def _watch(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event == "return" and frame.f_code in self._last:
            sys.setprofile(None)
            self.ended.set()

    def _trace(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if frame.f_code.co_filename not in self._files:
            return None
        if event == "line":
            self._lines += 1
            if self._lines == self._switch:
                self._go.set()
                self.ended.wait(PAUSE)
        return self._trace
