"""Wrapped thread pools are on the page with the threads of their calls, found without a step of any call."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from glasspool.telemetry.live.tasks import tasks_here
from glasspool_instrumentation import wrap_executor
from tests.telemetry.support import LIMIT


def outermost(released: threading.Event) -> None:
    """A call with a second one inside."""
    innermost(released)


def innermost(released: threading.Event) -> None:
    """Where it waits."""
    released.wait()


def tasks_of(name: str) -> list[dict[str, Any]]:
    return tasks_here(0, lambda executor, kind: executor == name)


def test_calls_of_a_wrapped_pool_are_shown_with_their_stacks() -> None:
    released = threading.Event()
    with ThreadPoolExecutor(2) as own, ThreadPoolExecutor(1) as other:
        pool = wrap_executor(own, "wrapped live")
        wrap_executor(other, "wrapped beside").submit(outermost, released)
        for _ in range(3):
            pool.submit(outermost, released)
        try:
            limit = time.monotonic() + LIMIT
            while sum(task["stack"] is not None for task in tasks_of("wrapped live")) < 2:
                assert time.monotonic() < limit
                time.sleep(0.01)
            first, second, queued = tasks_of("wrapped live")
            for task in (first, second):
                assert task["state"] == "active"
                assert task["type"] == "thread_pool"
                assert [frame["function"] for frame in task["stack"][:2]] == ["outermost", "innermost"]
            assert first["thread"]["id"] != second["thread"]["id"]
            assert (queued["state"], queued["stack"]) == ("queued", None)
            (beside,) = tasks_of("wrapped beside")
            assert beside["thread"]["id"] not in (first["thread"]["id"], second["thread"]["id"])
        finally:
            released.set()
