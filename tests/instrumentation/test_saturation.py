"""Pools with waiting calls count as saturated, also while a worker changes from one call to the next."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

import glasspool_instrumentation as gi
from glasspool.telemetry import catalog
from glasspool_instrumentation._observe import pools
from glasspool_instrumentation._observe import thread_calls as observed_calls

from . import work
from .work import LIMIT, Share, value

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

WORKERS = 2


class OwnPool(Executor):
    """A custom pool that reports its number of workers."""

    def __init__(self, workers: int) -> None:
        self._max_workers = workers
        self._threads_of_it = ThreadPoolExecutor(workers)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._threads_of_it.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._threads_of_it.shutdown(wait, cancel_futures=cancel_futures)


def _processes() -> Executor:
    return ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("fork"))


def _loky() -> Any:
    return pytest.importorskip("loky").ProcessPoolExecutor(WORKERS)


def _interpreters() -> Any:
    made = getattr(concurrent.futures, "InterpreterPoolExecutor", None)
    if made is None:
        pytest.skip("InterpreterPoolExecutor came with Python 3.14")
    return made(WORKERS)


THREADS = {"thread pool": lambda: ThreadPoolExecutor(WORKERS, "pool"), "own pool": lambda: OwnPool(WORKERS)}
POOLS: dict[str, Callable[[], Any]] = {
    **THREADS,
    "process pool": _processes,
    "loky": _loky,
    "interpreter pool": _interpreters,
}


def _cases(kinds: dict[str, Callable[[], Any]]) -> Iterator[Any]:
    for kind in kinds:
        for how in ("wrapped", "patched", "both"):
            if kind != "own pool" or how == "wrapped":  # custom classes are not patched
                yield pytest.param(kind, how, id=f"{kind}, {how}")


def _observed(kind: str, how: str) -> tuple[Any, str]:
    """A pool of this kind, and the name it is observed under."""
    if how != "wrapped":
        gi.FuturesInstrumentor().instrument()
        if kind == "loky":
            gi.LokyInstrumentor().instrument()
    pool = POOLS[kind]()
    if how != "patched":
        return gi.wrap_executor(pool, "pool"), "pool"
    return pool, "pool" if kind == "thread pool" else __name__


class Crowd:
    """Users that submit again when they have their result and have worked on it, in the thread that brought it."""

    def __init__(self, pool: Executor, users: int) -> None:
        self.pool = pool
        self.users = users
        self.results = 0
        self.left = 0
        self.stop = False
        self._lock = threading.Lock()
        for number in range(users):
            pool.submit(work.add, number).add_done_callback(self._back)

    def _back(self, future: Future[Any]) -> None:
        with self._lock:
            self.results += 1
        until = time.perf_counter() + 0.003
        while time.perf_counter() < until:
            pass
        if not self.stop and future.exception() is None:
            self.pool.submit(work.add, 1).add_done_callback(self._back)
        else:
            with self._lock:
                self.left += 1


@pytest.mark.parametrize(("kind", "how"), list(_cases(POOLS)))
def test_a_crowd_on_two_workers(kind: str, how: str) -> None:
    pool, name = _observed(kind, how)
    crowd = Crowd(pool, users=6)
    work.until(lambda: crowd.results > 10, "the pool to be under way")
    share = Share(name)
    work.until(lambda: crowd.results > 60, "results")
    # More users than slots and brought-back results together: whatever is handed over, some wait.
    slots, saturated = share.read()
    now = work.REGISTRY.collect()
    crowd.stop = True
    work.until(lambda: crowd.left == crowd.users, "the users to leave")
    pool.shutdown()
    assert (slots, saturated) == pytest.approx((WORKERS, 1), rel=1e-6)
    assert value(catalog.SLOT_USAGE, name, now) == value(catalog.SLOT_LIMIT, name, now) == WORKERS
    assert value(catalog.WORKER_COUNT, name, now, worker_state="idle") == 0
    assert value(catalog.WORKER_COUNT, name, now, worker_state="busy") == WORKERS


class Held:
    """A call that waits to be let go, and its callback, which keeps the worker and waits as well."""

    def __init__(self, pool: Executor) -> None:
        self.started, self.go = threading.Event(), threading.Event()
        self.called_back, self.leave = threading.Event(), threading.Event()
        self.future = pool.submit(self._run)
        self.future.add_done_callback(self._called_back)

    def _run(self) -> None:
        self.started.set()
        assert self.go.wait(LIMIT)

    def _called_back(self, _future: Future[Any]) -> None:
        self.called_back.set()
        assert self.leave.wait(LIMIT)

    def runs(self) -> None:
        assert self.started.wait(LIMIT)

    def ends(self) -> None:
        """Its function has ended; its worker is in the callback."""
        self.go.set()
        assert self.called_back.wait(LIMIT)


@pytest.mark.parametrize(("kind", "how"), list(_cases(THREADS)))
def test_time_is_counted_from_grant_to_release(kind: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.perf_counter()
    monkeypatch.setattr(observed_calls, "_clock", lambda: now)
    pool, name = _observed(kind, how)
    gate = threading.Event()
    pool.submit(gate.set).result(LIMIT)
    state = pools.find(pool)
    assert state is not None
    now = state.observed.recorder.record.clock()  # later than anything that was counted yet
    state.observed.recorder.record.clock = lambda: now
    work.REGISTRY.collect()
    used = full = 0.0

    def pass_(seconds: float, slots: int) -> None:
        nonlocal now, used, full
        assert value(catalog.SLOT_USAGE, name) == slots
        now += seconds
        used += slots * seconds
        full += seconds if slots == WORKERS else 0
        found = (value(catalog.SLOT_TIME, name) - begun[0], value(catalog.SLOT_SATURATED_TIME, name) - begun[1])
        assert found == pytest.approx((used, full), abs=1e-6)

    work.until(lambda: value(catalog.TASK_ACTIVE, name) == 0, "the first call to have ended")
    begun = value(catalog.SLOT_TIME, name), value(catalog.SLOT_SATURATED_TIME, name)
    pass_(1, slots=0)
    first = Held(pool)
    first.runs()
    pass_(2, slots=1)
    second = Held(pool)
    second.runs()
    pass_(4, slots=2)
    third = Held(pool)
    pass_(8, slots=2)
    first.ends()  # and its worker does not come for the third
    pass_(16, slots=2)
    first.leave.set()
    third.runs()
    pass_(32, slots=2)
    second.ends()  # and no call waits
    pass_(64, slots=1)
    fourth = Held(pool)
    pass_(128, slots=2)
    fourth.leave.set()
    assert fourth.future.cancel()
    pass_(256, slots=1)
    fifth = Held(pool)
    pass_(512, slots=2)
    second.leave.set()
    fifth.runs()
    pass_(1024, slots=2)
    for held in (third, fifth):
        held.leave.set()
        held.ends()
    pool.shutdown()
    assert value(catalog.SLOT_USAGE, name) == 0
