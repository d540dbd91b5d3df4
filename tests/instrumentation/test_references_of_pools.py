"""Pools release a call, its future and its outcome as without observation, also as runners of an executor."""

from __future__ import annotations

import contextvars
import functools
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import anyio
import pytest

import glasspool_instrumentation as gi
from glasspool import HybridExecutor

from . import work
from .keeping import FUNCTIONS, VARIABLE, Boom, Compare, Run, Thing, in_own_context
from .work import LIMIT

loky = pytest.importorskip("loky")

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class OwnPool(Executor):
    """A custom pool with one thread."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, args=(self._calls,))
        self._thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._calls.put((future, fn, args, kwargs))
        return future

    @staticmethod
    def _work(calls: Any) -> None:
        while (call := calls.get()) is not None:
            future, fn, args, kwargs = call
            del call
            if future.set_running_or_notify_cancel():
                try:
                    result = fn(*args, **kwargs)
                except BaseException as error:
                    future.set_exception(error)
                else:
                    future.set_result(result)
                    del result
            del future, fn, args, kwargs

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._calls.put(None)
        if wait:
            self._thread.join()


class Forgetful(Executor):
    """Never runs anything."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.call = fn, args, kwargs
        return Future()


Make = Callable[[], Executor]

POOLS: dict[str, Make] = {
    "threads": lambda: ThreadPoolExecutor(1, "pool"),
    "forked": lambda: ProcessPoolExecutor(1, mp_context=get_context("fork")),
    "spawned": lambda: ProcessPoolExecutor(1, mp_context=get_context("spawn")),
    "loky": lambda: loky.ProcessPoolExecutor(1),
    "own": OwnPool,
}

in_every_way = pytest.mark.parametrize(
    ("kind", "how"),
    [(kind, how) for kind in POOLS for how in ("wrapped", "patched", "both") if kind != "own" or how == "wrapped"],
)
in_threads = pytest.mark.parametrize(
    ("kind", "how"), [("threads", "wrapped"), ("threads", "patched"), ("threads", "both"), ("own", "wrapped")]
)


@pytest.fixture(scope="module")
def shared() -> Iterator[Callable[[str], Executor]]:
    """A pool of each kind for all tests, since processes take long to begin."""
    made: dict[str, Executor] = {}

    def get(kind: str) -> Executor:
        if kind not in made:
            made[kind] = POOLS[kind]()
        return made[kind]

    yield get
    for pool in made.values():
        pool.shutdown()


def _turn_on(how: str) -> None:
    if how != "wrapped":
        gi.FuturesInstrumentor().instrument()
        gi.LokyInstrumentor().instrument()


def _compare(compare: Compare, scenario: Callable[[Executor, Run], None], pool: Executor, how: str) -> None:
    def observed(run: Run) -> None:
        if how == "patched":
            scenario(pool, run)
            return
        gi.wrap_executor(pool, "pool")
        try:
            scenario(pool, run)
        finally:
            gi.unwrap_executor(pool)

    compare(functools.partial(scenario, pool), functools.partial(_turn_on, how), observed)


def _submit(pool: Executor, run: Run, function: Callable[..., Any]) -> Future[Any]:
    call = run.watch("function", functools.partial(function, run.watch("bound", Thing())))
    with run.carrying():
        future: Future[Any] = run.watch("future", pool.submit(call, run.watch("argument", Thing())))
    return future


def _end(future: Future[Any], run: Run) -> None:
    error = future.exception(LIMIT)
    if error is None:
        run.watch("result", future.result())
    else:
        assert type(error) is Boom
        run.watch("error", error)


def _next_call(pool: Executor) -> None:
    assert pool.submit(work.add, 1).result(LIMIT) == 2


@in_every_way
@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_calls(kind: str, how: str, outcome: str, shared: Callable[[str], Executor], compare: Compare) -> None:
    def scenario(pool: Executor, run: Run) -> None:
        kept = _submit(pool, run, FUNCTIONS[outcome])
        _end(kept, run)
        _next_call(pool)
        run.check("ended")
        del kept
        run.check("dropped")

    _compare(compare, scenario, shared(kind), how)


@pytest.mark.parametrize("how", ["wrapped", "patched", "both"])
@pytest.mark.parametrize("kind", ["threads", "forked"])
def test_calls_that_are_refused(kind: str, how: str, compare: Compare) -> None:
    pool = POOLS[kind]()
    pool.shutdown()

    def scenario(pool: Executor, run: Run) -> None:
        def refused() -> BaseException:
            call = run.watch("function", functools.partial(FUNCTIONS["success"], run.watch("bound", Thing())))
            try:
                with run.span():  # the pool has refused the function together with its OpenTelemetry context
                    pool.submit(call, run.watch("argument", Thing()))
            except RuntimeError as error:
                return error
            raise AssertionError("it was taken")

        kept = in_own_context(run, refused)
        run.check("refused")
        del kept
        run.check("dropped")

    _compare(compare, scenario, pool, how)


@in_every_way
@pytest.mark.parametrize("outcome", ["cancelled", "dropped"])
def test_calls_that_wait(
    kind: str, how: str, outcome: str, shared: Callable[[str], Executor], compare: Compare
) -> None:
    def scenario(pool: Executor, run: Run) -> None:
        path = run.directory / "go"
        held = pool.submit(work.wait_for_file, str(path))
        try:
            work.until(held.running, "the worker to be busy")
            behind = [pool.submit(work.add, number) for number in range(4)]  # process pools take some ahead
            kept = _submit(pool, run, FUNCTIONS["success"])
            if outcome == "cancelled":
                assert kept.cancel()
            del kept
        finally:
            path.touch()
        assert [future.result(LIMIT) for future in behind] == [1, 2, 3, 4]
        del behind, held
        _next_call(pool)
        run.check("dropped")

    _compare(compare, scenario, shared(kind), how)


@pytest.mark.parametrize("how", ["wrapped", "patched", "both"])
@pytest.mark.parametrize("kind", ["threads", "forked"])
@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_pools_that_are_dropped(kind: str, how: str, outcome: str, compare: Compare) -> None:
    def scenario(wrap: bool, run: Run) -> None:
        pool = run.watch("pool", gi.wrap_executor(POOLS[kind](), "pool") if wrap else POOLS[kind]())
        kept = _submit(pool, run, FUNCTIONS[outcome])
        _end(kept, run)
        _next_call(pool)
        del pool
        run.check("without its pool")
        del kept
        run.check("dropped")

    compare(
        functools.partial(scenario, False),
        functools.partial(_turn_on, how),
        functools.partial(scenario, how != "patched"),
    )


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_pool_that_drops_its_calls(cancelled: bool, compare: Compare) -> None:
    def scenario(wrap: bool, run: Run) -> None:
        pool = run.watch("pool", gi.wrap_executor(Forgetful(), "pool") if wrap else Forgetful())
        kept = _submit(pool, run, FUNCTIONS["success"])
        if cancelled:
            kept.cancel()
        del pool
        run.check("without its pool")
        del kept
        run.check("dropped")

    compare(functools.partial(scenario, False), lambda: None, functools.partial(scenario, True))


@in_threads
@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_calls_packed_into_a_context(
    kind: str, how: str, outcome: str, shared: Callable[[str], Executor], compare: Compare
) -> None:
    def scenario(pool: Executor, run: Run) -> None:
        with run.carrying():
            context = contextvars.copy_context()
            context.run(VARIABLE.set, run.watch("value", Thing()))
            call = functools.partial(context.run, FUNCTIONS[outcome], run.watch("bound", Thing()))
            kept = run.watch("future", pool.submit(call, run.watch("argument", Thing())))
            del call, context
        _end(kept, run)
        _next_call(pool)
        run.check("ended")
        del kept
        run.check("dropped")

    _compare(compare, scenario, shared(kind), how)


@in_every_way
def test_mapped_calls_of_which_some_are_not_taken(
    kind: str, how: str, shared: Callable[[str], Executor], compare: Compare
) -> None:
    def scenario(pool: Executor, run: Run) -> None:
        with run.carrying():
            results = pool.map(FUNCTIONS["success"], [Thing(), run.watch("bound", Thing())], [Thing(), Thing()])
        run.watch("result", next(results))
        run.check("taken")
        del results
        _next_call(pool)
        run.check("dropped")

    _compare(compare, scenario, shared(kind), how)


@in_every_way
@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_runners_of_an_executor(
    kind: str, how: str, outcome: str, shared: Callable[[str], Executor], compare: Compare
) -> None:
    def scenario(pool: Executor, run: Run) -> None:
        async def main() -> None:
            async with HybridExecutor("hybrid", max_in_flight=1) as executor:
                call = functools.partial(FUNCTIONS[outcome], run.watch("bound", Thing()))
                with run.carrying():
                    handle = await executor.submit(call, run.watch("argument", Thing()), runner=pool)
                del call
                completed = await handle.outcome()
                assert completed.outcome.value == ("error" if outcome == "failure" else "success")
                run.watch("outcome", completed)
                await run.check_soon("ended")
                del handle, completed
                await executor.run(work.add, 1, runner=pool)
                await run.check_soon("dropped")

        anyio.run(main)

    _compare(compare, scenario, shared(kind), how)
