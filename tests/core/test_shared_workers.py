"""isolate=False: successive tasks share a backend task, and none meets what the one before it has left behind."""

from __future__ import annotations

import asyncio
import sys
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint

from glasspool import Completed, HybridExecutor, Outcome
from tests.core.support import Gate, echo, forever

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

pytestmark = pytest.mark.anyio

CONTEXT: ContextVar[str] = ContextVar("context", default="fresh")


def native() -> object:
    """The backend task of the caller."""
    return asyncio.current_task() if anyio_is_asyncio() else trio.lowlevel.current_task()


def is_trio(backend: tuple[str, dict[str, Any]]) -> bool:
    return backend[0] == "trio"


# -- dirty tasks: each leaves something behind in its backend task. They get a box with their handle and what the test
# needs of them, and those called "outside" wait in the box's gate for something that is done to them.


class Box:
    def __init__(self) -> None:
        self.handle: Any = None
        self.task: Any = None
        self.coroutine: Any = None
        self.gate = Gate()


async def leaks_a_scope(box: Box) -> str:
    anyio.CancelScope().__enter__()
    await checkpoint()
    return "done"


async def leaks_a_scope_with_a_deadline(box: Box) -> str:
    anyio.CancelScope(deadline=anyio.current_time() + 0.005).__enter__()
    return "done"


async def leaks_a_shielded_scope(box: Box) -> str:
    anyio.CancelScope(shield=True).__enter__()
    return "done"


async def leaks_a_cancelled_scope(box: Box) -> str:
    anyio.CancelScope().__enter__().cancel()
    return "done"


async def leaks_two_scopes(box: Box) -> str:
    anyio.CancelScope().__enter__()
    anyio.CancelScope(deadline=anyio.current_time() - 1).__enter__()
    return "done"


async def asks_itself_to_end_before_its_last_await(box: Box) -> str:
    box.handle.cancel()
    await checkpoint()
    return "done"


async def asks_itself_to_end_after_its_last_await(box: Box) -> str:
    await checkpoint()
    box.handle.cancel()
    return "done"


async def is_asked_to_end_in_its_last_await(box: Box) -> str:
    await box.gate.hold()
    return "done"


async def swallows_a_request_to_end(box: Box) -> str:
    box.handle.cancel()
    try:
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        pass
    return "done"


async def swallows_the_cancel_of_its_own_scope(box: Box) -> str:
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await checkpoint()
        except anyio.get_cancelled_exc_class():
            pass
    return "done"


async def raises_a_request_to_end_in_a_group(box: Box) -> None:
    box.handle.cancel()
    try:
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class() as cancelled:
        raise BaseExceptionGroup("mixed", [ValueError("own"), cancelled]) from None


async def raises_a_stale_cancellation_in_a_group(box: Box) -> None:
    kept: list[BaseException] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await checkpoint()
        except anyio.get_cancelled_exc_class() as cancelled:
            kept.append(cancelled)
            raise
    raise BaseExceptionGroup("mixed", [ValueError("own"), *kept])


async def raises_generator_exit(box: Box) -> None:
    await checkpoint()
    raise GeneratorExit


async def sets_context(box: Box) -> str:
    CONTEXT.set("dirty")
    await checkpoint()
    return "done"


async def is_closed_in_its_await(box: Box) -> str:
    await box.gate.hold()
    return "done"


async def fails(box: Box) -> None:
    await checkpoint()
    raise ValueError("own")


async def cancels_itself_natively_before_its_last_await(box: Box) -> str:
    box.task.cancel()
    await checkpoint()
    return "done"


async def cancels_itself_natively_after_its_last_await(box: Box) -> str:
    await checkpoint()
    box.task.cancel()
    return "done"


async def is_cancelled_natively_in_its_last_await(box: Box) -> str:
    await box.gate.hold()
    return "done"


async def swallows_a_native_cancel(box: Box) -> str:
    box.task.cancel()
    try:
        await anyio.sleep_forever()
    except asyncio.CancelledError:
        pass
    return "done"


async def swallows_one_of_two_native_cancels(box: Box) -> str:
    await swallows_a_native_cancel(box)
    box.task.cancel()
    return "done"


NATIVE = [
    cancels_itself_natively_before_its_last_await,
    cancels_itself_natively_after_its_last_await,
    is_cancelled_natively_in_its_last_await,
    swallows_a_native_cancel,
    swallows_one_of_two_native_cancels,
]
"""Those that only asyncio's tasks can do."""

DIRTY = [
    leaks_a_scope,
    leaks_a_scope_with_a_deadline,
    leaks_a_shielded_scope,
    leaks_a_cancelled_scope,
    leaks_two_scopes,
    asks_itself_to_end_before_its_last_await,
    asks_itself_to_end_after_its_last_await,
    is_asked_to_end_in_its_last_await,
    swallows_a_request_to_end,
    swallows_the_cancel_of_its_own_scope,
    raises_a_request_to_end_in_a_group,
    raises_a_stale_cancellation_in_a_group,
    raises_generator_exit,
    sets_context,
    is_closed_in_its_await,
    fails,
    *NATIVE,
]


async def make_dirty(executor: HybridExecutor, dirty: Any) -> Completed[Any]:
    """Run the dirty task to its end."""
    box = Box()

    async def within() -> Any:
        while box.handle is None:
            await checkpoint()
        box.task = asyncio.current_task() if dirty in NATIVE else None
        return await dirty(box)

    def closable() -> Any:
        box.coroutine = within()
        return box.coroutine

    if dirty is is_closed_in_its_await:
        box.handle = await executor.submit(closable, runner="inline")
    else:
        box.handle = await executor.submit(within)
    if dirty in (is_asked_to_end_in_its_last_await, is_closed_in_its_await, is_cancelled_natively_in_its_last_await):
        while not box.gate.started:
            await checkpoint()
        if dirty is is_asked_to_end_in_its_last_await:
            box.handle.cancel()
        elif dirty is is_cancelled_natively_in_its_last_await:
            box.task.cancel()
        else:
            box.coroutine.close()
            box.gate.open()
            box.handle.cancel()
    return await box.handle.outcome()


# -- probes: what the next task on the same worker does -------------------------------------------------------------


async def sleeps() -> str:
    await anyio.sleep(0.01)  # beyond the deadline that one of the dirty tasks leaves behind
    return "slept"


async def looks_around() -> tuple[object, ...]:
    cancelling = getattr(asyncio.current_task(), "cancelling", int)() if anyio_is_asyncio() else 0
    return CONTEXT.get(), anyio.current_effective_deadline(), cancelling


def anyio_is_asyncio() -> bool:
    return anyio.get_cancelled_exc_class() is asyncio.CancelledError


async def uses_a_group() -> str:
    async with anyio.create_task_group() as group:
        group.start_soon(echo, 1)
        group.start_soon(echo, 2)
    return "grouped"


async def fails_in_a_group() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(forever)
        await checkpoint()
        raise ValueError("probe")


async def runs_out_of_time() -> None:
    with anyio.fail_after(0):
        await anyio.sleep_forever()


async def calls_a_thread() -> int:
    return await anyio.to_thread.run_sync(lambda: 5)


async def cancels_a_scope() -> bool:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await anyio.sleep_forever()
    return scope.cancelled_caught


async def uses_asyncio_timeout() -> str:
    async with asyncio.timeout(60):  # type: ignore[attr-defined]  # from Python 3.11 on
        await checkpoint()
    try:
        async with asyncio.timeout(0):  # type: ignore[attr-defined]
            await asyncio.sleep(60)
    except TimeoutError:
        return "in time, then out of time"
    return "never"


async def fails_in_asyncio_group() -> None:
    async with asyncio.TaskGroup() as group:  # type: ignore[attr-defined]
        group.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        raise ValueError("probe")


ASYNCIO_PROBES = [uses_asyncio_timeout, fails_in_asyncio_group]
PROBES = [
    sleeps,
    looks_around,
    uses_a_group,
    fails_in_a_group,
    runs_out_of_time,
    calls_a_thread,
    cancels_a_scope,
    *ASYNCIO_PROBES,
]


def shape(completed: Completed[Any]) -> tuple[object, ...]:
    """What is compared of an outcome."""
    return completed.outcome, completed.value, error_shape(completed.error)


def error_shape(error: BaseException | None) -> object:
    if isinstance(error, BaseExceptionGroup):
        return type(error).__name__, [error_shape(each) for each in error.exceptions]
    return type(error).__name__, getattr(error, "reason", None)


async def in_turn(dirty: Any, probe: Any, *, isolate: bool) -> list[tuple[object, ...]]:
    """The outcomes of the dirty task and of two probes after it."""
    async with HybridExecutor("contaminated", max_in_flight=1, isolate=isolate) as executor:
        before = await executor.run(echo, 1)
        assert before == 1
        outcomes = [shape(await make_dirty(executor, dirty))]
        for _ in range(2):
            handle = await executor.submit(probe)
            outcomes.append(shape(await handle.outcome()))
    return outcomes


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.__name__)
@pytest.mark.parametrize("dirty", DIRTY, ids=lambda dirty: dirty.__name__)
async def test_no_task_meets_what_another_has_left(anyio_backend, dirty, probe):
    if is_trio(anyio_backend) and (dirty in NATIVE or probe in ASYNCIO_PROBES):
        pytest.skip("asyncio's own")
    if sys.version_info < (3, 11) and probe in ASYNCIO_PROBES:
        pytest.skip("asyncio.timeout and asyncio.TaskGroup came with Python 3.11")
    shared = await in_turn(dirty, probe, isolate=False)
    assert shared == await in_turn(dirty, probe, isolate=True)
    async with HybridExecutor("alone", max_in_flight=1) as executor:
        alone = await (await executor.submit(probe)).outcome()
    assert shared[1:] == [shape(alone)] * 2


# -- that they are shared at all ------------------------------------------------------------------------------------


async def who() -> object:
    await checkpoint()
    return native()


async def test_successive_tasks_share_a_backend_task_if_asked_to():
    async with HybridExecutor("shared", max_in_flight=1, isolate=False) as executor:
        assert len({await executor.run(who) for _ in range(10)}) == 1
        assert len({await executor.run(who, isolate=True) for _ in range(3)} | {await executor.run(who)}) == 4
    async with HybridExecutor("isolated", max_in_flight=1, isolate=True) as executor:
        seen = [await executor.run(who, isolate=False) for _ in range(3)]
        assert len(set(seen)) == 1
        assert await executor.run(who) not in seen


async def test_there_are_as_many_workers_as_tasks_in_flight():
    async with HybridExecutor("workers", max_in_flight=4, isolate=False) as executor:
        seen = {completed.unwrap() async for completed in executor.as_completed(lambda_of(who), range(100))}
        assert len(seen) == 4


def lambda_of(function: Any) -> Any:
    async def call(_item: int) -> Any:
        return await function()

    return call


async def test_tasks_that_never_suspend_let_the_loop_turn():
    """One worker after another task must not starve the rest of the program."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async def at_once(number: int) -> int:
        return number

    async with anyio.create_task_group() as group:
        group.start_soon(count)
        async with HybridExecutor("greedy", max_in_flight=2, isolate=False) as executor:
            assert [value async for value in executor.map(at_once, range(500))] == list(range(500))
        group.cancel_scope.cancel()
    assert turns >= 100


@pytest.mark.parametrize("parent", ["first", "second"])
async def test_a_shared_task_may_submit_another_and_wait_for_what_it_does(parent):
    """The worker of a task that submits runs that task on, so another one must come."""
    async with HybridExecutor("nested", max_in_flight=2, isolate=False) as executor:

        async def inner(done: anyio.Event) -> None:
            done.set()

        async def outer() -> str:
            if parent == "second":
                await checkpoint()
            done = anyio.Event()
            executor.submit_nowait(inner, done)
            await done.wait()
            return "done"

        assert await executor.run(outer) == "done"


async def test_each_task_runs_in_the_context_of_its_submitter():
    async with HybridExecutor("contexts", max_in_flight=1, isolate=False) as executor:

        async def read() -> str:
            found = CONTEXT.get()
            await checkpoint()
            assert CONTEXT.get() == found
            CONTEXT.set("task's own")
            await checkpoint()
            assert CONTEXT.get() == "task's own"
            return found

        for value in ("one", "two", "three"):
            token = CONTEXT.set(value)
            handle = await executor.submit(read)
            CONTEXT.reset(token)
            assert await handle == value
        assert await executor.run(read) == "fresh"


async def test_a_worker_keeps_nothing_of_its_last_task():
    import gc
    import weakref

    class Big:
        pass

    async def give_back(big: Big) -> Big:
        await checkpoint()
        return big

    async with HybridExecutor("kept", max_in_flight=2, isolate=False) as executor:
        big = Big()
        seen = weakref.ref(big)
        assert await executor.run(give_back, big) is big
        del big
        gc.collect()
        assert seen() is None


async def test_the_end_of_the_executor_ends_its_workers(anyio_backend):
    names: set[str | None] = set()
    async with HybridExecutor("ends", max_in_flight=8, isolate=False) as executor:
        async for completed in executor.as_completed(echo, range(50)):
            assert completed.outcome is Outcome.SUCCESS
        await executor.shutdown()
    names = {info.name for info in anyio.get_running_tasks()}
    assert "glasspool worker" not in names


@pytest.mark.parametrize("isolate", [1, "no", 0.0])
async def test_isolate_is_a_bool(isolate):
    with pytest.raises(TypeError, match="isolate must be a bool"):
        HybridExecutor("bad", max_in_flight=1, isolate=isolate)
    async with HybridExecutor("bad", max_in_flight=1) as executor:
        with pytest.raises(TypeError, match="isolate must be a bool"):
            await executor.submit(echo, 1, isolate=isolate)


async def test_a_worker_keeps_nothing_of_who_submitted_first():
    import gc
    import weakref

    class Request:
        pass

    async with HybridExecutor("kept", max_in_flight=2, isolate=False) as executor:
        variable: ContextVar[Any] = ContextVar("request")

        async def request() -> weakref.ref[Request]:
            mine = Request()
            variable.set(mine)
            await executor.run(echo, 1)
            return weakref.ref(mine)

        seen: list[weakref.ref[Request]] = []

        async def one() -> None:
            seen.append(await request())

        async with anyio.create_task_group() as group:
            group.start_soon(one)
        gc.collect()
        assert seen[0]() is None


async def test_a_task_of_a_used_worker_may_submit_before_it_first_suspends():
    """The worker of the second task has run another one, and the third task needs a worker that is yet to be made."""
    async with HybridExecutor("nested", max_in_flight=2, isolate=False) as executor:
        done = anyio.Event()

        async def third() -> None:
            done.set()

        async def second() -> None:
            await executor.submit(third)
            await done.wait()

        await executor.run(echo, 1)
        await executor.run(second)
