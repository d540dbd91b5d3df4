"""Nothing of a call but its figures outlives it: with the collector off, an observed call keeps what a bare one keeps.

Every scenario runs bare first, and notes at its checkpoints what is still alive; then observed, where no more may be.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import queue
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_process
import anyio.to_thread
import pytest
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer

import glasspool_instrumentation as gi
from glasspool import HybridExecutor

from . import work
from .work import LIMIT

trio = pytest.importorskip("trio")
loky = pytest.importorskip("loky")

pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # of tasks that are thrown away
]

SETTLED = 0.2
"""Seconds in which a bare run lets go of nothing more: too few only make the test ask for less."""


class Thing:
    """Something of the user's."""


class Boom(Exception):
    """An error of the user's."""


class Run:
    """One run of a scenario: what it is called with, by name, and what of that is alive at its checkpoints."""

    def __init__(self, bare: Run | None, span: Callable[[], AbstractContextManager[Any]], directory: Path) -> None:
        self.bare = bare
        self.span = span  # what calls are made in
        self.directory = directory
        self.left: dict[str, set[str]] = {}
        self._known: dict[str, weakref.ref[Any]] = {}

    def watch(self, name: str, thing: Any) -> Any:
        """Remember ``thing`` by this name, and do not keep it."""
        self._known[name] = weakref.ref(thing)
        return thing

    @property
    def alive(self) -> set[str]:
        return {name for name, known in self._known.items() if known() is not None}

    @contextmanager
    def carrying(self) -> Iterator[None]:
        """In the scenario's span, with something of the user's in OpenTelemetry's context."""
        with self.span():
            token = otel_context.attach(otel_context.set_value("thing", self.watch("carried", Thing())))
            try:
                yield
            finally:
                otel_context.detach(token)

    def check(self, name: str) -> None:
        """A checkpoint. Workers may hold what they had for a moment after the call."""
        waiting = self._waiting(name)
        while next(waiting):
            time.sleep(0.002)

    async def check_soon(self, name: str) -> None:
        """A checkpoint in an event loop."""
        waiting = self._waiting(name)
        while next(waiting):
            await anyio.sleep(0.002)

    def _waiting(self, name: str) -> Iterator[bool]:
        begun = changed = time.monotonic()
        before = self.alive
        if self.bare is not None:
            while (more := self.alive - self.bare.left[name]) and time.monotonic() < begun + LIMIT:
                yield True
            assert not more, f"at {name!r} alive, and not without us: {more}, kept by {self._keepers(more)}"
        else:
            while before and time.monotonic() < changed + SETTLED:
                yield True
                if self.alive != before:
                    before, changed = self.alive, time.monotonic()
            self.left[name] = before
        yield False

    def _keepers(self, names: set[str]) -> list[str]:
        found = [self._known[name]() for name in names]
        return [repr(keeper)[:200] for thing in found for keeper in gc.get_referrers(thing) if keeper is not found]


Scenario = Callable[[Run], None]
Compare = Callable[..., None]


@pytest.fixture(params=["untraced", "traced"])
def compare(
    request: pytest.FixtureRequest, tracer: Tracer, spans: InMemorySpanExporter, tmp_path: Path
) -> Iterator[Compare]:
    """Runs a scenario bare, turns on what is to be on, and runs it observed."""
    number = iter(range(100))

    def span() -> AbstractContextManager[Any]:
        return tracer.start_as_current_span("request") if request.param == "traced" else nullcontext()

    def run(scenario: Scenario, bare: Run | None = None) -> Run:
        made = Run(bare, span, tmp_path / str(next(number)))
        made.directory.mkdir()
        gc.collect()
        gc.disable()
        try:
            scenario(made)
        finally:
            gc.enable()
        return made

    def compare(bare: Scenario, turn_on: Callable[[], Any], observed: Scenario | None = None, *, gone: str) -> None:
        first = run(bare)
        for name in gone.split():
            assert name in first._known
            assert all(name not in left for left in first.left.values()), f"bare, {name} is kept: {first.left}"
        turn_on()
        run(observed or bare, first)

    return compare


# -- pools -------------------------------------------------------------------------------------------------------------


def succeed(bound: Thing, argument: Thing) -> Thing:
    return Thing()


def fail(bound: Thing, argument: Thing) -> None:
    del bound, argument  # the traceback keeps what its frames have
    raise Boom


FUNCTIONS: dict[str, Callable[..., Any]] = {"success": succeed, "failure": fail}


class OwnPool(Executor):
    """A pool of somebody's own, with one thread."""

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


POOLS: dict[str, Callable[[], Executor]] = {
    "threads": lambda: ThreadPoolExecutor(1, "pool"),
    "forked": lambda: ProcessPoolExecutor(1, mp_context=get_context("fork")),
    "spawned": lambda: ProcessPoolExecutor(1, mp_context=get_context("spawn")),
    "loky": lambda: loky.ProcessPoolExecutor(1),
    "own": OwnPool,
}
HOWS = ["wrapped", "patched", "both"]
Make = Callable[[], Executor]


def _turn_on(how: str) -> None:
    if how in ("patched", "both"):
        gi.FuturesInstrumentor().instrument()
        gi.LokyInstrumentor().instrument()


def _wrapped(make: Make, how: str) -> Make:
    return make if how == "patched" else lambda: gi.wrap_executor(make(), "pool")


def _compare_pools(compare: Compare, scenario: Callable[[Make, Run], None], make: Make, how: str, gone: str) -> None:
    compare(
        functools.partial(scenario, make),
        functools.partial(_turn_on, how),
        functools.partial(scenario, _wrapped(make, how)),
        gone=gone,
    )


def _submit(pool: Executor, run: Run, function: Callable[..., Any]) -> Future[Any]:
    call = run.watch("function", functools.partial(function, run.watch("bound", Thing())))
    with run.carrying():
        future: Future[Any] = run.watch("future", pool.submit(call, run.watch("argument", Thing())))
    return future


def _ended(future: Future[Any], run: Run, outcome: str) -> None:
    if outcome == "failure":
        run.watch("error", future.exception(LIMIT))
    else:
        run.watch("result", future.result(LIMIT))


CALL = "argument bound function carried"
"""What a call is made of."""


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_pools(kind: str, how: str, outcome: str, compare: Compare) -> None:
    def scenario(make: Make, run: Run) -> None:
        pool = run.watch("pool", make())
        kept = _submit(pool, run, FUNCTIONS[outcome])
        _ended(kept, run, outcome)
        run.check("ended")
        if kind == "own":
            pool.shutdown()
        del pool
        run.check("without its pool")
        del kept
        run.check("dropped")

    _compare_pools(compare, scenario, POOLS[kind], how, CALL)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("outcome", ["cancelled", "dropped"])
def test_calls_that_wait(kind: str, how: str, outcome: str, compare: Compare) -> None:
    def scenario(make: Make, run: Run) -> None:
        pool = make()
        path = run.directory / "go"
        held = pool.submit(work.wait_for_file, str(path))
        work.until(held.running, "the worker to be busy")
        behind = [pool.submit(work.add, number) for number in range(4)]  # process pools take some ahead
        kept = _submit(pool, run, succeed)
        if outcome == "dropped":
            del kept
        else:
            assert kept.cancel()
        path.touch()
        assert [future.result(LIMIT) for future in behind] == [1, 2, 3, 4]
        del behind, held
        run.check("ended")
        if outcome == "cancelled":
            del kept
        run.check("dropped")
        pool.shutdown()

    _compare_pools(compare, scenario, POOLS[kind], how, CALL)


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_pool_that_drops_its_calls(cancelled: bool, compare: Compare) -> None:
    def scenario(make: Make, run: Run) -> None:
        pool = run.watch("pool", make())
        kept = _submit(pool, run, succeed)
        if cancelled:
            kept.cancel()
        del pool
        run.check("without its pool")
        del kept
        run.check("dropped")

    _compare_pools(compare, scenario, Forgetful, "wrapped", f"{CALL} pool")


VARIABLE: contextvars.ContextVar[Any] = contextvars.ContextVar("variable")


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("kind", ["threads", "own"])
@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_calls_packed_into_a_context(kind: str, how: str, outcome: str, compare: Compare) -> None:
    def scenario(make: Make, run: Run) -> None:
        pool = make()
        with run.carrying():
            context = contextvars.copy_context()
            context.run(VARIABLE.set, run.watch("value", Thing()))
            call = functools.partial(context.run, FUNCTIONS[outcome], run.watch("bound", Thing()))
            kept = pool.submit(call, run.watch("argument", Thing()))
            del call, context
        _ended(kept, run, outcome)
        run.check("ended")
        del kept
        run.check("dropped")
        pool.shutdown()

    _compare_pools(compare, scenario, POOLS[kind], how, "argument bound value carried")


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_pools_as_runners(kind: str, how: str, outcome: str, compare: Compare) -> None:
    def scenario(make: Make, run: Run) -> None:
        pool = make()

        async def main() -> None:
            async with HybridExecutor("hybrid", max_in_flight=1) as executor:
                call = functools.partial(FUNCTIONS[outcome], run.watch("bound", Thing()))
                with run.carrying():
                    handle = await executor.submit(call, run.watch("argument", Thing()), runner=pool)
                del call
                completed = await handle.outcome()
                assert completed.outcome.value == ("error" if outcome == "failure" else "success")
                run.watch("item", completed)
                del handle, completed
                await run.check_soon("dropped")

        anyio.run(main)
        pool.shutdown()

    _compare_pools(compare, scenario, POOLS[kind], how, "" if outcome == "failure" else "argument bound item")


# -- event loops -------------------------------------------------------------------------------------------------------


def _with_spans() -> None:
    _without_spans("*")


def _without_spans(spans: str | None = None) -> None:
    gi.FuturesInstrumentor().instrument()
    for instrumentor in (gi.AsyncioInstrumentor, gi.AnyioInstrumentor, gi.TrioInstrumentor):
        instrumentor().instrument(monitor=False, spans=spans)


@pytest.fixture(params=[_without_spans, _with_spans], ids=["tasks without spans", "tasks with spans"])
def loops(request: pytest.FixtureRequest) -> Callable[[], None]:
    found: Callable[[], None] = request.param
    return found


async def _work(argument: Any, outcome: str, begun: Any = None) -> Any:
    await anyio.sleep(0)
    if begun is not None:
        begun.set()
    if outcome == "cancelled":
        await anyio.sleep(LIMIT)
    del argument
    if outcome == "failure":
        raise Boom
    return Thing()


def _in_own_context(run: Run, function: Callable[..., Any], *args: Any) -> Any:
    """Call it in a context that has something of the user's in it, which nobody else keeps."""
    with run.carrying():
        context = contextvars.copy_context()
    context.run(VARIABLE.set, run.watch("value", Thing()))
    return context.run(function, *args)


OUTCOMES = ["success", "failure", "cancelled"]


@pytest.mark.parametrize("loop_kind", ["asyncio", "uvloop"])
@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("context", ["copied", "given"])
def test_asyncio_tasks(loop_kind: str, outcome: str, context: str, loops: Callable[[], None], compare: Compare) -> None:
    if context == "given" and not hasattr(asyncio, "TaskGroup"):
        pytest.skip("context= of tasks came with Python 3.11")

    def scenario(run: Run) -> None:
        async def main() -> None:
            begun = anyio.Event()

            def begin() -> Any:
                options = {"context": contextvars.copy_context()} if context == "given" else {}
                coro = _work(run.watch("argument", Thing()), outcome, begun)
                return run.watch("task", asyncio.get_running_loop().create_task(coro, **options))

            task = _in_own_context(run, begin)
            await begun.wait()
            if outcome == "cancelled":
                task.cancel()
            await asyncio.wait([task])
            if outcome == "failure":
                run.watch("error", task.exception())
            elif outcome == "success":
                run.watch("result", task.result())
            await run.check_soon("ended")
            del task
            await run.check_soon("dropped")

        anyio.run(main, backend_options={"use_uvloop": loop_kind == "uvloop"})

    compare(scenario, loops, gone="" if outcome == "cancelled" else "argument")


@pytest.mark.parametrize("begun", [True, False])
def test_asyncio_tasks_whose_loop_goes(begun: bool, loops: Callable[[], None], compare: Compare) -> None:
    def scenario(run: Run) -> None:
        async def wait(argument: Any) -> None:
            await futures[0]

        loop = asyncio.new_event_loop()
        futures = [loop.create_future()]
        with run.carrying():
            task = run.watch("task", loop.create_task(wait(run.watch("argument", Thing()))))
        if begun:
            loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        del task, loop
        run.check("closed")
        futures.clear()
        run.check("dropped")

    compare(scenario, loops, gone="" if begun else "argument task")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("way", ["start_soon", "start"])
def test_children_of_task_groups(
    backend: str, outcome: str, way: str, loops: Callable[[], None], compare: Compare
) -> None:
    def scenario(run: Run) -> None:
        async def started(argument: Any, begun: Any, *, task_status: Any) -> Any:
            task_status.started()
            try:
                return await _work(argument, outcome, begun)
            finally:
                del argument

        async def main() -> None:
            begun = anyio.Event()
            try:
                async with anyio.create_task_group() as group:
                    with run.carrying():
                        if way == "start":
                            await group.start(started, run.watch("argument", Thing()), begun)
                        else:
                            argument = run.watch("argument", Thing())
                            _in_own_context(run, group.start_soon, _work, argument, outcome, begun)
                            del argument
                    await begun.wait()
                    await run.check_soon("running")
                    if outcome == "cancelled":
                        group.cancel_scope.cancel()
            except BaseException as error:
                run.watch("error", error)
            run.watch("group", group)
            del group
            await run.check_soon("ended")

        anyio.run(main, backend=backend)

    compare(scenario, loops, gone="argument" if backend == "trio" and outcome == "success" else "")


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_trios_tasks(outcome: str, loops: Callable[[], None], compare: Compare) -> None:
    def scenario(run: Run) -> None:
        async def child(begun: Any) -> Any:
            run.watch("task", trio.lowlevel.current_task())
            await _work(run.watch("argument", Thing()), outcome, begun)

        async def main() -> None:
            begun = trio.Event()
            try:
                async with trio.open_nursery() as nursery:
                    _in_own_context(run, nursery.start_soon, child, begun)
                    await begun.wait()
                    if outcome == "cancelled":
                        nursery.cancel_scope.cancel()
            except BaseException as error:
                run.watch("error", error)
            run.watch("nursery", nursery)
            del nursery
            await run.check_soon("ended")

        trio.run(main)

    compare(scenario, loops, gone="task value" if outcome == "success" else "")


THREADS: dict[str, tuple[str, Callable[..., Awaitable[Any]]]] = {
    "asyncio.to_thread": ("asyncio", lambda *call: asyncio.to_thread(*call)),
    "run_in_executor": ("asyncio", lambda *call: asyncio.get_running_loop().run_in_executor(None, *call)),
    "anyio.to_thread": ("asyncio", lambda *call: anyio.to_thread.run_sync(*call)),
    "anyio.to_thread on trio": ("trio", lambda *call: anyio.to_thread.run_sync(*call)),
    "trio.to_thread": ("trio", lambda *call: trio.to_thread.run_sync(*call)),
    "anyio.to_process": ("asyncio", lambda *call: anyio.to_process.run_sync(*call)),
}
LIMITED = ["anyio.to_thread", "anyio.to_thread on trio", "trio.to_thread"]


@pytest.mark.parametrize("way", THREADS)
@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_calls_in_threads(way: str, outcome: str, loops: Callable[[], None], compare: Compare) -> None:
    backend, call_in = THREADS[way]

    def scenario(run: Run) -> None:
        async def call() -> None:
            VARIABLE.set(run.watch("value", Thing()))
            function = run.watch("function", functools.partial(FUNCTIONS[outcome], run.watch("bound", Thing())))
            with run.carrying():
                try:
                    run.watch("result", await call_in(function, run.watch("argument", Thing())))
                except Boom as error:
                    run.watch("error", error)

        async def main() -> None:
            async with anyio.create_task_group() as group:  # a context of its own
                group.start_soon(call)
            del group
            await call_in(work.add, 1)  # a thread keeps what it did last until it does something else
            await run.check_soon("ended")

        anyio.run(main, backend=backend)

    compare(
        scenario, loops, gone="" if outcome == "failure" or way == "anyio.to_process" else "argument bound function"
    )


@pytest.mark.parametrize("way", LIMITED)
def test_contexts_that_were_copied_in_a_thread(way: str, loops: Callable[[], None], compare: Compare) -> None:
    backend, call_in = THREADS[way]

    def scenario(run: Run) -> None:
        kept: list[contextvars.Context] = []

        def keep(bound: Thing, argument: Thing) -> None:
            kept.append(contextvars.copy_context())
            run.watch("thread", threading.current_thread())

        async def main() -> None:
            function = run.watch("function", functools.partial(keep, run.watch("bound", Thing())))
            await call_in(function, run.watch("argument", Thing()))
            del function
            await call_in(work.add, 1)
            await run.check_soon("ended")

        anyio.run(main, backend=backend)
        run.check("without its loop")
        assert kept

    compare(scenario, loops, gone="argument bound function")


@pytest.mark.parametrize("way", LIMITED)
def test_calls_in_threads_that_are_given_up(way: str, loops: Callable[[], None], compare: Compare) -> None:
    backend = THREADS[way][0]

    def scenario(run: Run) -> None:
        begun, release = threading.Event(), threading.Event()

        def block(bound: Thing) -> None:
            del bound
            begun.set()
            assert release.wait(LIMIT)

        async def main() -> None:
            async def call() -> None:
                function = run.watch("function", functools.partial(block, run.watch("bound", Thing())))
                to_thread = anyio.to_thread if way.startswith("anyio") else trio.to_thread
                with run.carrying():
                    await to_thread.run_sync(function, abandon_on_cancel=True)

            async with anyio.create_task_group() as group:
                group.start_soon(call)
                while not begun.is_set():
                    await anyio.sleep(0.001)
                group.cancel_scope.cancel()
            del group
            await run.check_soon("abandoned")
            release.set()
            await run.check_soon("ended")

        anyio.run(main, backend=backend)
        run.check("without its loop")

    compare(scenario, loops, gone="")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("way", ["run", "run_sync"])
@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_calls_from_threads(backend: str, way: str, outcome: str, loops: Callable[[], None], compare: Compare) -> None:
    def scenario(run: Run) -> None:
        def in_thread() -> None:
            VARIABLE.set(run.watch("value", Thing()))
            with run.carrying():
                try:
                    argument = run.watch("argument", Thing())
                    if way == "run":
                        run.watch("result", anyio.from_thread.run(_work, argument, outcome))
                    else:
                        call = functools.partial(FUNCTIONS[outcome], run.watch("bound", Thing()))
                        run.watch("result", anyio.from_thread.run_sync(call, argument))
                except Boom as error:
                    run.watch("error", error)

        async def main() -> None:
            await anyio.to_thread.run_sync(in_thread)
            await anyio.to_thread.run_sync(work.add, 1)
            await run.check_soon("ended")

        anyio.run(main, backend=backend)

    compare(scenario, loops, gone="argument result" if outcome == "success" else "")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_calls_of_portals(backend: str, outcome: str, loops: Callable[[], None], compare: Compare) -> None:
    def scenario(run: Run) -> None:
        begun = threading.Event()

        async def call(argument: Thing) -> Any:
            begun.set()
            return await _work(argument, outcome)

        with anyio.from_thread.start_blocking_portal(backend) as portal:
            with run.carrying():
                future = run.watch("future", portal.start_task_soon(call, run.watch("argument", Thing())))
            assert begun.wait(LIMIT)
            if outcome == "cancelled":
                future.cancel()
            else:
                _ended(future, run, outcome)
            assert portal.call(work.add, 1) == 2
            run.check("ended")
            del future
            run.check("dropped")

    compare(scenario, loops, gone="")


# -- @instrumented -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["success", "failure"])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_instrumented_functions(outcome: str, kind: str, compare: Compare) -> None:
    def scenario(decorate: Callable[[Any], Any], run: Run) -> None:
        sync, later = decorate(FUNCTIONS[outcome]), decorate(_work)

        def call() -> Any:
            if kind == "sync":
                return sync(run.watch("bound", Thing()), run.watch("argument", Thing()))
            return asyncio.run(later(run.watch("argument", Thing()), outcome))

        def caught() -> BaseException | None:
            try:
                run.watch("result", call())
            except Boom as error:
                return error
            return None

        with run.carrying():
            error = caught()
        if error is not None:
            run.watch("error", error)
        run.check("ended")
        del error
        run.check("dropped")

    compare(
        functools.partial(scenario, lambda function: function),
        lambda: None,
        functools.partial(scenario, gi.instrumented),
        gone="argument" if kind == "sync" or outcome == "success" else "",
    )


def test_instrumented_coroutines_that_are_dropped(compare: Compare) -> None:
    def scenario(decorate: Callable[[Any], Any], run: Run) -> None:
        later = decorate(_work)

        async def main() -> None:
            with run.carrying():
                coro = later(run.watch("argument", Thing()), "cancelled")
                coro.send(None)
            del coro
            assert run.alive <= {"carried"}
            await run.check_soon("dropped")

        contextvars.copy_context().run(asyncio.run, main())
        run.check("without its loop")

    compare(
        functools.partial(scenario, lambda function: function),
        lambda: None,
        functools.partial(scenario, gi.instrumented),
        gone="argument",
    )


# -- Dask --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as made:
        yield made


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["wrapped", "patched"])
@pytest.mark.parametrize("outcome", ["success", "failure", "dropped", "cancelled"])
@pytest.mark.parametrize("way", ["submit", "map"])
def test_dask(cluster: Any, how: str, outcome: str, way: str, compare: Compare) -> None:
    distributed = pytest.importorskip("distributed")

    def scenario(wraps: bool, run: Run) -> None:
        with distributed.Client(cluster) as client:
            pool = client.get_executor(pure=False)
            if wraps:
                gi.wrap_executor(pool, "pool")
            through: Any = pool if how == "wrapped" else client
            options = {} if how == "wrapped" else {"pure": False}
            call = run.watch("function", functools.partial(DASK[outcome], run.watch("bound", Thing())))
            argument: Any = run.watch("argument", Thing())
            if outcome not in FUNCTIONS:
                argument = str(run.directory)
            with run.carrying():
                if way == "submit":
                    kept = run.watch("future", through.submit(call, argument, **options))
                else:
                    results = through.map(call, [argument], **options)
                    kept = run.watch("future", results if how == "wrapped" else results[0])
                    del results
            del call, argument
            run.check("submitted")
            if outcome == "cancelled" and hasattr(kept, "cancel"):
                kept.cancel()
            elif outcome in FUNCTIONS:
                try:
                    run.watch("result", next(kept) if way == "map" and how == "wrapped" else kept.result())
                except Boom as error:
                    run.watch("error", error)
            run.check("ended")
            del kept
            run.check("dropped")
            (run.directory / "go").touch()
        del through, pool

    compare(
        functools.partial(scenario, False),
        gi.DaskInstrumentor().instrument if how == "patched" else lambda: None,
        functools.partial(scenario, how == "wrapped"),
        gone="bound function argument carried",
    )


def _wait(bound: Thing, path: str) -> str:
    return work.wait_for_file(f"{path}/go")


DASK: dict[str, Callable[..., Any]] = {**FUNCTIONS, "dropped": _wait, "cancelled": _wait}
