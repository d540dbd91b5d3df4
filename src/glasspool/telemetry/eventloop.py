"""Event-loop monitors: how late a loop can run what is due every tenth of a second, and how overdue it is now.

Each loop with open executors has a monitor (loop_monitors.py). Others are started by hand, on asyncio (also with
uvloop) and trio::

    async with monitor_event_loop(name="api"):
        ...

A blocked loop cannot report itself. The delay is measured when the loop gets to it. The stall, the age of what is
overdue, is computed in the thread that reads the metrics.
"""

from __future__ import annotations

import math
import os
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import providers as _providers  # noqa: F401  # pyright: ignore[reportUnusedImport] - it hears from the registry of each monitor
from .loop_series import LATE, EventLoops
from .loop_watch import Watch
from .loop_watches import watch_here
from .recording.printable_text import printable
from .recording.registry import REGISTRY, Registry

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

__all__ = ["EventLoopMonitor", "monitor_event_loop", "on_change", "running_on"]

on_change: list[Callable[[Any], None]] = []
"""Called with a loop, or the token of a trio run, when a monitor of it is started or stopped before its end."""

_running: weakref.WeakKeyDictionary[Any, set[weakref.ref[EventLoopMonitor]]] = weakref.WeakKeyDictionary()


def running_on(loop: Any) -> list[EventLoopMonitor]:
    """The monitors that run on this loop.

    :param loop: an asyncio event loop, or the token of a trio run.
    :returns: the monitors, at the time of the call.
    """
    monitors = [reference() for reference in tuple(_running.get(loop, ()))]
    return [monitor for monitor in monitors if monitor is not None]


def monitor_event_loop(name: str = "main", *, interval: float = 0.1) -> EventLoopMonitor:
    """A monitor for the running event loop.

    Use it with ``async with``, as a service (``await task_group.start(monitor.serve)``), or through ``start()`` and
    ``stop()``. Loops with the same name share their histogram; the stall shown is the longest of theirs.

    :param name: the name in metrics (``glasspool.eventloop.name``), default ``"main"``.
    :param interval: seconds between two ticks, default 0.1. A loop that is blocked for less may not be noticed. On
        asyncio each tick is a timer, which costs a fraction of a millisecond; on trio nothing wakes the loop.
    :returns: the monitor, which is not started yet.
    :raises TypeError: an argument has the wrong type.
    :raises ValueError: ``name`` is empty, or ``interval`` is not above 0 and finite.
    """
    return EventLoopMonitor(name, interval=interval)


class EventLoopMonitor:
    """Measures the delay of one event loop; made by ``monitor_event_loop``.

    It may be started again after it was stopped. In a forked child it does not run.

    :param name: the name in metrics, default ``"main"``.
    :param interval: seconds between two ticks, default 0.1.
    :param registry: the registry that shows the series; default the process's.
    :param clock: the clock, in seconds; default ``time.perf_counter``.
    :param quiet: whether the series appear only once the loop was late by 0.1 s; default False.
    :raises TypeError: ``name`` or ``interval`` has the wrong type.
    :raises ValueError: ``name`` is empty, or ``interval`` is not above 0 and finite.
    """

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
        self.quiet = quiet  # no series until the loop was late: the application has not requested them
        self._registry = registry
        self._clock = clock
        self._run: Watch | None = None
        self._loops: EventLoops | None = None
        self._pid = 0

    @property
    def running(self) -> bool:
        """Whether the monitor is started."""
        return self._run is not None

    def start(self) -> None:
        """Begin to tick on the event loop that runs in this thread.

        :raises RuntimeError: no event loop runs in this thread, or the monitor is already started.
        """
        if self._run is not None:
            raise RuntimeError(f"the monitor of event loop {self.name!r} is started already; make another one per loop")
        watch = watch_here()
        loops = self._loops = EventLoops.of(self._registry)
        series = loops.join(self)
        self._registry.joined(loops)
        self._run = watch
        _running.setdefault(watch.loop(), set()).add(weakref.ref(self))
        pid = self._pid = os.getpid()

        def count(delay: float, ticks: int) -> bool:
            # False ends the watch: the monitor was stopped or restarted, or a forked child continues the loop.
            if self._run is not watch or os.getpid() != pid:
                return False
            if ticks:
                loops.ticked(series, delay, ticks)
                if delay > LATE:
                    self.show()
            return True

        def ended() -> None:
            if self._run is watch:
                self._end()

        watch.begin(self._clock, self.interval, count, ended)
        for changed in on_change:
            changed(watch.loop())

    def stop(self) -> None:
        """Stop the ticks: the stall reads 0, the histogram stays. From any thread; idempotent."""
        loop = self._end()
        if loop is not None:
            for changed in on_change:
                changed(loop)

    def _end(self) -> Any:
        watch, self._run = self._run, None
        if watch is None:
            return None
        if self._loops is not None and os.getpid() == self._pid:  # a forked child's registry does not contain it
            self._loops.leave(self)
        watch.end()
        loop = watch.loop()
        _running.get(loop, set()).discard(weakref.ref(self))
        return loop

    async def serve(self, *, task_status: TaskStatus[None] | None = None) -> None:
        """Tick until cancelled: ``await task_group.start(monitor.serve)``.

        :param task_status: set by ``task_group.start``.
        :raises RuntimeError: the monitor is already started.
        """
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
        """Show the series from now on, even if the loop was never late. From any thread."""
        self.quiet = False
        if self._loops is not None:
            self._loops.show(self)

    def stall(self) -> float:
        """For how many seconds a tick is overdue; 0.0 while the loop is on time. From any thread."""
        watch = self._run
        return 0.0 if watch is None else watch.stall()

    def catch_up(self) -> None:
        """Count the ticks up to now, as far as the loop was on time. From any thread, without a lock."""
        watch = self._run
        if watch is not None:
            watch.catch_up()
