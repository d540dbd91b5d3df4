"""Hostile objects cannot break the executor: every special method and attribute of theirs raises, in each role, on each
runner. The task ends once, its slot becomes free, the next task runs, and the block can be left."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import anyio
import pytest

from glasspool import HybridExecutor, Outcome
from tests.hostile import REFUSALS, Forgetful, Frozen, hostile, lying, members

from .hostile import RUNNERS, on, still_works
from .support import conserved

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

pytestmark = pytest.mark.anyio


BASES = [Exception, OSError, StopIteration, BaseException]
if sys.version_info >= (3, 11):  # the backport cannot make a group that refuses to be changed
    BASES.append(ExceptionGroup)


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(2) as pool:
        yield pool


async def raised_by(awaitable: Any) -> BaseException | None:
    try:
        await awaitable
    except BaseException as error:
        return error
    return None


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("runner", RUNNERS)
async def test_a_value(runner, refusal, pool):
    value = hostile(object, REFUSALS[refusal])()
    async with HybridExecutor("value", max_in_flight=1) as executor:
        work, options = on(runner, pool, lambda: value)
        handle = await executor.submit(work, name="value", **options)
        completed = await handle.outcome()
        assert completed.outcome is Outcome.SUCCESS
        assert completed.value is value
        assert await handle is value
        assert repr(completed) == "<Completed 'value' success: Hostile>"
        await still_works(executor, [handle])


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("limited", [False, True])
async def test_an_exception(runner, base, refusal, limited, pool, sdk):
    kind = hostile(base, REFUSALS[refusal])
    error = kind("many", [ValueError(1)]) if base is ExceptionGroup else kind("ends")

    def work():
        raise error

    async with HybridExecutor("exception", max_in_flight=1, observers=[lambda event: None]) as executor:
        work, options = on(runner, pool, work)
        handle = await executor.submit(work, name="exception", **options, **({"timeout": 1000} if limited else {}))
        completed = await handle.outcome()
        assert completed.outcome is Outcome.ERROR
        if runner in ("coroutine", "inline") and base is StopIteration:  # Python makes one of its own of it
            assert type(completed.error) is RuntimeError
        else:
            assert completed.error is error
        for _ in range(3):
            raised = await raised_by(handle)
            assert type(raised) is RuntimeError if base is StopIteration else raised is error
        assert repr(completed)
        await still_works(executor, [handle])
    (span,) = sdk.spans("exception exception")
    assert not span.status.is_ok


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("limited", [False, True])
async def test_a_frozen_exception(runner, limited, pool):
    def work():
        raise Frozen(503)

    async with HybridExecutor("frozen", max_in_flight=1) as executor:
        work, options = on(runner, pool, work)
        handle = await executor.submit(work, **options, **({"timeout": 1000} if limited else {}))
        for _ in range(3):
            with pytest.raises(Frozen, match="503"):
                try:
                    raise LookupError("what the waiter is busy with")
                except LookupError:
                    await handle
        await still_works(executor, [handle])


def raise_frozen() -> None:
    raise Frozen(503)


async def test_a_frozen_exception_in_a_process():
    """A bare pool is broken by it: its worker dies as it sends the exception home."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        async with HybridExecutor("process", max_in_flight=1) as executor:
            handle = await executor.submit(raise_frozen, runner=pool)
            with pytest.raises(RuntimeError, match=r"raised tests\.hostile\.Frozen: .*refuses to be changed"):
                await handle
            assert await executor.run(abs, -1, runner=pool) == 1


GROUPS: dict[str, Callable[[list[Any]], BaseException]] = {
    "forgetful": lambda errors: Forgetful(errors, 7),
    "hostile": lambda errors: hostile(BaseExceptionGroup, REFUSALS["a cancellation"])("many", errors),
    "gives nothing": lambda errors: lying(None)("many", errors),
    "gives something else": lambda errors: lying("no group")("many", errors),
    "gives other errors": lambda errors: lying(ExceptionGroup("other", [KeyError("other")]))("many", errors),
}


if sys.version_info < (3, 11):
    del GROUPS["hostile"]  # the backport asks the class for the members, so they cannot be known


def ends_in_a_group(kind: str, started: anyio.Event, *failures: BaseException) -> Callable[[], Awaitable[None]]:
    """A function that, cancelled, raises a group of ``failures`` and the cancellation."""

    async def work() -> None:
        try:
            started.set()
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class() as cancelled:
            raise GROUPS[kind]([*failures, cancelled]) from None

    return work


@pytest.mark.parametrize("kind", GROUPS)
@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("asked", ["handle", "parent"])
async def test_a_group_with_cancellations_in_it(kind, limited, asked):
    failure = ValueError("the task's own")
    started = anyio.Event()

    work = ends_in_a_group(kind, started, failure)
    with anyio.CancelScope() as scope:
        async with HybridExecutor("mixed", max_in_flight=1) as executor:
            handle = await executor.submit(work, **({"timeout": 1000} if limited else {}))
            await started.wait()
            if asked == "handle":
                handle.cancel()
            else:
                scope.cancel()
            with anyio.CancelScope(shield=True):
                completed = await handle.outcome()
            assert completed.outcome is Outcome.ERROR
            assert members(completed.error) == [failure]
            if asked == "handle":
                await still_works(executor, [handle])
    assert scope.cancel_called == (asked == "parent")
    assert executor.stats().slots_used == 0


@pytest.mark.parametrize("kind", GROUPS)
async def test_a_group_of_nothing_but_cancellations(kind):
    started = anyio.Event()

    work = ends_in_a_group(kind, started)
    async with HybridExecutor("pure", max_in_flight=1) as executor:
        handle = await executor.submit(work)
        await started.wait()
        handle.cancel()
        assert (await handle.outcome()).outcome is Outcome.CANCELLED
        await still_works(executor, [handle])


@pytest.mark.parametrize("role", ["derive", "text"])
async def test_what_ends_the_program_in_it_does_so_when_the_block_is_left(role, sdk):
    started = anyio.Event()

    def refuse(*_):
        raise KeyboardInterrupt(role)

    async def work():
        if role == "text":
            raise type("Ends", (Exception,), {"__str__": refuse})
        try:
            started.set()
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class() as cancelled:
            raise type("Ends", (BaseExceptionGroup,), {"derive": refuse})("many", [ValueError(1), cancelled]) from None

    with pytest.raises(KeyboardInterrupt, match=role):
        async with HybridExecutor("ends", max_in_flight=1) as executor:
            handle = await executor.submit(work)
            if role == "derive":
                await started.wait()
                handle.cancel()
            assert (await handle.outcome()).outcome is Outcome.ERROR
    assert executor.stats().slots_used == 0
    conserved(executor, [handle])
