"""A thread that ends at the moment at which its task abandons it: at each line of the loop's code."""

from __future__ import annotations

import concurrent.futures.thread
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import glasspool
from glasspool import HybridExecutor
from glasspool._core.runners.thread import ThreadCall
from glasspool._executor_block import block_of
from tests.switching import EndsAt

from .support import conserved, echo, until

pytestmark = pytest.mark.anyio

HERE = Path(glasspool.__file__).parent
TRACED = {
    str(HERE / "_core" / name) for name in ("engine.py", "task_body.py", "runners/thread.py", "runners/futures.py")
}
WORK_ITEM: Any = concurrent.futures.thread._WorkItem  # type: ignore[attr-defined]  # private: the last code a thread runs
LAST = {ThreadCall.__call__.__code__, WORK_ITEM.run.__code__}


@pytest.mark.parametrize("kind", ["thread", "futures"])
@pytest.mark.parametrize("observed", [False, True])
async def test_no_slot_is_lost_wherever_a_thread_ends(kind: str, observed: bool) -> None:
    switches, seen = 0, set()
    with ExitStack() as stack:
        runner: Any = stack.enter_context(ThreadPoolExecutor(1)) if kind == "futures" else "thread"
        while True:
            outcome = await _end_at(switches + 1, runner, observed)
            if not outcome:
                break
            switches += 1
            seen.add(outcome)
    assert switches > 30
    assert seen == {"success", "cancelled"}


async def _end_at(switch: int, runner: Any, observed: bool) -> str:
    """How the task has ended; empty if it had before so many lines had run."""
    thread = EndsAt(switch, TRACED, LAST)
    observers = [lambda event: None] if observed else []
    async with HybridExecutor("switch", max_in_flight=1, observers=observers) as executor:
        handle = await executor.submit(thread.blocked, runner=runner)
        await until(thread.started.is_set)
        with thread.tracing():
            handle.cancel()
            completed = await handle.outcome()
        slots = block_of(executor, "the test").engine.slots
        await until(lambda: slots.used == 0)
        assert conserved(executor, [handle]).slots_used == 0
        assert await executor.run(echo, 1) == 1
    return completed.outcome.value if thread.reached else ""
