"""The error tree. What each error is, and what it is not.

    GlasspoolError
    ├── QueueFull           submit_nowait found neither slot nor queue place; nothing was accepted
    ├── ExecutorClosed      submitted to an executor that is closing, closed or not yet open (also RuntimeError)
    ├── PileEmpty           next_completed on a pile with nothing outstanding
    ├── TaskCancelled       the awaited task was cancelled; the waiter was not (never the backend's own cancellation)
    ├── TaskTimeout         the task ran out of its timeout= or deadline= (also TimeoutError)
    ├── NestedWait          a task's wait closes a circle of waits, or is nested too deep (also RuntimeError)
    ├── WrongThread         a call from another thread or event loop (also RuntimeError)
    └── ConfigurationError  telemetry that cannot be set up as asked (also RuntimeError)

Wrong arguments are plain ``TypeError`` and ``ValueError``; they name the parameter, the value and the fix.
"""

from __future__ import annotations

__all__ = [
    "ConfigurationError",
    "ExecutorClosed",
    "GlasspoolError",
    "NestedWait",
    "PileEmpty",
    "QueueFull",
    "TaskCancelled",
    "TaskTimeout",
    "WrongThread",
]


class GlasspoolError(Exception):
    """Base of every error that glasspool raises on its own account."""


class QueueFull(GlasspoolError):
    """No slot and no queue place is free, or others wait for one. Nothing was accepted; submit again later or use
    ``await submit``."""


class ExecutorClosed(GlasspoolError, RuntimeError):
    """The executor takes no submissions: it is closing, closed or was never opened. Nothing was accepted."""


class PileEmpty(GlasspoolError):
    """The pile has nothing outstanding, so there is no next completion to wait for."""


class TaskCancelled(GlasspoolError):
    """The task that was waited for was cancelled. The one who waits is not cancelled by this.

    ``reason`` is one of the catalog's cancel reasons (``explicit``, ``shutdown``, …), ``message`` the free text
    given to ``cancel()`` or ``None``.
    """

    def __init__(self, text: str, *, reason: str = "unknown", message: str | None = None) -> None:
        super().__init__(text)
        self.reason = reason
        self.message = message


class TaskTimeout(GlasspoolError, TimeoutError):
    """The task's own ``timeout=`` or ``deadline=`` ran out. A ``TimeoutError`` raised *by* the task is not this."""


class NestedWait(GlasspoolError, RuntimeError):
    """A task waits for itself, for a task that waits for it in turn, or for an executor whose tasks do: they could hang
    for ever. The message names the tasks and executors of the circle. Also a wait below 1,000 others, of which each
    waits for the next. No error is that a task waits for other tasks of its own executor: it lends its slot."""


class WrongThread(GlasspoolError, RuntimeError):
    """The call belongs to the event loop that opened the executor; nothing was touched."""


class ConfigurationError(GlasspoolError, RuntimeError):
    """Telemetry cannot be set up as asked; the message says what is missing and how to get it."""
