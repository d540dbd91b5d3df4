"""The number of series of a HybridExecutor, and that counters exist before their first event."""

from __future__ import annotations

import logging
import threading

import anyio
import prometheus_client
import pytest

from glasspool import ExecutorClosed, HybridExecutor, QueueFull, TaskTimeout
from glasspool.telemetry import catalog, prometheus
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.recording.registry import REGISTRY
from glasspool.testing import run_out_of_time

from .support import Gate, cancelled_once_blocked, echo, fail, forever, until

pytestmark = pytest.mark.anyio

PROMISED = 110
"""Series of a HybridExecutor with two task names, as docs/metrics.md says."""


async def one() -> None:
    pass


async def two() -> None:
    pass


def in_a_thread() -> None:
    pass


def scraped() -> list[str]:
    """Every series that a scrape shows, the process's own included."""
    client = prometheus_client.CollectorRegistry()
    prometheus.register(client)
    return [line for line in prometheus_client.generate_latest(client).decode().splitlines() if line[0] != "#"]


@pytest.mark.parametrize("second", [two, in_a_thread])
async def test_a_plain_executor_of_two_task_names_costs_what_the_docs_promise(second):
    async with HybridExecutor("plain", max_in_flight=2) as executor:
        await executor.run(one)
        await executor.run(second)
        found = scraped()
    assert sum(line.startswith("glasspool_task_duration_seconds_count") for line in found) == 2
    assert len(found) <= PROMISED


def counters() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every counter of this process and its value, but for those whose error type is the name of an exception."""
    found = {}
    for name, points in REGISTRY.collect().points.items():
        for point in points:
            error = point.attributes.get(Key.TASK_OUTCOME) == "error"
            if catalog.BY_NAME[name].kind == "counter" and not error:
                found[name, frozenset(point.attributes.items())] = point.value
    return found


async def test_every_counter_is_there_at_0_before_it_counts():
    """The whole of what can happen to an executor and its tasks: nothing of it makes a series."""
    gate = Gate()
    begun, go = threading.Event(), threading.Event()

    def stuck():
        begun.set()
        assert go.wait(60)

    def broken(_event):
        raise RuntimeError("an observer that fails, on purpose")

    async with HybridExecutor("all", max_in_flight=2, max_queued=1, observers=[broken]) as executor:
        at_open = counters()
        assert not any(value for (name, _), value in at_open.items() if name.startswith("glasspool.task"))
        await executor.run(one)
        await executor.run(in_a_thread)
        for work in (fail, fail):
            await (await executor.submit(work, ValueError())).outcome()
        late = await executor.submit(stuck, timeout=1000)
        await until(begun.is_set)
        run_out_of_time(late)
        await late.outcome()
        go.set()
        await until(lambda: executor.stats().slots_used == 0)
        running, other, queued = [await executor.submit(gate.hold) for _ in range(3)]
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(QueueFull):
            executor.submit_nowait(one)
        with pytest.raises(TaskTimeout):
            await executor.submit(one, deadline=anyio.current_time() - 1)
        async with cancelled_once_blocked():
            await executor.submit(one)
        queued.cancel()
        running.cancel()
        await running.outcome()
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(executor.run, forever)
                group.start_soon(executor.run, forever)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        other.cancel()
        await executor.submit(forever)
        await executor.submit(forever)
        await executor.submit(forever)
        await executor.shutdown(grace=0)
        with pytest.raises(ExecutorClosed):
            await executor.submit(one)
    for reason in ("parent_scope", "deadline"):
        with anyio.CancelScope() as scope:
            async with HybridExecutor("all", max_in_flight=1) as executor:
                await executor.submit(forever)
                await executor.submit(forever)
                await anyio.wait_all_tasks_blocked()
                if reason == "deadline":
                    scope.deadline = anyio.current_time()
                else:
                    scope.cancel()
                await anyio.sleep_forever()
    with pytest.raises(KeyboardInterrupt):
        async with HybridExecutor("all", max_in_flight=2) as executor:
            await executor.submit(forever)
            await executor.submit(fail, KeyboardInterrupt())
            await executor.submit(forever)
            await anyio.sleep_forever()
    now = counters()
    assert set(now) == set(at_open)
    silent = {labels for (name, labels), value in now.items() if name == catalog.TASK_CANCELLATIONS.name and not value}
    assert {dict(labels)[Key.CANCEL_REASON] for labels in silent} <= {"unknown"}
    assert all(value for (name, _), value in now.items() if name == catalog.TASK_REJECTED.name)


@pytest.mark.parametrize("how", ["pile", "escalate"])
async def test_a_cancellation_by_a_sibling_is_there_at_0_from_when_it_can_happen(how):
    def siblings():
        return {
            dict(labels)[Key.TASK_PHASE]: value
            for (_, labels), value in counters().items()
            if dict(labels).get(Key.CANCEL_REASON) == "sibling_failure"
        }

    async def fail_at(when):
        await when.wait()
        raise ValueError("first")

    go = anyio.Event()
    if how == "escalate":
        with pytest.raises(BaseException) as caught:  # a group, whose class differs between versions of Python
            async with HybridExecutor("siblings", max_in_flight=2, on_error="escalate") as executor:
                assert siblings() == {"queued": 0, "running": 0}
                await executor.submit(fail_at, go)
                await executor.submit(forever)
                await executor.submit(forever)
                await anyio.wait_all_tasks_blocked()
                go.set()
                await anyio.sleep_forever()
        assert [str(error) for error in caught.value.exceptions] == ["first"]
    else:
        async with HybridExecutor("siblings", max_in_flight=2) as executor:
            assert siblings() == {}
            async with executor.pile() as pile:
                await pile.include(one)
            assert siblings() == {}
            async with executor.pile(fail_fast=True) as pile:
                assert siblings() == {"queued": 0, "running": 0}
                await pile.include(fail_at, go)
                await pile.include(forever)
                await pile.include(forever)
                await anyio.wait_all_tasks_blocked()
                go.set()
    assert siblings() == {"queued": 1, "running": 1}


async def test_histograms_and_gauges_of_what_is_rare_appear_with_their_first_event():
    def shown():
        found = REGISTRY.collect()
        histograms = {
            (name, outcome)
            for name, points in found.histograms.items()
            for point in points
            for outcome in [point.attributes.get(Key.QUEUE_OUTCOME) or point.attributes.get(Key.SHUTDOWN_OUTCOME)]
        }
        return histograms | {(name, None) for name in found.points}

    started = (catalog.QUEUE_WAIT.name, "started")
    gate = Gate()
    async with HybridExecutor("rare", max_in_flight=1, max_queued=1) as executor:
        before = shown()
        assert {found for found in before if found[0] in (catalog.QUEUE_WAIT.name, catalog.SHUTDOWN_DURATION.name)} == {
            started
        }
        for absent in (catalog.SUBMIT_WAIT, catalog.SUBMIT_PENDING, catalog.TASK_ABANDONED, catalog.WORKER_COUNT):
            assert (absent.name, None) not in before
        await executor.submit(gate.hold)
        queued = await executor.submit(echo, 1)
        async with anyio.create_task_group() as group:
            group.start_soon(executor.submit, echo, 2)
            await anyio.wait_all_tasks_blocked()
            assert (catalog.SUBMIT_PENDING.name, None) in shown()
            assert (catalog.SUBMIT_WAIT.name, None) not in shown()
            queued.cancel()
        assert shown() - before >= {(catalog.SUBMIT_WAIT.name, None), (catalog.QUEUE_WAIT.name, "cancelled")}
        gate.open()
        await executor.run(in_a_thread)
        assert (catalog.WORKER_COUNT.name, None) in shown()
    assert (catalog.SHUTDOWN_DURATION.name, "drained") in shown()
    assert (catalog.SHUTDOWN_DURATION.name, "cut") not in shown()


async def open_and_close(name: str) -> None:
    async with HybridExecutor(name, max_in_flight=1) as executor:
        await executor.run(one)
        await (await executor.submit(fail, ValueError())).outcome()


async def test_all_names_up_to_the_cap_are_shown_and_what_comes_later_is_said_once(caplog):
    cap = REGISTRY.budget.names
    assert cap == 200
    with caplog.at_level(logging.WARNING, "glasspool"):
        for number in range(cap):
            await open_and_close(f"tenant-{number}")
        about_names = [record for record in caplog.records if "names" in record.getMessage()]
        assert about_names == []
        for number in range(cap, cap + 20):
            await open_and_close(f"tenant-{number}")
    found = REGISTRY.collect()
    names = [point.attributes[Key.EXECUTOR_NAME] for point in found.points[catalog.TASK_SUBMITTED.name]]
    assert sorted(names) == sorted([f"tenant-{number}" for number in range(cap)] + [catalog.OTHER])
    submitted = {p.attributes[Key.EXECUTOR_NAME]: p.value for p in found.points[catalog.TASK_SUBMITTED.name]}
    assert submitted[catalog.OTHER] == 2 * 20
    assert submitted["tenant-0"] == submitted[f"tenant-{cap - 1}"] == 2
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([text for text in said if "200 names" in text]) == 1
    assert len(said) == len(set(said))
    assert len(said) <= 2, "one line about names, one about the room for series"
    failures = {
        point.attributes[Key.FAILURE_KIND]: point.value
        for point in found.points[catalog.TELEMETRY_FAILURES.name]
        if point.attributes[Key.EXECUTOR_NAME] == catalog.PROCESS
    }
    assert failures["name_cap"] == 20


async def test_a_hundred_executors_of_different_names_are_all_shown_with_everything(caplog):
    with caplog.at_level(logging.WARNING, "glasspool"):
        for number in range(100):
            await open_and_close(f"tenant-{number}")
    assert caplog.records == []
    found = REGISTRY.collect()
    for points in (*found.points.values(), *found.histograms.values()):
        # Those of event loops have no such attribute, and an earlier test's loop may still be watched.
        assert catalog.OTHER not in {point.attributes.get(Key.EXECUTOR_NAME) for point in points}
    for metric in (catalog.TASK_DURATION, catalog.SHUTDOWN_DURATION):
        assert len({point.attributes[Key.EXECUTOR_NAME] for point in found.histograms[metric.name]}) == 100
