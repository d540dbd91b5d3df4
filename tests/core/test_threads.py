"""Plain functions in threads and on pools: slots, abandoning, calls back into the loop."""

from __future__ import annotations

import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.process import BaseProcess as Process

import anyio
import pytest

from glasspool import HybridExecutor, Outcome, QueueFull, TaskState
from glasspool.testing import run_out_of_time

from .support import PATIENCE, echo, turns, until

pytestmark = pytest.mark.anyio


class Latch:
    """A thread that says it has begun and waits to be let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()
        self.ended = threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.go.wait(PATIENCE)
        self.ended.set()
        return "ended"

    async def wait_begun(self) -> None:
        await until(self.begun.is_set)


async def test_threads_have_slots_of_their_own_and_no_second_queue():
    latches = [Latch() for _ in range(50)]  # more than the 40 threads of anyio's shared limiter
    async with HybridExecutor("fifty", max_in_flight=50) as executor:
        handles = [await executor.submit(latch) for latch in latches]
        for latch in latches:
            await latch.wait_begun()
        assert executor.stats().in_flight == 50
        for latch in latches:
            latch.go.set()
        assert [await handle for handle in handles] == ["ended"] * 50


@pytest.mark.parametrize("how", ["cancel", "timeout"])
async def test_an_abandoned_thread_keeps_its_slot_until_it_ends(how):
    latch = Latch()
    async with HybridExecutor("abandon", max_in_flight=1, max_queued=0) as executor:
        handle = await executor.submit(latch, timeout=1000 if how == "timeout" else None)
        await latch.wait_begun()
        if how == "cancel":
            handle.cancel()
        else:
            run_out_of_time(handle)
        completed = await handle.outcome()
        assert completed.outcome is (Outcome.CANCELLED if how == "cancel" else Outcome.TIMEOUT)
        stats = executor.stats()
        assert (stats.abandoned, stats.in_flight, stats.slots_used) == (1, 0, 1)
        with pytest.raises(QueueFull):
            executor.submit_nowait(echo, 1)
        latch.go.set()
        await until(lambda: executor.stats().abandoned == 0)
        assert await executor.run(echo, 1) == 1
        assert executor.stats().submitted == 2


async def test_abandon_false_waits_for_the_thread():
    latch = Latch()
    async with HybridExecutor("wait", max_in_flight=1) as executor:
        handle = await executor.submit(latch, abandon=False)
        await latch.wait_begun()
        assert handle.cancel()
        await turns(10)  # nothing but the thread's end is to end it
        assert handle.state is TaskState.ACTIVE
        latch.go.set()
        assert await handle == "ended"  # the outcome follows how the function ended
        assert executor.stats().abandoned == 0


async def test_leaving_never_waits_for_abandoned_threads():
    latch = Latch()
    async with HybridExecutor("leave", max_in_flight=2) as executor:
        await executor.submit(latch)
        await latch.wait_begun()
        report = await executor.shutdown(grace=0)
        assert (report.abandoned, len(report.cut)) == (1, 1)
    assert not latch.ended.is_set()
    assert executor.stats().abandoned == 1  # counts until the thread really ends
    latch.go.set()
    await until(lambda: executor.stats().abandoned == 0)


async def test_a_thread_that_was_cancelled_before_it_began_is_never_used():
    async with HybridExecutor("early", max_in_flight=1) as executor:
        called = []
        handle = executor.submit_nowait(called.append, 1)
        handle.cancel()
        assert await executor.run(len, "abc") == 3
        assert called == []


async def test_thread_and_cancellation_race_without_losing_a_slot():
    async with HybridExecutor("race", max_in_flight=2, max_queued=None) as executor:
        for number in range(150):
            handle = await executor.submit(threading.get_ident)
            await anyio.lowlevel.checkpoint()
            if number % 2:
                await anyio.sleep(0)
            handle.cancel()
            stats = executor.stats()
            assert stats.abandoned >= 0
            assert stats.slots_used <= 2
        await until(lambda: executor.stats().slots_used == 0)
        stats = executor.stats()
        assert stats.submitted == 150 == stats.succeeded + stats.cancelled
        assert await executor.run(echo, 1) == 1


async def test_calls_back_into_the_loop_work_inside_a_thread():
    async with HybridExecutor("back", max_in_flight=2) as executor:

        def calls_back():
            value = anyio.from_thread.run(echo, 20)
            return value + anyio.from_thread.run_sync(len, "ab")

        def submits():
            handle = anyio.from_thread.run(executor.submit, echo, 30)
            return handle.id

        assert await executor.run(calls_back) == 22
        assert isinstance(await executor.run(submits), int)


async def test_check_cancelled_works_inside_a_thread():
    begun, polls = threading.Event(), []

    def polite():
        begun.set()
        for _ in range(100_000):
            polls.append(1)
            anyio.from_thread.check_cancelled()
            threading.Event().wait(0.001)

    async with HybridExecutor("polite", max_in_flight=1) as executor:
        handle = await executor.submit(polite, abandon=False)
        await until(begun.is_set)
        handle.cancel()
        completed = await handle.outcome()
        assert (completed.outcome, completed.error.reason) == (Outcome.CANCELLED, "explicit")
        assert len(polls) < 100_000
        assert executor.stats().abandoned == 0


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(2, thread_name_prefix="mine") as made:
        yield made


async def test_a_pool_of_ones_own_as_runner(pool):
    async with HybridExecutor("pool", max_in_flight=2) as executor:
        name = await executor.run(lambda: threading.current_thread().name, runner=pool)
        assert name.startswith("mine")
        with pytest.raises(ZeroDivisionError):
            await executor.run(lambda: 1 / 0, runner=pool)
        latch = Latch()
        handle = await executor.submit(latch, runner=pool)
        await latch.wait_begun()
        handle.cancel()
        assert (await handle.outcome()).outcome is Outcome.CANCELLED
        assert (executor.stats().abandoned, executor.stats().slots_used) == (1, 1)
        latch.go.set()
        await until(lambda: executor.stats().slots_used == 0)
        assert executor.stats().abandoned == 0


async def test_a_queued_call_of_a_pool_can_be_taken_back(pool):
    latches = [Latch(), Latch()]
    async with HybridExecutor("taken", max_in_flight=4) as executor:
        busy = [await executor.submit(latch, runner=pool) for latch in latches]
        for latch in latches:
            await latch.wait_begun()
        called = []
        waiting = await executor.submit(called.append, 1, runner=pool)
        await anyio.wait_all_tasks_blocked()
        waiting.cancel()
        assert (await waiting.outcome()).outcome is Outcome.CANCELLED
        assert executor.stats().abandoned == 0
        for latch in latches:
            latch.go.set()
        assert [await handle for handle in busy] == ["ended"] * 2
    assert called == []


async def test_a_pool_that_is_shut_down_is_the_tasks_error():
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    async with HybridExecutor("shut", max_in_flight=1) as executor:
        with pytest.raises(RuntimeError, match="after shutdown"):
            await executor.run(len, "a", runner=pool)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_process_pool_as_runner(anyio_backend):
    import multiprocessing

    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        async with HybridExecutor("process", max_in_flight=1) as executor:
            assert await executor.run(pow, 2, 10, runner=pool) == 1024
            with pytest.raises(ZeroDivisionError):
                await executor.run(divmod, 1, 0, runner=pool)


async def test_a_coroutine_function_cannot_run_in_a_thread(pool):
    async with HybridExecutor("wrong", max_in_flight=1) as executor:
        for runner in ("thread", pool):
            with pytest.raises(ValueError, match="cannot run a coroutine function"):
                await executor.submit(echo, 1, runner=runner)
        assert executor.stats().submitted == 0


@pytest.mark.parametrize(("pool", "worker"), [(ThreadPoolExecutor, threading.Thread), (ProcessPoolExecutor, Process)])
async def test_a_call_that_a_pool_has_queued_and_cannot_start_fails_and_never_runs(pool, worker, tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    with pool(1) as workers:
        async with HybridExecutor("short of threads", max_in_flight=2) as executor:
            with monkeypatch.context() as patched:
                patched.setattr(worker, "start", _cannot_start)
                handle = await executor.submit(ran.touch, runner=workers)
                with pytest.raises(RuntimeError, match="can't start new thread"):
                    await handle
            assert await executor.run(abs, -1, runner=workers) == 1
        assert (executor.stats().failed, executor.stats().succeeded) == (1, 1)
    assert not ran.exists()


def _cannot_start(_: object) -> None:
    raise RuntimeError("can't start new thread")
