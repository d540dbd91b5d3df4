"""Context variables: copied from the submitter, isolated, and released at the end of the task."""

from __future__ import annotations

import contextvars
import gc
import weakref

import anyio
import pytest
from opentelemetry import baggage
from opentelemetry import context as otel_context

from glasspool import HybridExecutor

from .support import echo, turns

pytestmark = pytest.mark.anyio

USER: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")


async def test_sixty_four_interleaving_submitters_see_only_their_own():
    async with HybridExecutor("isolated", max_in_flight=8, max_queued=4) as executor:
        found = []

        async def task(expected):
            seen = [USER.get()]
            USER.set(f"changed by {expected}")
            await turns(3)
            seen.append(USER.get())
            found.append((expected, *seen))

        async def submitter(number):
            USER.set(f"user {number}")
            for turn in range(10):
                await executor.submit(task, USER.get())
                await turns(turn % 3)
            assert USER.get() == f"user {number}"

        async with anyio.create_task_group() as group:
            for number in range(64):
                group.start_soon(submitter, number)
    assert len(found) == 640
    for expected, before, after in found:
        assert (before, after) == (expected, f"changed by {expected}")


async def test_the_context_is_that_of_the_submit_call():
    async with HybridExecutor("moment", max_in_flight=1) as executor:
        USER.set("then")
        first = executor.submit_nowait(_user)
        second = executor.submit_nowait(_user)  # waits in the queue
        USER.set("now")
        assert (await first, await second) == ("then", "then")
        assert await executor.run(_user) == "now"


async def _user() -> str:
    return USER.get()


async def test_the_context_goes_into_threads_iterators_and_piles():
    USER.set("carried")
    token = otel_context.attach(baggage.set_baggage("tenant", "acme"))
    try:
        async with HybridExecutor("carried", max_in_flight=2) as executor:
            assert await executor.run(lambda: (USER.get(), baggage.get_baggage("tenant"))) == ("carried", "acme")
            assert [value async for value in executor.map(lambda _: USER.get(), range(3))] == ["carried"] * 3

            async def source():
                yield 1

            values = [done.value async for done in executor.as_completed(lambda _: USER.get(), source())]
            assert values == ["carried"]
            async with executor.pile() as pile:
                handle = await pile.include(_user)
            assert await handle == "carried"
    finally:
        otel_context.detach(token)


class Thing:
    """Something that can be seen dying."""


@pytest.mark.parametrize("runner", ["loop", "thread"])
async def test_a_finished_task_leaves_nothing_behind(runner):
    async with HybridExecutor("weak", max_in_flight=2) as executor:

        async def on_loop(thing):
            USER.set(thing)
            await echo(1)
            return Thing()

        def in_thread(thing):
            USER.set(thing)
            return Thing()

        async def submit():
            argument, carried = Thing(), Thing()
            USER.set(carried)
            handle = await executor.submit(on_loop if runner == "loop" else in_thread, argument)
            result = (await handle.outcome()).value
            return weakref.ref(argument), weakref.ref(carried), weakref.ref(result), weakref.ref(handle)

        gc.collect()
        gc.disable()
        try:
            dead = contextvars.Context()
            async with anyio.create_task_group() as group:
                found = []

                async def collect():
                    found.extend(await submit())
                    USER.set("nothing")

                dead.run(group.start_soon, collect)
            await turns(5)
            assert await executor.run(echo, 1) == 1
            deadline = anyio.current_time() + 30
            while any(ref() is not None for ref in found) and anyio.current_time() < deadline:
                await anyio.sleep(0.001)  # a thread may take a moment to park
            assert [ref() for ref in found] == [None] * 4
        finally:
            gc.enable()


async def test_a_failed_task_leaves_nothing_behind_once_its_handle_is_gone():
    async with HybridExecutor("weak", max_in_flight=2) as executor:

        async def fails(thing):
            await echo(1)
            raise ValueError("failed")

        async def submit():
            argument = Thing()
            handle = await executor.submit(fails, argument)
            await handle.outcome()
            return weakref.ref(argument)

        gc.collect()
        gc.disable()
        try:
            reference = await submit()
            await turns(5)
            assert reference() is None
        finally:
            gc.enable()
