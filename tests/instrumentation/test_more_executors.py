"""Executors around executors, as more-executors makes them: they retry, map, poll, throttle and time out."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import sysconfig
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor
from contextvars import copy_context
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer

import glasspool_instrumentation as gi
from glasspool.telemetry import catalog

from . import work
from .work import LIMIT, outcomes, value

more_executors = pytest.importorskip("more_executors")

CALLS = 4


def _policy(sleep: float) -> Any:
    return more_executors.ExceptionRetryPolicy(max_attempts=3, sleep=sleep, max_sleep=sleep)


def _give(descriptors: list[Any]) -> None:
    for descriptor in descriptors:
        descriptor.yield_result(descriptor.result)


LAYERS: dict[str, Callable[[Any], Any]] = {
    "retry": lambda base: base.with_retry(retry_policy=_policy(0.001)),
    "map": lambda base: base.with_map(lambda number: number),
    "flat map": lambda base: base.with_flat_map(more_executors.f_return),
    "timeout": lambda base: base.with_timeout(LIMIT),
    "throttle": lambda base: base.with_throttle(1),
    "poll": lambda base: base.with_poll(_give, 0.001),
    "cancel on shutdown": lambda base: base.with_cancel_on_shutdown(),
    "several": lambda base: (
        base.with_retry(retry_policy=_policy(0.001)).with_map(lambda number: number).with_timeout(9)
    ),
}


class Flaky:
    """A function whose first two runs with each argument fail."""

    def __init__(self) -> None:
        self._runs: Counter[int] = Counter()
        self._lock = threading.Lock()

    def __call__(self, number: int) -> int:
        with self._lock:
            self._runs[number] += 1
            if self._runs[number] < 3:
                raise OSError(number)
        return 2 * number


def _calls(pool: Executor, way: str, function: Callable[[int], int]) -> list[int]:
    if way == "submit":
        return [future.result(LIMIT) for future in [pool.submit(function, number) for number in range(CALLS)]]
    if way == "map":
        return list(pool.map(function, range(CALLS)))

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        return list(await asyncio.gather(*(loop.run_in_executor(pool, function, number) for number in range(CALLS))))

    return asyncio.run(main())


@pytest.mark.parametrize("how", ["wrapped", "patched", "wrapped and patched"])
@pytest.mark.parametrize("way", ["submit", "map", "run_in_executor"])
@pytest.mark.parametrize("layer", LAYERS)
def test_each_layer_gives_its_results_and_each_call_is_one_task(layer: str, way: str, how: str) -> None:
    if "patched" in how:
        gi.instrument()
    pool = LAYERS[layer](more_executors.Executors.thread_pool(max_workers=2))
    if "wrapped" in how:
        gi.wrap_executor(pool, "pool")
    retries = layer in ("retry", "several")
    with pool:
        assert _calls(pool, way, Flaky() if retries else work.add) == [
            2 * number if retries else number + 1 for number in range(CALLS)
        ]
    if "wrapped" in how:
        assert outcomes("pool") == {"success": CALLS}
    elif way == "run_in_executor":  # the loop's call is the outermost that is seen
        assert outcomes(__name__) == {"success": CALLS}


def test_what_fails_to_the_last_is_one_error() -> None:
    pool = gi.wrap_executor(LAYERS["retry"](more_executors.Executors.thread_pool(max_workers=1)), "pool")
    with pool, pytest.raises(KeyError):
        pool.submit(work.fail, "x").result(LIMIT)
    assert outcomes("pool") == {"error": 1}
    assert value(catalog.TASK_COMPLETED, "pool", error_type="KeyError") == 1


def test_a_call_that_is_cancelled_between_two_attempts_was_running() -> None:
    base = more_executors.Executors.thread_pool(max_workers=1)
    pool = gi.wrap_executor(base.with_retry(retry_policy=_policy(3600)), "pool")
    failed = threading.Event()

    def fail() -> None:
        failed.set()
        raise OSError

    with pool:
        future = pool.submit(fail)
        assert failed.wait(LIMIT)
        work.until(future.cancel, "the attempt to be over")
        with pytest.raises(CancelledError):
            future.result(LIMIT)
    assert outcomes("pool") == {"cancelled": 1}
    assert value(catalog.TASK_CANCELLATIONS, "pool", cancel_reason="explicit", task_phase="running") == 1
    assert value(catalog.TASK_ACTIVE, "pool") == 0


@pytest.mark.parametrize("packed", [False, True])
def test_later_attempts_are_in_the_trace_of_the_call(
    packed: bool, tracer: Tracer, spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    flaky = Flaky()

    def attempt() -> int:
        with tracer.start_as_current_span("attempt"):
            return flaky(1)

    pool = gi.wrap_executor(LAYERS["retry"](more_executors.Executors.thread_pool(max_workers=1)), "pool")
    with tracer.start_as_current_span("request"), pool:
        future = pool.submit(copy_context().run, attempt) if packed else pool.submit(attempt)
        assert future.result(LIMIT) == 2
    ended = spans.get_finished_spans()
    (task,) = [span for span in ended if span.name.startswith("pool ")]
    attempts = [span for span in ended if span.name == "attempt"]
    assert task.context is not None
    assert [span.parent and span.parent.span_id for span in attempts] == [task.context.span_id] * 3
    assert task.status.is_ok or task.status.is_unset
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]


class Raising(work.Inline):
    """Runs its calls in submit(), which their errors leave."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        future = super().submit(fn, *args, **kwargs)
        future.result()
        return future


@pytest.mark.parametrize("raised", [KeyError, KeyboardInterrupt])
def test_an_error_that_leaves_submit_is_the_end_of_the_call(raised: type[BaseException]) -> None:
    def fail() -> None:
        raise raised

    with gi.wrap_executor(Raising(), "pool") as pool, pytest.raises(raised):
        pool.submit(fail)
    assert outcomes("pool") == {"error": 1}
    assert value(catalog.TASK_ACTIVE, "pool") == value(catalog.QUEUE_SIZE, "pool") == 0


PROGRAM = """
import asyncio, sys
sys.path.insert(0, {tests!r})
from tests.instrumentation import test_more_executors as here

pool = here.LAYERS["several"](here.more_executors.Executors.thread_pool(max_workers=2))
with pool:
    print(here._calls(pool, "run_in_executor", here.Flaky()), here.outcomes("__main__"), here.outcomes(here.__name__))
"""


def test_in_zero_code() -> None:
    command = [os.path.join(sysconfig.get_path("scripts"), "opentelemetry-instrument"), sys.executable, "-c"]
    tests = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    env = {**os.environ, "OTEL_METRICS_EXPORTER": "none", "OTEL_TRACES_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    ran = subprocess.run(
        [*command, PROGRAM.format(tests=tests)], env=env, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == f"{[2 * number for number in range(CALLS)]} {{}} {{'success': {CALLS}}}"


def test_a_pool_has_the_name_that_its_user_gave_or_that_of_the_user() -> None:
    gi.instrument()
    pools = more_executors.Executors
    with pools.thread_pool(1) as unnamed, pools.thread_pool(1, name="etl") as named:
        unnamed.submit(work.add, 1).result(LIMIT)
        named.submit(work.add, 1).result(LIMIT)
    assert {name for name, _ in work.executors()} == {__name__, "ThreadPoolExecutor-etl"}


def test_a_call_given_up_by_a_layer_was_queued() -> None:
    gi.instrument()
    release = threading.Event()
    with gi.wrap_executor(more_executors.Executors.thread_pool(1), "inner").with_timeout(0.001) as pool:
        held = pool.submit(release.wait, LIMIT)
        given_up = pool.submit(work.add, 1)
        work.until(given_up.cancelled, "the time out")
        release.set()
        assert held.result(LIMIT) is True
    assert outcomes("inner") == {"success": 1, "cancelled": 1}
