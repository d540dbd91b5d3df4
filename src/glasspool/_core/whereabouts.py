"""Where the tasks of an executor are now, for readings: their coroutines, or their threads."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

from glasspool.telemetry.recording.places import Left, Place, Places

from .runners.exiting import running
from .task_state import Task

__all__ = ["places_of"]


def places_of(executor: str, active: Collection[Task]) -> Places:
    """Those of these tasks, and of the calls that this executor has left behind. From any thread."""
    threads = {number: call for call, number in list(running.items()) if call.executor == executor}
    tasks: dict[Any, Place] = {}
    for task in list(active):
        call = threads.pop(task.record.id, None)
        tasks[task.record] = Place(None, call.thread) if call is not None else Place(_coroutine(task.native))
    now = time.monotonic()
    # A task may have ended between the two looks; one that was left in its thread is no longer active.
    left = [Left(number, call.task, now - call.since, Place(None, call.thread)) for number, call in threads.items()]
    return Places(tasks, left)


def _coroutine(native: Any) -> Any:
    """The coroutine of a task of asyncio or trio."""
    if native is None:  # its first step is still to come
        return None
    get = getattr(native, "get_coro", None)
    return getattr(native, "coro", None) if get is None else get()
