"""Automatic event-loop monitors: one for each loop in which executors are open or that an instrumentor watches.

Without ``configure()`` or an instrumentor a loop has no series until it was late. If the application has started a
monitor of the loop itself, there is no second one. Nothing here keeps a loop or an executor alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

from glasspool._foreign.asyncio_ import running_loop
from glasspool._foreign.trio_ import running_trio

from . import eventloop
from .eventloop import EventLoopMonitor

__all__ = ["current", "executor_opened", "forget", "instrumented", "release", "watch_executors"]


def current() -> Any:
    """The loop, or the token of the trio run, of this thread; None when there is none."""
    trio = running_trio()
    return running_loop() if trio is None else trio.current_trio_token()


def watch_executors(on: bool) -> None:
    """Whether loops with open executors are watched and shown from now on. From any thread."""
    global _executors_wanted, _quiet
    _executors_wanted, _quiet = on, False
    with _lock:
        known = list(_loops.values())
    for loop in known:
        loop.settle_soon()


def executor_opened() -> Callable[[], None]:
    """Note an open executor on the caller's loop. Call the result, from any thread, when the executor is closed."""
    loop = _of(current())
    token = object()
    loop.executors.add(token)
    loop.settle()
    return functools.partial(loop.executor_closed, token)


def instrumented(key: Any) -> bool:
    """Watch ``key``, the caller's loop, for an instrumentor. False: the loop does not run yet; call this again."""
    loop = _of(key)
    loop.instrumented = True
    return loop.settle()


def release(key: Any) -> None:
    """Stop watching this loop for an instrumentor. From any thread."""
    with _lock:
        loop = _loops.get(key)
    if loop is not None:
        loop.instrumented = False
        loop.stop_unwanted()


def forget(key: Any) -> None:
    """This loop has ended."""
    with _lock:
        loop = _loops.pop(key, None)
    if loop is not None:
        loop.stop()


class _Loop:
    """The reasons to watch one loop, and its monitor."""

    def __init__(self, key: Any) -> None:
        self.executors: set[object] = set()
        self.instrumented = False
        self._key = weakref.ref(key)
        self._library = "asyncio" if isinstance(key, asyncio.AbstractEventLoop) else "trio"
        self._in_real_time = _in_real_time(key)
        # Weak, since the monitor refers to its loop; the loop's timer, or trio's system task, keeps the monitor.
        self._monitor: weakref.ref[EventLoopMonitor] | None = None

    def settle(self) -> bool:
        """Start or stop the monitor as needed, in the thread of the loop. False: it could not start yet."""
        if self.stop_unwanted():
            return True
        quiet = _quiet and not self.instrumented
        running = self.monitor()
        if running is not None:
            if running.quiet and not quiet:
                running.show()
            return True
        monitor = EventLoopMonitor(self._library, quiet=quiet)
        self._monitor = weakref.ref(monitor)
        try:
            monitor.start()
        except RuntimeError:
            self._monitor = None  # trio has not begun to run tasks
            return False
        self.stop_unwanted()  # the last executor may have been collected in another thread meanwhile
        return True

    def settle_soon(self) -> None:
        """Settle in the thread of the loop. From any thread."""
        key = self._key()
        if key is None:
            return
        if key is current():
            self.settle()
        elif isinstance(key, asyncio.AbstractEventLoop):
            with contextlib.suppress(RuntimeError):  # closed
                key.call_soon_threadsafe(self.settle, context=contextvars.Context())
        else:
            with contextlib.suppress(RuntimeError, OSError):  # trio.RunFinishedError is a RuntimeError
                key.run_sync_soon(self.settle)

    def executor_closed(self, token: object) -> None:
        """The executor of this token is closed. From any thread; idempotent."""
        self.executors.discard(token)
        self.stop_unwanted()

    def monitor(self) -> EventLoopMonitor | None:
        """The monitor that was started here, while it runs."""
        monitor = self._monitor() if self._monitor is not None else None
        return monitor if monitor is not None and monitor.running else None

    def stop_unwanted(self) -> bool:
        """Stop the monitor unless it is needed. Returns whether it is not needed. From any thread."""
        if self._wanted():
            return False
        self.stop()
        return True

    def stop(self) -> None:
        """Stop the monitor. From any thread."""
        monitor, self._monitor = self.monitor(), None
        if monitor is not None:
            monitor.stop()

    def _wanted(self) -> bool:
        if not self._in_real_time or not (self.instrumented or (_executors_wanted and self.executors)):
            return False
        own = self._monitor() if self._monitor is not None else None
        return all(other is own for other in eventloop.running_on(self._key()))


def _of(key: Any) -> _Loop:
    with _lock:
        loop = _loops.get(key)
        if loop is None:
            loop = _loops[key] = _Loop(key)
        return loop


def _in_real_time(key: Any) -> bool:
    # The clock of a test may jump from deadline to deadline (trio's MockClock, a loop with a time() of its own): it
    # would stop at each tick of a monitor.
    if isinstance(key, asyncio.BaseEventLoop):
        return type(key).time is asyncio.BaseEventLoop.time
    if isinstance(key, asyncio.AbstractEventLoop):
        return True
    trio = running_trio()
    return trio is None or type(trio.current_clock()).__module__.startswith("trio._core")


def _changed(key: Any) -> None:
    with _lock:
        loop = _loops.get(key)
    if loop is not None:
        loop.settle_soon()


def _forked() -> None:
    global _lock
    _lock = threading.RLock()
    _loops.clear()


_lock = threading.RLock()  # a garbage collection within it may end an executor
_loops: weakref.WeakKeyDictionary[Any, _Loop] = weakref.WeakKeyDictionary()  # by loop or trio token
_executors_wanted = _quiet = True  # until configure() changes it
eventloop.on_change.append(_changed)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
