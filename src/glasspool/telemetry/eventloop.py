"""How late an event loop is: a timer that should run every tenth of a second, and how overdue it is right now.

Each loop with open executors has one (loop_monitors.py). By hand, on asyncio (uvloop too) and trio::

    async with monitor_event_loop(name="api"):
        ...

A blocked loop cannot report itself. The delay is measured when it gets round to its timer; the stall, the age of the
timer that is overdue, is worked out by whoever reads the metrics in another thread.
"""

from __future__ import annotations

import math
import os
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import providers as _providers  # noqa: F401 - it hears from the registry of each monitor
from .loop_series import LATE, EventLoops
from .loop_ticks import Ticks, ticks_here
from .recording.printable_text import printable
from .recording.registry import REGISTRY, Registry

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

__all__ = ["EventLoopMonitor", "monitor_event_loop", "on_change", "running_on"]

on_change: list[Callable[[Any], None]] = []
"""Called with a loop, or the token of a trio run, when a monitor of it is started or stopped before its end."""

_running: weakref.WeakKeyDictionary[Any, set[weakref.ref[EventLoopMonitor]]] = weakref.WeakKeyDictionary()


def running_on(loop: Any) -> list[EventLoopMonitor]:
    """The monitors that run on this loop (or trio token)."""
    monitors = [reference() for reference in tuple(_running.get(loop, ()))]
    return [monitor for monitor in monitors if monitor is not None]


def monitor_event_loop(name: str = "main", *, interval: float = 0.1) -> EventLoopMonitor:
    """A monitor for the running event loop, shown under ``name`` (``glasspool.eventloop.name``).

    Use it as ``async with``, as a service (``await task_group.start(monitor.serve)``), or by ``start()`` and
    ``stop()``. ``interval`` is the time between two ticks in seconds: a loop blocked for less than that may go
    unseen, and each tick costs a few microseconds. Loops of one name share their histogram; their stall is the
    longest one. Raises ``TypeError`` and ``ValueError`` for wrong arguments.
    """
    return EventLoopMonitor(name, interval=interval)


class EventLoopMonitor:
    """See ``monitor_event_loop``. May be started again after it was stopped; a forked child has no monitor."""

    def __init__(
        self,
        name: str = "main",
        *,
        interval: float = 0.1,
        registry: Registry = REGISTRY,
        clock: Callable[[], float] = time.perf_counter,
        quiet: bool = False,
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name={name!r}: the name of an event loop is a string")
        if not name.strip():
            raise ValueError(f"name={name!r} is empty; give the event loop a name, such as 'main'")
        if isinstance(interval, bool) or not isinstance(interval, (int, float)):
            raise TypeError(f"interval={interval!r}: the seconds between two ticks, such as 0.1")
        if not 0 < interval < math.inf:
            raise ValueError(f"interval={interval!r}: the seconds between two ticks must be above 0 and finite")
        self.name = printable(name)
        self.interval = float(interval)
        self.quiet = quiet  # no series until the loop was late: nobody has asked for them
        self._registry = registry
        self._clock = clock
        self._due = math.inf  # when the next tick should run; written by the loop, read by any thread
        self._stopped = False  # a reading has found that nobody runs the loop
        self._run: Ticks | None = None
        self._loops: EventLoops | None = None
        self._pid = 0

    @property
    def running(self) -> bool:
        """Whether the monitor is started."""
        return self._run is not None

    def start(self) -> None:
        """Begin to tick on the event loop that runs in this thread.

        Raises ``RuntimeError`` when none runs here or the monitor is started already.
        """
        if self._run is not None:
            raise RuntimeError(f"the monitor of event loop {self.name!r} is started already; make another one per loop")
        ticks = ticks_here()
        loops = self._loops = EventLoops.of(self._registry)
        series = loops.join(self)
        self._registry.joined(loops)
        self._run = ticks
        _running.setdefault(ticks.loop(), set()).add(weakref.ref(self))
        pid = self._pid = os.getpid()
        self._due = self._clock() + self.interval

        def tick() -> bool:
            # False ends the ticking: stopped, started anew, or this is a forked child that went on with the loop.
            if self._run is not ticks or os.getpid() != pid:
                return False
            now = self._clock()
            delay = max(0.0, now - self._due)
            self._due = now + self.interval
            self._stopped = False
            if ticks.resumed():  # for how long nobody ran the loop is not known
                return True
            loops.ticked(series, delay)
            if delay > LATE:
                self.show()
            return True

        def ended() -> None:
            if self._run is ticks:
                self._end()

        ticks.begin(tick, self.interval, ended)
        for changed in on_change:
            changed(ticks.loop())

    def stop(self) -> None:
        """End it: the stall reads 0, the histogram stays. From any thread; idempotent."""
        loop = self._end()
        if loop is not None:
            for changed in on_change:
                changed(loop)

    def _end(self) -> Any:
        ticks, self._run = self._run, None
        self._due = math.inf
        if ticks is None:
            return None
        if self._loops is not None and os.getpid() == self._pid:  # a forked child's registry never knew it
            self._loops.leave(self)
        ticks.end()
        loop = ticks.loop()
        _running.get(loop, set()).discard(weakref.ref(self))
        return loop

    async def serve(self, *, task_status: TaskStatus[None] | None = None) -> None:
        """Tick until cancelled: ``await task_group.start(monitor.serve)``."""
        from anyio import sleep_forever  # here, because most monitors are started otherwise, in processes without anyio

        async with self:
            if task_status is not None:
                task_status.started()
            await sleep_forever()

    async def __aenter__(self) -> EventLoopMonitor:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def show(self) -> None:
        """Show the series also of a loop that was never late. From any thread."""
        self.quiet = False
        if self._loops is not None:
            self._loops.show(self)

    def stall(self) -> float:
        """Seconds for which the loop has now left its timer waiting; 0.0 while it is on time. From any thread."""
        ticks = self._run
        if ticks is None:
            return 0.0
        if not ticks.turning():
            self._stopped = True
            return 0.0
        now = self._clock()
        if self._stopped:  # it is run again, and its tick was due while it was not
            self._stopped = False
            self._due = now + self.interval
        return max(0.0, now - self._due)
