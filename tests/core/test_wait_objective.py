"""A declared wait objective: late starts are counted exactly; executors without one have no such series."""

from __future__ import annotations

import anyio
import pytest

from glasspool import HybridExecutor
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.recording.registry import REGISTRY

from .support import Gate, forever, turns

pytestmark = pytest.mark.anyio


def figure(metric: catalog.Metric, executor: str) -> float | None:
    """The executor's one series of this metric; None when there is none."""
    points = REGISTRY.collect().points.get(metric.name, ())
    found = [point.value for point in points if point.attributes[Key.EXECUTOR_NAME] == executor]
    assert len(found) <= 1
    return found[0] if found else None


async def test_tasks_that_wait_longer_are_late(request):
    name = request.node.name
    gate = Gate()
    async with HybridExecutor(name, max_in_flight=1, wait_objective=1e-9) as executor:
        assert figure(catalog.QUEUE_WAIT_OBJECTIVE, name) == 1e-9
        assert figure(catalog.QUEUE_WAIT_LATE, name) == 0
        for _ in range(3):
            executor.submit_nowait(gate.hold)
        gate.open()
    assert figure(catalog.QUEUE_WAIT_LATE, name) == 3
    assert figure(catalog.QUEUE_WAIT_OBJECTIVE, name) is None, "closed"


async def test_tasks_that_start_within_it_are_not(request):
    name = request.node.name
    gate = Gate()
    async with HybridExecutor(name, max_in_flight=1, wait_objective=3600) as executor:
        for _ in range(3):
            executor.submit_nowait(gate.hold)
        gate.open()
    assert figure(catalog.QUEUE_WAIT_LATE, name) == 0


async def test_a_deadline_that_passes_in_the_queue_is_late_and_a_cancelled_wait_is_not(request):
    name = request.node.name
    async with HybridExecutor(name, max_in_flight=1, wait_objective=3600) as executor:
        running = executor.submit_nowait(forever)
        await turns(3)
        late = executor.submit_nowait(forever, deadline=anyio.current_time())
        left = executor.submit_nowait(forever)
        assert (await late.outcome()).outcome == "timeout"
        left.cancel()
        running.cancel()
    assert figure(catalog.QUEUE_WAIT_LATE, name) == 1


async def test_without_one_there_is_nothing(request):
    name = request.node.name
    gate = Gate()
    async with HybridExecutor(name, max_in_flight=1) as executor:
        for _ in range(3):
            executor.submit_nowait(gate.hold)
        gate.open()
        assert figure(catalog.QUEUE_WAIT_OBJECTIVE, name) is None
    assert figure(catalog.QUEUE_WAIT_LATE, name) is None
