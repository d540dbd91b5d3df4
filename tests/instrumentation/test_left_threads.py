"""A thread that ends in the moment in which its call is given up: at each line of the loop's, one by one."""

from __future__ import annotations

import functools
import sys
import threading
from types import FrameType
from typing import Any

import anyio
import pytest

import glasspool_instrumentation as gi
from glasspool.telemetry import catalog
from glasspool_instrumentation import limiters, observed
from glasspool_instrumentation.limiters import _Threaded

from . import work
from .test_limiters import LIBRARIES, until
from .work import LIMIT, value

TRACED = {limiters.__file__, observed.__file__}
PAUSE = 0.05
"""Seconds that the loop stands still for the thread, which may have to wait for a lock that the loop holds."""


@pytest.mark.parametrize("kind", LIBRARIES)
def test_no_thread_stays_abandoned_wherever_it_ends(kind: str) -> None:
    gi.AnyioInstrumentor().instrument(monitor=False)
    gi.TrioInstrumentor().instrument(monitor=False)
    switch = 1
    while LIBRARIES[kind].run(functools.partial(_end_at, kind, switch)):
        switch += 1
    assert switch > 10


async def _end_at(kind: str, switch: int) -> bool:
    """Whether the thread has ended before the call was given up."""
    name = f"left {kind} {switch % 9}"
    limiter = gi.name_limiter(LIBRARIES[kind].make(1), name)
    started, go, ended = threading.Event(), threading.Event(), threading.Event()
    lines, calls = 0, value(catalog.TASK_COMPLETED, name)

    def blocked() -> None:
        sys.setprofile(watch)
        started.set()
        assert go.wait(LIMIT)

    def watch(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "return" and frame.f_code is _Threaded.__call__.__code__:
            sys.setprofile(None)
            ended.set()

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal lines
        if frame.f_code.co_filename not in TRACED:
            return None
        if event == "line":
            lines += 1
            if lines == switch:
                go.set()
                ended.wait(PAUSE)
        return trace

    before = sys.gettrace()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(
                functools.partial(LIBRARIES[kind].in_thread, blocked, limiter=limiter, abandon_on_cancel=True)
            )
            await until(started.is_set)
            sys.settrace(trace)
            group.cancel_scope.cancel()
    finally:
        sys.settrace(before)
        go.set()
    await until(lambda: value(catalog.TASK_ABANDONED, name) == 0)
    assert value(catalog.TASK_ACTIVE, name) == 0
    assert value(catalog.TASK_COMPLETED, name) == calls + 1
    work.until(ended.is_set, "the thread to end")
    assert value(catalog.TASK_ABANDONED, name) == 0
    return lines >= switch
