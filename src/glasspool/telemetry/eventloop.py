"""Event-loop monitors: how late a loop runs a timer that is due every tenth of a second, and how overdue it is now.

Each loop with open executors has a monitor (loop_monitors.py). Others are started by hand, on asyncio (also with
uvloop) and trio::

    async with monitor_event_loop(name="api"):
        ...

A blocked loop cannot report itself. The delay is measured when the loop runs the timer. The stall, the age of an
overdue timer, is computed in the thread that reads the metrics.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import contextvars
import logging
import math
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any

import anyio
from anyio.abc import TaskStatus

from glasspool._foreign.trio_ import running_trio

from . import catalog
from . import providers as _providers  # noqa: F401 - it hears from the registry of each monitor
from .catalog import OTHER, Key, Metric
from .recording.histograms import Histogram
from .recording.printable_text import printable
from .recording.registry import REGISTRY, Registry, Source
from .recording.series_budget import series_of

__all__ = ["EventLoopMonitor", "monitor_event_loop", "on_change", "running_on"]

logger = logging.getLogger("glasspool")

on_change: list[Callable[[Any], None]] = []
"""Called with a loop, or the token of a trio run, when a monitor of it is started or stopped before its end."""

_LATE = 0.1
"""Seconds from which a timer is late; the ticket on blocked loops counts such timers."""

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
    :param interval: seconds between two ticks, default 0.1. A loop that is blocked for less may not be noticed; each
        tick costs a fraction of a millisecond.
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
        self._due = math.inf  # when the next tick should run; written by the loop, read by any thread
        self._stopped = False  # a reading has found that the loop is not being run
        self._run: _Ticks | None = None
        self._loops: _EventLoops | None = None
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
        ticks = _ticks_here()
        loops = self._loops = _EventLoops.of(self._registry)
        series = loops.join(self)
        self._registry.joined(loops)
        self._run = ticks
        _running.setdefault(ticks.loop(), set()).add(weakref.ref(self))
        pid = self._pid = os.getpid()
        self._due = self._clock() + self.interval

        def tick() -> bool:
            # False ends the ticks: the monitor was stopped or restarted, or a forked child continues the loop.
            if self._run is not ticks or os.getpid() != pid:
                return False
            now = self._clock()
            delay = max(0.0, now - self._due)
            self._due = now + self.interval
            self._stopped = False
            if ticks.resumed():  # the time for which the loop did not run is not known
                return True
            loops.ticked(series, delay)
            if delay > _LATE:
                self.show()
            return True

        def ended() -> None:
            if self._run is ticks:
                self._end()

        ticks.begin(tick, self.interval, ended)
        for changed in on_change:
            changed(ticks.loop())

    def stop(self) -> None:
        """Stop the ticks: the stall reads 0, the histogram stays. From any thread; idempotent."""
        loop = self._end()
        if loop is not None:
            for changed in on_change:
                changed(loop)

    def _end(self) -> Any:
        ticks, self._run = self._run, None
        self._due = math.inf
        if ticks is None:
            return None
        if self._loops is not None and os.getpid() == self._pid:  # a forked child's registry does not contain it
            self._loops.leave(self)
        ticks.end()
        loop = ticks.loop()
        _running.get(loop, set()).discard(weakref.ref(self))
        return loop

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Tick until cancelled: ``await task_group.start(monitor.serve)``.

        :param task_status: set by ``task_group.start``.
        :raises RuntimeError: the monitor is already started.
        """
        async with self:
            task_status.started()
            await anyio.sleep_forever()

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
        """The age of the overdue timer in seconds; 0.0 while the loop is on time. From any thread."""
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


class _EventLoops(Source):
    """The registry's source of event-loop series: histograms by name, which outlive the monitors."""

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self._registry = registry
        self._series: dict[str, Histogram] = {}
        # Weak: the monitor of a destroyed loop is destroyed with it.
        self._live: weakref.WeakKeyDictionary[EventLoopMonitor, str] = weakref.WeakKeyDictionary()
        self._shown: set[str] = set()

    @classmethod
    def of(cls, registry: Registry) -> _EventLoops:
        """The one of this registry; a forked child gets a new one, because its registry starts empty."""
        found: _EventLoops = registry.sources.get(cls) or registry.sources.setdefault(cls, cls(registry))
        return found

    def join(self, monitor: EventLoopMonitor) -> Histogram:
        """Read this monitor from now on. Returns the histogram for its delays."""
        name, budget, room = monitor.name, self._registry.budget, series_of(catalog.EVENTLOOP_DELAY) + 1
        if name not in self._series and not budget.take(room):
            name, room = OTHER, 0
            self._registry.telemetry_failed("label_cap")
        mine = Histogram(catalog.EVENTLOOP_DELAY, {Key.EVENTLOOP_NAME: name})
        known = self._series.get(name)
        series = self._series.setdefault(name, mine) if known is None else known
        if known is None and series is not mine:  # another thread was faster
            budget.use(-room)
        self.take(self._live.__setitem__, monitor, name)
        if not monitor.quiet:
            self._shown.add(name)
        return series

    def show(self, monitor: EventLoopMonitor) -> None:
        """Show the series of this monitor's loop from now on, including earlier counts."""
        name = self._live.get(monitor)
        if name is not None:
            self._shown.add(name)

    def histograms(self) -> list[Histogram]:
        """See Holder."""
        return list(self._series.values())

    def ticked(self, series: Histogram, delay: float) -> None:
        """Record a delay of a loop, in seconds."""
        self.change(self.measure, series, delay)

    def leave(self, monitor: EventLoopMonitor) -> None:
        """Stop reading this monitor."""
        self.take(self._live.pop, monitor, None)

    def collect(
        self, add: Callable[[Metric, dict[str, Any], float], None], histogram: Callable[[Histogram], None]
    ) -> None:
        """The stall of every name, and the histograms."""
        self.look(self._read, add, histogram)

    def _read(
        self, add: Callable[[Metric, dict[str, Any], float], None], histogram: Callable[[Histogram], None]
    ) -> None:
        stalls = dict.fromkeys(self._series, 0.0)
        for monitor, name in self._live.items():
            stalls[name] = max(stalls[name], monitor.stall())
        self._shown.update(name for name, stall in stalls.items() if stall > _LATE)
        for name, stall in stalls.items():
            if name != OTHER and name in self._shown:  # the stall of different loops would mean nothing
                add(catalog.EVENTLOOP_STALL, {Key.EVENTLOOP_NAME: name}, stall)
        for name, series in self._series.items():
            if name in self._shown:
                histogram(series)


class _Ticks(abc.ABC):
    """One run of ticks on one loop."""

    @abc.abstractmethod
    def begin(self, tick: Callable[[], bool], interval: float, ended: Callable[[], None]) -> None:
        """Call ``tick`` every ``interval`` seconds until it returns False; ``ended`` if the loop ends before that."""

    @abc.abstractmethod
    def end(self) -> None:
        """Stop the ticks. From any thread."""

    @abc.abstractmethod
    def loop(self) -> Any:
        """The loop, or the token of the trio run."""

    @abc.abstractmethod
    def turning(self) -> bool:
        """Whether the loop is being run, so that a missing tick means that it is blocked."""

    @abc.abstractmethod
    def resumed(self) -> bool:
        """Whether the loop was stopped and run again since the last call. Called in a tick."""


class _AsyncioTicks(_Ticks):
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._timer: asyncio.TimerHandle | None = None
        self._hook = sys.get_asyncgen_hooks().firstiter

    def begin(self, tick: Callable[[], bool], interval: float, ended: Callable[[], None]) -> None:
        # In an empty context: a callback would otherwise keep the starter's context, with its span, for ever.
        context = contextvars.Context()

        def again() -> None:
            if tick():
                self._timer = self._loop.call_later(interval, again, context=context)

        self._timer = self._loop.call_later(interval, again, context=context)

    def end(self) -> None:
        # A timer may be cancelled only in the loop's thread; from another thread it runs once more and does nothing.
        if self._timer is not None and threading.get_ident() == self._thread:
            self._timer.cancel()
            self._timer = None

    def loop(self) -> Any:
        return self._loop

    def turning(self) -> bool:
        return self._loop.is_running()

    def resumed(self) -> bool:
        # Each run of a loop sets the hooks for asynchronous generators again, to newly bound methods.
        before, self._hook = self._hook, sys.get_asyncgen_hooks().firstiter
        return self._hook is not before


class _TrioTicks(_Ticks):
    def __init__(self) -> None:
        import trio

        self._trio = trio
        self._scope = trio.CancelScope()
        self._token = trio.lowlevel.current_trio_token()

    def begin(self, tick: Callable[[], bool], interval: float, ended: Callable[[], None]) -> None:
        async def ticking() -> None:
            try:
                with self._scope:
                    await self._trio.sleep(interval)
                    while tick():
                        await self._trio.sleep(interval)
            except Exception:
                # An error that leaves a system task would end trio.run.
                logger.exception("the event-loop monitor failed and has ended")
            finally:
                ended()

        self._trio.lowlevel.spawn_system_task(
            ticking, name="glasspool event-loop monitor", context=contextvars.Context()
        )

    def end(self) -> None:
        # Not cancelled directly: that would wake a run that has ended. (OSError: the run has broken down.)
        with contextlib.suppress(self._trio.RunFinishedError, OSError):
            self._token.run_sync_soon(self._scope.cancel)

    def loop(self) -> Any:
        return self._token

    def turning(self) -> bool:
        return True  # the system task ends with trio.run, and the monitor with it

    def resumed(self) -> bool:
        return False


def _ticks_here() -> _Ticks:
    trio = running_trio()
    if trio is not None and trio.in_trio_task():
        return _TrioTicks()
    try:
        return _AsyncioTicks(asyncio.get_running_loop())
    except RuntimeError:
        raise RuntimeError("no event loop runs in this thread; start the monitor from a coroutine") from None
