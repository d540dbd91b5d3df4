"""The threads of plain functions: their owner, their lifetime, and their references to tasks."""

from __future__ import annotations

import gc
import logging
import threading
import time
import traceback
import weakref
from contextlib import nullcontext
from contextvars import ContextVar

import anyio
import pytest

from glasspool import HybridExecutor
from glasspool._core.backend import asyncio_, daemon_threads, trio_
from glasspool.telemetry import catalog
from glasspool.testing import recorded
from tests.telemetry.support import run_python

from .support import echo, until

pytestmark = pytest.mark.anyio

local = threading.local()


def threads_of(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(f"glasspool {name} ")]


@pytest.fixture(params=["own", "anyio's"])
def kind(request, monkeypatch, anyio_backend):
    """With threads of the executor's own, and with anyio's, where the libraries are not as expected."""
    if request.param == "anyio's":
        monkeypatch.setattr(asyncio_, "THREAD_PARTS", None)
        monkeypatch.setattr(trio_, "THREAD_PARTS", None)
    return request.param


async def test_they_are_daemons_reused_while_idle_and_end_with_the_executor():
    async with HybridExecutor("reuse", max_in_flight=3) as executor:
        first = {await executor.run(threading.get_ident) for _ in range(20)}
        assert len(first) == 1
        barrier = threading.Barrier(3)
        handles = [await executor.submit(barrier.wait) for _ in range(3)]
        for handle in handles:
            await handle
        assert len(threads_of("reuse")) == 3
        assert all(thread.daemon for thread in threads_of("reuse"))
    await until(lambda: not threads_of("reuse"))


async def test_two_executors_share_none():
    async with HybridExecutor("mine", max_in_flight=1) as mine, HybridExecutor("yours", max_in_flight=1) as yours:
        await mine.run(setattr, local, "of", "mine")
        assert await mine.run(getattr, local, "of") == "mine"
        assert await yours.run(getattr, local, "of", None) is None
        await mine.shutdown()
        await until(lambda: not threads_of("mine"))
        assert len(threads_of("yours")) == 1


async def test_an_idle_one_ends_after_a_while_and_another_one_is_started(monkeypatch):
    monkeypatch.setattr(daemon_threads, "IDLE", 0.001)
    async with HybridExecutor("idle", max_in_flight=2) as executor:
        for _ in range(3):
            assert await executor.run(len, "abc") == 3
            await until(lambda: not threads_of("idle"))


async def test_no_call_is_lost_to_a_thread_that_ends_as_it_is_given_one(monkeypatch):
    monkeypatch.setattr(daemon_threads, "IDLE", 0.0)
    async with HybridExecutor("busy", max_in_flight=4, max_queued=None) as executor:
        handles = [await executor.submit(divmod, number, 7) for number in range(500)]
        assert [await handle for handle in handles] == [divmod(number, 7) for number in range(500)]
        assert executor.stats().succeeded == 500


@pytest.mark.parametrize("anyio_backend", ["asyncio", "uvloop"], indirect=True)
def test_they_end_with_an_executor_that_nobody_leaves(anyio_backend):
    async def main():
        executor = HybridExecutor("lost", max_in_flight=1)
        await executor.__aenter__()
        assert await executor.run(len, "abc") == 3
        (thread,) = threads_of("lost")
        del executor
        gc.collect()
        thread.join(60)
        assert threads_of("lost") == []

    loop = anyio_backend[1]["loop_factory"]()
    loop.run_until_complete(main())
    loop.close()


@pytest.mark.parametrize("anyio_backend", ["asyncio", "uvloop"], indirect=True)
def test_one_that_was_left_behind_ends_when_its_function_does_with_the_loop_gone(anyio_backend):
    begun, go, freed = threading.Event(), threading.Event(), []

    def work():
        begun.set()
        assert go.wait(60)

    async def main():
        async with HybridExecutor("behind", max_in_flight=1) as executor:
            await executor.submit(work)
            await until(begun.is_set)
            await executor.shutdown(grace=0)
            freed.append(executor.stats)

    anyio.run(main, backend=anyio_backend[0], backend_options=anyio_backend[1])
    (stats,) = freed
    assert stats().abandoned == 1
    go.set()
    for thread in threads_of("behind"):
        thread.join(60)
    assert threads_of("behind") == []
    assert stats().abandoned == 0


async def test_its_figures_are_the_threads_that_are_there(anyio_backend):
    barrier, go = threading.Barrier(3), threading.Event()

    def work():
        barrier.wait()
        assert go.wait(60)

    def workers_now(state):
        return seen.total(catalog.WORKER_COUNT, executor_name="figures", worker_state=state)

    with recorded() as seen:
        async with HybridExecutor("figures", max_in_flight=4) as executor:
            assert (workers_now("busy"), workers_now("idle")) == (0, 0)
            handles = [await executor.submit(work) for _ in range(2)]
            await anyio.to_thread.run_sync(barrier.wait)
            assert (workers_now("busy"), workers_now("idle")) == (2, 0)
            go.set()
            for handle in handles:
                await handle
            await until(lambda: (workers_now("busy"), workers_now("idle")) == (0, 2))
        assert (workers_now("busy"), workers_now("idle")) == (0, 0)


async def test_a_thread_that_cannot_be_started_is_the_tasks_error(monkeypatch, anyio_backend, kind):
    start = threading.Thread.start

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    async with HybridExecutor("none", max_in_flight=1) as executor:
        if anyio_backend[0] == "trio" and kind != "own":
            pytest.skip("trio's cache has idle threads of its own")
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await executor.run(len, "abc")
        monkeypatch.setattr(threading.Thread, "start", start)
        assert await executor.run(len, "abc") == 3
        assert executor.stats().slots_used == 0


async def test_calls_for_which_no_thread_can_be_started_fail_and_the_others_run(monkeypatch):
    start, started = threading.Thread.start, []
    go = threading.Event()

    def once(thread):
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    async with HybridExecutor("short", max_in_flight=4) as executor:
        monkeypatch.setattr(threading.Thread, "start", once)
        together = [executor.submit_nowait(go.wait, 60) for _ in range(3)]
        await until(lambda: executor.stats().failed == 2)
        later = await executor.submit(len, "abc")
        await until(lambda: executor.stats().failed == 3)
        assert executor.stats().slots_used == 1
        go.set()
        errors = [completed.error for handle in [*together, later] if (completed := await handle.outcome()).error]
        assert [str(error) for error in errors] == ["can't start new thread"] * 3
        assert len(set(errors)) == 3
        assert await executor.run(len, "abc") == 3


async def test_each_call_that_blocks_has_a_thread_however_many_are_submitted_at_once(kind):
    barrier = threading.Barrier(40)
    async with HybridExecutor("all", max_in_flight=40) as executor:
        for _ in range(3):  # with threads to be started, and idle ones
            handles = [executor.submit_nowait(barrier.wait, 60) for _ in range(40)]
            assert sorted([await handle for handle in handles]) == list(range(40))


async def test_calls_behind_one_that_blocks_are_taken_by_other_threads():
    go = threading.Event()
    async with HybridExecutor("behind one", max_in_flight=2) as executor:
        assert await executor.run(len, "abc") == 3  # one idle thread, which takes the call that blocks
        blocks = executor.submit_nowait(go.wait, 60)
        for _ in range(200):
            assert await executor.run(len, "abc") == 3
        go.set()
        assert await blocks
        assert len(threads_of("behind one")) == 2


variable: ContextVar[str] = ContextVar("variable", default="none")


async def test_a_thread_sees_its_submitters_context_and_keeps_nothing_of_it(kind):
    def work():
        found = variable.get()
        variable.set("the task's")
        local.variable = variable
        return found

    async with HybridExecutor("context", max_in_flight=1) as executor:
        variable.set("the submitter's")
        assert await executor.run(work) == "the submitter's"
        assert variable.get() == "the submitter's"
        assert await executor.run(variable.get) == "the submitter's"


async def test_an_event_loop_can_be_run_in_a_thread(kind):
    async def inner():
        async with HybridExecutor("inner", max_in_flight=1) as executor:
            return await executor.run(anyio.from_thread.run, echo, 3)

    async with HybridExecutor("outer", max_in_flight=1) as executor:
        assert await executor.run(anyio.run, inner) == 3


async def test_calls_back_into_the_loop_are_cancelled_with_the_task(kind):
    reached = threading.Event()
    ended = []

    async def on_the_loop():
        reached.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")

    def calls():
        anyio.from_thread.run(on_the_loop)

    async with HybridExecutor("back", max_in_flight=1) as executor:
        handle = await executor.submit(calls, abandon=False)
        await until(reached.is_set)
        handle.cancel()
        await handle.outcome()
        assert ended == ["cancelled"]
        assert executor.stats().slots_used == 0


async def test_an_abandoned_thread_is_told_when_it_asks(kind):
    begun, told = threading.Event(), threading.Event()

    def polite():
        begun.set()
        while True:
            try:
                anyio.from_thread.check_cancelled()
            except BaseException:
                told.set()
                raise
            threading.Event().wait(0.001)

    async with HybridExecutor("told", max_in_flight=1) as executor:
        handle = await executor.submit(polite)
        await until(begun.is_set)
        handle.cancel()
        await handle.outcome()
        await until(told.is_set)
        await until(lambda: executor.stats().abandoned == 0)


@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
@pytest.mark.parametrize("abandon", [False, True])
async def test_trios_own_calls_back_find_the_task(kind, abandon):
    trio = pytest.importorskip("trio.testing") and pytest.importorskip("trio")

    async def where():
        return variable.get(), trio.lowlevel.current_task().name

    def work():
        variable.set("the thread's")
        in_trio = trio.from_thread.run(where)
        trio.from_thread.check_cancelled()
        return (
            in_trio,
            trio.from_thread.run_sync(variable.get),
            trio.from_thread.run_sync(trio.testing.active_thread_count),
        )

    async with HybridExecutor("trio's", max_in_flight=1) as executor:
        (seen, task), also_seen, active = await executor.run(work, abandon=abandon)
        assert seen == also_seen == "the thread's"
        # It runs in the task that waits for the thread, unless that may leave it.
        assert task.endswith("where") is abandon
        assert active == 1
        assert trio.testing.active_thread_count() == 0


class Odd(BaseException):
    pass


@pytest.mark.parametrize("error_type", [StopIteration, StopAsyncIteration, KeyboardInterrupt, SystemExit, Odd])
async def test_whatever_a_function_raises_is_its_outcome(error_type, kind):
    error = error_type()

    def fails():
        raise error

    async with HybridExecutor("raises", max_in_flight=1) as executor:
        completed = await (await executor.submit(fails)).outcome()
        assert completed.error is error
        assert [frame.name for frame in traceback.extract_tb(error.__traceback__)] == ["fails"]
        assert await executor.run(len, "abc") == 3


class Lies:
    """Its class cannot be determined."""

    @property
    def __class__(self):
        raise ValueError("what am I?")


async def test_a_result_that_cannot_be_looked_at_is_a_value_like_any_other_and_frees_the_slot(kind):
    async with HybridExecutor("lies", max_in_flight=1) as executor:
        assert type(await executor.run(Lies)) is Lies
        assert await executor.run(len, "abc") == 3
        assert executor.stats().slots_used == 0


class Thing:
    pass


async def test_an_idle_thread_keeps_nothing_of_the_last_task():
    async with HybridExecutor("forgets", max_in_flight=1) as executor:
        gc.disable()
        try:
            argument = Thing()
            handle = await executor.submit(lambda _: Thing(), argument)
            kept = [weakref.ref(argument), weakref.ref(await handle), weakref.ref(handle)]
            del argument, handle
            assert [ref() for ref in kept] == [
                None
            ] * 3  # at once: the thread has let go before it says that it is done
            assert len(threads_of("forgets")) == 1
        finally:
            gc.enable()


class Call:
    """A job without a loop."""

    def __init__(self, function, interrupted=False):
        self.function = function
        self.interrupted = interrupted
        self.ended = threading.Event()
        self.error = self.seen = None

    def call(self):
        try:
            self.function()
        finally:
            self.ended.set()

    def returned(self, error):
        if self.interrupted:
            self.interrupted = False
            raise KeyboardInterrupt
        self.error, self.seen = error, True


def test_the_loop_is_woken_once_for_all_calls_that_return_until_it_looks_and_after_ctrl_c_again():
    told = []
    threads = daemon_threads.DaemonThreads("alone", lambda look: told.append(look) or True, nullcontext)
    try:
        calls = [Call(threading.Event), Call(lambda: 1 / 0, interrupted=True), Call(threading.Event)]
        for call in calls:
            threads.put(call)
            assert call.ended.wait(60)
        while not told:
            time.sleep(0)
        threads.put(last := Call(threading.Event))
        assert last.ended.wait(60)
        assert len(told) == 1
        with pytest.raises(KeyboardInterrupt):
            told[0]()
        assert len(told) == 2
        while last.seen is None:
            told[-1]()
        assert [call.seen for call in calls] == [True] * 3
        assert [type(call.error) for call in calls] == [type(None), ZeroDivisionError, type(None)]
    finally:
        threads.end()


def test_ctrl_c_in_the_place_of_a_wake_up_loses_no_call(monkeypatch):
    told = []
    threads = daemon_threads.DaemonThreads("lost", lambda look: told.append(look) or True, nullcontext)
    start = threading.Thread.start

    def interrupted(thread):
        monkeypatch.setattr(threading.Thread, "start", start)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            threads.put(Call(threading.Event))
        threads.put(call := Call(threading.Event))
        assert call.ended.wait(60)
        while not told:
            time.sleep(0)
        told.clear()  # the loop was told, and Ctrl-C came instead
        threads.look_again()
        told[0]()
        assert call.seen
    finally:
        threads.end()


def test_threads_of_a_loop_that_is_gone_end():
    threads = daemon_threads.DaemonThreads("gone", lambda _: False, nullcontext)
    for _ in range(3):
        threads.put(call := Call(threading.Event))
        assert call.ended.wait(60)
    for thread in threads_of("gone"):
        thread.join(60)
    assert threads.alive == 0


UNEXPECTED = """
import logging
logging.basicConfig(format="%(message)s")
import anyio._core._eventloop as eventloop
{change}
import anyio, threading
from glasspool import HybridExecutor

async def main():
    async with HybridExecutor("net", max_in_flight=2) as executor:
        print(await executor.run(lambda: threading.current_thread().name))

anyio.run(main, backend="{backend}")
"""
CLAIM = "claim = eventloop.claim_worker_thread; eventloop.claim_worker_thread = lambda kind, token: claim(kind, token)"


@pytest.mark.parametrize(
    ("backend", "name", "change"),
    [
        ("asyncio", "AnyIO worker thread", CLAIM),
        (
            "asyncio",
            "AnyIO worker thread",
            "import anyio._backends._asyncio as b; b.AsyncIOBackend.check_cancelled = classmethod(lambda cls: None)",
        ),
        ("trio", "wrapper from main", CLAIM),
        (
            "trio",
            "wrapper from main",
            "import trio._threads as t; type(t.PARENT_TASK_DATA).__annotations__['more'] = 1",
        ),
        ("trio", "wrapper from main", "import trio._threads as t; del t.RunSync.run_sync"),
    ],
)
def test_other_libraries_are_noticed_once_and_their_own_threads_are_used(backend, name, change):
    done = run_python(UNEXPECTED.format(change=change, backend=backend))
    assert name in done.out
    assert done.err.count("worker threads otherwise than expected") == 1


def test_this_anyio_is_as_expected(anyio_backend):
    assert asyncio_.THREAD_PARTS is not None
    assert trio_.THREAD_PARTS is not None
    assert logging.getLogger("glasspool").getEffectiveLevel() > logging.DEBUG
