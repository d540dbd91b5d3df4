"""Helpers that pass hostile objects to an executor, and check that it still works."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from anyio.lowlevel import checkpoint

from glasspool import HybridExecutor

from .support import conserved, echo, until

RUNNERS = ("coroutine", "inline", "thread", "pool")


def on(runner: str, pool: Executor, work: Callable[..., Any]) -> tuple[Any, dict[str, Any]]:
    """What to submit to have ``work`` done by this runner."""
    if runner != "coroutine":
        return work, {"runner": pool if runner == "pool" else runner}

    async def on_the_loop(*arguments: Any) -> Any:
        await checkpoint()
        return work(*arguments)

    return on_the_loop, {}


async def still_works(executor: HybridExecutor, handles: list[Any]) -> None:
    """Its only slot is free, and its account is right."""
    handles.append(await executor.submit(echo, "next"))
    assert await handles[-1] == "next"
    await until(lambda: executor.stats().slots_used == 0)
    conserved(executor, handles)
