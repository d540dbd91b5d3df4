"""Submitting, waiting and running: the results, and where each kind of function runs."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
import threading
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock, NonCallableMagicMock, create_autospec

import anyio
import pytest

from glasspool import ExecutorClosed, HybridExecutor, NestedWait, Outcome, QueueFull, TaskState
from glasspool.task import task_of

from .support import Gate, conserved, echo, fail, turns

pytestmark = pytest.mark.anyio


async def test_submit_gives_a_handle_that_gives_the_value():
    async with HybridExecutor("submit", max_in_flight=2) as executor:
        handle = await executor.submit(echo, 7, name="seven", metadata={"shelf": "upper"})
        assert handle.state is TaskState.ACTIVE
        assert not handle.done
        assert await handle == 7
        assert handle.done
        assert handle.state is TaskState.SUCCEEDED
        completed = await handle.outcome()
    assert (completed.value, completed.error, completed.outcome) == (7, None, Outcome.SUCCESS)
    assert completed.unwrap() == 7
    item = completed.item
    assert (item.id, item.name, item.function, item.arguments) == (handle.id, "seven", echo, (7,))
    assert item.metadata == {"shelf": "upper"}


async def test_handles_may_be_awaited_after_the_executor_closed():
    async with HybridExecutor("late", max_in_flight=2) as executor:
        good = await executor.submit(echo, 1)
        bad = await executor.submit(fail, ValueError("late"))
    assert await good == 1
    with pytest.raises(ValueError, match="late"):
        await bad
    conserved(executor, [good, bad])


async def test_run_returns_the_value_or_raises_the_error():
    async with HybridExecutor("run", max_in_flight=1) as executor:
        assert await executor.run(echo, 3) == 3
        with pytest.raises(KeyError, match="lost"):
            await executor.run(fail, KeyError("lost"))


async def test_submit_nowait_accepts_exactly_the_free_slots_and_queue_places():
    gate = Gate()
    async with HybridExecutor("nowait", max_in_flight=3, max_queued=4) as executor:
        handles = [executor.submit_nowait(gate.hold, number) for number in range(7)]
        stats = conserved(executor, handles)
        assert (stats.in_flight, stats.queued, stats.slots_used) == (3, 4, 3)
        with pytest.raises(QueueFull, match=r"'nowait' holds 4 of 4 queued tasks and 3 of 3 slots"):
            executor.submit_nowait(gate.hold, 7)
        assert executor.stats().rejected == 1
        gate.open()
    assert sorted(gate.started) == list(range(7))
    assert [handle.state for handle in handles] == [TaskState.SUCCEEDED] * 7


async def test_rendezvous_has_slots_and_no_queue():
    gate = Gate()
    async with HybridExecutor("rendezvous", max_in_flight=2, max_queued=0) as executor:
        handles = [executor.submit_nowait(gate.hold) for _ in range(2)]
        with pytest.raises(QueueFull, match="0 of 0 queued"):
            executor.submit_nowait(gate.hold)
        conserved(executor, handles)
        gate.open()


async def test_unbounded_by_asking():
    gate = Gate()
    async with HybridExecutor("unbounded", max_in_flight=1, max_queued=None) as executor:
        handles = [executor.submit_nowait(gate.hold) for _ in range(5000)]
        assert conserved(executor, handles).queued == 4999
        gate.open()
    assert conserved(executor, handles).succeeded == 5000


class _Calls:
    """Functions of every kind; each says which thread it ran in."""

    async def method(self) -> int:
        return threading.get_ident()

    def plain_method(self) -> int:
        return threading.get_ident()

    @staticmethod
    async def static() -> int:
        return threading.get_ident()

    async def __call__(self) -> int:
        return threading.get_ident()


class _PlainCall:
    def __call__(self, *_: object) -> int:
        return threading.get_ident()


async def _with(*_: object, **__: object) -> int:
    return threading.get_ident()


@pytest.mark.parametrize(
    "function",
    [
        _Calls().method,
        _Calls.static,
        _Calls(),
        functools.partial(_with, 1, keyword=2),
        functools.partial(functools.partial(_Calls().method)),
        functools.partial(_Calls()),
    ],
)
async def test_coroutine_functions_of_every_kind_run_on_the_loop(function):
    async with HybridExecutor("loop", max_in_flight=1) as executor:
        assert await executor.run(function) == threading.get_ident()


class _AsyncMockCall:
    __call__ = AsyncMock(return_value=7)


class _Marked:
    """Says that it gives a coroutine, as asgiref's and inspect's markers have it."""

    def __init__(self) -> None:
        mark_coroutine_function(self)

    def __call__(self) -> Any:
        return _calls_async()


async def _calls_async() -> int:
    return await echo(7)


def mark_coroutine_function(function: Any) -> Any:
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(function)
    function._is_coroutine = asyncio.coroutines._is_coroutine  # private: what asyncio itself did up to 3.11
    return function


@mark_coroutine_function
def _marked() -> Any:
    return _calls_async()


@pytest.mark.parametrize(
    "function",
    [
        AsyncMock(return_value=7),
        functools.partial(AsyncMock(return_value=7)),
        AsyncMock(side_effect=lambda: 7),
        AsyncMock(spec=_calls_async, return_value=7),
        create_autospec(_calls_async, return_value=7),
        _AsyncMockCall(),
        _Marked(),
        functools.partial(_Marked()),
        _marked,
        functools.partial(_marked),
        staticmethod(_calls_async),
        functools.partial(staticmethod(_calls_async)),
    ],
    ids=lambda function: type(function).__name__,
)
async def test_what_says_that_it_gives_a_coroutine_runs_on_the_loop(function):
    async with HybridExecutor("marked", max_in_flight=1) as executor:
        handle = await executor.submit(function, name="marked")
        assert await handle == 7
        assert task_of(handle).plan.runner_name == "inline"


@pytest.mark.parametrize("function", [Mock(return_value=7), MagicMock(return_value=7), NonCallableMagicMock])
async def test_a_mock_that_says_nothing_runs_in_a_thread(function):
    async with HybridExecutor("mocked", max_in_flight=1) as executor:
        handle = await executor.submit(function, name="mocked")
        await handle
        assert task_of(handle).plan.runner_name == "thread"


@pytest.mark.parametrize(
    "function", [_Calls().plain_method, _PlainCall(), functools.partial(_PlainCall(), 1), threading.get_ident]
)
async def test_plain_functions_run_in_a_thread_unless_inline(function):
    async with HybridExecutor("threads", max_in_flight=1) as executor:
        assert await executor.run(function) != threading.get_ident()
        assert await executor.run(function, runner="inline") == threading.get_ident()


async def test_a_class_is_a_plain_function():
    async with HybridExecutor("class", max_in_flight=1) as executor:
        assert isinstance(await executor.run(_PlainCall), _PlainCall)


async def test_an_awaitable_from_a_thread_is_an_error_that_shows_the_way():
    async with HybridExecutor("lambda", max_in_flight=1) as executor:
        with pytest.raises(TypeError, match=r'returned an awaitable.*runner="inline"'):
            await executor.run(lambda: echo(5))
        assert await executor.run(lambda: echo(5), runner="inline") == 5
        assert executor.stats().failed == 1


async def test_keywords_go_through_partial():
    async with HybridExecutor("keywords", max_in_flight=1) as executor:
        assert await executor.run(functools.partial(int, base=2), "101") == 5
        with pytest.raises(TypeError, match=r"no option 'base'.*functools.partial"):
            await executor.run(int, "101", base=2)


async def test_tasks_may_wait_for_their_own_executor_but_not_for_its_closing():
    async with HybridExecutor("nested", max_in_flight=1, max_queued=0) as executor:

        async def awaits():
            await sibling

        async def runs():
            await executor.run(echo, 1)

        async def submits():
            await executor.submit(echo, 1)

        async def drains():
            async with executor.pile() as pile:
                await pile.include(echo, 1)

        async def iterates():
            async for _ in executor.as_completed(echo, [1]):
                pass

        async def closes():
            await executor.shutdown()

        for function in (runs, submits, iterates, drains):
            await executor.run(function)
        with pytest.raises(NestedWait, match=r"shutdown inside task .*'nested'.*its own executor, which waits for all"):
            await executor.run(closes)
        executor.resize(2)
        gate = Gate()
        sibling = await executor.submit(gate.hold)
        waiting = await executor.submit(awaits)
        await anyio.wait_all_tasks_blocked()
        assert executor.stats().lent == 1
        gate.open()
        await waiting


async def test_a_task_may_submit_to_its_own_executor_without_waiting():
    async with HybridExecutor("fanout", max_in_flight=1) as executor:

        async def submits():
            return await executor.submit(echo, 8)

        handle = await executor.run(submits)
        assert await handle == 8


async def test_another_executor_may_be_waited_for():
    async with HybridExecutor("outer", max_in_flight=1) as outer, HybridExecutor("inner", max_in_flight=1) as inner:

        async def runs():
            return await inner.run(echo, 9)

        assert await outer.run(runs) == 9


async def test_an_error_that_nobody_awaits_stays_inside(caplog):
    caplog.set_level("DEBUG", logger="glasspool")
    async with HybridExecutor("silent", max_in_flight=1) as executor:
        await executor.submit(fail, ValueError("unheard"), name="unheard")
    assert executor.stats().failed == 1
    (record,) = [record for record in caplog.records if "unheard" in record.getMessage()]
    assert record.levelname == "DEBUG"
    assert "'silent'" in record.getMessage()


async def test_cancelling_who_awaits_does_not_cancel_the_task():
    gate = Gate()
    async with HybridExecutor("waiter", max_in_flight=1) as executor:
        handle = await executor.submit(gate.hold, 5)
        with anyio.move_on_after(0) as scope:
            await handle
        assert scope.cancelled_caught
        assert not handle.done
        gate.open()
        assert await handle == 5


async def test_run_cancelled_leaves_after_the_tasks_cleanup():
    events: list[str] = []

    async def slow_to_leave():
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await turns(5)
                events.append("cleaned up")

    async with HybridExecutor("structured", max_in_flight=1) as executor:
        async with anyio.create_task_group() as group:

            async def caller():
                try:
                    await executor.run(slow_to_leave)
                finally:
                    events.append("left")

            group.start_soon(caller)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        assert events == ["cleaned up", "left"]
        assert executor.stats().cancelled == 1


async def test_a_block_may_be_left_at_once():
    async with HybridExecutor("empty", max_in_flight=1) as executor:
        pass
    assert executor.stats().submitted == 0


async def test_use_before_and_after_the_block_is_refused():
    executor = HybridExecutor("shut", max_in_flight=1)
    assert executor.stats().submitted == 0
    with pytest.raises(ExecutorClosed, match="not open"):
        await executor.submit(echo, 1)
    async with executor:
        pass
    for call in (executor.submit_nowait, executor.map, executor.as_completed):
        with pytest.raises(ExecutorClosed, match="'shut' is closed"):
            call(echo, [1])
    with pytest.raises(ExecutorClosed, match="'shut' is closed"):
        await executor.submit(echo, 1)
    with pytest.raises(RuntimeError, match="entered before"):
        async with executor:
            pass
