"""What ends a task between two attempts: cancellations, closing, a lost executor; threads that cannot be stopped."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasspool import HybridExecutor, Limit, Outcome, Rate, Retry, RetryBudget, TaskCancelled, TaskState, TaskTimeout
from tests.core.support import conserved, echo, until
from tests.stateful.virtual import quiet

from .support import both, in_virtual_time
from .test_retries import AT_ONCE, Flaky

loops = pytest.mark.anyio
LATER = Retry(on=lambda error: 100)


@both
def test_a_task_is_cancelled_between_two_attempts(backend):
    async def main():
        async with HybridExecutor("cancelled", max_in_flight=1) as executor:
            flaky = Flaky(1)
            handle = await executor.submit(flaky.__call__, retry=LATER)
            await quiet()
            assert handle.cancel("no more")
            assert not handle.cancel()
            completed = await handle.outcome()
            conserved(executor, [handle])
            begun = anyio.current_time()
        return completed, len(flaky.at), anyio.current_time() - begun

    completed, runs, took = in_virtual_time(backend, main)
    assert isinstance(completed.error, TaskCancelled)
    assert (completed.error.reason, completed.error.message, runs, took) == ("explicit", "no more", 1, 0)
    assert isinstance(completed.error.__cause__, ConnectionError)


@loops
async def test_a_task_that_was_asked_to_end_does_not_run_again():
    runs: list[int] = []

    async def stubborn() -> None:
        runs.append(1)
        try:
            await anyio.sleep_forever()
        finally:
            raise ConnectionError

    async with HybridExecutor("asked", max_in_flight=1, retry=AT_ONCE) as executor:
        handle = await executor.submit(stubborn)
        await until(lambda: runs)
        handle.cancel()
        completed = await handle.outcome()
    assert (completed.outcome, type(completed.error), len(runs)) == (Outcome.ERROR, ConnectionError, 1)


@both
def test_draining_waits_for_all_attempts(backend):
    async def main():
        begun, flaky = anyio.current_time(), Flaky(2)
        async with HybridExecutor("drains", max_in_flight=1) as executor:
            handle = await executor.submit(flaky.__call__, retry=LATER)
        return await handle, anyio.current_time() - begun, executor.stats().succeeded

    assert in_virtual_time(backend, main) == (3, 200, 1)


@both
def test_the_end_of_the_grace_ends_it_as_its_last_attempt(backend):
    async def main():
        async with HybridExecutor("grace", max_in_flight=2) as executor:
            handle = await executor.submit(Flaky(9).__call__, retry=Retry(on=lambda error: 4, attempts=9))
            timed = await executor.submit(anyio.sleep_forever, timeout=1, retry=LATER)
            report = await executor.shutdown(grace=10)
        return report, await handle.outcome(), await timed.outcome(), executor.stats()

    report, failed, timed, stats = in_virtual_time(backend, main)
    assert (report.duration, report.failed, report.timed_out, report.cancelled) == (pytest.approx(10), 1, 1, 0)
    assert sorted((cut.phase, cut.age) for cut in report.cut) == [("retry_wait", pytest.approx(10))] * 2
    assert (stats.failed, stats.timed_out, stats.cancelled) == (1, 1, 0)
    assert (failed.outcome, timed.outcome, type(timed.error)) == (Outcome.ERROR, Outcome.TIMEOUT, TaskTimeout)
    assert failed.error.__notes__ == ["attempt 3 of 9 failed, and the task is not tried again: its executor is closing"]


@both
@pytest.mark.parametrize("how", ["body", "scope"])
def test_a_block_that_is_left_early(backend, how):
    async def main():
        handles: list[Any] = []
        with anyio.CancelScope() as scope:
            try:
                async with HybridExecutor("early", max_in_flight=1) as executor:
                    handles.append(await executor.submit(Flaky(1).__call__, retry=LATER))
                    await quiet()
                    if how == "body":
                        raise ZeroDivisionError
                    scope.cancel()
                    await anyio.sleep_forever()
            except ZeroDivisionError:
                pass
        return await handles[0].outcome(), executor.stats(), anyio.current_time()

    completed, stats, _ = in_virtual_time(backend, main)
    assert stats.submitted == stats.failed + stats.cancelled == 1
    if how == "body":
        assert isinstance(completed.error, ConnectionError)
        assert "is closing" in completed.error.__notes__[0]
    else:
        assert completed.error.reason == "parent_scope"


def test_an_executor_that_is_lost():
    kept: list[Any] = []

    async def main() -> None:
        executor = HybridExecutor("lost", max_in_flight=1)
        await executor.__aenter__()
        kept.append(await executor.submit(Flaky(1).__call__, retry=LATER))
        await until(lambda: kept[0].hold is not None)

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    gc.collect()
    assert (kept[0].state, kept[0].hold) == (TaskState.FAILED, None)


@loops
async def test_a_thread_that_goes_on_is_not_joined_by_another():
    goes_on, runs = threading.Event(), []

    def work() -> None:
        runs.append(1)
        goes_on.wait()

    retry = Retry(on=TaskTimeout, base=1e-9)
    async with HybridExecutor("threads", max_in_flight=2) as executor:
        handle = await executor.submit(work, timeout=0.01, retry=retry)
        completed = await handle.outcome()
        goes_on.set()
        assert (completed.outcome, len(runs)) == (Outcome.TIMEOUT, 1)
        assert completed.error.__notes__ == [
            "attempt 1 of 3 failed, and the task is not tried again: its thread still runs"
        ]
        await until(lambda: executor.stats().abandoned == 0)
        # One that is waited for has ended: it may run again.
        handle = await executor.submit(work, timeout=0, retry=retry, abandon=False)
        assert (await handle.outcome()).outcome is Outcome.TIMEOUT


@both
def test_what_has_ended_is_let_go(backend):
    class Thing:
        pass

    async def main():
        async with HybridExecutor("let go", max_in_flight=2) as executor:
            thing = Thing()
            seen = weakref.ref(thing)
            flaky = Flaky(2)
            handle = await executor.submit(lambda thing: flaky.plain(), thing, runner="inline", retry=AT_ONCE)
            again = await executor.submit(flaky.__call__, retry=LATER)
            del thing
            await handle
            error = weakref.ref((await again.outcome()).error) if again.done else None
            handle = again = None
            gc.collect()
            return seen(), error

    assert in_virtual_time(backend, main)[0] is None


@st.composite
def _tasks(draw: st.DrawFn) -> list[Any]:
    return draw(
        st.lists(
            st.tuples(
                st.integers(0, 4),  # failures
                st.sampled_from([0, 0.5, 2.0]),  # seconds of an attempt
                st.sampled_from([0, 1.0, 3.5]),  # the delay
                st.sampled_from([None, 0.25, 4.0]),  # timeout
                st.sampled_from([None, 3.0, 9.0]),  # deadline
                st.sampled_from([None, "a", "b"]),  # key
                st.sampled_from([None, None, 0.0, 1.2]),  # cancelled after
                st.booleans(),  # whether it has a backend task of its own
            ),
            min_size=1,
            max_size=12,
        )
    )


@both
@given(
    tasks=_tasks(), slots=st.integers(1, 3), places=st.sampled_from([0, 2, None]), grace=st.sampled_from([None, 0, 5])
)
@settings(deadline=None, max_examples=60)
def test_at_random(backend, tasks, slots, places, grace):
    """Nothing is lost, nothing hangs, no attempt is one too many, and every figure adds up all the time."""
    runs: dict[int, int] = {}
    running: set[int] = set()

    async def work(number: int, failures: int, seconds: float) -> int:
        assert number not in running
        runs[number] = runs.get(number, 0) + 1
        running.add(number)
        try:
            assert len(running) <= slots
            await anyio.sleep(seconds)
            if runs[number] <= failures:
                raise ConnectionError
        finally:
            running.discard(number)
        return number

    async def main():
        handles: list[Any] = []
        limits = {"*": Limit(in_flight=1, rate=Rate(2, per=1.0, burst=2))} if places != 0 else {}
        settings: dict[str, Any] = {"limits": limits, "retry_budget": RetryBudget(ratio=1, floor=2)}
        async with HybridExecutor("random", max_in_flight=slots, max_queued=places, **settings) as executor:
            async with anyio.create_task_group() as group:

                async def cancel(handle: Any, after: float) -> None:
                    await anyio.sleep(after)
                    handle.cancel()

                for number, (failures, seconds, delay, timeout, deadline, key, cancelled, alone) in enumerate(tasks):
                    retry = Retry(on=lambda error, delay=delay: delay, attempts=3)
                    until = None if deadline is None else anyio.current_time() + deadline
                    options = {"timeout": timeout, "deadline": until, "key": key, "retry": retry, "isolate": alone}
                    try:
                        handle = await executor.submit(work, number, failures, seconds, **options)
                    except TaskTimeout:
                        continue
                    handles.append(handle)
                    conserved(executor, handles)
                    if cancelled is not None:
                        group.start_soon(cancel, handle, cancelled)
                for _ in range(5):
                    await anyio.sleep(0.7)
                    stats = conserved(executor, handles)
                    assert sum(stats.held.values()) <= stats.queued
            await executor.shutdown(grace=grace)
            stats = conserved(executor, handles)
            assert (stats.queued, stats.in_flight) == (0, 0)
            for handle in handles:
                found = await handle.outcome()
                number = found.item.arguments[0]
                assert runs.get(number, 0) <= 3
                if found.outcome is Outcome.SUCCESS:
                    assert runs[number] == tasks[number][0] + 1

    in_virtual_time(backend, main)


@both
def test_a_retried_task_is_not_overtaken_by_others_of_its_key(backend):
    async def main():
        order: list[Any] = []

        async def note(name: str, seconds: float) -> None:
            order.append(name)
            await anyio.sleep(seconds)
            if name == "first" and order.count("first") == 1:
                raise OSError

        async with HybridExecutor("key", max_in_flight=9, limits={"a": Limit(in_flight=1)}) as executor:
            await executor.submit(note, "first", 0.0, key="a", retry=Retry(on=lambda error: 2))
            await quiet()
            for name in ("second", "third"):
                await executor.submit(note, name, 5.0, key="a")
        return order

    assert in_virtual_time(backend, main) == ["first", "second", "first", "third"]


@loops
async def test_many_at_once():
    async with HybridExecutor("many", max_in_flight=50, retry=AT_ONCE, retry_budget=None) as executor:
        flaky = [Flaky(number % 3) for number in range(500)]
        handles = [await executor.submit(each.__call__) for each in flaky]
        assert [await handle for handle in handles] == [number % 3 + 1 for number in range(500)]
        assert await executor.run(echo, 1) == 1
