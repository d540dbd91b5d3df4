"""What a real collector and a real store have received of an application's SDK is the same whether glasspool hands it
whole histograms and spans of its own, or records one by one and has the SDK make the spans."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.telemetry.support import clean_environment

from .application import TASKS
from .collectors import Received, collector
from .stores import victoria_metrics
from .support import Series, wait_for


def varies(attribute: str) -> bool:
    """Whether its values differ from run to run."""
    return "duration" in attribute or attribute in {"glasspool.task.id", "glasspool.queue.size", "thread.id"}


def run(directory: Path, backend: str, *arguments: str) -> tuple[Received, Series]:
    directory.mkdir()
    with collector(directory) as receiver, victoria_metrics(directory) as store:
        env = {
            "TRACES": f"{receiver.http}/v1/traces",
            "METRICS": f"{receiver.http}/v1/metrics",
            "STORE": store.otlp,
        }
        command = [sys.executable, "-m", "tests.backends.application", backend, *arguments]
        done = subprocess.run(command, env=clean_environment(**env), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr

        def arrived() -> Received | None:
            found = receiver.received()
            whole = len(found.spans) == TASKS + 1 and found.points
            return found if whole and found.points == receiver.received().points else None

        received = wait_for(arrived, "export")
        wait_for(lambda: store.series().keys() >= received.series().keys(), "series in the store")
        return received, store.series()


def spans(received: Received) -> Counter[tuple[Any, ...]]:
    """What is the same in every run, of all spans of tasks."""
    ids = {span["Trace ID"] for span in received.spans}
    assert len(ids) == 1, "all tasks are in the request's trace"
    return Counter(
        (
            span["Name"],
            span["Status code"],
            span["Parent ID"] != "",
            tuple(sorted((key, "" if varies(key) else value) for key, value in span["attributes"].items())),
        )
        for span in received.spans
    )


def figures(series: Series) -> Series:
    """Counters and counts, without those of times and of buckets, which differ from run to run."""
    return {
        key: value
        for key, value in series.items()
        if not key[0].endswith(("_seconds_sum", "_seconds_bucket", "_seconds_total", "_age_seconds", "_stall_seconds"))
        and "eventloop" not in key[0]
    }


def of_tasks(series: Series) -> set[object]:
    """Every series but those of the event loop, which depend on when it is looked at."""
    return {key for key in series if "eventloop" not in key[0]}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_fast_and_the_slow_way_tell_the_same(tmp_path: Path, backend: str):
    fast, fast_store = run(tmp_path / "fast", backend)
    slow, slow_store = run(tmp_path / "slow", backend, "wrapped")
    assert spans(fast) == spans(slow)
    assert figures(fast.series()) == figures(slow.series())
    assert figures(fast_store) == figures(slow_store)
    assert of_tasks(fast.series()) == of_tasks(slow.series())
    assert of_tasks(fast_store) == of_tasks(slow_store)
    exemplars = [{key for key, point in each.points.items() if point["traces"]} for each in (fast, slow)]
    assert exemplars[0] == exemplars[1]
    assert exemplars[0]
