"""A thread that ends at the moment at which its call is abandoned: at each line of the loop's code."""

from __future__ import annotations

import functools
from contextlib import ExitStack

import anyio
import pytest

import glasspool_instrumentation as gi
from glasspool.telemetry import catalog
from glasspool_instrumentation._observe import limiter_calls, observation
from glasspool_instrumentation._observe.limiter_calls import ThreadedCall
from tests.switching import EndsAt

from . import work
from .test_limiters import LIBRARIES, until
from .work import value

TRACED = {limiter_calls.__file__, observation.__file__}


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
    thread, calls = EndsAt(switch, TRACED, {ThreadedCall.__call__.__code__}), value(catalog.TASK_COMPLETED, name)
    call = functools.partial(LIBRARIES[kind].in_thread, thread.blocked, limiter=limiter, abandon_on_cancel=True)
    with ExitStack() as stack:
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await until(thread.started.is_set)
            stack.enter_context(thread.tracing())
            group.cancel_scope.cancel()
    await until(lambda: value(catalog.TASK_ABANDONED, name) == 0)
    assert value(catalog.TASK_ACTIVE, name) == 0
    assert value(catalog.TASK_COMPLETED, name) == calls + 1
    work.until(thread.ended.is_set, "the thread to end")
    assert value(catalog.TASK_ABANDONED, name) == 0
    return thread.reached
