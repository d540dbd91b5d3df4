"""Observers: what they are told of a task's context, and that they may call whatever can be called from outside."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from glasspool import HybridExecutor
from glasspool.telemetry.observers import TaskEvent

from .support import run_out_of_time

pytestmark = pytest.mark.anyio

STATE: ContextVar[str] = ContextVar("state", default="unset")


async def succeed() -> None:
    STATE.set("set by the task")
    await checkpoint()


async def fail() -> None:
    await succeed()
    raise LookupError


async def hang() -> None:
    await succeed()
    await anyio.sleep_forever()


@pytest.mark.parametrize(
    ("work", "outcome"), [(succeed, "success"), (fail, "error"), (hang, "timeout"), (hang, "cancelled")]
)
async def test_an_observer_sees_what_the_task_has_set(work: Callable[..., Any], outcome: str) -> None:
    seen = []

    def observe(event: TaskEvent) -> None:
        assert event.context is not None
        seen.append((event.kind, event.context.get(STATE), event.context.run(STATE.get), event.outcome))

    async with HybridExecutor("observed", max_in_flight=1, observers=[observe]) as executor:
        STATE.set("set by the submitter")
        handle = await executor.submit(work, timeout=1e6 if outcome == "timeout" else None)
        await anyio.wait_all_tasks_blocked()
        if outcome == "timeout":
            run_out_of_time(handle)
        elif outcome == "cancelled":
            handle.cancel()
        await handle.outcome()
    before, after = ["set by the submitter"] * 2, ["set by the task"] * 2
    assert seen == [("submitted", *before, ""), ("started", *before, ""), ("settled", *after, outcome)]
