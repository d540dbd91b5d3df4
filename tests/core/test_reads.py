"""The cost of public reads does not depend on how many tasks have ended, or on where they ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from glasspool import HybridExecutor
from glasspool._core.ledger import Ledger
from glasspool.telemetry.recording.ages import oldest_ages
from glasspool.telemetry.recording.ending import Ending
from glasspool.telemetry.recording.recorder import Recorder
from glasspool.telemetry.recording.registry import Registry
from glasspool.telemetry.recording.shape import Shape

from .support import echo, forever

PASSED = 100_000
"""Behind so many that have left, a search for the first one takes a hundred times as long as the rest of a reading."""


def best(read: Callable[[], Any]) -> float:
    """Seconds that it takes when nothing disturbs it."""
    found = []
    for _ in range(300):
        since = time.perf_counter()
        read()
        found.append(time.perf_counter() - since)
    return min(found)


def queued(recorder: Recorder) -> Callable[[], object]:
    task = recorder.task("t", "inline")
    recorder.accept(task, queued=True)
    return lambda: recorder.settle(task, Ending.cancelled(""), assigned=False)


def active(recorder: Recorder) -> Callable[[], object]:
    task = recorder.task("t", "inline")
    recorder.accept(task, queued=False)
    return lambda: recorder.succeed(task)


def pending(recorder: Recorder) -> Callable[[], object]:
    producer = object()
    recorder.record.producer_blocked(producer)
    return lambda: recorder.record.producer_released(producer)


@pytest.mark.parametrize("come", [queued, active, pending])
def test_the_oldest_is_found_however_many_have_left_before_it(come: Callable[[Recorder], Callable[[], object]]) -> None:
    registry = Registry()
    shape = Shape(runners=("inline",), queue=True, submit=True, slots=True)
    recorder = Recorder("mail", "hybrid", shape, limit=1, registry=registry).open()
    come(recorder)
    ages, collect = best(lambda: oldest_ages(recorder.record)), best(registry.collect)
    recorder = Recorder("mail", "hybrid", shape, limit=1, registry=(registry := Registry())).open()
    for leave in [come(recorder) for _ in range(PASSED)]:
        leave()
    come(recorder)
    assert best(lambda: oldest_ages(recorder.record)) < 10 * ages
    assert best(registry.collect) < 10 * collect


def test_a_wait_finds_an_outstanding_task_however_many_have_left_before_it() -> None:
    ledger, tasks = Ledger[Any](), [cast("Any", object()) for _ in range(PASSED)]

    def first() -> object:
        return next(iter(ledger.needs_one(cast("Any", None), 0)[1]))

    ledger.accepted(tasks[0])
    before = best(first)
    for task in tasks[1:]:
        ledger.accepted(task)
    for task in tasks[:-1]:
        ledger.completed(task)
        ledger.ready.clear()
    assert first() is tasks[-1]
    assert best(first) < 10 * before


@pytest.mark.anyio
async def test_stats_cost_the_same_after_many_tasks_have_left_the_queue() -> None:
    async with HybridExecutor("read", max_in_flight=1, max_queued=None) as executor:
        await executor.submit(forever)
        before = best(executor.stats)
        for handle in [executor.submit_nowait(echo, number) for number in range(PASSED)]:
            handle.cancel()
        executor.submit_nowait(echo, 1)
        assert best(executor.stats) < 5 * before
        await executor.shutdown(grace=0)
