"""Bar: the figures of one iteration. They are counted by its consumer, and read by the thread that draws them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .pace import Pace

__all__ = ["Bar", "Figures"]


@dataclass(frozen=True)
class Figures:
    """What is shown of an iteration at one moment. Times are seconds, ``rate`` is per second.

    ``total`` and ``left`` are None if they are not known; ``left`` is 0 and ``rate`` that of all the time at the end.
    """

    description: str
    done: int
    total: int | None
    rate: float | None
    left: float | None
    elapsed: float
    in_flight: int
    queued: int
    errors: int
    retries: int
    ended: bool
    complete: bool


class Tasks(Protocol):
    """The tasks of the iteration (``_core.ledger.Ledger``), as another thread may read them."""

    @property
    def outstanding(self) -> Mapping[Any, None]:
        """Those that have not ended."""
        ...

    @property
    def pending(self) -> int:
        """How many outcomes have not been taken."""
        ...

    @property
    def retries(self) -> int:
        """Attempts beyond the first of each task."""
        ...


class Bar:
    """The state of one iteration's display. ``done``, ``errors`` and ``exhausted`` are written by its consumer.

    :param total: how many outcomes there will be; None if that is not known.
    :param growing: the total is what is done and what is outstanding, as in a pile.
    """

    def __init__(
        self, description: str, tasks: Tasks, total: int | None, *, growing: bool,
        now: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.done = self.errors = 0
        self.exhausted = False  # the iteration has ended by itself
        self.ended = False  # its last figures were shown
        self._description = description
        self._tasks = tasks
        self._total = total
        self._growing = growing
        self._now = now
        self._retries = tasks.retries  # those before this iteration
        self._began: float | None = None
        self._pace: Pace | None = None
        self._standing = 0, 0

    def begin(self) -> None:
        """It is shown from now on."""
        self.ended = self.exhausted = False
        if self._began is None:
            self._began = self._now()
            self._pace = Pace(self._began)

    @property
    def begun(self) -> bool:
        """Whether it was ever shown."""
        return self._began is not None

    @property
    def pending(self) -> bool:
        """Whether outcomes are to come."""
        return self._tasks.pending > 0

    def read(self) -> Figures:
        """The figures now. From any thread: it looks at copies, and the event loop does nothing for it."""
        now = self._now()
        done, total = self.done, self._total
        if self._growing:
            total = done + self._tasks.pending
        elif total is not None and done > total:
            total = None  # it was wrong
        elapsed = 0.0 if self._began is None else now - self._began
        rate = None if self._pace is None else self._pace.at(now, done)
        in_flight, queued = self._read_standing()
        complete = self.exhausted or done == total
        left = None if total is None or rate is None else (total - done) / rate
        if self.ended:
            rate, left = (done / elapsed if done and elapsed else None), 0.0
        return Figures(
            self._description, done, total, rate, left, elapsed, in_flight, queued, self.errors,
            self._tasks.retries - self._retries, self.ended, complete,
        )  # fmt: skip

    def _read_standing(self) -> tuple[int, int]:
        """How many tasks are in flight, and how many queued."""
        try:
            states = [task.state for task in tuple(self._tasks.outstanding)]
        except RuntimeError:  # it has changed meanwhile, where threads run in parallel
            return self._standing
        self._standing = states.count("active"), states.count("queued")
        return self._standing
