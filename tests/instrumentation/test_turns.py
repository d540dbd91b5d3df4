"""The figures of observed calls stay consistent under re-entrance: trace functions, signals, finalizers.

Without spans: a test before these may have set the SDK up with its in-memory exporter, whose lock cannot be re-entered.
"""

from __future__ import annotations

import functools
import gc
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import anyio
import pytest

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.recording.ending import Ending
from glasspool.telemetry.recording.recorder import Recorder
from glasspool.telemetry.recording.registry import REGISTRY
from glasspool.telemetry.recording.snapshot_queries import merged, total
from glasspool_instrumentation import AnyioInstrumentor, instrumented, wrap_executor
from glasspool_instrumentation._observe.batched_recorder import BatchedRecorder
from glasspool_instrumentation._observe.limiter_calls import ObservedLimiter, ThreadedCall
from glasspool_instrumentation._observe.limiter_tokens import Claim
from glasspool_instrumentation._observe.observation import Observed
from glasspool_instrumentation._observe.thread_calls import Call
from glasspool_instrumentation._process import pool_calls
from glasspool_instrumentation._process.arrivals import ArrivalRecorder
from glasspool_instrumentation._process.mailbox import away, receive
from tests.telemetry.nesting import in_the_middle

from .work import LIMIT, value

CANCELS = (("explicit", "queued"), ("shutdown", "queued"), ("parent_scope", "running"))


def observed(kind: str, recorder: type[Recorder] = Recorder, limit: int | None = 2) -> Observed:
    REGISTRY.reset()
    return Observed(
        "mine", kind, "thread", limit=limit, cancels=CANCELS, rejects=("already_shutdown",), recorder=recorder
    )


def conserved(ran: int, cancelled: int = 0, rejected: int = 0) -> None:
    """The figures of the executor say what was done."""
    found = REGISTRY.collect()
    wanted = {Key.EXECUTOR_NAME: "mine"}
    assert total(found, catalog.TASK_SUBMITTED, wanted) == ran + cancelled
    assert total(found, catalog.TASK_COMPLETED, wanted) == ran + cancelled
    assert total(found, catalog.TASK_CANCELLATIONS, wanted) == cancelled
    assert total(found, catalog.TASK_REJECTED, wanted) == rejected
    assert total(found, catalog.TASK_ACTIVE, wanted) == total(found, catalog.QUEUE_SIZE, wanted) == 0
    assert total(found, catalog.SLOT_USAGE, wanted) == 0
    assert merged(found, catalog.TASK_DURATION, wanted).count == ran
    if any(
        point.attributes[Key.EXECUTOR_NAME] == "mine" for point in found.histograms.get(catalog.QUEUE_WAIT.name, ())
    ):
        assert merged(found, catalog.QUEUE_WAIT, wanted).count == ran + cancelled


def nothing() -> None:
    pass


def fails() -> None:
    raise ValueError


@pytest.mark.parametrize("what", ["run", "fail", "enter", "read"])
def test_noted_calls(what: str) -> None:
    """A pool's calls are queued and counted in batches; here counting is re-entered in the middle."""

    def make() -> tuple[Callable[[], Any], Callable[[], Any], Callable[[], Any]]:
        pool = observed("thread_pool", BatchedRecorder)
        recorder: Any = pool.recorder
        counts = dict.fromkeys(("ran", "cancelled", "rejected"), 0)

        def noted(fn: Callable[[], None]) -> Call:
            call = Call(pool, recorder, fn, None, False)
            recorder.fresh.append(call)
            return call

        def run(fn: Callable[[], None] = nothing) -> None:
            counts["ran"] += 1
            call = noted(fn)
            try:
                call(None, fn)
            except ValueError:
                pass

        def cancel() -> None:
            counts["cancelled"] += 1
            call = noted(nothing)
            call.ended = time.perf_counter()
            call.end(Ending.cancelled("explicit"))

        def refuse() -> None:
            counts["rejected"] += 1
            recorder.record.reject("already_shutdown")

        def nested() -> None:
            run()
            run(fails)
            cancel()
            refuse()
            recorder.enter_some()
            recorder.record.catch_up()
            recorder.record.counts()
            REGISTRY.collect()

        def outer() -> None:
            if what == "run":
                run()
            elif what == "fail":
                run(fails)
            elif what == "enter":
                recorder.enter_some()
            else:
                REGISTRY.collect()

        for _ in range(2):
            run()
            run(fails)
            cancel()
        return outer, nested, lambda: conserved(**counts)

    in_the_middle(make, opcodes=False)


@pytest.mark.parametrize("what", ["submit", "end", "cancel", "enter", "read"])
def test_slots_of_a_remote_pool(what: str) -> None:
    """The order determines which call holds a slot: no slot is granted twice, and none stays empty."""

    def make() -> tuple[Callable[[], Any], Callable[[], Any], Callable[[], Any]]:
        pool = observed("process_pool", ArrivalRecorder)
        recorder: Any = pool.recorder
        counts = dict.fromkeys(("ran", "cancelled"), 0)
        under_way: list[Any] = []
        most = 0

        def submit() -> None:
            def keep(_: Any, errand: Any) -> Future[Any]:
                future: Future[Any] = Future()
                under_way.append((away[errand.key], future))
                return future

            pool_calls.submit(pool, keep, None, nothing, (), {})

        def end(outcome: str, which: int = 0) -> None:
            if not under_way:
                return
            call, future = under_way.pop(which)
            if outcome == "cancelled":
                counts["cancelled"] += 1
                future.cancel()
            else:
                counts["ran"] += 1
                receive(None, (call.key, 0.0))
                future.set_result(None)

        def nested() -> None:
            nonlocal most
            submit()
            submit()
            end("success")
            end("cancelled", -1)
            recorder.enter_some()
            most = max(most, recorder.record.counts().in_flight)

        def outer() -> None:
            if what == "submit":
                submit()
            elif what in ("end", "cancel"):
                end("success" if what == "end" else "cancelled")
            elif what == "enter":
                recorder.enter_some()
            else:
                REGISTRY.collect()

        def check() -> None:
            assert most <= 2, "two slots"
            recorder.record.catch_up()
            counts_now = recorder.record.counts()
            assert counts_now.in_flight == min(2, len(under_way)), "nobody waits while a slot is free"
            assert counts_now.queued == len(under_way) - counts_now.in_flight == recorder.queued()
            while under_way:
                end("success")
            conserved(**counts)
            assert not recorder.unfinished
            assert not recorder.unstarted

        for _ in range(4):
            submit()
        return outer, nested, check

    in_the_middle(make)


def observed_limiter(limiter: anyio.CapacityLimiter) -> ObservedLimiter:
    REGISTRY.reset()
    return ObservedLimiter(limiter, "mine", "anyio_limiter", "thread", cancels=CANCELS)


@pytest.mark.parametrize("told", [False, True])
def test_calls_under_a_limiter(told: bool) -> None:
    """With tokens that are lent and given back; ``told``: the limiter says to whom before the thread starts."""

    def make() -> tuple[Callable[[], Any], Callable[[], Any], Callable[[], Any]]:
        limiter = anyio.CapacityLimiter(100)
        pool = observed_limiter(limiter)
        counts = dict.fromkeys(("ran", "cancelled"), 0)

        def lent(claimed: bool) -> ThreadedCall:
            call = ThreadedCall(pool, nothing, ())
            claim = Claim(limiter, functools.partial(pool.granted, call.task))
            if claimed:
                claim.of(call)
            limiter.acquire_on_behalf_of_nowait(call)
            claim.end()
            return call

        def run(claimed: bool = True) -> None:
            counts["ran"] += 1
            call = lent(claimed)
            call()
            call.given_up(KeyError(), "parent_scope")  # too late
            limiter.release_on_behalf_of(call)

        def give_up() -> None:
            counts["cancelled"] += 1
            call = lent(False)
            call.given_up(KeyError(), "explicit")
            call()  # its thread started all the same
            limiter.release_on_behalf_of(call)

        def nested() -> None:
            run()
            give_up()
            limiter.acquire_on_behalf_of_nowait(limiter)
            limiter.total_tokens = 101 if limiter.total_tokens == 100 else 100
            pool.tokens.look()
            REGISTRY.collect()
            limiter.release_on_behalf_of(limiter)

        def check() -> None:
            conserved(**counts)
            found, wanted = REGISTRY.collect(), {Key.EXECUTOR_NAME: "mine"}
            assert total(found, catalog.SLOT_LIMIT, wanted) == limiter.total_tokens
            used, there = (total(found, each, wanted) for each in (catalog.SLOT_TIME, catalog.SLOT_LIMIT_TIME))
            assert 0 < used < there
            used_time = pool.record.figures.used_time
            assert used_time(1e9) == pytest.approx(used_time(0.0), abs=1e-6)
            assert not pool.waiting

        return lambda: run(told), nested, check

    async def main() -> None:
        in_the_middle(make, opcodes=False)

    anyio.run(main)


@pytest.mark.parametrize("told", [False, True])
def test_a_limiters_call_that_is_given_up_by_a_finalizer_while_it_starts(told: bool) -> None:
    """The loop is lost, and its coroutines are thrown away wherever the collector runs: in the call's own thread."""

    def make() -> tuple[Callable[[], Any], Callable[[], Any], Callable[[], Any]]:
        limiter = anyio.CapacityLimiter(1)
        pool = observed_limiter(limiter)
        call = ThreadedCall(pool, nothing, ())

        def outer() -> None:
            if told:
                pool.granted(call.task)
            call()

        def check() -> None:
            found, wanted = REGISTRY.collect(), {Key.EXECUTOR_NAME: "mine"}
            assert total(found, catalog.TASK_COMPLETED, wanted) == total(found, catalog.TASK_SUBMITTED, wanted) == 1
            for gauge in (catalog.TASK_ACTIVE, catalog.QUEUE_SIZE, catalog.SLOT_USAGE, catalog.TASK_ABANDONED):
                assert total(found, gauge, wanted) == 0
            counts = pool.recorder.record.counts()
            assert counts.queued == counts.in_flight == counts.abandoned == 0
            assert not pool.recorder.record.active_tasks
            assert not pool.recorder.record.slots.waiting

        return outer, lambda: call.given_up(GeneratorExit(), "parent_scope"), check

    async def main() -> None:
        in_the_middle(make, opcodes=False)

    anyio.run(main)


def test_a_call_that_is_cancelled_twice_one_within_the_other_ends_once() -> None:
    def make() -> tuple[Callable[[], Any], Callable[[], Any], Callable[[], Any]]:
        pool = observed("thread_pool", BatchedRecorder)
        recorder: Any = pool.recorder
        call = Call(pool, recorder, nothing, None, False)
        recorder.fresh.append(call)
        future: Future[None] = Future()
        assert future.cancel()
        return lambda: call.done(future), lambda: call.done(future), lambda: conserved(ran=0, cancelled=1)

    in_the_middle(make)


def test_an_instrumented_function_in_the_middle_of_an_instrumented_function() -> None:
    def make() -> tuple[Callable[[], Any], Callable[[], Any], Callable[[], Any]]:
        REGISTRY.reset()
        ran = 0
        unit = instrumented(name="mine", spans="off")(nothing)

        def called() -> None:
            nonlocal ran
            ran += 1
            unit()

        return called, called, lambda: conserved(ran)

    in_the_middle(make, opcodes=False)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signal.setitimer")
@pytest.mark.parametrize("what", ["function", "pool"])
def test_a_signal_handler_that_counts_or_enters_what_the_main_thread_does(what: str) -> None:
    ran = 0
    unit = instrumented(name="mine", spans="off")(nothing)
    chance = random.Random(15)
    with ThreadPoolExecutor(1) as made:
        pool = wrap_executor(made, "mine" if what == "pool" else "another")

        def work() -> None:
            nonlocal ran
            ran += 1
            unit() if what == "function" else futures.append(pool.submit(nothing))

        futures: list[Any] = []
        shots = 0

        def shot(*_: object) -> None:
            nonlocal shots
            shots += 1
            if what == "function":
                work()
            if what == "pool" or shots % 10 == 0:  # a pool's own locks are not re-entrant: it takes no calls here
                REGISTRY.collect()

        before, limit = signal.signal(signal.SIGALRM, shot), time.monotonic() + LIMIT
        wanted = 1000 if what == "function" else 200
        try:
            for number in range(wanted):
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 2e-4))
                while shots == number and time.monotonic() < limit:
                    work()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        for future in futures:
            future.result(LIMIT)
    assert shots == wanted
    conserved(ran)


def test_a_finalizer_that_runs_an_instrumented_function() -> None:
    ran = 0
    unit = instrumented(name="mine", spans="off")(nothing)

    class Lost:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            nonlocal ran
            ran += 1
            unit()

    thresholds = gc.get_threshold()
    try:
        for number in range(1000):
            gc.set_threshold(1 + number % 50, 1, 1)
            Lost()
            ran += 1
            unit()
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    assert ran == 2000
    conserved(ran)


def test_signals_while_a_limiters_calls_come_and_go() -> None:
    """The loop's own thread is interrupted between any two steps of a call."""
    AnyioInstrumentor().instrument(exclude=["*"], monitor=False)
    ran = shots = 0
    unit = instrumented(name="mine", spans="off")(nothing)

    def shot(*_: object) -> None:
        nonlocal ran, shots
        shots += 1
        ran += 1
        unit()
        REGISTRY.collect()
        signal.setitimer(signal.ITIMER_REAL, 0.002)

    async def main() -> int:
        calls = 0
        with anyio.fail_after(LIMIT):
            while shots < 100:
                await anyio.to_thread.run_sync(nothing)
                calls += 1
        return calls

    before = signal.signal(signal.SIGALRM, shot)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    try:
        calls = anyio.run(main)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    conserved(ran)
    name = "anyio.to_thread"
    assert value(catalog.TASK_SUBMITTED, name) == value(catalog.TASK_COMPLETED, name) == calls
    assert value(catalog.TASK_ACTIVE, name) == value(catalog.QUEUE_SIZE, name) == 0
