"""Runs other code in the middle of our own code, at every line or at every bytecode."""

from __future__ import annotations

from collections.abc import Callable, Container
from pathlib import Path
from types import FrameType
from typing import Any

import glasspool
import glasspool_instrumentation
from tests.tracing import tracing

OURS = tuple(str(Path(package.__file__).parent) for package in (glasspool.telemetry, glasspool_instrumentation))


class Nesting:
    """Calls ``nested`` at those events of a trace function whose numbers are ``at``.

    What runs within a trace function is not traced, so nothing is nested twice. ``events`` counts them. What is put
    off makes events too, when it is done: without a last number they would never end.
    """

    def __init__(self, nested: Callable[[], object], at: Container[int], *, opcodes: bool = True) -> None:
        self.events = 0
        self._nested = nested
        self._at = at
        self._opcodes = opcodes

    def run(self, outer: Callable[[], object]) -> None:
        """Call ``outer`` with ``nested`` in it."""
        with tracing(self._trace):
            outer()

    def _trace(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        frame.f_trace_opcodes = self._opcodes
        if self.events in self._at:
            self._nested()
        self.events += 1
        return self._trace


Parts = tuple[Callable[[], object], Callable[[], object], Callable[[], object]]


def in_the_middle(make: Callable[[], Parts], *, opcodes: bool = True) -> int:
    """For every event there is within an update: make all anew, run one in the middle of the other, and check.

    ``make`` gives the outer update, what is nested in it and the check of both. Without ``opcodes``, for what is long,
    an event is a line. Returns how many events there were.
    """
    outer, _, check = make()
    counting = Nesting(lambda: None, (), opcodes=opcodes)
    counting.run(outer)
    check()
    for each in {False, opcodes}:  # at all of them at once: each event finds what those before it have put off
        outer, nested, check = make()
        Nesting(nested, range(counting.events), opcodes=each).run(outer)
        check()
    for number in range(counting.events):
        outer, nested, check = make()
        Nesting(nested, (number,), opcodes=opcodes).run(outer)
        check()
    return counting.events
