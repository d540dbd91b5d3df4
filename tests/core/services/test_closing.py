"""The closing of an executor with services: they outlive the tasks and end in reverse order, however it is closed."""

from __future__ import annotations

import asyncio
import gc
import sys

import anyio
import pytest
from anyio.lowlevel import checkpoint

from glasspool import ExecutorClosed, HybridExecutor, NestedWait, ServiceState
from tests.core.policies.support import both, in_virtual_time
from tests.core.support import Gate, cancelled_once_blocked, echo, until

from .support import Log, at_once

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

pytestmark = pytest.mark.anyio

STARTS = ["first starts", "second starts", "task starts"]
ENDS = ["task ends", "second ends", "first ends"]
"""Whatever ends the block: the task, then the services, the latest first, each to its very end."""


async def serve_and_work(executor, log):
    """Two services and a task; cleanups take unlike times."""
    await executor.start_service(log.serve, "first", 1)
    await executor.start_service(log.serve, "second", 30)
    handle = await executor.submit(log.work, "task", 10)
    await until(lambda: "task starts" in log.events)
    return handle


async def test_at_the_end_of_the_block():
    log, gate = Log(), Gate()

    async def work():
        log.note("task starts")
        await gate.hold()
        assert len(executor.services) == 2
        log.note("task ends")

    async with HybridExecutor("end", max_in_flight=1) as executor:
        await executor.start_service(log.serve, "first", 1)
        await executor.start_service(log.serve, "second", 30)
        await executor.submit(work)
        await until(lambda: "task starts" in log.events)
        gate.open()
    assert log.events == STARTS + ENDS
    assert executor.services == ()


async def test_by_an_exception():
    log = Log()
    with pytest.raises(ValueError, match="body"):
        async with HybridExecutor("exception", max_in_flight=1) as executor:
            await serve_and_work(executor, log)
            raise ValueError("body")
    assert log.events == STARTS + ENDS


@pytest.mark.parametrize("grace", [0, None])
async def test_by_a_shutdown(grace):
    log = Log()
    async with HybridExecutor("shutdown", max_in_flight=1) as executor:
        handle = await serve_and_work(executor, log)
        if grace is None:
            handle.cancel()
        await executor.shutdown(grace=grace)
        assert log.events == STARTS + ENDS
        assert executor.services == ()
    assert log.events == STARTS + ENDS


async def test_by_the_cancellation_of_an_enclosing_scope():
    log = Log()
    async with cancelled_once_blocked() as scope:
        async with HybridExecutor("enclosing", max_in_flight=1) as executor:
            await serve_and_work(executor, log)
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert log.events == STARTS + ENDS


async def test_by_a_cancellation_while_tasks_are_waited_for():
    log = Log()
    async with cancelled_once_blocked() as scope:
        async with HybridExecutor("draining", max_in_flight=1) as executor:
            await serve_and_work(executor, log)
    assert scope.cancelled_caught
    assert log.events == STARTS + ENDS


async def test_by_a_cancellation_while_services_end():
    log = Log()
    with anyio.CancelScope() as scope:
        async with HybridExecutor("ending", max_in_flight=1) as executor:
            await executor.start_service(log.serve, "first", 30)

            async def serve(*, task_status):
                task_status.started()
                try:
                    await anyio.sleep_forever()
                finally:
                    scope.cancel()
                    with anyio.CancelScope(shield=True):
                        for _ in range(10):
                            await checkpoint()
                    log.note("second ends")

            await executor.start_service(serve)
    assert log.events == ["first starts", "second ends", "first ends"]


async def test_by_a_task_that_fails():
    log = Log()

    async def fail():
        await until(lambda: "task starts" in log.events)
        raise ValueError("task")

    with pytest.raises(ExceptionGroup, match="tasks of executor 'escalating' failed"):
        async with HybridExecutor("escalating", max_in_flight=2, on_error="escalate") as executor:
            await serve_and_work(executor, log)
            await executor.submit(fail)
            await anyio.sleep_forever()
    assert log.events == STARTS + ENDS


async def test_at_once_after_it_was_opened():
    log = Log()
    with anyio.CancelScope() as scope:
        async with HybridExecutor("at once", max_in_flight=1) as executor:
            await executor.start_service(log.serve, "first")
            scope.cancel()
    assert log.events == ["first starts", "first ends"]


async def test_when_nothing_can_start_any_more():
    with anyio.CancelScope() as scope:
        async with HybridExecutor("cancelled", max_in_flight=1) as executor:
            scope.cancel()
            await executor.start_service(at_once)
    assert scope.cancelled_caught
    assert executor.services == ()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_in_another_task_than_it_was_entered_in():
    log, entered = Log(), anyio.Event()
    executor = HybridExecutor("elsewhere", max_in_flight=1)

    async def enters():
        await executor.__aenter__()
        await serve_and_work(executor, log)
        entered.set()
        await anyio.sleep_forever()

    task = asyncio.ensure_future(enters())
    await entered.wait()
    with pytest.raises(RuntimeError, match="was entered in one task and left in another"):
        await executor.__aexit__(None, None, None)
    assert log.events == STARTS + ENDS
    task.cancel()
    await asyncio.wait([task])


async def test_services_work_while_the_tasks_are_waited_for():
    asked, answered = anyio.Event(), anyio.Event()

    async def answer(*, task_status):
        task_status.started()
        await asked.wait()
        with pytest.raises(ExecutorClosed):
            executor.submit_nowait(echo, 1)
        answered.set()

    async def ask():
        await closing.wait()
        asked.set()
        await answered.wait()
        return "answered"

    closing = anyio.Event()
    async with HybridExecutor("asked", max_in_flight=1) as executor:
        await executor.start_service(answer)
        handle = await executor.submit(ask)
        async with anyio.create_task_group() as group:
            group.start_soon(executor.shutdown)
            await anyio.wait_all_tasks_blocked()
            closing.set()
    assert await handle == "answered"


async def test_a_service_does_not_wait_for_its_own_executor():
    async def serve(*, task_status):
        task_status.started()
        with pytest.raises(NestedWait, match="shutdown on executor 'nested' waits for its services, and is called by"):
            await executor.shutdown()
        refused.append(1)
        await anyio.sleep_forever()

    refused = []
    async with HybridExecutor("nested", max_in_flight=1) as executor:
        await executor.start_service(serve)
        await until(lambda: refused)
        assert await executor.run(echo, 1) == 1


@both
def test_a_service_starts_again_while_the_tasks_are_waited_for(backend):
    async def main():
        log = Log()

        async def work():
            await anyio.sleep(1)
            log.crash.set()
            await anyio.sleep(1)
            log.note("task ends")

        async with HybridExecutor("again", max_in_flight=1) as executor:
            await executor.start_service(log.crashing, ValueError(), restart="on_failure")
            await executor.submit(work)
        return log.events, log.at

    assert in_virtual_time(backend, main) == (["starts", "starts", "task ends"], [0.0, 1.1, 2.0])


@both
def test_a_service_that_waits_to_start_again_is_not_waited_for(backend):
    async def main():
        log = Log()
        async with HybridExecutor("no more", max_in_flight=1) as executor:
            service = await executor.start_service(log.crashing, ValueError(), restart="on_failure")
            log.crash.set()
            await anyio.sleep(0.05)
            assert service.state is ServiceState.BACKOFF
        assert service.state is ServiceState.STOPPED
        log.note("left")
        return log.at

    assert in_virtual_time(backend, main) == [0.0, 0.05]


@both
def test_a_crash_while_the_tasks_are_waited_for_cancels_them(backend):
    async def main():
        log = Log()

        async def work():
            try:
                log.crash.set()
                await anyio.sleep_forever()
            finally:
                log.note("task ends")

        with pytest.raises(ExceptionGroup) as caught:
            async with HybridExecutor("crash", max_in_flight=1) as executor:
                await executor.start_service(log.crashing, ValueError("crash"))
                await executor.submit(work)
        return log.events, list(map(repr, caught.value.exceptions))

    assert in_virtual_time(backend, main) == (["starts", "task ends"], ["ValueError('crash')"])


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_by_native_cancellations_of_everything():
    """As asyncio.run does at the end of a loop that was stopped."""
    log = Log()

    async def main():
        async with HybridExecutor("native", max_in_flight=1) as executor:
            await serve_and_work(executor, log)
            await anyio.sleep_forever()

    main_task = asyncio.ensure_future(main())
    await until(lambda: "task starts" in log.events)
    await anyio.wait_all_tasks_blocked()
    me = asyncio.current_task()
    before = asyncio.all_tasks()
    for task in before:
        if task is not me and (task is main_task or "glasspool" in repr(task.get_coro())):
            task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await main_task
    assert sorted(log.events) == sorted(STARTS + ENDS)
    assert not [task for task in asyncio.all_tasks() if "glasspool" in repr(task.get_coro())]


def test_a_block_that_is_not_left_does_not_keep_the_loop():
    async def main():
        log, executor = Log(), HybridExecutor("kept", max_in_flight=1)
        await executor.__aenter__()
        await executor.start_service(log.serve, "first", restart="always")
        await executor.submit(log.work, "task")
        await until(lambda: "task starts" in log.events)
        return log, executor

    log, _executor = asyncio.run(main())  # cancels every backend task natively at its end
    assert sorted(log.events) == ["first ends", "first starts", "task ends", "task starts"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_stops_takes_everything_along():
    async def main():
        executor = HybridExecutor("lost", max_in_flight=1)
        await executor.__aenter__()
        service = await executor.start_service(at_once, restart="always")
        return executor, service

    loop = asyncio.new_event_loop()
    executor, service = loop.run_until_complete(main())
    assert service.state is ServiceState.RUNNING
    loop.close()
    del executor
    gc.collect()
    assert service.state is ServiceState.RUNNING  # nothing has ended it: its loop is gone
