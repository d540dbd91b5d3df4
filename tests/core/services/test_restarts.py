"""Restarts: when, after how long, how many at most; and what ends the executor's block."""

from __future__ import annotations

import logging
import sys

import anyio
import pytest

from glasspool import HybridExecutor, ServiceState
from glasspool._core.restarts import Restarts
from tests.core.policies.support import both, in_virtual_time

from .support import Log

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


def test_waits_grow_and_begin_anew_after_a_stable_time():
    restarts = Restarts(always=False, most=100, within=60.0)
    waits = [restarts.next_wait(float(second), 0.0) for second in range(9)]
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert restarts.next_wait(100.0, 59.9) == 10.0
    assert restarts.next_wait(200.0, 60.0) == 0.1
    assert restarts.next_wait(201.0, 1.0) == 0.2


def test_a_thousand_restarts_are_no_overflow():
    restarts = Restarts(always=False, most=10_000, within=1e9)
    assert {restarts.next_wait(float(second), 0.0) for second in range(5_000)} == {
        0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0
    }  # fmt: skip


def test_so_many_within_a_time_and_no_more():
    restarts = Restarts(always=False, most=2, within=10.0)
    assert restarts.next_wait(0.0, 0.0) is not None
    assert restarts.next_wait(1.0, 0.0) is not None
    assert restarts.next_wait(9.9, 0.0) is None
    restarts = Restarts(always=False, most=2, within=10.0)
    assert restarts.next_wait(0.0, 0.0) is not None
    assert restarts.next_wait(1.0, 0.0) is not None
    assert restarts.next_wait(10.0, 0.0) is not None
    assert restarts.next_wait(10.9, 0.0) is None
    assert Restarts(always=False, most=0, within=10.0).next_wait(0.0, 0.0) is None


def runs(backend, error, *, lasting=0.0, **options):
    """Run one service that ends each run so, after so long. Returns the starts, and what the block has raised."""

    async def main():
        log, raised = Log(), None

        async def run(*, task_status):
            log.note("starts")
            task_status.started(len(log.at))
            await anyio.sleep(lasting)
            if error is not None:
                raise error

        try:
            async with HybridExecutor("runs", max_in_flight=1) as executor:
                service = await executor.start_service(run, **options)
                await anyio.sleep(1000)
                return log.at, service.state.value, None
        except BaseException as found:
            raised = found
        return log.at, service.state.value, raised

    return in_virtual_time(backend, main)


@both
def test_never(backend):
    error = ValueError("crash")
    at, state, raised = runs(backend, error, lasting=5.0)
    assert (at, state) == ([0.0], "failed")
    assert isinstance(raised, ExceptionGroup)
    assert str(raised) == "services of executor 'runs' failed (1 sub-exception)"
    assert raised.exceptions == (error,)


@both
@pytest.mark.parametrize("restart", ["never", "on_failure"])
def test_a_normal_end_is_no_failure(backend, restart):
    assert runs(backend, None, restart=restart) == ([0.0], "stopped", None)


@both
def test_after_a_crash_it_starts_again_and_not_too_often(backend, caplog):
    error = ValueError("crash")
    with caplog.at_level(logging.WARNING, "glasspool"):
        at, state, raised = runs(backend, error, restart="on_failure", name="consume")
    assert at == [0.0, 0.1, 0.3, 0.7]
    assert state == "failed"
    assert raised.exceptions == (error,)
    assert [record.getMessage() for record in caplog.records] == [
        *(f"service 'consume' of executor 'runs' has crashed and starts again in {wait} s" for wait in (0.1, 0.2, 0.4)),
        "service 'consume' of executor 'runs' has failed for good: it ends the executor's block",
    ]
    assert all(record.exc_info[1] is error for record in caplog.records)


@both
def test_rare_crashes_go_on_for_ever(backend):
    at, state, raised = runs(backend, ValueError(), lasting=30.0, restart="on_failure", max_restarts=2, within=60.0)
    assert at[:4] == [0.0, 30.1, 60.3, 90.7]
    assert raised is None
    assert state in ("running", "backoff")


@both
def test_stable_time_makes_the_waits_short_again(backend):
    at, _, _ = runs(backend, ValueError(), lasting=60.5, restart="on_failure", max_restarts=1, within=60.0)
    assert at[:4] == [0.0, 60.6, 121.2, 181.8]


@both
def test_always(backend):
    at, state, raised = runs(backend, None, lasting=1.0, restart="always", max_restarts=2, name="ends")
    assert at == [0.0, 1.1, 2.3]
    assert state == "failed"
    (error,) = raised.exceptions
    assert str(error) == ("service 'ends' has ended normally more than 2 times within 60 s, though it is to run always")


@both
@pytest.mark.parametrize("ends", ["returns", "raises"])
def test_a_restart_must_become_ready_too(backend, ends):
    async def main():
        log = Log()

        async def run(*, task_status):
            log.note("starts")
            if len(log.at) == 1:
                task_status.started("first")
                return
            states.append((service.state, service.value))
            await anyio.sleep(1.0)
            if ends == "raises":
                raise ValueError("not ready")

        states = []
        with pytest.raises(ExceptionGroup) as caught:
            async with HybridExecutor("again", max_in_flight=1) as executor:
                service = await executor.start_service(run, restart="always", max_restarts=2)
                await anyio.sleep(1000)
        return log.at, states, caught.value.exceptions

    at, states, (error,) = in_virtual_time(backend, main)
    assert at == [0.0, 0.1, 1.3]
    assert states == [(ServiceState.STARTING, "first")] * 2
    assert isinstance(error, ValueError if ends == "raises" else RuntimeError)


@both
def test_the_value_is_the_latest(backend):
    async def main():
        log = Log()
        async with HybridExecutor("values", max_in_flight=1) as executor:
            service = await executor.start_service(log.crashing, ValueError(), restart="on_failure")
            found = [(service.value, service.state)]
            log.crash.set()
            await anyio.sleep(0.05)
            found.append((service.value, service.state))
            await anyio.sleep(0.1)
            found.append((service.value, service.state))
        return found

    assert in_virtual_time(backend, main) == [
        (1, ServiceState.RUNNING), (1, ServiceState.BACKOFF), (2, ServiceState.RUNNING)
    ]  # fmt: skip


@both
def test_a_crash_cancels_the_tasks_and_the_body(backend):
    async def main():
        log = Log()
        with pytest.raises(ExceptionGroup) as caught:
            async with HybridExecutor("all", max_in_flight=2) as executor:
                await executor.start_service(log.serve, "beside")
                handle = await executor.submit(log.work, "task")
                await executor.start_service(log.crashing, ValueError("crash"))
                log.crash.set()
                await anyio.sleep_forever()
        return log.events, caught.value.exceptions, (await handle.outcome()).error.reason

    events, errors, reason = in_virtual_time(backend, main)
    assert events[-2:] == ["task ends", "beside ends"]
    assert list(map(repr, errors)) == ["ValueError('crash')"]
    assert reason == "sibling_failure"


@pytest.mark.anyio
async def test_real_loops_wait_too():
    log = Log()
    async with HybridExecutor("real", max_in_flight=1) as executor:
        service = await executor.start_service(log.crashing, ValueError(), restart="on_failure", max_restarts=1)
        log.crash.set()
        with anyio.fail_after(60):
            while service.value == 1:
                await anyio.sleep(0.01)
        assert log.at[1] >= 0.1


@pytest.mark.anyio
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
async def test_the_end_of_the_program_is_raised_by_the_block(interrupt):
    log, error = Log(), interrupt()
    with pytest.raises(interrupt) as caught:
        async with HybridExecutor("interrupted", max_in_flight=1) as executor:
            await executor.start_service(log.serve, "beside")
            service = await executor.start_service(log.crashing, error, restart="always")
            log.crash.set()
            await anyio.sleep_forever()
    assert caught.value is error
    assert service.state is ServiceState.FAILED
    assert log.events == ["beside starts", "starts", "beside ends"]
