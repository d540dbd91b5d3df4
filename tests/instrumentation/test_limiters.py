"""Capacity limiters: their metrics are the limiter's own figures, now and over time, whatever code uses it."""

from __future__ import annotations

import functools
import gc
import os
import random
import threading
import time
import warnings
import weakref
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import anyio.to_process
import anyio.to_thread
import pytest

import glasspool_instrumentation as gi
from glasspool.telemetry import catalog
from glasspool_instrumentation import anyio as of_anyio
from glasspool_instrumentation import trio as of_trio
from glasspool_instrumentation._observe.limiter_calls import ObservedLimiter

from . import work
from .work import LIMIT, Share, outcomes, value

trio = pytest.importorskip("trio")

Main = Callable[[], Awaitable[Any]]


class Library:
    """One way to run limited calls in threads: the loop, the limiter's class, and the call."""

    def __init__(self, run: Callable[[Main], Any], make: Callable[[float], Any], call: Callable[..., Any]) -> None:
        self.run = run
        self.make = make
        self.in_thread = call

    @property
    def observed(self) -> Any:
        """The observed limiters of the instrumentor."""
        module = of_trio if self.make is trio.CapacityLimiter else of_anyio
        return module.thread_limiters

    def default(self) -> Any:
        """The library's own limiter."""
        threads = trio.to_thread if self.make is trio.CapacityLimiter else anyio.to_thread
        return threads.current_default_thread_limiter()


def _anyio(backend: str, **options: Any) -> Library:
    run = functools.partial(anyio.run, backend=backend, backend_options=options)
    return Library(run, anyio.CapacityLimiter, anyio.to_thread.run_sync)


LIBRARIES = {
    "asyncio": _anyio("asyncio"),
    "uvloop": _anyio("asyncio", use_uvloop=True),
    "anyio on trio": _anyio("trio"),
    "trio": Library(
        functools.partial(anyio.run, backend="trio"),
        trio.CapacityLimiter,
        lambda fn, *args, **options: trio.to_thread.run_sync(fn, *args, **options),
    ),
}


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Library:
    found: Library = LIBRARIES[request.param]
    return found


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    gi.AnyioInstrumentor().instrument(monitor=False)
    gi.TrioInstrumentor().instrument(monitor=False)
    yield
    gi.uninstrument()


def nothing() -> None:
    """As quick as a call can be."""


class Gate:
    """Functions in threads that wait there until it is opened."""

    def __init__(self) -> None:
        self.running = 0
        self._lock = threading.Lock()
        self._open = threading.Event()

    def __call__(self) -> None:
        with self._lock:
            self.running += 1
        assert self._open.wait(LIMIT)

    def open(self) -> None:
        self._open.set()


async def until(condition: Callable[[], Any]) -> None:
    """Wait, and leave the loop its turns."""
    with anyio.fail_after(LIMIT):
        while not condition():
            await anyio.sleep(0.001)


def shown(name: str, **labels: str) -> tuple[float, ...]:
    """Slots in use, queue, limit and active tasks of one executor."""
    metrics = (catalog.SLOT_USAGE, catalog.QUEUE_SIZE, catalog.SLOT_LIMIT, catalog.TASK_ACTIVE)
    now = work.REGISTRY.collect()
    return tuple(value(metric, name, now, **labels) for metric in metrics)


def own(limiter: Any) -> tuple[float, float, float]:
    """What the limiter says of itself, as ``shown`` says it."""
    found = limiter.statistics()
    return found.borrowed_tokens, found.tasks_waiting, found.total_tokens


async def hold(limiter: Any, release: anyio.Event) -> None:
    """A coroutine that has a token."""
    async with limiter:
        await release.wait()


# -- now ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", ["in the loop", "before it"])
def test_coroutines_and_threads_share_the_tokens(library: Library, made: str) -> None:
    before = library.make(3) if made == "before it" else None
    gate = Gate()

    async def main() -> None:
        limiter = gi.name_limiter(before or library.make(3), "shared")
        release = anyio.Event()
        with ThreadPoolExecutor(1) as elsewhere:

            def read() -> tuple[float, ...]:
                return elsewhere.submit(shown, "shared").result(LIMIT)

            async with anyio.create_task_group() as group:
                group.start_soon(hold, limiter, release)
                await until(lambda: limiter.borrowed_tokens == 1)
                for _ in range(5):
                    group.start_soon(functools.partial(library.in_thread, gate, limiter=limiter))
                await until(lambda: limiter.statistics().tasks_waiting == 3 and gate.running == 2)
                group.start_soon(hold, limiter, release)
                await until(lambda: limiter.statistics().tasks_waiting == 4)
                assert read() == (*own(limiter), 2) == (3, 4, 3, 2)
                limiter.total_tokens = 1
                assert read() == (*own(limiter), 2) == (3, 4, 1, 2)
                limiter.total_tokens = 5
                await until(lambda: gate.running == 4)
                assert read() == (*own(limiter), 4) == (5, 2, 5, 4)
                release.set()
                await until(lambda: gate.running == 5)
                assert read() == (*own(limiter), 5) == (5, 1, 5, 5)
                gate.open()
            assert read() == (0, 0, 5, 0)

    library.run(main)
    assert outcomes("shared") == {"success": 5}
    assert value(catalog.TASK_SUBMITTED, "shared") == 5
    assert shown("shared") == (0, 0, 0, 0)  # the loop is gone


def test_a_call_is_active_from_the_grant_of_its_token(library: Library) -> None:
    gate = Gate()

    async def main() -> None:
        limiter = gi.name_limiter(library.make(2), "granted")
        first = Gate()
        async with anyio.create_task_group() as group:
            group.start_soon(functools.partial(library.in_thread, first, limiter=limiter))
            await until(lambda: first.running)
            for _ in range(2):
                group.start_soon(functools.partial(library.in_thread, gate, limiter=limiter))
            await until(lambda: limiter.statistics().tasks_waiting)
            # Of three calls that were made when one token was free, two have one; whether their threads run or not.
            assert shown("granted") == (2, 1, 2, 2)
            first.open()
            gate.open()

    library.run(main)
    assert outcomes("granted") == {"success": 3}


@pytest.mark.parametrize("made", ["in the loop", "before it"])
def test_without_a_bound_there_is_no_limit(library: Library, made: str) -> None:
    before = library.make(float("inf")) if made == "before it" else None

    def read() -> tuple[float, float | None, float, float]:
        now = work.REGISTRY.collect()
        limits = [p.value for p in now.points.get(catalog.SLOT_LIMIT.name, ()) if "endless" in p.attributes.values()]
        times = (value(metric, "endless", now) for metric in (catalog.SLOT_TIME, catalog.SLOT_LIMIT_TIME))
        return value(catalog.SLOT_USAGE, "endless", now), next(iter(limits), None), *times

    async def main() -> None:
        limiter = gi.name_limiter(before or library.make(float("inf")), "endless")
        gate, release = Gate(), anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(functools.partial(library.in_thread, gate, limiter=limiter))
            group.start_soon(hold, limiter, release)
            await until(lambda: gate.running and limiter.borrowed_tokens == 2)
            assert read() == (2, None, 0, 0)
            limiter.total_tokens = 2
            share = Share("endless")
            assert read()[:2] == (2, 2)
            assert share.read() == pytest.approx((2, 1))
            limiter.total_tokens = float("inf")
            stood = read()
            assert stood[:2] == (2, None)
            assert stood[2] == stood[3] > 0
            assert read() == stood  # no bound, no slots to be used
            gate.open()
            release.set()

    library.run(main)


def test_no_tokens_at_all(library: Library) -> None:
    async def main() -> None:
        limiter = gi.name_limiter(library.make(1), "none")
        await library.in_thread(nothing, limiter=limiter)
        limiter.total_tokens = 0
        share = Share("none")
        assert share.read() == (0, 0)  # and none is requested
        async with anyio.create_task_group() as group:
            group.start_soon(functools.partial(library.in_thread, nothing, limiter=limiter))
            await until(lambda: limiter.statistics().tasks_waiting)
            work.REGISTRY.collect()
            share = Share("none")
            assert share.read() == pytest.approx((0, 1))
            assert shown("none") == (0, 1, 0, 0)
            limiter.total_tokens = 1

    if not _takes_zero(library):
        pytest.skip("came with anyio 4.12 and trio 0.31")
    library.run(main)


def _takes_zero(library: Library) -> bool:
    async def make() -> bool:
        try:
            library.make(0)
        except ValueError:
            return False
        return True

    return bool(library.run(make))


def test_tokens_of_loops_that_are_gone(library: Library) -> None:
    """A limiter that outlives its loop, with tokens that will never be returned."""
    limiter = gi.name_limiter(library.make(2), "outliving")
    gate, borrower = Gate(), object()

    async def main() -> None:
        limiter.acquire_on_behalf_of_nowait(borrower)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(functools.partial(library.in_thread, gate, limiter=limiter, abandon_on_cancel=True))
                await until(lambda: gate.running)
                scope.cancel()
        held = limiter.borrowed_tokens  # on asyncio anyio takes the token of an abandoned thread back
        assert shown("outliving") == (held, 0, 2, 0)
        assert value(catalog.TASK_ABANDONED, "outliving") == 1

    library.run(main)
    assert shown("outliving") == (0, 0, 0, 0)
    stood = value(catalog.SLOT_TIME, "outliving")
    assert value(catalog.SLOT_TIME, "outliving") == stood
    gate.open()
    work.until(lambda: value(catalog.TASK_ABANDONED, "outliving") == 0, "the thread to end")

    async def again() -> None:
        free = limiter.available_tokens
        limiter.total_tokens += 1  # there may be none left
        await library.in_thread(nothing, limiter=limiter)
        assert shown("outliving") == (2 - free, 0, 3, 0)

    library.run(again)
    assert outcomes("outliving") == {"cancelled": 1, "success": 1}


def test_each_thread_has_default_tokens_of_its_own(library: Library) -> None:
    gate, names = Gate(), {"anyio.to_thread", "trio.to_thread"}
    ready = threading.Barrier(3)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(library.in_thread, gate)
            await until(lambda: library.default().borrowed_tokens == 3)
            await anyio.to_thread.run_sync(ready.wait, limiter=anyio.CapacityLimiter(1))
            gate.open()

    with ThreadPoolExecutor(2) as loops:
        running = [loops.submit(library.run, main) for _ in range(2)]
        work.until(lambda: gate.running == 6, "six threads")
        (name,) = names & {found for found, _ in work.executors()}
        assert shown(name) == (6, 0, 80, 6)
        ready.wait(LIMIT)
        for loop in running:
            loop.result(LIMIT)
    assert shown(name) == (0, 0, 0, 0)


def test_both_libraries_on_one_limiter() -> None:
    """anyio's default limiter on trio is trio's own."""

    async def main() -> None:
        gate = Gate()
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, gate)
            group.start_soon(trio.to_thread.run_sync, gate)
            group.start_soon(trio.to_thread.run_sync, gate)
            await until(lambda: gate.running == 3)
            assert shown("anyio.to_thread") == (3, 0, 40, 1)
            assert shown("trio.to_thread") == (3, 0, 40, 2)
            gi.TrioInstrumentor().uninstrument()
            assert shown("anyio.to_thread") == (3, 0, 40, 1)
            gate.open()
        assert shown("trio.to_thread") == (0, 0, 0, 0)
        assert shown("anyio.to_thread") == (0, 0, 40, 0)

    anyio.run(main, backend="trio")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_limiters_of_worker_processes(backend: str) -> None:
    async def main() -> None:
        limiter, release = gi.name_limiter(anyio.CapacityLimiter(1), "processes"), anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(hold, limiter, release)
            await until(lambda: limiter.borrowed_tokens)
            for number in range(2):
                group.start_soon(functools.partial(anyio.to_process.run_sync, abs, number, limiter=limiter))
            await until(lambda: limiter.statistics().tasks_waiting == 2)
            assert shown("processes") == (*own(limiter), 0) == (1, 2, 1, 0)
            share = Share("processes")
            release.set()
            await until(lambda: limiter.statistics().tasks_waiting == 1)
            assert shown("processes") == (1, 1, 1, 1)
            assert share.read() == pytest.approx((1, 1))
            limiter.total_tokens = 4
            assert value(catalog.SLOT_LIMIT, "processes") == 4
        assert shown("processes") == (0, 0, 4, 0)
        await anyio.to_process.run_sync(abs, 1)
        default = anyio.to_process.current_default_process_limiter()
        assert value(catalog.SLOT_LIMIT, "anyio.to_process") == default.total_tokens

    anyio.run(main, backend=backend)
    assert outcomes("processes") == {"success": 2}
    assert outcomes("anyio.to_process") == {"success": 1}


# -- over time ---------------------------------------------------------------------------------------------------------


class Clock:
    """Time passes when the test says so, and the test keeps its own account of the limiter meanwhile."""

    def __init__(self, limiter: Any, now: float) -> None:
        self.now = now
        self.slots = self.offered = self.full = 0.0
        self._limiter = limiter

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        """Called on the limiter's loop, where the limiter does not change while this runs."""
        borrowed, waiting, total = own(self._limiter)
        self.slots += borrowed * seconds
        self.offered += total * seconds
        self.full += seconds if waiting or borrowed >= total else 0
        self.now += seconds


def under_a_clock(library: Library, limiter: Any) -> Clock:
    """Begin to observe the limiter, under a clock of its own. Called on the limiter's loop."""
    observed: ObservedLimiter = library.observed.find(limiter, None)
    clock = Clock(limiter, observed.recorder.record.clock())
    observed.recorder.record.clock = clock
    return clock


def counted(name: str) -> tuple[float, float, float]:
    """Slot time, limit time and saturated time so far."""
    now = work.REGISTRY.collect()
    metrics = (catalog.SLOT_TIME, catalog.SLOT_LIMIT_TIME, catalog.SLOT_SATURATED_TIME)
    slots, offered, full = (value(metric, name, now) for metric in metrics)
    return slots, offered, full


@pytest.mark.parametrize("seed", range(4))
def test_time_is_the_limiters_own_to_the_last_instant(library: Library, seed: int) -> None:
    """Threads, coroutines, calls that are given up, a number of tokens that changes; and always a loop that works."""
    chance = random.Random(seed)

    async def main() -> None:
        limiter = gi.name_limiter(library.make(3), "clocked")
        clock = under_a_clock(library, limiter)
        before = counted("clocked")

        def work_on_the_loop() -> None:
            clock.pass_(chance.choice((0.0, 0.001, 0.005, 0.125)))

        async def thread(give_up: bool) -> None:
            with anyio.move_on_after(0 if give_up else None):
                await library.in_thread(nothing, limiter=limiter, abandon_on_cancel=chance.random() < 0.5)
            work_on_the_loop()

        async def coroutine() -> None:
            async with limiter:
                for _ in range(chance.randrange(3)):
                    work_on_the_loop()
                    await anyio.sleep(0)
            work_on_the_loop()

        async def user() -> None:
            for _ in range(12):
                what = chance.random()
                if what < 0.1:
                    limiter.total_tokens = chance.randrange(1, 6)
                    work_on_the_loop()
                elif what < 0.35:
                    await coroutine()
                else:
                    await thread(give_up=what > 0.9)

        for crowd in (6, 1, 9):
            async with anyio.create_task_group() as group:
                for _ in range(crowd):
                    group.start_soon(user)
            work_on_the_loop()
            found = tuple(now - then for now, then in zip(counted("clocked"), before, strict=True))
            assert found == pytest.approx((clock.slots, clock.offered, clock.full), abs=1e-6)

    library.run(main)


def test_a_changed_number_of_tokens_counts_from_its_change(library: Library) -> None:
    async def main() -> None:
        limiter = gi.name_limiter(library.make(4), "resized")
        clock = under_a_clock(library, limiter)
        before, release = counted("resized"), anyio.Event()
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(hold, limiter, release)
            await until(lambda: limiter.borrowed_tokens == 2)
            for tokens in (2, 1, 6):  # there is no acquiring, releasing or reading in between
                clock.pass_(8)
                limiter.total_tokens = tokens
            clock.pass_(8)
            release.set()
        found = tuple(now - then for now, then in zip(counted("resized"), before, strict=True))
        assert found == pytest.approx((64, 8 * (4 + 2 + 1 + 6), 16), abs=1e-6)

    library.run(main)


@pytest.mark.parametrize("milliseconds", [0, 2, 5])
def test_a_crowd_on_the_40_tokens(library: Library, milliseconds: int) -> None:
    """Each user answers on the loop what it got from its thread; the tokens are never free, nor do they seem so.

    However the loop and the threads are delayed, no more than 80 users are on their way back to the limiter (40 that
    have just given back a token, 40 of the turn before), so that of 150 some always wait.
    """
    stop, calls = False, 0

    def answer() -> None:
        until = time.perf_counter() + milliseconds / 1000
        while time.perf_counter() < until:
            pass

    async def main() -> None:
        nonlocal stop
        limiter = library.default()
        wrong: list[Any] = []

        async def user() -> None:
            nonlocal calls
            while not stop:
                await library.in_thread(nothing)
                calls += 1
                answer()
                if calls % 16 == 0 and shown(name)[:3] != own(limiter):
                    wrong.append((shown(name), own(limiter)))

        async with anyio.create_task_group() as group:
            for _ in range(150):
                group.start_soon(user)
            await until(lambda: limiter.statistics().tasks_waiting)
            (name,) = {"anyio.to_thread", "trio.to_thread"} & {found for found, _ in work.executors()}
            share = Share(name)
            await until(lambda: calls > 320)
            found = share.read()
            stop = True
        assert wrong == []
        assert found == pytest.approx((40, 1), rel=1e-6)

    library.run(main)


# -- limiters of other kinds, and what stays as it was -----------------------------------------------------------------


class Foreign:
    """A custom limiter, which trio allows."""

    def __init__(self, tokens: float) -> None:
        self.total_tokens = tokens
        self.borrowers: set[object] = set()
        self.broken = False

    @property
    def borrowed_tokens(self) -> int:
        if self.broken:
            raise ZeroDivisionError
        return len(self.borrowers)

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        await trio.lowlevel.checkpoint()
        self.borrowers.add(borrower)

    def release_on_behalf_of(self, borrower: object) -> None:
        self.borrowers.remove(borrower)


def test_somebodys_own_limiter() -> None:
    async def main() -> None:
        limiter, gate = gi.name_limiter(Foreign(2.5), "foreign"), Gate()
        limiter.borrowers.add("a coroutine")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(functools.partial(trio.to_thread.run_sync, gate, limiter=limiter))
            await until(lambda: gate.running)
            assert shown("foreign") == (2, 0, 2.5, 1)
            gate.open()
        assert shown("foreign") == (1, 0, 2.5, 0)
        limiter.broken = True
        assert await trio.to_thread.run_sync(lambda: 5, limiter=limiter) == 5
        shown("foreign")
        assert value(catalog.TELEMETRY_FAILURES, "foreign", telemetry_failure_kind="callback") > 0

    trio.run(main)
    assert outcomes("foreign") == {"success": 2}


class Bare:
    """Nothing but what trio asks for."""

    __slots__ = ("lent",)

    async def acquire_on_behalf_of(self, _borrower: object) -> None:
        await trio.lowlevel.checkpoint()

    def release_on_behalf_of(self, _borrower: object) -> None:
        self.lent = False


class Unreferable(Bare):
    """It has figures, and cannot be referred to weakly."""

    __slots__ = ()
    total_tokens = 1
    borrowed_tokens = 0


@pytest.mark.parametrize("kind", [Bare, Unreferable])
def test_what_cannot_be_shown_is_left_alone(kind: type[Bare]) -> None:
    async def main() -> None:
        limiter = kind()
        assert await trio.to_thread.run_sync(lambda: 5, limiter=limiter) == 5
        assert limiter.lent is False

    trio.run(main)
    assert {type for _, type in work.executors()} <= {"trio"}


class Result:
    """Something that a call makes."""


def test_nothing_of_a_call_is_kept_alive(library: Library) -> None:
    """No limiter, task, argument or result lives on because it was observed, nor waits for the collector."""
    kept: list[weakref.ref[Any]] = []

    def make(_argument: Result) -> Result:
        made = Result()
        kept.append(weakref.ref(made))
        return made

    async def user(limiter: Any) -> None:
        argument = Result()
        kept.append(weakref.ref(argument))
        await library.in_thread(make, argument, limiter=limiter)
        async with limiter:
            await anyio.sleep(0)

    async def main() -> None:
        limiter = gi.name_limiter(library.make(1), "released")
        kept.append(weakref.ref(limiter))
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(user, limiter)
            with anyio.move_on_after(0):
                await library.in_thread(make, Result(), limiter=limiter)
        del limiter, group
        for _ in range(3):  # a task that has ended is let go of in the next turn
            await anyio.sleep(0.001)
        alive = [type(found).__name__ for reference in kept if (found := reference()) is not None]
        assert alive == []

    gc.collect()
    gc.disable()
    try:
        library.run(main)
    finally:
        gc.enable()
    assert value(catalog.EXECUTOR_CLOSED, "released") == 1
    assert shown("released") == (0, 0, 0, 0)


def test_off_and_on_again_with_tokens_lent(library: Library) -> None:
    async def main() -> None:
        limiter, gate = gi.name_limiter(library.make(2), "again"), Gate()
        async with anyio.create_task_group() as group:
            group.start_soon(functools.partial(library.in_thread, gate, limiter=limiter))
            await until(lambda: gate.running == 1)
            gi.uninstrument()
            group.start_soon(functools.partial(library.in_thread, gate, limiter=limiter))
            await until(lambda: gate.running == 2)
            assert shown("again")[:3] == (2, 0, 2)  # the call under way is still counted, and so is its limiter
            gi.AnyioInstrumentor().instrument(monitor=False)
            gi.TrioInstrumentor().instrument(monitor=False)
            group.start_soon(functools.partial(library.in_thread, nothing, limiter=limiter))
            await until(lambda: limiter.statistics().tasks_waiting == 1)
            share = Share("again")
            limiter.total_tokens = 3
            await until(lambda: value(catalog.TASK_COMPLETED, "again") == 1)
            gate.open()
        del share
        assert shown("again") == (0, 0, 3, 0)

    library.run(main)
    assert outcomes("again") == {"success": 2}
    assert value(catalog.EXECUTOR_OPENED, "again") == value(catalog.EXECUTOR_CLOSED, "again") == 2


def test_the_limiters_own_errors_stay(library: Library) -> None:
    async def main() -> None:
        limiter = gi.name_limiter(library.make(1), "strict")
        await library.in_thread(nothing, limiter=limiter)
        with pytest.raises(RuntimeError, match="isn't holding any"):
            limiter.release()
        limiter.acquire_nowait()
        with pytest.raises(RuntimeError, match="already holding"):
            limiter.acquire_nowait()
        with pytest.raises((anyio.WouldBlock, trio.WouldBlock)):
            limiter.acquire_on_behalf_of_nowait("another")
        for wrong, error in ((2.5, TypeError), (-1, ValueError)):
            with pytest.raises(error, match="total_tokens must be"):
                limiter.total_tokens = wrong
        assert shown("strict") == (1, 0, 1, 0)
        assert len(limiter.statistics().borrowers) == 1
        limiter.release()
        assert shown("strict") == (0, 0, 1, 0)

    library.run(main)


def test_a_forked_child_begins_anew(library: Library) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")

    async def main() -> None:
        limiter = gi.name_limiter(library.make(2), "forked")
        await library.in_thread(nothing, limiter=limiter)
        read, write = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads
            child = os.fork()
        if not child:
            try:
                limiter.acquire_on_behalf_of_nowait("child")
                told = shown("forked")
                limiter.release_on_behalf_of("child")
                os.write(write, repr(told).encode())
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read) as answer:
            assert answer.read() == repr((0, 0, 0, 0))  # nothing has been called there
        os.waitpid(child, 0)
        assert shown("forked") == (0, 0, 2, 0)

    library.run(main)
