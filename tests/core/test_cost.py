"""Limits on the number of Python calls per task, which is the same on every machine, unlike the time."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import glasspool
from glasspool import HybridExecutor

PACKAGE = str(Path(glasspool.__file__).parent)
TASKS = 2_000


async def work(number: int) -> int:
    await checkpoint()
    return number


@pytest.mark.parametrize(("backend", "most"), [("asyncio", 40), ("trio", 38)])
def test_a_task_costs_so_many_calls_of_ours(backend: str, most: int) -> None:
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE):
            calls[code.co_name] += 1

    async def run() -> None:
        async with HybridExecutor("counted", max_in_flight=64) as executor:
            async for _ in executor.as_completed(work, range(100)):
                pass  # what is made once is made
            sys.setprofile(count)
            try:
                async for _ in executor.as_completed(work, range(TASKS)):
                    pass
            finally:
                sys.setprofile(None)

    anyio.run(run, backend=backend)
    per_task = sum(calls.values()) / TASKS
    worst = ", ".join(f"{name} {number / TASKS:.1f}" for name, number in calls.most_common(12))
    assert per_task <= most, f"{per_task:.1f} calls a task: {worst}"
