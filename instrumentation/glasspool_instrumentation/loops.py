"""The event loops that the instrumentors meet: a monitor for each, whoever meets it first, and their ends."""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Callable
from typing import Any

from glasspool.telemetry.eventloop import EventLoopMonitor

from .layers import submitting
from .patching import Patch, Patches

__all__ = ["at_end", "current", "ended", "release", "use", "watch"]

_users: set[object] = set()
_watchers: set[object] = set()  # users that want monitors
_callbacks: list[Callable[[Any], None]] = []
_monitors: weakref.WeakKeyDictionary[Any, EventLoopMonitor] = weakref.WeakKeyDictionary()  # by loop or trio token


def use(user: object, *, monitor: bool) -> None:
    """``user`` is on: the ends of loops are seen from now on, and with ``monitor`` the loops are watched."""
    _patches.put_on(user)
    _users.add(user)
    if monitor:
        _watchers.add(user)


def release(user: object) -> None:
    """``user`` is off; the last one that wanted monitors stops them."""
    _users.discard(user)
    _watchers.discard(user)
    _patches.take_off(user)
    if not _watchers:
        for monitor in list(_monitors.values()):
            monitor.stop()
        _monitors.clear()


def at_end(callback: Callable[[Any], None]) -> None:
    """Call ``callback`` with every loop (or trio token) that has ended."""
    _callbacks.append(callback)


def current() -> Any:
    """The loop, or the token of the trio run, of this thread; None when there is none."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return trio.lowlevel.current_trio_token()
    return asyncio._get_running_loop()


def ended(loop: Any) -> None:
    """This loop or trio run has ended."""
    monitor = _monitors.pop(loop, None)
    if monitor is not None:
        monitor.stop()
    for callback in _callbacks:
        callback(loop)


def watch() -> None:
    """Watch the loop that runs in this thread, if that is wanted and not done yet."""
    if not _watchers:
        return
    loop = current()
    if loop is None or loop in _monitors:
        return
    library = "asyncio" if isinstance(loop, asyncio.AbstractEventLoop) else "trio"
    if not _in_real_time(loop):
        return
    monitor = EventLoopMonitor(library)
    inside = submitting.inside
    submitting.inside = True  # the monitor's own task is no task of the application
    try:
        monitor.start()
    except RuntimeError:
        return  # the loop does not turn yet: the next task finds it turning
    finally:
        submitting.inside = inside
    _monitors[loop] = monitor


def _in_real_time(loop: Any) -> bool:
    # The clock of a test may jump from deadline to deadline (trio's MockClock, a loop with a time() of its own): it
    # would stop at each tick of a monitor.
    if isinstance(loop, asyncio.BaseEventLoop):
        return type(loop).time is asyncio.BaseEventLoop.time
    if isinstance(loop, asyncio.AbstractEventLoop):
        return True
    clock = sys.modules["trio"].lowlevel.current_clock()
    return type(clock).__module__.startswith("trio._core")


def _close(patch: Patch, original: Any) -> Any:
    def close(self: Any) -> None:
        if patch.active:
            ended(self)
        original(self)

    return close


_patches = Patches(
    {
        "asyncio.base_events": lambda module: [Patch(module.BaseEventLoop, "close", _close)],
        "uvloop": lambda module: [Patch(module.Loop, "close", _close)],
    }
)
