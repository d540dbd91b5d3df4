"""Limits on the number of Python calls per task, of ours and of OpenTelemetry's, which are the same on every machine,
unlike the time."""

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
from tests.telemetry.support import run_python

PACKAGE = str(Path(glasspool.__file__).parent)
TASKS = 2_000


async def work(number: int) -> int:
    await checkpoint()
    return number


@pytest.mark.parametrize(
    ("backend", "isolate", "most"),
    [("asyncio", True, 38.5), ("trio", True, 38), ("asyncio", False, 41.5), ("trio", False, 46)],
)
def test_a_task_costs_so_many_calls_of_ours(backend: str, isolate: bool, most: float) -> None:
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE):
            calls[code.co_name] += 1

    async def run() -> None:
        async with HybridExecutor("counted", max_in_flight=64, isolate=isolate) as executor:
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


PROGRAM = """
import os, sys, threading
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
import anyio, glasspool, glasspool_instrumentation, opentelemetry.sdk
from anyio.lowlevel import checkpoint
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult, BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from glasspool import HybridExecutor
from glasspool_instrumentation import wrap_executor

TASKS, ROUNDS = 500, 3
telemetry, backend = sys.argv[1:]

class Drop(SpanExporter):
    def export(self, spans):
        return SpanExportResult.SUCCESS

if telemetry != "none":
    metrics.set_meter_provider(MeterProvider([reader := InMemoryMetricReader()]))
if telemetry in ("sampled out", "traced"):
    provider = TracerProvider(sampler=ALWAYS_ON if telemetry == "traced" else ALWAYS_OFF)
    # It exports at the end: what an exporter reads is not on a task's path.
    provider.add_span_processor(
        BatchSpanProcessor(Drop(), max_queue_size=10**6, max_export_batch_size=10**6, schedule_delay_millis=10**7)
    )
    trace.set_tracer_provider(provider)

ours = tuple(os.path.dirname(package.__file__) for package in (glasspool, glasspool_instrumentation))
theirs = os.path.dirname(opentelemetry.sdk.__path__[0])
calls = Counter()

def count(frame, event, _argument):
    if event == "call":
        file = frame.f_code.co_filename
        if file.startswith(ours):
            calls["ours", frame.f_code.co_name] += 1
        elif file.startswith(theirs):
            calls["theirs", frame.f_code.co_name] += 1

# How often a thread wakes another one depends on the machine: of several rounds the one with the fewest calls counts.
class Rounds:
    def __init__(self, path):
        self.path = path
        self.found = []

    def __iter__(self):
        for _ in range(ROUNDS):
            calls.clear()
            sys.setprofile(count)
            yield
            sys.setprofile(None)
            self.found.append(calls.copy())
        for whose in ("ours", "theirs"):
            least = min((only(found, whose) for found in self.found), key=lambda each: sum(each.values()))
            worst = ", ".join(f"{name} {number / TASKS:.1f}" for name, number in least.most_common(12))
            print("cost", self.path, whose, round(sum(least.values()) / TASKS, 1), worst)

def only(found, whose):
    return Counter({name: number for (who, name), number in found.items() if who == whose})

def nothing(number=0):
    return number

async def work(number):
    await checkpoint()
    return number

async def native():
    threading.setprofile(count)  # in the threads that start from here on
    async with HybridExecutor("counted", max_in_flight=64) as executor:
        for path, function in (("coroutine", work), ("thread", nothing)):
            async for _ in executor.as_completed(function, range(200)):
                pass  # what is made once is made
            for _ in Rounds(path):
                async for _ in executor.as_completed(function, range(TASKS)):
                    pass

anyio.run(native, backend=backend)

with wrap_executor(ThreadPoolExecutor(2), "wrapped") as pool, trace.get_tracer("t").start_as_current_span("request"):
    for future in [pool.submit(nothing) for _ in range(200)]:
        future.result()
    for _ in Rounds("pool"):
        for future in [pool.submit(nothing) for _ in range(TASKS)]:
            future.result()

# In this process: those of the threads that send calls and receive results.
with wrap_executor(ProcessPoolExecutor(2), "sent") as pool, trace.get_tracer("t").start_as_current_span("request"):
    for future in [pool.submit(os.path.normcase, "") for _ in range(200)]:
        future.result()
    for _ in Rounds("processes"):
        for future in [pool.submit(os.path.normcase, "") for _ in range(TASKS)]:
            future.result()
"""

OURS: dict[tuple[str, str], float] = {
    ("coroutine", "none"): 40, ("thread", "none"): 66, ("pool", "none"): 12.5, ("processes", "none"): 23.5,
    ("coroutine", "metrics"): 40, ("thread", "metrics"): 66, ("pool", "metrics"): 12.5, ("processes", "metrics"): 23.5,
    ("coroutine", "sampled out"): 54, ("thread", "sampled out"): 80, ("pool", "sampled out"): 12.5,
    ("processes", "sampled out"): 23.5,
    ("coroutine", "traced"): 69, ("thread", "traced"): 95, ("pool", "traced"): 42, ("processes", "traced"): 53,
}  # fmt: skip
"""Of our own functions, at most so many calls per task."""

THEIRS: dict[tuple[str, str], float] = {
    ("coroutine", "none"): 0, ("thread", "none"): 0, ("pool", "none"): 3.5, ("processes", "none"): 2.5,
    ("coroutine", "metrics"): 0, ("thread", "metrics"): 0, ("pool", "metrics"): 3.5, ("processes", "metrics"): 2.5,
    ("coroutine", "sampled out"): 9, ("thread", "sampled out"): 9, ("pool", "sampled out"): 3.5,
    ("processes", "sampled out"): 2.5,
    ("coroutine", "traced"): 28, ("thread", "traced"): 28, ("pool", "traced"): 24.5, ("processes", "traced"): 41,
}  # fmt: skip
"""The same of OpenTelemetry's. Metrics through its SDK add none; those of a pool carry the caller's context."""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("telemetry", ["none", "metrics", "sampled out", "traced"])
def test_observing_costs_so_many_calls(telemetry: str, backend: str) -> None:
    seen = 0
    for line in run_python(PROGRAM, telemetry, backend).lines("cost"):
        path, whose, number, *worst = line.split(" ", 3)
        most = (OURS if whose == "ours" else THEIRS)[path, telemetry]
        assert float(number) <= most, f"{path}: {number} calls of {whose} a task: {worst}"
        seen += 1
    assert seen == 8
