"""An event-loop monitor for every loop that the instrumentors meet; one per loop, whoever of them meets it."""

from __future__ import annotations

import asyncio
import sys
import weakref
from asyncio import base_events
from typing import Any

from glasspool.telemetry.eventloop import EventLoopMonitor

from .layers import submitting
from .patching import Patch, Patches

__all__ = ["loop_classes", "release", "use", "watch"]

_users: set[object] = set()
_monitors: weakref.WeakKeyDictionary[Any, EventLoopMonitor] = weakref.WeakKeyDictionary()  # by loop or trio token


def loop_classes() -> list[type]:
    """asyncio's loop class, and uvloop's if that is installed."""
    found: list[type] = [base_events.BaseEventLoop]
    try:
        import uvloop
    except ImportError:
        return found
    return [*found, uvloop.Loop]


def use(user: object) -> None:
    """Loops are watched from now on, as long as somebody uses this."""
    _patches.put_on(user)
    _users.add(user)


def release(user: object) -> None:
    """``user`` needs the monitors no longer; the last one stops them."""
    _users.discard(user)
    _patches.take_off(user)
    if not _users:
        for monitor in list(_monitors.values()):
            monitor.stop()
        _monitors.clear()


def watch() -> None:
    """Watch the loop that runs in this thread, if that is wanted and not done yet."""
    if not _users:
        return
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        loop, name = trio.lowlevel.current_trio_token(), "trio"
    else:
        loop, name = asyncio._get_running_loop(), "asyncio"
    if loop is None or loop in _monitors:
        return
    monitor = EventLoopMonitor(name)
    inside = submitting.inside
    submitting.inside = True  # the monitor's own task is no task of the application
    try:
        monitor.start()
    except RuntimeError:
        return  # the loop does not turn yet: the next task finds it turning
    finally:
        submitting.inside = inside
    _monitors[loop] = monitor


def _close(patch: Patch, original: Any) -> Any:
    def close(self: Any) -> None:
        monitor = _monitors.pop(self, None)
        if monitor is not None:
            monitor.stop()
        original(self)

    return close


_patches = Patches(lambda: [Patch(loop, "close", _close) for loop in loop_classes()])
