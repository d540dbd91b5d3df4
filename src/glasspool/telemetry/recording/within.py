"""Whether what runs here is the work of a task that is counted already, so that nobody counts it once more.

Whoever runs observed calls puts them into ``running`` for as long as they run. Executors that know their tasks by a
context variable of their own register a test instead, which costs their tasks nothing; see also ``counted``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol

from glasspool._foreign.counted_calls import is_around

__all__ = ["Running", "recognise", "running", "within_task"]


class Running(Protocol):
    """A call that runs, or ran: contexts copied from its own may outlive it."""

    @property
    def over(self) -> bool:
        """Whether its function has ended."""
        ...


running: ContextVar[Running | None] = ContextVar("glasspool_running", default=None)
"""The observed call that this context belongs to."""

_tests: list[Callable[[], bool]] = []


def recognise(test: Callable[[], bool]) -> None:
    """``test`` says whether the caller runs in a task of an executor that keeps no ``running``."""
    _tests.append(test)


def within_task() -> bool:
    """Whether the caller runs in a task that is counted already."""
    call = running.get()
    return (call is not None and not call.over) or any(test() for test in _tests) or is_around()


def _forget() -> None:
    # A child that was forked within a call is not within it.
    running.set(None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
