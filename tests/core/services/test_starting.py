"""The start of a service: the handshake, its failure, and in which context it runs."""

from __future__ import annotations

import sys
from contextvars import ContextVar

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint
from opentelemetry import trace

from glasspool import ExecutorClosed, HybridExecutor, ServiceState, WrongThread
from tests.core.support import Gate, cancelled_once_blocked, echo

from .support import Log, at_once

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

pytestmark = pytest.mark.anyio


async def test_it_is_ready_when_start_service_returns():
    async def prepare(first, second, *, task_status):
        await checkpoint()
        seen.append(executor.services[0].state)
        task_status.started(first + second)
        await anyio.sleep_forever()

    seen = []
    async with HybridExecutor("ready", max_in_flight=1) as executor:
        service = await executor.start_service(prepare, 1, 2, name="preparing")
        assert seen == [ServiceState.STARTING]
        assert (service.name, service.value, service.state) == ("preparing", 3, ServiceState.RUNNING)
        assert repr(service) == "<Service 'preparing' running>"
        assert [each.name for each in executor.services] == ["preparing"]
    assert service.state is ServiceState.STOPPED
    assert service.value == 3
    assert executor.services == ()


async def test_it_goes_by_the_name_of_its_function():
    async with HybridExecutor("names", max_in_flight=1) as executor:
        service = await executor.start_service(at_once)
        assert service.name == "at_once"


async def test_it_takes_no_slot():
    gate = Gate()
    async with HybridExecutor("slots", max_in_flight=1, max_queued=0) as executor:
        executor.submit_nowait(gate.hold)
        await executor.start_service(at_once)
        stats = executor.stats()
        assert (stats.in_flight, stats.submitted, stats.slots_used) == (1, 1, 1)
        gate.open()


@pytest.mark.parametrize("error", [ValueError("before"), BaseExceptionGroup("two", [ValueError(1), KeyError(2)])])
async def test_a_failure_before_readiness_is_the_callers(error):
    async def fails(*, task_status):
        calls.append(1)
        await checkpoint()
        raise error

    calls = []
    async with HybridExecutor("fails", max_in_flight=1) as executor:
        with pytest.raises(type(error)) as caught:
            await executor.start_service(fails, restart="always")
        assert caught.value is error
        assert executor.services == ()
        assert await executor.run(echo, 1) == 1
    assert calls == [1]


async def test_it_must_not_return_before_it_is_ready():
    async def returns(*, task_status):
        await checkpoint()

    async with HybridExecutor("returns", max_in_flight=1) as executor:
        with pytest.raises(RuntimeError, match=r"service 'early' has returned without calling task_status.started\(\)"):
            await executor.start_service(returns, name="early", restart="always")


async def test_a_caller_that_is_cancelled_takes_it_along():
    async def slow(*, task_status):
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await checkpoint()
                await checkpoint()
            cleaned.append(1)

    cleaned = []
    async with HybridExecutor("taken along", max_in_flight=1) as executor:
        async with cancelled_once_blocked() as scope:
            await executor.start_service(slow)
        assert scope.cancelled_caught
        assert cleaned == [1]
        assert executor.services == ()


async def test_what_its_cleanup_raises_then_is_raised():
    async def slow(*, task_status):
        try:
            await anyio.sleep_forever()
        finally:
            raise error

    error = ValueError("cleanup")
    async with HybridExecutor("cleanup", max_in_flight=1) as executor:
        async with cancelled_once_blocked():
            with pytest.raises(ValueError, match="cleanup") as caught:
                await executor.start_service(slow)
        assert caught.value is error


async def test_started_is_called_once_in_a_run():
    async def twice(*, task_status):
        status.append(task_status)
        task_status.started()
        with pytest.raises(RuntimeError, match=r"started\(\) of service 'twice' was called twice in one run"):
            task_status.started()

    status = []
    async with HybridExecutor("twice", max_in_flight=1) as executor:
        await executor.start_service(twice, name="twice", restart="on_failure")
        with pytest.raises(RuntimeError, match="was called after that run has ended"):
            await anyio.wait_all_tasks_blocked()
            status[0].started()


async def test_started_belongs_to_the_loop():
    async def elsewhere(*, task_status):
        with pytest.raises(WrongThread, match=r"task_status\.started on executor 'elsewhere' was called from another"):
            await anyio.to_thread.run_sync(task_status.started)
        task_status.started()

    async with HybridExecutor("elsewhere", max_in_flight=1) as executor:
        await executor.start_service(elsewhere, restart="on_failure")


variable = ContextVar("variable", default="default")


async def test_each_start_runs_in_a_copy_of_the_callers_context():
    async def look(*, task_status):
        seen.append((variable.get(), trace.get_current_span()))
        variable.set("changed")
        task_status.started()
        if len(seen) == 1:
            raise ValueError
        again.set()
        await anyio.sleep_forever()

    seen, again = [], anyio.Event()
    span = trace.NonRecordingSpan(trace.SpanContext(1, 1, is_remote=False))
    async with HybridExecutor("context", max_in_flight=1) as executor:
        variable.set("caller")
        with trace.use_span(span):
            await executor.start_service(look, restart="on_failure")
        variable.set("later")
        await again.wait()
    assert seen == [("caller", trace.INVALID_SPAN)] * 2


async def test_a_task_may_start_one_whose_waits_are_not_the_tasks():
    async def wait(*, task_status):
        task_status.started(await executor.run(echo, "value"))  # waiting for a task of its own executor
        await anyio.sleep_forever()

    async def start():
        return await executor.start_service(wait)

    async with HybridExecutor("within", max_in_flight=2) as executor:
        service = await executor.run(start)
        assert service.value == "value"
        assert service.state is ServiceState.RUNNING  # the task has ended


async def test_a_service_may_start_another():
    async def outer(*, task_status):
        await executor.start_service(log.serve, "inner")
        task_status.started()
        try:
            await anyio.sleep_forever()
        finally:
            log.note("outer ends")

    log = Log()
    async with HybridExecutor("outer", max_in_flight=1) as executor:
        await executor.start_service(outer)
        assert [each.name for each in executor.services] == ["outer", "Log.serve"] or len(executor.services) == 2
    assert log.events == ["inner starts", "inner ends", "outer ends"]


async def test_it_needs_an_open_executor():
    executor = HybridExecutor("closed", max_in_flight=1)
    with pytest.raises(ExecutorClosed, match="start_service on executor 'closed', which is not open"):
        await executor.start_service(at_once)
    assert executor.services == ()
    gate = Gate()
    async with executor:
        await executor.submit(gate.hold)
        async with anyio.create_task_group() as group:
            group.start_soon(executor.shutdown)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(ExecutorClosed, match="service 'late' cannot start: executor 'closed' is closing"):
                await executor.start_service(at_once, name="late")
            gate.open()
    with pytest.raises(ExecutorClosed, match="service 'late' cannot start: executor 'closed' is closed"):
        await executor.start_service(at_once, name="late")


async def test_it_is_told_when_the_executor_closes_before_it_is_ready():
    async def never(*, task_status):
        await anyio.sleep_forever()

    async def start():
        with pytest.raises(ExecutorClosed, match="service 'never' cannot start: executor 'early' is clos"):
            await executor.start_service(never, name="never")
        told.append(1)

    told = []
    async with anyio.create_task_group() as group:
        async with HybridExecutor("early", max_in_flight=1) as executor:
            group.start_soon(start)
            await anyio.wait_all_tasks_blocked()
    assert told == [1]


async def test_it_starts_on_the_executors_loop():
    async def elsewhere():
        with pytest.raises(WrongThread, match="start_service on executor 'loops' was called from another"):
            await executor.start_service(at_once)

    async with HybridExecutor("loops", max_in_flight=1) as executor:
        await anyio.to_thread.run_sync(anyio.run, elsewhere)


async def plain_coroutine(a, *, task_status):
    task_status.started(a)
    await anyio.sleep_forever()


@pytest.mark.parametrize(
    ("error", "message", "args", "options"),
    [
        (ValueError, "restart must be one of 'never', 'on_failure', 'always', not 'yes'", None, {"restart": "yes"}),
        (TypeError, "restart must be one of 'never', 'on_failure', 'always', not None", None, {"restart": None}),
        (ValueError, "max_restarts must be at least 0, not -1", None, {"max_restarts": -1}),
        (TypeError, "max_restarts must be an int, not 1.5", None, {"max_restarts": 1.5}),
        (TypeError, "max_restarts must be an int, not None", None, {"max_restarts": None}),
        (ValueError, r"within must be above 0 and at most 1e\+15, got 0", None, {"within": 0}),
        (ValueError, r"within must be above 0 and at most 1e\+15, got -1", None, {"within": -1}),
        (TypeError, "within must be a number of seconds, not None", None, {"within": None}),
        (ValueError, "name must not be empty", None, {"name": " "}),
        (TypeError, "name must be a str, not 1", None, {"name": 1}),
        (TypeError, "fn must be a coroutine function, not <built-in function print>", (print,), {}),
        (TypeError, "fn must be callable, not 5", (5,), {}),
        (TypeError, r"with these arguments and task_status=, got <function echo .*\(got an unexpected keyword argument "
                    r"'task_status'\): write `async def serve\(..., \*, task_status\)", (echo, 1), {}),
        (TypeError, "missing a required argument: 'a'", (plain_coroutine,), {}),
        (TypeError, "too many positional arguments", (plain_coroutine, 1, 2), {}),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_refused(error, message, args, options):
    async with HybridExecutor("refused", max_in_flight=1) as executor:
        with pytest.raises(error, match=message):
            await executor.start_service(*(args or (at_once,)), **options)
        assert executor.services == ()


async def test_a_coroutine_is_no_function():
    async with HybridExecutor("refused", max_in_flight=1) as executor:
        with pytest.raises(TypeError, match=r"write start_service\(plain_coroutine, ...\) instead of start_service\("):
            await executor.start_service(plain_coroutine(1, task_status=None))
