"""Pools whose workers have died, could not start or were killed on purpose: their metrics, and the ends of their
calls."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import anyio
import pytest

import glasspool_instrumentation as gi
from glasspool import HybridExecutor
from glasspool.telemetry import catalog

from . import work
from .work import LIMIT, outcomes, value

loky = pytest.importorskip("loky")
joblib = pytest.importorskip("joblib")

pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:A worker stopped while some jobs were given:UserWarning"),
    pytest.mark.filterwarnings("ignore:.* tasks which were still being processed:UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # loky's own, of pipes
]


def _fail() -> None:
    raise ValueError("no worker for you")


def _processes(method: str, **options: Any) -> Callable[[], Executor]:
    return lambda: ProcessPoolExecutor(2, mp_context=get_context(method), **options)


def _loky(**options: Any) -> Callable[[], Executor]:
    return lambda: loky.ProcessPoolExecutor(2, **options)


INITIALIZERS: dict[str, Callable[[], Executor]] = {
    "threads": lambda: ThreadPoolExecutor(2, "pool", initializer=_fail),
    "forked": _processes("fork", initializer=_fail),
    "spawned": _processes("spawn", initializer=_fail),
    "loky": _loky(initializer=_fail),
}
KILLED: dict[str, Callable[[], Executor]] = {
    "forked": _processes("fork"),
    "spawned": _processes("spawn"),
    "loky": _loky(),
}
if hasattr(concurrent.futures, "InterpreterPoolExecutor"):
    INITIALIZERS["interpreters"] = lambda: concurrent.futures.InterpreterPoolExecutor(2, initializer=_fail)  # type: ignore[attr-defined,unused-ignore]  # from 3.14 on


@pytest.fixture(params=["wrapped", "patched", "both"])
def observed(request: pytest.FixtureRequest) -> Callable[[Executor], tuple[Executor, str]]:
    """Has a pool observed, and returns it and its name."""
    if request.param != "wrapped":
        gi.FuturesInstrumentor().instrument()
        gi.LokyInstrumentor().instrument()

    def observe(pool: Executor) -> tuple[Executor, str]:
        if request.param != "patched":
            return gi.wrap_executor(pool, "pool"), "pool"
        return pool, getattr(pool, "_thread_name_prefix", "") or __name__

    return observe


Observe = Callable[[Executor], "tuple[Executor, str]"]


def _workers(name: str) -> float:
    return value(catalog.WORKER_COUNT, name)


def _is_dead(name: str) -> None:
    work.until(lambda: _workers(name) == 0, "the workers to be gone")
    work.until(lambda: value(catalog.TASK_ACTIVE, name) == 0, "the calls to have ended")
    for gauge in (catalog.QUEUE_SIZE, catalog.SLOT_USAGE):
        assert value(gauge, name) == 0


def _refuses(pool: Executor, name: str, times: int = 2) -> None:
    for _ in range(times):
        with pytest.raises(BrokenExecutor):
            pool.submit(work.add, 1)
    assert value(catalog.TASK_REJECTED, name, error_type="broken") == times
    assert value(catalog.TASK_REJECTED, name) == times


@pytest.mark.parametrize("kind", INITIALIZERS)
def test_initializers_that_fail(kind: str, observed: Observe, caplog: pytest.LogCaptureFixture) -> None:
    pool, name = observed(INITIALIZERS[kind]())
    assert isinstance(pool.submit(work.add, 1).exception(LIMIT), BrokenExecutor)
    work.until(lambda: outcomes(name) == {"error": 1}, "the outcome")
    _is_dead(name)
    _refuses(pool, name)
    assert outcomes(name) == {"error": 1}
    pool.shutdown()
    assert value(catalog.WORKER_LIMIT, name) == 0


@pytest.mark.parametrize("kind", KILLED)
def test_a_worker_that_is_killed_at_work(kind: str, observed: Observe, tmp_path: Path) -> None:
    pool, name = observed(KILLED[kind]())
    assert pool.submit(work.add, 1).result(LIMIT) == 2
    assert _workers(name) >= 1
    held = [pool.submit(work.wait_for_file, str(tmp_path / "never")) for _ in range(3)]
    assert isinstance(pool.submit(work.add, 1), type(held[0]))
    _kill(pool)
    assert [isinstance(future.exception(LIMIT), BrokenExecutor) for future in held] == [True] * 3
    _is_dead(name)
    assert outcomes(name) == {"success": 1, "error": 4}
    _refuses(pool, name)
    pool.shutdown()


@pytest.mark.parametrize("kind", KILLED)
def test_a_worker_that_is_killed_idle(kind: str, observed: Observe) -> None:
    pool, name = observed(KILLED[kind]())
    assert pool.submit(work.add, 1).result(LIMIT) == 2
    assert _workers(name) >= 1
    _kill(pool)
    _is_dead(name)  # nothing is submitted, so nothing else could say it
    assert outcomes(name) == {"success": 1}
    work.until(lambda: _is_broken(pool), "the pool to notice")
    _refuses(pool, name)
    pool.shutdown()


def _kill(pool: Any) -> None:
    for pid in list(pool._processes):
        os.kill(pid, signal.SIGKILL)


def _is_broken(pool: Any) -> bool:
    return bool(getattr(pool, "_broken", None) or getattr(getattr(pool, "_flags", None), "broken", None))


def test_workers_that_leave_by_themselves_are_shown_no_longer(observed: Observe) -> None:
    pool, name = observed(loky.ProcessPoolExecutor(2, timeout=0.1))
    for _ in range(2):  # and others that come
        assert pool.submit(work.add, 1).result(LIMIT) == 2
        work.until(lambda: _workers(name) == 0, "the workers to leave")
    assert value(catalog.TASK_REJECTED, name) == 0
    pool.shutdown()


@pytest.mark.parametrize("kind", [*INITIALIZERS, *(f"killed {kind}" for kind in KILLED)])
def test_as_the_runner_of_an_executor(kind: str, observed: Observe, caplog: pytest.LogCaptureFixture) -> None:
    killed = kind.removeprefix("killed ")
    pool, name = observed((KILLED if killed != kind else INITIALIZERS)[killed]())

    async def main() -> None:
        async with HybridExecutor("hybrid", max_in_flight=2) as executor:
            if killed != kind:
                assert await executor.run(work.add, 1, runner=pool) == 2
                assert _workers(name) >= 1
                _kill(pool)
                await anyio.to_thread.run_sync(work.until, lambda: _is_broken(pool), "the pool to notice")
            for _ in range(2):
                with pytest.raises(BrokenExecutor):
                    await executor.run(work.add, 1, runner=pool)

    anyio.run(main)
    _is_dead(name)
    assert outcomes("hybrid")["error"] == 2  # its tasks, and nothing of the pool's
    assert value(catalog.TASK_SUBMITTED, name) == value(catalog.TASK_REJECTED, name) == 0
    pool.shutdown()


def test_in_an_event_loop(caplog: pytest.LogCaptureFixture) -> None:
    gi.AsyncioInstrumentor().instrument(monitor=False)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "loop's", initializer=_fail) as pool:
            for _ in range(3):
                with pytest.raises(BrokenExecutor):
                    await loop.run_in_executor(pool, work.add, 1)
            work.until(lambda: _workers("loop's") == 0, "the end of the worker, which breaks the pool before it ends")

    asyncio.run(main())
    assert outcomes("loop's") == {"error": 1}
    assert value(catalog.TASK_REJECTED, "loop's", error_type="broken") == 2


def test_only_executors_that_can_break_have_a_series_of_it() -> None:
    gi.instrument()

    async def main() -> None:
        async with HybridExecutor("hybrid", max_in_flight=1) as executor:
            await executor.run(work.add, 1)
        await anyio.to_thread.run_sync(work.add, 1)

    anyio.run(main)
    with ThreadPoolExecutor(1, "pool") as pool:
        pool.submit(work.add, 1).result(LIMIT)
    points = work.REGISTRY.collect().points[catalog.TASK_REJECTED.name]
    can_break = {p.attributes["glasspool.executor.name"] for p in points if p.attributes["error.type"] == "broken"}
    assert can_break == {"pool"}


# -- killed on purpose -------------------------------------------------------------------------------------------------


class Killable(ProcessPoolExecutor):
    """Has what pools of processes have since Python 3.14, if this one has not."""

    if sys.version_info < (3, 14):

        def _force_shutdown(self, number: int) -> None:
            processes = dict(self._processes or {})
            self.shutdown(wait=False, cancel_futures=True)
            for pid in processes:
                os.kill(pid, number)

        def terminate_workers(self) -> None:
            self._force_shutdown(signal.SIGTERM)

        def kill_workers(self) -> None:
            self._force_shutdown(signal.SIGKILL)


@pytest.mark.parametrize("how", ["terminate_workers", "kill_workers"])
@pytest.mark.parametrize("wrapped", [True, False] if sys.version_info >= (3, 14) else [True])
def test_workers_that_are_killed_on_purpose(how: str, wrapped: bool, tmp_path: Path) -> None:
    name = "pool" if wrapped else __name__
    made = Killable(1, mp_context=get_context("fork"))
    if wrapped:
        gi.wrap_executor(made, "pool")
    else:
        gi.FuturesInstrumentor().instrument()
    assert made.submit(work.add, 1).result(LIMIT) == 2
    held = [made.submit(work.wait_for_file, str(tmp_path / "never")) for _ in range(4)]
    work.until(lambda: held[0].running(), "the first to run")
    getattr(made, how)()
    _all_cancelled(name, {"success": 1, "cancelled": 4})
    assert held[0].exception(LIMIT) is not None


def _all_cancelled(name: str, expected: dict[str, int]) -> None:
    work.until(lambda: outcomes(name) == expected, f"{expected}, not {outcomes(name)}")
    assert value(catalog.TASK_CANCELLATIONS, name, cancel_reason="shutdown") == expected["cancelled"]
    assert value(catalog.TASK_ACTIVE, name) == value(catalog.QUEUE_SIZE, name) == _workers(name) == 0


def test_loky_that_is_shut_down_with_its_workers_killed(observed: Observe, tmp_path: Path) -> None:
    pool, name = observed(loky.ProcessPoolExecutor(2))
    assert pool.submit(work.add, 1).result(LIMIT) == 2
    held = [pool.submit(work.wait_for_file, str(tmp_path / "never")) for _ in range(5)]
    pool.shutdown(wait=True, kill_workers=True)  # type: ignore[call-arg]  # loky's own option
    assert all(type(future.exception(LIMIT)).__name__ == "ShutdownExecutorError" for future in held)
    _all_cancelled(name, {"success": 1, "cancelled": 5})
    with pytest.raises(RuntimeError):
        pool.submit(work.add, 1)
    assert value(catalog.TASK_REJECTED, name, error_type="already_shutdown") == 1
    assert value(catalog.TASK_REJECTED, name) == 1


def test_an_error_of_that_name_that_the_function_raised_is_an_error(observed: Observe) -> None:
    pool, name = observed(loky.ProcessPoolExecutor(1))
    assert type(pool.submit(_raise_shutdown).exception(LIMIT)).__name__ == "ShutdownExecutorError"
    pool.shutdown()
    assert outcomes(name) == {"error": 1}


def _raise_shutdown() -> None:
    raise loky.process_executor.ShutdownExecutorError("of a pool of its own")


def _first_or_wait(number: int, path: str) -> int:
    return number if number == 0 else len(work.wait_for_file(path))


@pytest.mark.parametrize("how", ["dropped", "closed", "error"])
def test_joblib_generators_that_are_left_cancel_their_calls(how: str, tmp_path: Path) -> None:
    gi.LokyInstrumentor().instrument()
    path = str(tmp_path / "never")
    calls = (joblib.delayed(_first_or_wait)(number, path) for number in range(20))
    results = joblib.Parallel(n_jobs=2, batch_size=1, return_as="generator", pre_dispatch=6)(calls)
    assert next(results) == 0
    work.until(lambda: value(catalog.TASK_ACTIVE, __name__) >= 2, "the workers to be busy")
    if how == "dropped":
        del results
        gc.collect()
    elif how == "closed":
        results.close()
    else:
        with pytest.raises(KeyError):
            results.throw(KeyError("enough"))
    work.until(lambda: value(catalog.TASK_ACTIVE, __name__) == 0, "the calls to end")
    found = outcomes(__name__)
    assert found["success"] == 1
    assert set(found) == {"success", "cancelled"}
    assert value(catalog.TASK_CANCELLATIONS, __name__, cancel_reason="shutdown") == found["cancelled"] >= 2
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)
