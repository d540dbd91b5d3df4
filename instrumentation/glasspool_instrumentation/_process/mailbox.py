"""Receives reports from workers: the calls of this process that run elsewhere, by key."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Waiting", "away", "new_key", "receive", "receive_error"]


class Waiting(Protocol):
    """A call that waits for its report."""

    def came_home(self, report: tuple[Any, ...], error: BaseException | None) -> None:
        """Its result, or its error, has arrived with the worker's report."""


away: dict[str, Waiting] = {}
"""Calls without a result. Added at submission, removed when the report or the end of the future arrives."""

_numbers = itertools.count(1)
_pid = os.getpid()


def new_key() -> str:
    """A key for one call, unlike any of another process on this machine."""
    return f"{_pid}-{next(_numbers)}"


def receive(value: Any, report: tuple[Any, ...]) -> Any:
    """Called by unpickling a worker's result, before its future is done: hands over the report, returns the value."""
    call = away.pop(report[0], None)
    if call is not None:
        call.came_home(report, None)
    return value


def receive_error(build: Callable[..., Any], args: tuple[Any, ...], report: tuple[Any, ...]) -> Any:
    """The same for an exception, which is built as its own ``__reduce__`` says."""
    error = build(*args)
    call = away.pop(report[0], None)
    if call is not None:
        call.came_home(report, error)
    return error


def _after_fork() -> None:
    global _pid
    _pid = os.getpid()
    away.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
