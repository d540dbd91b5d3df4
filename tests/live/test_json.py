"""What /live.json and /tasks.json say, against what the executor itself says, on every backend."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from glasspool import HybridExecutor
from glasspool.telemetry.eventloop import monitor_event_loop
from glasspool.telemetry.live.answers import Live
from glasspool.telemetry.live.report import report
from glasspool.telemetry.live.tasks import MOST

from .support import executor_in

pytestmark = pytest.mark.anyio

_numbers = itertools.count()
HOSTILE = '"><img src=x onerror=alert(1)>\u2028'


@pytest.fixture
def name() -> str:
    """Of an executor that no other test has: counters live on."""
    return f"json-{next(_numbers)}"


@pytest.fixture
def live() -> Iterator[Live]:
    made = Live()
    yield made
    made.close()


def asked(live: Live, path: str, query: str = "") -> dict[str, Any]:
    answer = live.answer("GET", path, query)
    assert answer.status == "200 OK", answer.body
    found: dict[str, Any] = json.loads(answer.body)
    assert found["version"] == 1
    assert abs(found["at"] - time.time()) < 60
    return found


async def fail() -> None:
    raise LookupError


async def outer(entered: anyio.Event) -> None:
    secret = "a value that nobody may see"
    await inner(entered)
    print(secret)


async def inner(entered: anyio.Event) -> None:
    entered.set()
    await anyio.sleep_forever()


def waits(released: threading.Event) -> None:
    released.wait()


async def test_the_figures_are_those_of_stats(live: Live, name: str) -> None:
    async with HybridExecutor(name, max_in_flight=2, max_queued=3) as executor:
        for _ in range(7):
            await executor.run(anyio.lowlevel.checkpoint)
        with pytest.raises(LookupError):
            await executor.run(fail)
        running = [await executor.submit(anyio.sleep_forever) for _ in range(4)]
        await anyio.sleep(0.05)  # the first two begin
        shown = executor_in(asked(live, "/live.json"), name)
        stats = executor.stats()
        assert (shown["slots"]["used"], shown["slots"]["limit"]) == (stats.slots_used, stats.slots_limit) == (2, 2)
        assert (shown["queue"]["size"], shown["queue"]["capacity"]) == (stats.queued, 3) == (2, 3)
        totals = shown["totals"]
        assert (totals["submitted"], totals["succeeded"], totals["errors"]) == (12, 7, 1)
        assert totals["submitted"] == stats.submitted
        assert totals["started"] == 10
        assert shown["recent"]["window"] is None  # the first look: all figures are since the executor was opened
        assert shown["recent"]["per_second"] is None
        assert shown["recent"]["run"]["count"] == 8
        for handle in running:
            handle.cancel()
        await anyio.sleep(0.6)
        later = executor_in(asked(live, "/live.json"), name)
        assert later["totals"]["cancellations"] == 4
        assert later["recent"]["counts"]["finished"] == 4
        window = later["recent"]["window"]
        assert window > 0.5
        assert later["recent"]["per_second"]["cancellations"] == pytest.approx(4 / window)


async def test_one_executor_has_its_history(live: Live, name: str) -> None:
    async with HybridExecutor(name, max_in_flight=2) as executor:
        await executor.run(anyio.lowlevel.checkpoint)
        asked(live, "/live.json")
        with pytest.raises(LookupError):
            await executor.run(fail)
        await anyio.sleep(2.5)
        history = asked(live, "/live.json", f"name={name}&type=hybrid&process=0")["history"]
        assert len(history["age"]) >= 2
        assert history["age"] == sorted(history["age"], reverse=True)
        (failed,) = [
            each for each in history["series"]
            if each["metric"] == "glasspool.task.completed" and each["attributes"]["glasspool.task.outcome"] == "error"
        ]  # fmt: skip
        assert failed["attributes"]["error.type"] == "LookupError"
        assert (failed["values"][0], failed["values"][-1]) == (0, 1)
        assert all(len(each["values"]) == len(history["age"]) for each in history["series"])
        assert len(history["wait"]["p50"]) == len(history["run"]["p99"]) == len(history["age"])
        assert "history" not in asked(live, "/live.json", "name=nobody")


async def test_a_task_is_shown_with_the_stack_of_its_coroutine(live: Live, name: str) -> None:
    async with HybridExecutor(name, max_in_flight=1, max_queued=2) as executor:
        entered = anyio.Event()
        handle = await executor.submit(outer, entered, name=HOSTILE)
        queued = await executor.submit(fail)
        await entered.wait()
        await anyio.sleep(0.05)
        answer = live.answer("GET", "/tasks.json", f"name={name}").body
        assert b"nobody may see" not in answer
        first, second = json.loads(answer)["tasks"]
        assert (first["state"], second["state"]) == ("active", "queued")
        assert first["name"] == '"><img src=x onerror=alert(1)> '
        assert first["age"] >= 0.04
        assert [frame["function"].rpartition(".")[2] for frame in first["stack"][:2]] == ["outer", "inner"]
        assert first["stack"][0]["file"] == __file__
        assert first["stack"][1]["line"] == inner.__code__.co_firstlineno + 2
        assert second["stack"] is None
        handle.cancel()
        queued.cancel()


async def test_a_task_in_a_thread_is_shown_with_its_stack_and_so_is_one_left_behind(live: Live, name: str) -> None:
    released = threading.Event()
    async with HybridExecutor(name, max_in_flight=2) as executor:
        handle = await executor.submit(waits, released, name="left")
        await executor.submit(waits, released, name="runs")
        try:
            while len([t for t in asked(live, "/tasks.json", f"name={name}")["tasks"] if t["stack"]]) < 2:
                await anyio.sleep(0.01)
            handle.cancel()
            await handle.outcome()
            left = runs = None
            for task in asked(live, "/tasks.json", f"name={name}")["tasks"]:
                runs, left = (task, left) if task["state"] == "active" else (runs, task)
            assert runs is not None
            assert left is not None
            assert (left["name"], left["state"]) == ("left", "abandoned")
            for task in (left, runs):
                assert task["thread"]["name"]
                assert task["stack"][0]["function"] == "waits"
            shown = executor_in(asked(live, "/live.json"), name)
            assert shown["abandoned"] == 1
            (said,) = [each for each in shown["warnings"] if each["runbook"] == "abandoned-threads"]
            assert said["text"] == "1 thread abandoned"
        finally:
            released.set()


async def test_a_blocked_loop_is_seen_from_another_thread_with_the_line_that_blocks_it(live: Live, name: str) -> None:
    found: list[dict[str, Any]] = []

    def look() -> None:
        time.sleep(0.5)
        found.append(asked(live, "/live.json"))
        found.append(asked(live, "/tasks.json", f"name={name}"))

    async def blocks() -> None:
        time.sleep(1.5)

    async with monitor_event_loop("blocked by a test"), HybridExecutor(name, max_in_flight=1) as executor:
        await anyio.sleep(0.2)
        thread = threading.Thread(target=look)
        thread.start()
        await executor.run(blocks)
        thread.join()
    figures, tasks = found
    (loop,) = [each for each in figures["loops"] if each["name"] == "blocked by a test"]
    assert 0.2 < loop["stall"] < 1.5
    (said,) = loop["warnings"]
    assert said["text"].startswith("loop blocked for ")
    assert said["runbook"] == "event-loop-blocked"
    (task,) = tasks["tasks"]
    assert task["thread"] is not None
    assert task["stack"][-1]["function"].endswith("blocks")
    assert task["stack"][-1]["line"] == blocks.__code__.co_firstlineno + 1


async def test_what_blocks_a_loop_is_listed_however_many_tasks_are_older(live: Live, name: str) -> None:
    reached, opened = threading.Event(), threading.Event()
    tasks: list[dict[str, Any]] = []
    text: list[str] = []

    def look() -> None:
        assert reached.wait(60)
        tasks.extend(asked(live, "/tasks.json", f"name={name}")["tasks"])
        text.append(report())
        opened.set()

    async def blocks() -> None:
        reached.set()
        opened.wait(60)

    thread = threading.Thread(target=look)
    async with HybridExecutor(name, max_in_flight=100) as executor:
        for _ in range(MOST + 10):
            await executor.submit(anyio.sleep_forever)
        await anyio.sleep(0.05)
        thread.start()
        await executor.run(blocks)
        thread.join()
        await executor.shutdown(grace=0)
    assert len(tasks) == MOST + 1
    assert tasks[-1]["name"].endswith("blocks")
    assert any(frame["function"].endswith("blocks") for frame in tasks[-1]["stack"])
    assert ".blocks' of executor" in text[0]
    assert "and more active tasks, which are younger" in text[0]
