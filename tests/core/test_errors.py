"""Errors of tasks: raised unchanged, however often they are awaited."""

from __future__ import annotations

import traceback

import anyio
import pytest

from glasspool import HybridExecutor

from .support import echo

pytestmark = pytest.mark.anyio


def inner() -> None:
    raise KeyError("inner")


async def outer() -> None:
    await echo(1)
    try:
        inner()
    except KeyError as error:
        raise ValueError("outer") from error


def plain() -> None:
    try:
        inner()
    except KeyError:
        raise ValueError("outer")  # noqa: B904 - the implicit context is what the test is about


def frames(error: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


@pytest.mark.parametrize(("function", "own"), [(outer, ["outer"]), (plain, ["plain"])])
async def test_ten_awaits_of_one_failed_handle_see_the_same_error(function, own):
    seen = []
    async with HybridExecutor("ten", max_in_flight=1) as executor:
        handle = await executor.submit(function)

        async def awaits():
            try:
                await handle
            except ValueError as error:
                seen.append((frames(error), error.__cause__, error.__context__))

        for number in range(10):
            if number == 4:
                try:
                    raise LookupError("what the waiter is busy with")
                except LookupError:
                    await awaits()
            else:
                await awaits()
    assert len(seen) == 10
    assert all(found == seen[0] for found in seen)
    names, cause, context = seen[0]
    assert names[-len(own) :] == own
    assert len([name for name in names if name not in ("awaits", "__await__", "unwrap", *own)]) == 0
    assert isinstance(context, KeyError)
    assert (cause is context) is (function is outer)


async def test_waiters_in_several_tasks_get_the_same_error():
    seen = []
    async with HybridExecutor("several", max_in_flight=1) as executor:
        handle = await executor.submit(outer)

        async def awaits():
            with pytest.raises(ValueError, match="outer") as caught:
                await handle
            seen.append(caught.value)

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(awaits)
    assert len(seen) == 5
    assert all(error is seen[0] for error in seen)
    assert isinstance(seen[0].__context__, KeyError)


async def test_outcome_never_raises_the_tasks_error():
    async with HybridExecutor("outcome", max_in_flight=1) as executor:
        completed = await (await executor.submit(outer, name="outer")).outcome()
        assert repr(completed) == "<Completed 'outer' error: ValueError('outer')>"
        assert frames(completed.error)[0] == "outer"
        for _ in range(2):
            with pytest.raises(ValueError, match="outer"):
                completed.unwrap()


async def test_a_waiters_own_exception_is_left_alone():
    async with HybridExecutor("own", max_in_flight=1) as executor:
        handle = await executor.submit(outer)
        with pytest.raises(RuntimeError, match="wrapped") as caught:
            try:
                await handle
            except ValueError as error:
                raise RuntimeError("wrapped") from error
        assert isinstance(caught.value.__cause__, ValueError)
