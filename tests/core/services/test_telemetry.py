"""What the metrics say of services: their states, restarts and times to readiness."""

from __future__ import annotations

import os
import sys

import anyio
import pytest

from glasspool import HybridExecutor
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import OTHER, Key
from glasspool.telemetry.recording.registry import REGISTRY
from glasspool.telemetry.recording.snapshot_queries import merged, total
from tests.core.policies.support import both, in_virtual_time
from tests.core.support import until

from .support import Log, at_once

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


def states(executor: str, service: str) -> dict[str, float]:
    """How many services of this name are in each state that has some."""
    labels = {Key.EXECUTOR_NAME: executor, Key.SERVICE_NAME: service}
    found = REGISTRY.collect()
    each = {s: total(found, catalog.SERVICE_STATE, {**labels, Key.SERVICE_STATE: s}) for s in catalog.SERVICE_STATES}
    return {state: count for state, count in each.items() if count}


def restarts(executor: str) -> dict[tuple[str, str | None], float]:
    """Restarts by name and type of error."""
    points = REGISTRY.collect().points.get(catalog.SERVICE_RESTARTS.name, [])
    return {
        (point.attributes[Key.SERVICE_NAME], point.attributes.get(Key.ERROR_TYPE)): point.value
        for point in points
        if point.attributes[Key.EXECUTOR_NAME] == executor
    }


@both
def test_states(backend):
    async def main():
        async def slow(*, task_status):
            await anyio.sleep(2)
            task_status.started()
            await crash.wait()
            raise ValueError

        crash, found = anyio.Event(), []
        async with HybridExecutor("states", max_in_flight=1) as executor, anyio.create_task_group() as group:

            async def start():
                await executor.start_service(slow, name="slow", restart="on_failure")

            group.start_soon(start)
            for seconds in (1, 2):  # starting, running
                await anyio.sleep(seconds)
                found.append(states("states", "slow"))
            crash.set()
            await anyio.sleep(0.05)
            found.append(states("states", "slow"))
            await anyio.sleep(1)
            found.append(states("states", "slow"))
            await executor.services[0].stop()
            found.append(states("states", "slow"))
        found.append(states("states", "slow"))
        return found

    assert in_virtual_time(backend, main) == [
        {"starting": 1}, {"running": 1}, {"backoff": 1}, {"starting": 1}, {"stopped": 1}, {}
    ]  # fmt: skip


@both
def test_restarts_and_readiness(backend):
    async def main():
        async def slow(*, task_status):
            starts.append(1)
            await anyio.sleep(2)
            task_status.started()
            await anyio.sleep(1)
            if len(starts) < 3:
                raise (KeyError, ValueError)[len(starts) - 1]
            if len(starts) > 3:
                await anyio.sleep_forever()

        starts = []
        async with HybridExecutor("restarts", max_in_flight=1) as executor:
            await executor.start_service(slow, name="slow", restart="always")
            before = restarts("restarts")
            await anyio.sleep(100)
        return before

    assert in_virtual_time(backend, main) == {("slow", None): 0}
    assert restarts("restarts") == {("slow", None): 1, ("slow", "KeyError"): 1, ("slow", "ValueError"): 1}
    labels = {Key.EXECUTOR_NAME: "restarts", Key.SERVICE_NAME: "slow"}
    ready = merged(REGISTRY.collect(), catalog.SERVICE_READY, labels)
    assert (ready.count, ready.sum) == (4, pytest.approx(8.0))


@pytest.mark.anyio
async def test_one_that_has_failed_stays_until_one_of_its_name_is_ready():
    log = Log()
    with pytest.raises(ExceptionGroup):
        async with HybridExecutor("failed", max_in_flight=1) as executor:
            await executor.start_service(log.crashing, ValueError(), name="consumer")
            log.crash.set()
            await anyio.sleep_forever()
    assert states("failed", "consumer") == {"failed": 1}
    async with HybridExecutor("failed", max_in_flight=1) as executor:
        assert states("failed", "consumer") == {"failed": 1}
        await executor.start_service(at_once, name="consumer")
        assert states("failed", "consumer") == {"running": 1}
    assert states("failed", "consumer") == {}


@pytest.mark.anyio
async def test_a_start_that_fails_is_its_callers_and_not_counted():
    async def fails(*, task_status):
        raise ValueError

    async with HybridExecutor("given up", max_in_flight=1) as executor:
        with pytest.raises(ValueError):
            await executor.start_service(fails, name="fails", restart="always")
        assert states("given up", "fails") == {}
    assert restarts("given up") == {("fails", None): 0}


@pytest.mark.anyio
async def test_an_executor_without_services_has_no_series_of_them():
    async with HybridExecutor("plain", max_in_flight=1):
        found = REGISTRY.collect()
    names = {metric.name for metric in catalog.ALL_METRICS if ".service." in metric.name}
    assert len(names) == 3
    assert not names & {*found.points, *found.histograms}


@pytest.mark.anyio
async def test_names_are_capped(caplog):
    async with HybridExecutor("capped", max_in_flight=1) as executor:
        for number in range(30):
            await executor.start_service(at_once, name=f"service {number}")
        assert states("capped", "service 24") == {"running": 1}
        assert states("capped", "service 25") == {}
        assert states("capped", OTHER) == {"running": 5}
        assert len(restarts("capped")) == 26
        await executor.services[-1].stop()
        assert states("capped", OTHER) == {"running": 4, "stopped": 1}
    assert states("capped", OTHER) == {}
    assert caplog.text.count("shows as many names of services as it may") == 1
    failures = total(
        REGISTRY.collect(), catalog.TELEMETRY_FAILURES,
        {Key.EXECUTOR_NAME: "capped", Key.FAILURE_KIND: "label_cap"},
    )  # fmt: skip
    assert failures >= 5


@pytest.mark.anyio
async def test_cancelled_tasks_are_counted_from_zero_for_a_service_that_may_end_everything():
    labels = {Key.EXECUTOR_NAME: "zero", Key.CANCEL_REASON: "sibling_failure"}

    def cancellations():
        points = REGISTRY.collect().points[catalog.TASK_CANCELLATIONS.name]
        return [point.value for point in points if labels.items() <= point.attributes.items()]

    async with HybridExecutor("zero", max_in_flight=1) as executor:
        assert cancellations() == []
        await executor.start_service(at_once)
        assert cancellations() == [0, 0]  # queued, running


@pytest.mark.anyio
async def test_opentelemetry_gets_them(sdk):
    log = Log()
    async with HybridExecutor("exported", max_in_flight=1) as executor:
        service = await executor.start_service(
            log.crashing, ValueError(), name="consumer", restart="on_failure", max_restarts=1
        )
        log.crash.set()
        await until(lambda: service.value > 1)
        running = sdk.points("glasspool.service.state", glasspool_service_state="running")
        assert [(point.attributes["glasspool.service.name"], point.value) for point in running] == [("consumer", 1)]
        restarted = sdk.points("glasspool.service.restarts", error_type="ValueError")
        assert [point.value for point in restarted] == [1]
        (ready,) = sdk.points("glasspool.service.ready.duration", glasspool_service_name="consumer")
        assert ready.count == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_forked_child_knows_no_services():
    async with HybridExecutor("forked", max_in_flight=1) as executor:
        await executor.start_service(at_once, name="consumer")
        child = os.fork()
        if child == 0:
            os._exit(int(bool(REGISTRY.collect().points.get(catalog.SERVICE_STATE.name))))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert states("forked", "consumer") == {"running": 1}
