"""Closing: whether an executor accepts tasks, and why not. Idle: whether it has nothing left to do."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import chain
from signal import Signals

import anyio

from glasspool.errors import ExecutorClosed
from glasspool.stats import LATE

from .failures import Failures
from .interfaces import Needs
from .task_state import Task

__all__ = ["Closing", "Idle"]


class Closing:
    """The state of closing of one executor. Only its engine changes it, except ``when_begun``."""

    __slots__ = ("_failures", "_name", "closed", "reason", "signal", "when_begun")

    def __init__(self, name: str, failures: Failures) -> None:
        self._name = name
        self._failures = failures
        self.reason: str | None = None  # None: open; "": draining; else the reason for which tasks are cancelled
        self.signal: Signals | None = None  # what began the closing, if a signal did
        self.closed = False  # nothing is queued or active, or ever will be
        self.when_begun: dict[Callable[[], object], None] = {}  # called when it begins

    def begin(self, reason: str, signal: Signals | None) -> None:
        """Take no more tasks. ``reason`` is empty while accepted tasks are left to finish."""
        self.reason = reason
        self.signal = signal

    def cancel(self, reason: str) -> None:
        """Accepted tasks are cancelled, for the first such reason."""
        self.reason = self.reason or reason

    def end(self, reason: str | None = None) -> None:
        """Everything is settled, or is about to be for this ``reason``."""
        self.closed = True
        if reason is not None:
            self.reason = reason

    def tell(self) -> None:
        """Call the callbacks in ``when_begun``."""
        for listener in list(self.when_begun):
            listener()

    def check_open(self) -> None:
        """Refuse what an executor that closes no longer takes.

        :raises ExecutorClosed: it is closing or closed.
        """
        if self.reason is not None:
            state = "is closed" if self.closed else "is closing"
            raise self.refusal(f"executor {self._name!r} {state} and takes no tasks; submit before leaving its block")

    def check_not_closed(self, what: str) -> None:
        """Refuse a call that can have no effect any more.

        :raises ExecutorClosed: the executor is closed.
        """
        if self.closed:
            raise ExecutorClosed(f"{what} on executor {self._name!r}, which is closed: call it inside its block")

    def refusal(self, text: str) -> ExecutorClosed:
        """The error that reports it, noted if a failing task is the reason: then the block raises the failure."""
        error = ExecutorClosed(text)
        return self._failures.caused(error) if self.reason == "sibling_failure" else error


class Idle:
    """Whether an executor has nothing queued and nothing active, and the waiters for that."""

    def __init__(self, queued: Collection[Task], active: Collection[Task]) -> None:
        self._queued = queued
        self._active = active
        self.event: anyio.Event | None = None  # made for the first waiter

    def needs(self) -> Needs:
        """The tasks whose end a wait for it needs."""
        return len(self._queued) + len(self._active), chain(self._queued, self._active)

    async def wait(self) -> None:
        """Wait until nothing is queued or active."""
        while self._queued or self._active:
            if self.event is None:
                self.event = anyio.Event()
            await self.event.wait()

    async def watch(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` after ``LATE`` seconds, and at growing intervals after that, until nothing is left."""
        interval = LATE
        with anyio.CancelScope(shield=True):
            while self._queued or self._active:
                with anyio.move_on_after(interval):
                    await self.wait()
                if self._active:
                    tell()
                interval *= 2

    def reached(self) -> None:
        """Nothing is queued or active: wake the waiters."""
        event, self.event = self.event, None
        if event is not None:
            event.set()

    def forget(self) -> None:
        """Wake no waiters: their event loop may be gone."""
        self.event = None
