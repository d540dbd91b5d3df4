"""Performs the waits of tasks: enters them in the graph (waits.py), and refuses those that would hang for ever."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from glasspool.errors import NestedWait

from .interfaces import AGAIN
from .ledger import Ledger
from .task_state import Task
from .waits import WAITS, Wait, named

__all__ = ["WAY_OUT", "in_steps", "inside", "look_again", "refuse_chain", "waiting"]

T = TypeVar("T")

TURNS = 3
"""Loop turns after which a refusal must still hold: a waiter that was cancelled needs one or two until it is gone."""

WAY_OUT = (
    "Within a task call the function itself, without an executor; or return what is still to be done and let the code "
    "that waits outside of these tasks submit it"
)


async def waiting(wait: Wait, body: Callable[[], Awaitable[T]]) -> T:
    """Await ``body()``, which performs the wait. Raises NestedWait if it could, or would, hang for ever."""
    ledger = wait.key if isinstance(wait.key, Ledger) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if ledger is not None:
        ledger.watched += 1
    try:
        if WAITS.begin(wait):
            await _examine(wait)
        # Where the task has ended, its thread was left behind. The scope around that is cancelled and delivers this to
        # nobody any more: who asks anyio there whether he is cancelled waits for it for ever, on asyncio.
        with nullcontext() if wait.owner.completed is None else anyio.CancelScope(shield=True):
            return await body()
    finally:
        WAITS.end(wait)
        if ledger is not None:
            ledger.watched -= 1


async def in_steps(wait: Wait, step: Callable[[], Awaitable[Any]]) -> Any:
    """Await ``step()`` as often as it returns AGAIN; the wait is examined in between."""
    while (value := await step()) is AGAIN:
        await look_again(wait)
    return value


async def look_again(wait: Wait) -> None:
    """What the wait is for has changed: examine it anew."""
    if not wait.left_behind and WAITS.is_suspect(wait):
        await _examine(wait)


async def _examine(wait: Wait) -> None:
    if not wait.closing:
        await refuse_chain(wait)
    if WAITS.standstill(wait):
        for _ in range(TURNS):
            await checkpoint()
        if story := WAITS.standstill(wait):
            raise NestedWait(f"{inside(wait.what, wait.owner)} would hang for ever: {story}. {WAY_OUT}")


async def refuse_chain(wait: Wait) -> None:
    """Raise NestedWait if the wait closes a chain."""
    owner, host, key = wait.owner, wait.host, wait.key
    if not WAITS.chain(owner, host, key):
        return
    for _ in range(TURNS):
        await checkpoint()
    chain = WAITS.chain(owner, host, key)
    if not chain:
        return
    if key is host:
        what = "its own executor, which waits for all tasks"
    elif key is owner:
        what = "itself"
    else:
        what = repr(host.name) if owner.host is not host else named(chain[0])
    raise NestedWait(
        f"{inside(wait.what, owner)} would close a circle of waits, which could hang for ever: "
        f"{' waits for '.join(map(named, chain))}, which would wait for {what}. {WAY_OUT}"
    )


def inside(what: str, owner: Task) -> str:
    """The call and the task within which it is made, for a message."""
    return f"{what} inside task {owner.name!r} of executor {owner.host.name!r}"
