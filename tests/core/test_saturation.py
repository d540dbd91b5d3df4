"""An executor with waiting tasks counts as saturated, also while a slot changes hands or the loop is busy."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest

from glasspool import HybridExecutor
from glasspool.telemetry import catalog
from glasspool.telemetry.recording.registry import REGISTRY
from glasspool.telemetry.recording.snapshot_queries import total

from .support import Gate, echo, until

pytestmark = pytest.mark.anyio

SLOTS = 4
USERS = 40  # so many that some wait even while those of two loop turns work on what they got


class Share:
    """How much of an executor's slots was in use between two readings, by its time counters."""

    def __init__(self, name: str) -> None:
        self._labels = {catalog.Key.EXECUTOR_NAME: name}
        self._begun = REGISTRY.collect()

    def read(self) -> tuple[float, float]:
        """Mean slots in use, and the share of the time at the limit, from the first reading to now."""
        now = REGISTRY.collect()

        def grown(metric: catalog.Metric) -> float:
            return total(now, metric, self._labels) - total(self._begun, metric, self._labels)

        passed = grown(catalog.EXECUTOR_TIME)  # of the same instants as the others
        return grown(catalog.SLOT_TIME) / passed, grown(catalog.SLOT_SATURATED_TIME) / passed


def work_on_the_loop(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@pytest.mark.parametrize("milliseconds", [0, 3])
@pytest.mark.parametrize("runner", ["coroutine", "thread", "futures"])
async def test_a_crowd(runner: str, milliseconds: int, request: pytest.FixtureRequest) -> None:
    name = request.node.name
    results = 0
    stop = False
    pool = ThreadPoolExecutor(SLOTS) if runner == "futures" else None
    usages: set[float] = set()

    def look() -> None:
        while not stop:
            usages.add(total(REGISTRY.collect(), catalog.SLOT_USAGE, {catalog.Key.EXECUTOR_NAME: name}))

    async def user() -> None:
        nonlocal results
        while not stop:
            if runner == "coroutine":
                await executor.run(echo, 1)
            else:
                await executor.run(abs, 1, runner=pool or "thread")
            results += 1
            work_on_the_loop(milliseconds / 1000)

    async with HybridExecutor(name, max_in_flight=SLOTS, max_queued=None) as executor:
        async with anyio.create_task_group() as group:
            for _ in range(USERS):
                group.start_soon(user)
            await until(lambda: results > 20)
            share, reader = Share(name), threading.Thread(target=look)
            reader.start()
            await until(lambda: results > 200 and usages)
            found = share.read()
            stop = True
            reader.join()
    if pool is not None:
        pool.shutdown()
    assert found == pytest.approx((SLOTS, 1), rel=1e-6)
    assert usages == {SLOTS}


async def test_slots_that_are_added_are_used_at_once(request: pytest.FixtureRequest) -> None:
    """Not all of their tasks begin in one loop turn; the slots are theirs all the same."""
    name, gate, tasks = request.node.name, Gate(), 300
    async with HybridExecutor(name, max_in_flight=1, max_queued=None) as executor:
        for number in range(tasks):
            executor.submit_nowait(gate.hold, number)
        await until(lambda: gate.started)
        executor.resize(200)
        share = Share(name)
        while len(gate.started) < 200:
            work_on_the_loop(0.002)
            assert total(REGISTRY.collect(), catalog.SLOT_USAGE, {catalog.Key.EXECUTOR_NAME: name}) == 200
            await anyio.sleep(0)
        assert share.read() == pytest.approx((200, 1), rel=1e-6)
        gate.open()


async def test_the_slot_of_an_abandoned_thread(request: pytest.FixtureRequest) -> None:
    name = request.node.name
    go, gate = threading.Event(), Gate()
    running, ended = threading.Event(), threading.Event()

    def block() -> None:
        running.set()
        assert go.wait(60)
        ended.set()

    async with HybridExecutor(name, max_in_flight=1) as executor:
        left = executor.submit_nowait(block)
        await until(running.is_set)
        waiting = executor.submit_nowait(gate.hold)
        share = Share(name)
        left.cancel()
        go.set()
        assert ended.wait(60)  # with the loop held up: it learns of it later
        work_on_the_loop(0.01)
        await until(lambda: gate.started)
        found = share.read()
        gate.open()
        await waiting
    assert found == pytest.approx((1, 1), rel=1e-6)
