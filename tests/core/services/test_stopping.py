"""Stopping a service: by ``stop()``, and what its cleanup raises."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from contextlib import suppress
from functools import partial

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from glasspool import HybridExecutor, NestedWait, ServiceState, WrongThread
from tests.core.policies.support import both, in_virtual_time
from tests.core.support import echo, until

from .support import Log, at_once

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

pytestmark = pytest.mark.anyio


async def test_stop_waits_for_the_cleanup():
    log = Log()
    async with HybridExecutor("stop", max_in_flight=1) as executor:
        service = await executor.start_service(log.serve, "service", restart="always")
        await service.stop()
        assert log.events == ["service starts", "service ends"]
        assert service.state is ServiceState.STOPPED
        assert executor.services == ()
        await service.stop()
        assert await executor.run(echo, 1) == 1
    assert len(log.events) == 2


async def test_several_may_stop_it():
    log = Log()

    async def stop():
        await service.stop()
        log.note("stopped")

    async with HybridExecutor("several", max_in_flight=1) as executor:
        service = await executor.start_service(log.serve, "service")
        async with anyio.create_task_group() as group:
            group.start_soon(stop)
            group.start_soon(stop)
        assert log.events == ["service starts", "service ends", "stopped", "stopped"]


async def test_a_waiter_that_is_cancelled_waits_for_the_cleanup():
    async def serve(*, task_status):
        task_status.started()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await let_go.wait()

    let_go = anyio.Event()
    async with HybridExecutor("waiter", max_in_flight=1) as executor:
        service = await executor.start_service(serve)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:

                async def cancel():
                    await anyio.wait_all_tasks_blocked()
                    scope.cancel()
                    with anyio.CancelScope(shield=True):
                        await anyio.wait_all_tasks_blocked()
                    assert service.state is ServiceState.RUNNING
                    let_go.set()

                group.start_soon(cancel)
                await service.stop()
                assert service.state is ServiceState.STOPPED
        assert scope.cancel_called


async def test_a_service_does_not_stop_itself():
    async def serve(*, task_status):
        task_status.started()
        with pytest.raises(NestedWait, match="service 'self', or a task that it has submitted, waits for its own"):
            await executor.services[0].stop()
        async with anyio.create_task_group() as group:  # what it has started is part of it
            group.start_soon(refused)
        await executor.run(refused)  # so are its tasks: their end is waited for

    async def refused():
        with pytest.raises(NestedWait):
            await executor.services[0].stop()

    async with HybridExecutor("itself", max_in_flight=1) as executor:
        service = await executor.start_service(serve, name="self")
        await until(lambda: service.state is ServiceState.STOPPED)  # it has ended normally


@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize("when", ["running", "cleanup"])
async def test_services_do_not_wait_for_each_others_end(number, when):
    started, refused, go = {}, [], anyio.Event()

    async def serve(name, *, task_status):
        task_status.started()
        if when == "running":
            await go.wait()
            await stop_next(name)
        try:
            await anyio.sleep_forever()
        finally:
            if when == "cleanup":
                await stop_next(name)

    async def stop_next(name):
        try:
            await started[(name + 1) % number].stop()
        except NestedWait as error:
            refused.append(str(error))

    with anyio.fail_after(60):
        async with HybridExecutor("circle", max_in_flight=1) as executor:
            for name in range(number):
                started[name] = await executor.start_service(serve, name, name=str(name))
            if when == "running":
                go.set()
                await until(lambda: refused)
            with suppress(NestedWait):
                await started[0].stop()
    assert len(refused) == 1
    assert "waits for the end of '" in refused[0]
    assert refused[0].count(", which waits for the end of '") == number - 1


async def test_a_service_that_starts_another_is_not_stopped_by_it():
    known, refused = [], []

    async def outer(*, task_status):
        task_status.started()
        await until(lambda: known)
        await executor.start_service(inner, name="inner")

    async def inner(*, task_status):
        with pytest.raises(NestedWait, match="waits for the end of 'outer', which waits for the end of 'inner'"):
            await known[0].stop()
        refused.append(1)
        task_status.started()
        await anyio.sleep_forever()

    with anyio.fail_after(60):
        async with HybridExecutor("starts", max_in_flight=1) as executor:
            known.append(await executor.start_service(outer, name="outer"))
            await until(lambda: refused)


async def test_who_has_stopped_a_service_keeps_nothing_of_it():
    class Value:
        pass

    async def outer(*, task_status):
        task_status.started()
        service = await executor.start_service(inner)
        kept.append(weakref.ref(service.value))
        await service.stop()
        del service
        await anyio.sleep_forever()

    async def inner(*, task_status):
        task_status.started(Value())
        await anyio.sleep_forever()

    def gone():
        gc.collect()
        return kept and kept[0]() is None

    kept = []
    async with HybridExecutor("keeps", max_in_flight=1) as executor:
        await executor.start_service(outer)
        await until(gone)


async def test_it_is_stopped_on_the_executors_loop():
    async def elsewhere():
        with pytest.raises(WrongThread, match=r"service\.stop on executor 'loops' was called from another"):
            await service.stop()

    async with HybridExecutor("loops", max_in_flight=1) as executor:
        service = await executor.start_service(at_once)
        await anyio.to_thread.run_sync(anyio.run, elsewhere)
        assert service.state is ServiceState.RUNNING


async def raising(error, *, task_status):
    task_status.started()
    try:
        await anyio.sleep_forever()
    finally:
        raise error


async def test_what_the_cleanup_raises_is_raised_by_stop_once(caplog):
    error = ValueError("cleanup")
    async with HybridExecutor("cleanup", max_in_flight=1) as executor:
        service = await executor.start_service(raising, error, name="raising", restart="on_failure")
        with pytest.raises(ValueError, match="cleanup") as caught:
            await service.stop()
        assert caught.value is error
        assert service.state is ServiceState.STOPPED
        await service.stop()
    assert "service 'raising' of executor 'cleanup' has raised an error when it was stopped" in caplog.text


async def test_it_is_raised_by_the_block_at_closing():
    errors = [ValueError("first"), ValueError("second")]
    with pytest.raises(ExceptionGroup) as caught:
        async with HybridExecutor("closing", max_in_flight=1) as executor:
            for error in errors:
                await executor.start_service(raising, error)
    assert caught.value.exceptions == (errors[1], errors[0])
    assert str(caught.value) == "services of executor 'closing' failed (2 sub-exceptions)"


async def test_it_is_raised_beside_what_leaves_the_body():
    error = ValueError("cleanup")
    with pytest.raises(ExceptionGroup) as caught:
        async with HybridExecutor("beside", max_in_flight=1) as executor:
            await executor.start_service(raising, error)
            raise KeyError("body")
    assert list(map(repr, caught.value.exceptions)) == ["KeyError('body')", "ValueError('cleanup')"]


async def test_the_end_of_the_program_in_a_cleanup_is_raised_as_it_is():
    error = SystemExit(3)
    with pytest.raises(SystemExit) as caught:
        async with HybridExecutor("exit", max_in_flight=1) as executor:
            await executor.start_service(raising, error)
    assert caught.value is error


@both
def test_it_is_stopped_while_it_waits_to_start_again(backend):
    async def main():
        log = Log()
        async with HybridExecutor("backoff", max_in_flight=1) as executor:
            service = await executor.start_service(log.crashing, ValueError(), restart="on_failure")
            log.crash.set()
            await anyio.sleep(0.05)
            assert service.state is ServiceState.BACKOFF
            await service.stop()
            assert service.state is ServiceState.STOPPED
            await anyio.sleep(1000)
        return log.events, log.at

    assert in_virtual_time(backend, main) == (["starts"], [0.0])


async def test_a_normal_end_after_a_request_is_an_end():
    async def serve(*, task_status):
        task_status.started()
        with anyio.CancelScope(shield=True):
            await ends.wait()

    ends = anyio.Event()
    async with HybridExecutor("returns", max_in_flight=1) as executor:
        service = await executor.start_service(serve, restart="always")
        async with anyio.create_task_group() as group:
            group.start_soon(service.stop)
            await anyio.wait_all_tasks_blocked()
            ends.set()
        assert service.state is ServiceState.STOPPED


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_native_cancel_from_outside_stops_it(caplog):
    async def serve(*, task_status):
        task_status.started(asyncio.current_task())
        await anyio.sleep_forever()

    async with HybridExecutor("native", max_in_flight=1) as executor:
        service = await executor.start_service(serve, name="serve", restart="always")
        service.value.cancel()
        await anyio.wait_all_tasks_blocked()
        assert service.state is ServiceState.STOPPED
        assert await executor.run(echo, 1) == 1
        await service.stop()
    assert "service 'serve' of executor 'native' was cancelled from outside and does not start again" in caplog.text


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_native_cancel_before_it_is_ready():
    async def serve(*, task_status):
        asyncio.current_task().cancel()
        await anyio.sleep_forever()

    async with HybridExecutor("native", max_in_flight=1) as executor:
        with pytest.raises(RuntimeError, match="service 'serve' was cancelled before it was ready"):
            await executor.start_service(serve, name="serve", restart="always")


class Argument:
    """Something of the user's."""


async def failing(argument, *, task_status):
    raise ValueError(argument)


async def test_nothing_of_the_users_is_kept_after_its_end():
    async with HybridExecutor("kept", max_in_flight=1) as executor:
        argument = Argument()
        reference = weakref.ref(argument)
        service = await executor.start_service(partial(at_once), argument)
        assert service.value is argument
        await service.stop()
        with pytest.raises(ValueError, match="Argument"):
            await executor.start_service(failing, argument)
        del argument, service
        await checkpoint()
        gc.collect()
        assert reference() is None
