"""The outcome depends on how the function ended; a request only determines the reason of a cancellation."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys

import anyio
import pytest

from glasspool import HybridExecutor, Outcome, TaskCancelled, TaskTimeout

from .support import Gate, conserved, echo, fail, forever

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

pytestmark = pytest.mark.anyio


class Odd(BaseException):
    """Neither an Exception nor anything that Python knows."""


@pytest.mark.parametrize(
    "error",
    [
        ValueError("plain"),
        TimeoutError("the function's own"),
        ExceptionGroup("several", [ValueError(), KeyError()]),
        BaseExceptionGroup("odd ones", [Odd()]),
        Odd("odd"),
        GeneratorExit("raised, not thrown"),
        StopAsyncIteration("end"),
        concurrent.futures.CancelledError("a future's"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_a_function_raises_is_its_error(error):
    async with HybridExecutor("errors", max_in_flight=2) as executor:
        handle = await executor.submit(fail, error)
        in_thread = await executor.submit(_raise, error)
        for failed in (handle, in_thread):
            completed = await failed.outcome()
            assert completed.outcome is Outcome.ERROR
            assert completed.error is error
        assert await executor.run(echo, 1) == 1  # no other task is affected
        assert (executor.stats().failed, executor.stats().cancelled) == (2, 0)


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("error", [StopIteration(4), StopAsyncIteration(4)], ids=["StopIteration", "StopAsync"])
async def test_the_ends_of_iteration_are_raised_as_runtime_errors(error):
    async with HybridExecutor("stop", max_in_flight=1) as executor:
        handle = await executor.submit(_raise, error)
        completed = await handle.outcome()
        assert completed.error is error
        with pytest.raises(RuntimeError, match=type(error).__name__) as caught:
            await handle
        assert caught.value.__cause__ is error


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
async def test_interrupts_in_a_thread_are_errors_and_the_executor_goes_on(interrupt):
    async with HybridExecutor("thread", max_in_flight=1) as executor:
        completed = await (await executor.submit(_raise, interrupt("in a thread"))).outcome()
        assert completed.outcome is Outcome.ERROR
        assert type(completed.error) is interrupt
        assert await executor.run(echo, 1) == 1


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("runner", [None, "inline"])
async def test_interrupts_on_the_loop_close_the_executor_and_leave_its_block(interrupt, runner):
    executor = HybridExecutor("interrupt", max_in_flight=3)
    handles = []
    with pytest.raises(interrupt, match="on the loop"):
        async with executor:
            handles.append(await executor.submit(forever))
            handles.append(executor.submit_nowait(_raise if runner else fail, interrupt("on the loop"), runner=runner))
            handles.extend([executor.submit_nowait(forever) for _ in range(3)])
            await forever()  # the body is told too
    stats = conserved(executor, handles)
    assert (stats.failed, stats.cancelled) == (1, 4)
    for handle in (handles[0], *handles[2:]):
        with pytest.raises(TaskCancelled) as caught:
            await handle
        assert caught.value.reason == "keyboard_interrupt"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancelled_error_out_of_nowhere_is_a_cancellation_unknown(anyio_backend):
    async with HybridExecutor("unknown", max_in_flight=2) as executor:
        handle = await executor.submit(fail, asyncio.CancelledError("mine"))
        with pytest.raises(TaskCancelled) as caught:
            await handle
        assert caught.value.reason == "unknown"
        assert await executor.run(echo, 2) == 2


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_cancelled_natively_from_outside(anyio_backend):
    async with HybridExecutor("native", max_in_flight=3) as executor:
        inside = []

        async def shows_itself():
            inside.append(asyncio.current_task())
            await anyio.sleep_forever()

        handles = [await executor.submit(shows_itself) for _ in range(3)]
        await anyio.wait_all_tasks_blocked()
        inside[1].cancel()
        completed = await handles[1].outcome()
        assert (completed.outcome, completed.error.reason) == (Outcome.CANCELLED, "unknown")
        assert not handles[0].done
        assert await executor.run(echo, 1) == 1
        assert handles[0].cancel()
        assert handles[2].cancel()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_cancelled_natively_before_its_first_step(anyio_backend):
    async with HybridExecutor("early", max_in_flight=3, isolate=True) as executor:
        before = asyncio.all_tasks()
        handle = executor.submit_nowait(forever)
        for _ in range(3):
            for task in asyncio.all_tasks() - before:
                task.cancel()
            await anyio.lowlevel.checkpoint()
        completed = await handle.outcome()
        assert (completed.outcome, completed.error.reason) == (Outcome.CANCELLED, "unknown")
        assert await executor.run(echo, 1) == 1


async def test_a_value_after_a_request_is_a_success():
    async with HybridExecutor("value", max_in_flight=1) as executor:

        async def finishes_anyway():
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                return "done"  # takes no further checkpoint

        handle = await executor.submit(finishes_anyway)
        await anyio.wait_all_tasks_blocked()
        assert handle.cancel()
        assert await handle == "done"
        assert executor.stats().cancelled == 0


async def test_an_error_after_a_request_is_an_error():
    async with HybridExecutor("error", max_in_flight=1) as executor:

        async def fails_on_the_way_out():
            try:
                await anyio.sleep_forever()
            finally:
                raise ValueError("while cleaning up")

        handle = await executor.submit(fails_on_the_way_out)
        await anyio.wait_all_tasks_blocked()
        assert handle.cancel()
        with pytest.raises(ValueError, match="cleaning up"):
            await handle


async def test_a_cleanup_error_beside_the_cancellation_is_an_error():
    async with HybridExecutor("cleanup", max_in_flight=2) as executor:

        async def cleans_up_badly():
            try:
                await anyio.sleep_forever()
            finally:
                raise ValueError("while cleaning up")

        async def nests():
            async with anyio.create_task_group() as group:
                group.start_soon(cleans_up_badly)
                group.start_soon(forever)
                await anyio.sleep_forever()

        handle = await executor.submit(nests)
        sibling = await executor.submit(forever)
        await anyio.wait_all_tasks_blocked()
        assert handle.cancel()
        completed = await handle.outcome()
        assert completed.outcome is Outcome.ERROR
        assert isinstance(completed.error, ExceptionGroup)
        assert [type(error) for error in completed.error.exceptions] == [ValueError]
        assert not sibling.done
        sibling.cancel()


def test_trio_keeps_the_errors_of_a_cancelled_nursery():
    trio = pytest.importorskip("trio")
    pytest.importorskip("trio.testing")

    async def cleans_up_badly():
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("while cleaning up")

    async def nests():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cleans_up_badly)
            await trio.sleep_forever()

    async def main():
        async with HybridExecutor("nursery", max_in_flight=1) as executor:
            handle = await executor.submit(nests)
            await trio.testing.wait_all_tasks_blocked()
            handle.cancel()
            completed = await handle.outcome()
            assert completed.outcome is Outcome.ERROR
            assert completed.error.split(ValueError)[1] is None  # nothing but the ValueError is left
            assert await executor.run(echo, 5) == 5

    trio.run(main)


async def test_a_failing_task_harms_no_sibling():
    gate = Gate()
    async with HybridExecutor("siblings", max_in_flight=4) as executor:
        held = [await executor.submit(gate.hold, number) for number in range(3)]
        for error in (ValueError(), Odd(), TimeoutError()):
            await (await executor.submit(fail, error)).outcome()
        gate.open()
        assert [await handle for handle in held] == [0, 1, 2]


def test_a_value_and_a_deadline_in_one_tick():
    trio, testing = pytest.importorskip("trio"), pytest.importorskip("trio.testing")

    async def main():
        async with HybridExecutor("tick", max_in_flight=2) as executor:
            on_time = await executor.submit(_sleep_and_return, 5.0, timeout=5.0)
            late = await executor.submit(_sleep_and_return, 5.1, timeout=5.0)
            shielded = await executor.submit(_shielded_sleep, 6.0, timeout=5.0)
            # The wake-up and the deadline fall together: whichever trio delivers decides, once.
            assert (await on_time.outcome()).outcome in (Outcome.SUCCESS, Outcome.TIMEOUT)
            with pytest.raises(TaskTimeout):
                await late
            assert await shielded == 6.0  # cancel_called and a value: the value is what it ended with
            stats = executor.stats()
            assert stats.succeeded + stats.timed_out == 3

    trio.run(main, clock=testing.MockClock(autojump_threshold=0))


async def _sleep_and_return(seconds: float) -> float:
    await anyio.sleep(seconds)
    return seconds


async def _shielded_sleep(seconds: float) -> float:
    with anyio.CancelScope(shield=True):
        await anyio.sleep(seconds)
    return seconds
