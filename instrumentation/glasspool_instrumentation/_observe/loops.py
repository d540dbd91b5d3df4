"""The event loops that instrumentors find: starts one monitor for each, and notices the end of loops."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from glasspool._foreign.trio_ import running_trio
from glasspool._recorded_calls import recording
from glasspool.telemetry import loop_monitors
from glasspool.telemetry.loop_monitors import current
from glasspool_instrumentation._patch.patching import Patch, Patches

__all__ = ["at_end", "current", "ended", "release", "use", "watch", "watched"]

_users: set[object] = set()
_watchers: set[object] = set()  # users that want monitors
_callbacks: list[Callable[[Any], None]] = []
_watched: dict[int, tuple[weakref.ref[Any], weakref.ref[Any] | None]] = {}
"""Loops and trio tokens by identity; with a token the root of its tasks. A plain dict is copied in one step."""


def use(user: object, *, monitor: bool) -> None:
    """Turn ``user`` on: from now on the ends of loops are noticed and, with ``monitor``, the loops are watched."""
    _patches.put_on(user)
    _users.add(user)
    if monitor:
        _watchers.add(user)


def release(user: object) -> None:
    """Turn ``user`` off; the last user of the monitors stops them."""
    _users.discard(user)
    _watchers.discard(user)
    _patches.take_off(user)
    if not _watchers:
        for loop, _ in watched():
            loop_monitors.release(loop)
        _watched.clear()


def at_end(callback: Callable[[Any], None]) -> None:
    """Call ``callback`` with every loop (or trio token) that has ended."""
    _callbacks.append(callback)


def ended(loop: Any) -> None:
    """This loop or trio run has ended."""
    _watched.pop(id(loop), None)
    loop_monitors.forget(loop)
    for callback in _callbacks:
        callback(loop)


def watch() -> None:
    """Watch the loop that runs in this thread, if that is wanted and not done yet."""
    if not _watchers:
        return
    loop = current()
    if loop is None:
        return
    key = id(loop)
    known = _watched.get(key)
    if known is not None and known[0]() is loop:
        return
    with recording():  # the monitor's own task is no task of the application
        if loop_monitors.instrumented(loop):
            trio = running_trio()
            root = None if trio is None else weakref.ref(trio.current_root_task())
            _watched[key] = weakref.ref(loop, lambda _: _watched.pop(key, None)), root


def watched() -> list[tuple[Any, Any]]:
    """The loops that are watched, each with the root of its tasks, if it is trio's. From any thread."""
    found = [(loop(), None if root is None else root()) for loop, root in list(_watched.values())]
    return [(loop, root) for loop, root in found if loop is not None]


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
