"""A pool that cannot start a worker has nevertheless queued the call: it counts as a task, not as a rejection."""

from __future__ import annotations

import multiprocessing.process
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import anyio
import pytest

import glasspool_instrumentation as gi
from glasspool import HybridExecutor
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.recording.registry import REGISTRY

from . import work
from .work import LIMIT, executors, outcomes, until, value

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class OwnPool(ThreadPoolExecutor):
    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(fn, *args, **kwargs)


POOLS: dict[str, tuple[Callable[[], Executor], type]] = {
    "threads": (lambda: ThreadPoolExecutor(2, "pool"), threading.Thread),
    "a subclass": (lambda: OwnPool(2, "pool"), threading.Thread),
    "processes": (
        lambda: ProcessPoolExecutor(2, mp_context=get_context("fork")),
        multiprocessing.process.BaseProcess,
    ),
}
HOWS = {
    "wrapped": lambda pool: gi.wrap_executor(pool, "pool"),
    "patched": lambda pool: pool,
    "both": lambda pool: gi.wrap_executor(pool, "pool"),
}


def cannot_start(_: object) -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("kind", POOLS)
def test_what_is_queued_by_a_failing_submit_is_a_task(kind: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how != "wrapped":
        gi.FuturesInstrumentor().instrument()
    make, workers = POOLS[kind]
    with HOWS[how](make()) as pool:
        with monkeypatch.context() as patched:
            patched.setattr(workers, "start", cannot_start)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                pool.submit(work.add, 1)
        ((name, _),) = executors()
        assert value(catalog.TASK_SUBMITTED, name) == 1
        assert value(catalog.TASK_REJECTED, name) == 0
        assert value(catalog.QUEUE_SIZE, name) + value(catalog.TASK_ACTIVE, name) == 1  # a model of processes, in order
        assert pool.submit(work.add, 2).result(LIMIT) == 3
        until(lambda: outcomes(name) == {"success": 2}, "both calls")
        assert value(catalog.QUEUE_SIZE, name) == 0


def test_what_is_cancelled_by_the_shutdown_is_counted_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = gi.wrap_executor(ThreadPoolExecutor(2), "cut")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", cannot_start)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            pool.submit(work.add, 1)
    pool.shutdown(cancel_futures=True)
    assert outcomes("cut") == {"cancelled": 1}
    assert value(catalog.QUEUE_SIZE, "cut") == 0


@pytest.mark.parametrize("how", [*HOWS, "bare"])
@pytest.mark.parametrize("kind", POOLS)
def test_a_task_that_its_pool_has_queued_and_refused_does_not_run(
    kind: str, how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if how not in ("wrapped", "bare"):
        gi.FuturesInstrumentor().instrument()
    make, workers = POOLS[kind]
    pool = make() if how == "bare" else HOWS[how](make())

    async def main() -> None:
        async with HybridExecutor("tasks", max_in_flight=1) as executor:
            with monkeypatch.context() as patched:
                patched.setattr(workers, "start", cannot_start)
                with pytest.raises(RuntimeError, match="can't start new thread"):
                    await executor.run((tmp_path / "ran").touch, runner=pool)
            assert await executor.run(work.add, 2, runner=pool) == 3

    with pool:
        anyio.run(main)
    assert not (tmp_path / "ran").exists()
    assert outcomes("tasks") == {"success": 1, "error": 1}
    if how != "bare":
        points = REGISTRY.collect().points[catalog.WORKER_COUNT.name]
        assert sum(point.value for point in points if point.attributes[Key.WORKER_STATE] == "busy") == 0


def test_a_task_that_a_worker_took_from_a_failing_submit_is_waited_for() -> None:
    class Quick(ThreadPoolExecutor):
        """Its threads are there; only the next one cannot be started, when one of them has begun the call."""

        def _adjust_thread_count(self) -> None:
            super()._adjust_thread_count()
            if failing:
                assert begun.wait(LIMIT)
                cannot_start(self)

    failing, begun, release = False, threading.Event(), threading.Event()

    def held() -> str:
        begun.set()
        assert release.wait(LIMIT)
        return "done"

    async def main(pool: Executor) -> None:
        nonlocal failing
        async with HybridExecutor("tasks", max_in_flight=2) as executor:
            failing = True
            task = await executor.submit(held, runner=pool)
            await anyio.to_thread.run_sync(begun.wait)
            failing = False
            assert executor.stats().in_flight == 1
            assert value(catalog.WORKER_COUNT, "pool", worker_state="busy") == 1
            release.set()
            assert await task == "done"

    with gi.wrap_executor(Quick(2), "pool") as pool:
        anyio.run(main, pool)
    assert outcomes("tasks") == {"success": 1}
    assert value(catalog.WORKER_COUNT, "pool", worker_state="busy") == 0
