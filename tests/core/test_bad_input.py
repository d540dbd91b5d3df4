"""Invalid arguments: each is refused at the call, by an error that names parameter and value; nothing is lost."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest

from glasspool import ExecutorClosed, HybridExecutor, WrongThread

from .support import Gate, conserved, echo, until

pytestmark = pytest.mark.anyio

GOOD = {"max_in_flight": 1}
HUGE = 10**1200  # too large for a float
ENDLESS = 10**5000  # Python 3.11 and later refuse to write it out


@pytest.mark.parametrize(
    ("error", "message", "name", "options"),
    [
        (ValueError, r"max_in_flight must be at least 1, not 0", "x", {"max_in_flight": 0}),
        (ValueError, r"max_in_flight must be at least 1, not -3", "x", {"max_in_flight": -3}),
        (TypeError, r"max_in_flight must be an int, not 2.5", "x", {"max_in_flight": 2.5}),
        (TypeError, r"max_in_flight must be an int, not True", "x", {"max_in_flight": True}),
        (TypeError, r"max_in_flight must be an int, not None", "x", {"max_in_flight": None}),
        (ValueError, r"max_queued must be at least 0, not -1", "x", {**GOOD, "max_queued": -1}),
        (TypeError, r"max_queued must be an int or None \(no bound\), not '9'", "x", {**GOOD, "max_queued": "9"}),
        (ValueError, r"name must not be empty, got ''", "", GOOD),
        (ValueError, r"name must not be empty, got '  '", "  ", GOOD),
        (TypeError, r"name must be a str, not 7", 7, GOOD),
        (ValueError, r"on_error must be one of 'collect', 'escalate', not 'no'", "x", {**GOOD, "on_error": "no"}),
        (TypeError, r"on_error must be one of .* not None", "x", {**GOOD, "on_error": None}),
        (ValueError, r"spans must be one of 'all', 'parented', 'off', not 'some'", "x", {**GOOD, "spans": "some"}),
        (ValueError, r"max_task_names must be at least 0, not -1", "x", {**GOOD, "max_task_names": -1}),
        (ValueError, r"wait_objective must be above 0 and finite, got 0:", "x", {**GOOD, "wait_objective": 0}),
        (ValueError, r"wait_objective must be above 0 and finite, got -1", "x", {**GOOD, "wait_objective": -1}),
        (ValueError, r"wait_objective must be .* got nan", "x", {**GOOD, "wait_objective": float("nan")}),
        (ValueError, r"wait_objective must be .* got inf", "x", {**GOOD, "wait_objective": float("inf")}),
        (
            TypeError,
            r"wait_objective must be a number of seconds or None, not True",
            "x",
            {**GOOD, "wait_objective": True},
        ),
        (
            TypeError,
            r"wait_objective must be a number of seconds or None, not '1'",
            "x",
            {**GOOD, "wait_objective": "1"},
        ),
        (ValueError, r"max_in_flight must be at most \d+, not 1000.*…", "x", {"max_in_flight": HUGE}),
        (ValueError, r"max_in_flight must be at most \d+, not <int without a repr>", "x", {"max_in_flight": ENDLESS}),
        (ValueError, r"max_in_flight must be at least 1, not <int without a repr>", "x", {"max_in_flight": -ENDLESS}),
        (ValueError, r"max_queued must be at most .*; None means no bound", "x", {**GOOD, "max_queued": HUGE}),
        (ValueError, r"max_task_names must be at most", "x", {**GOOD, "max_task_names": HUGE}),
        (ValueError, r"wait_objective must be above 0 and finite, got 1000", "x", {**GOOD, "wait_objective": HUGE}),
        (TypeError, r"observers: 5 is not callable", "x", {**GOOD, "observers": [5]}),
        (TypeError, r"observers: .* coroutine function", "x", {**GOOD, "observers": [echo]}),
        (
            TypeError,
            r"observers must be an iterable of callables, not <built-in function print>",
            "x",
            {**GOOD, "observers": print},
        ),
    ],
)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
def test_the_constructor(anyio_backend, error, message, name, options):
    with pytest.raises(error, match=message):
        HybridExecutor(name, **options)


class Callable:
    async def __call__(self):
        yield 1


async def generator():
    yield 1


@pytest.mark.parametrize(
    ("error", "message", "arguments", "options"),
    [
        (TypeError, r"fn must be callable, not 5; pass the function first", (5,), {}),
        (TypeError, r"fn must be callable, not None", (None,), {}),
        (TypeError, r"must not be an async generator function", (generator,), {}),
        (TypeError, r"must not be an async generator function", (Callable(),), {}),
        (ValueError, r"timeout must not be negative, got -1; 0 means at once", (echo, 1), {"timeout": -1}),
        (ValueError, r"timeout must not be NaN", (echo, 1), {"timeout": float("nan")}),
        (TypeError, r"timeout must be a number of seconds or None, not '5'", (echo, 1), {"timeout": "5"}),
        (TypeError, r"timeout must be a number of seconds or None, not True", (echo, 1), {"timeout": True}),
        (ValueError, r"deadline must not be NaN", (echo, 1), {"deadline": float("nan")}),
        (TypeError, r"deadline must be a number", (echo, 1), {"deadline": "soon"}),
        (ValueError, r"name must not be empty", (echo, 1), {"name": ""}),
        (TypeError, r"name must be a str, not 3", (echo, 1), {"name": 3}),
        (ValueError, r"context must be one of 'parent', 'link', not 'child'", (echo, 1), {"context": "child"}),
        (TypeError, r"context must be one of", (echo, 1), {"context": 1}),
        (ValueError, r"runner must be 'inline', 'thread' or a concurrent", (echo, 1), {"runner": "fork"}),
        (TypeError, r"runner must be .* not 9", (echo, 1), {"runner": 9}),
        (TypeError, r"abandon must be a bool, not 'no'", (len, "a"), {"abandon": "no"}),
        (TypeError, r"metadata must be a mapping or None, not \[1\]", (echo, 1), {"metadata": [1]}),
        (ValueError, "timeout is too large a number, got 1000.*…; None means none", (echo, 1), {"timeout": HUGE}),
        (ValueError, "timeout is too large a number", (echo, 1), {"timeout": -ENDLESS}),
        (ValueError, "deadline is too large a number", (echo, 1), {"deadline": HUGE}),
        (TypeError, r"no option 'prio'", (echo, 1), {"prio": 1}),
    ],
)
async def test_every_way_of_submitting(error, message, arguments, options):
    async with HybridExecutor("refuse", max_in_flight=1) as executor, executor.pile() as pile:
        with pytest.raises(error, match=message):
            await executor.submit(*arguments, **options)
        with pytest.raises(error, match=message):
            executor.submit_nowait(*arguments, **options)
        with pytest.raises(error, match=message):
            await executor.run(*arguments, **options)
        with pytest.raises(error, match=message):
            await pile.include(*arguments, **options)
        for method in (executor.map, executor.as_completed):
            with pytest.raises(error, match=message):
                method(arguments[0], [1], **options)
        stats = executor.stats()
        assert (stats.submitted, stats.rejected) == (0, 0)
        assert await executor.run(echo, 1) == 1


async def test_a_coroutine_instead_of_a_function():
    async with HybridExecutor("coroutine", max_in_flight=1) as executor:
        message = (
            r"fn must be a function, not a coroutine: write submit\(echo, \.\.\.\) instead of submit\(echo\(\.\.\.\)\)"
        )
        with pytest.raises(TypeError, match=message):
            await executor.submit(echo(1))
        with pytest.raises(TypeError, match=message):
            executor.submit_nowait(echo(1))
        with pytest.raises(TypeError, match=message):
            executor.map(echo(1), [1])
        assert executor.stats().submitted == 0


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, "max_in_flight must be at least 1, not 0", lambda executor: executor.resize(0)),
        (TypeError, "max_in_flight must be an int, not 'two'", lambda executor: executor.resize("two")),
        (TypeError, "fail_fast must be a bool, not 1", lambda executor: executor.pile(fail_fast=1)),
        (TypeError, "message must be a str or None, not 4", lambda executor: executor.pile().cancel(4)),
    ],
)
async def test_other_calls(error, message, call):
    async with HybridExecutor("other", max_in_flight=1) as executor:
        with pytest.raises(error, match=message):
            call(executor)
        with pytest.raises(ValueError, match="grace must not be negative, got -1"):
            await executor.shutdown(grace=-1)
        handle = await executor.submit(echo, 1)
        with pytest.raises(TypeError, match="message must be a str or None, not 4"):
            handle.cancel(4)
        assert await handle == 1


async def test_what_a_closed_executor_has_no_use_for():
    async with HybridExecutor("closed", max_in_flight=1) as executor:
        with pytest.raises(ValueError, match=r"grace is too large a number, got 1000.*…; None means none"):
            await executor.shutdown(grace=HUGE)
        assert await executor.run(echo, 1) == 1
    for call, what in [
        (lambda: executor.resize(2), "resize"),
        (executor.pile, "pile"),
        (lambda: executor.pile(fail_fast=True), "pile"),
    ]:
        with pytest.raises(ExecutorClosed, match=f"{what} on executor 'closed', which is closed"):
            call()
    assert executor.stats().slots_limit == 1


async def test_an_executor_that_drains_may_be_resized():
    gate = Gate()
    async with HybridExecutor("drains", max_in_flight=1) as executor:
        handles = [await executor.submit(gate.hold) for _ in range(2)]
        async with anyio.create_task_group() as group:
            group.start_soon(executor.shutdown)
            await anyio.wait_all_tasks_blocked()
            executor.resize(2)
            await until(lambda: len(gate.started) == 2)
            gate.open()
    assert conserved(executor, handles).succeeded == 2


async def test_calls_from_another_thread_are_refused_before_anything_is_touched():
    gate = Gate()
    async with HybridExecutor("thread", max_in_flight=1, max_queued=3) as executor:
        running, queued = await executor.submit(gate.hold), await executor.submit(gate.hold)
        pile = executor.pile()
        iteration = executor.as_completed(echo, range(3))

        def elsewhere():
            hint = r"from another thread or event loop .* anyio\.from_thread\.run\(executor\.submit, …\)"
            for call in (
                lambda: executor.submit_nowait(echo, 1),
                lambda: executor.map(echo, [1]),
                lambda: executor.as_completed(echo, [1]),
                lambda: executor.resize(5),
                lambda: queued.cancel(),
                lambda: pile.cancel(),
                lambda: pile.producer().__enter__(),
            ):
                with pytest.raises(WrongThread, match=hint):
                    call()
            for make in (
                lambda: executor.submit(echo, 1),
                lambda: executor.run(echo, 1),
                lambda: executor.shutdown(),
                lambda: queued.outcome(),
                lambda: pile.include(echo, 1),
                lambda: pile.next_completed(),
                lambda: pile.drain(),
                lambda: pile.aclose(),
                lambda: pile.__aenter__(),
                lambda: iteration.__anext__(),
            ):
                coroutine = make()
                with pytest.raises(WrongThread, match=hint):
                    coroutine.send(None)
            return executor.stats(), queued.state, repr(queued), repr(executor), queued.done

        with ThreadPoolExecutor(1) as pool:
            stats, state, *_ = pool.submit(elsewhere).result()
        assert (stats.queued, stats.in_flight, state.value) == (1, 1, "queued")
        conserved(executor, [running, queued])
        gate.open()
        assert [completed.value async for completed in iteration] == [0, 1, 2]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_calls_from_another_loop_are_refused(anyio_backend):
    caught = []
    async with HybridExecutor("loop", max_in_flight=1) as executor:

        async def foreign():
            with pytest.raises(WrongThread, match="another thread or event loop"):
                await executor.submit(echo, 1)
            caught.append(True)

        thread = threading.Thread(target=lambda: asyncio.run(foreign()))
        thread.start()
        while thread.is_alive():
            await anyio.sleep(0.001)
        assert caught == [True]
        assert executor.stats().submitted == 0
