"""References to a task that has ended: which objects its context, handle, outcome or error keep alive."""

from __future__ import annotations

import contextvars
import gc
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import anyio
import pytest

from glasspool import HybridExecutor

from .support import PATIENCE, turns, until
from .test_references import CARRIED, Thing, Watched

pytestmark = pytest.mark.anyio

ENDINGS = ("succeeds", "fails", "cancelled", "out of time")
CALL = {"argument", "function"}
MAY_LIVE: dict[str, dict[str, set[str]]] = {
    # What it set itself is in its context, and nothing else of it.
    "context": {ending: {"set by the task"} for ending in ENDINGS},
    "handle": {
        "succeeds": {"task", "result", *CALL},
        "fails": {"task", "error", "local", *CALL},
        "cancelled": {"task", *CALL},
        "out of time": {"task", *CALL},
    },
    "outcome": {
        "succeeds": {"result", *CALL},
        "fails": {"error", "local", *CALL},
        "cancelled": CALL,
        "out of time": CALL,
    },
    # The frames in its traceback hold the argument and the locals, and from Python 3.11 on the function.
    "error": {"succeeds": set(), "fails": {"error", "local", *CALL}, "cancelled": set(), "out of time": set()},
    "nobody": {ending: set() for ending in ENDINGS},
}
"""The table of docs/semantics.md: by who holds on and how the task ended."""


class Keeper(Watched):
    """A task that leaves a copy of its context behind, as a background task or a pooled connection does."""

    def __init__(self, ending: str, kind: str, kept: list[Any] | None) -> None:
        super().__init__(ending, kind)
        self._kept = kept

    def begin(self) -> Any:
        local = super().begin()
        if self._kept is not None:
            self._kept.append(contextvars.copy_context())
        return local


@pytest.mark.parametrize("holder", MAY_LIVE)
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", ["loop", "thread", "pool", "inline"])
@pytest.mark.parametrize("traced", [False, True])
async def test_what_is_alive(kind, ending, holder, traced, request):
    if kind == "inline" and ending in ("cancelled", "out of time"):
        pytest.skip("nothing can ask it to end while it runs")
    if traced:
        request.getfixturevalue("sdk")
    kept: list[Any] = []
    watched = Keeper(ending, kind, kept if holder == "context" else None)
    may = MAY_LIVE[holder][ending]
    options: dict[str, Any] = {"timeout": 0.01} if ending == "out of time" else {}
    gc.disable()
    try:
        with ThreadPoolExecutor(1) if kind == "pool" else nullcontext() as pool:
            if kind != "loop":
                options["runner"] = pool or kind
            async with HybridExecutor("holders", max_in_flight=1) as executor:
                handle: Any = await executor.submit(watched.function(), watched.see("argument", Thing()), **options)
                if ending == "cancelled":
                    await until(watched.started.is_set)
                    handle.cancel()
                outcome: Any = await handle.outcome()
                kept.append({"handle": handle, "outcome": outcome, "error": outcome.error}.get(holder))
                del handle, outcome
                watched.release.set()
                await turns(5)
                with anyio.move_on_after(PATIENCE if kind in ("thread", "pool") else 0):
                    while not set(watched.alive) <= may:
                        await anyio.sleep(0.001)  # a thread may take a moment to come to rest
                assert set(watched.alive) <= may
    finally:
        watched.release.set()
        gc.enable()
    assert CARRIED.get(None) is None
