"""Calls from an event loop into threads, and from threads into a loop, are released as without observation."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_process
import anyio.to_thread
import pytest

from . import work
from .keeping import FUNCTIONS, OUTCOMES, VARIABLE, Boom, Compare, Run, Thing, step
from .work import LIMIT

trio = pytest.importorskip("trio")

THREADS: dict[str, tuple[str, Callable[..., Awaitable[Any]]]] = {
    "asyncio.to_thread": ("asyncio", lambda *call: asyncio.to_thread(*call)),
    "run_in_executor": ("asyncio", lambda *call: asyncio.get_running_loop().run_in_executor(None, *call)),
    "run_in_executor, inline": ("asyncio", lambda *call: asyncio.get_running_loop().run_in_executor(INLINE, *call)),
    "anyio.to_thread": ("asyncio", lambda *call: anyio.to_thread.run_sync(*call)),
    "anyio.to_thread on trio": ("trio", lambda *call: anyio.to_thread.run_sync(*call)),
    "trio.to_thread": ("trio", lambda *call: trio.to_thread.run_sync(*call)),
    "anyio.to_process": ("asyncio", lambda *call: anyio.to_process.run_sync(*call)),
}
LIMITED = ["anyio.to_thread", "anyio.to_thread on trio", "trio.to_thread"]
INLINE = work.Inline()


@pytest.mark.parametrize("way", THREADS)
@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_calls_in_threads(way: str, outcome: str, loops: Callable[[], None], compare: Compare) -> None:
    backend, call_in = THREADS[way]

    def scenario(run: Run) -> None:
        async def call() -> None:
            VARIABLE.set(run.watch("value", Thing()))
            function = run.watch("function", functools.partial(FUNCTIONS[outcome], run.watch("bound", Thing())))
            # What runs within submit() leads to its frame, which has the function together with its context.
            with run.span() if way == "run_in_executor, inline" else run.carrying():
                try:
                    run.watch("result", await call_in(function, run.watch("argument", Thing())))
                except Boom as error:
                    run.watch("error", error)

        async def main() -> None:
            async with anyio.create_task_group() as group:  # a context of its own
                group.start_soon(call)
            del group
            await call_in(work.add, 1)
            await run.check_soon("ended")

        anyio.run(main, backend=backend)

    compare(scenario, loops)


@pytest.mark.parametrize("way", LIMITED)
def test_contexts_that_were_copied_in_a_thread(way: str, loops: Callable[[], None], compare: Compare) -> None:
    backend, call_in = THREADS[way]

    def scenario(run: Run) -> None:
        kept: list[contextvars.Context] = []

        def keep(bound: Thing, argument: Thing) -> None:
            kept.append(contextvars.copy_context())

        async def main() -> None:
            function = run.watch("function", functools.partial(keep, run.watch("bound", Thing())))
            await call_in(function, run.watch("argument", Thing()))
            del function
            await call_in(work.add, 1)
            await run.check_soon("ended")

        anyio.run(main, backend=backend)
        run.check("without its loop")
        assert kept

    compare(scenario, loops)


@pytest.mark.parametrize("way", LIMITED)
def test_calls_in_threads_that_are_given_up(way: str, loops: Callable[[], None], compare: Compare) -> None:
    backend = THREADS[way][0]

    def scenario(run: Run) -> None:
        begun, release, ended = threading.Event(), threading.Event(), threading.Event()

        def block(bound: Thing) -> None:
            del bound
            begun.set()
            assert release.wait(LIMIT)
            ended.set()

        async def main() -> None:
            async def call() -> None:
                function = run.watch("function", functools.partial(block, run.watch("bound", Thing())))
                to_thread = anyio.to_thread if way.startswith("anyio") else trio.to_thread
                with run.carrying():
                    await to_thread.run_sync(function, abandon_on_cancel=True)

            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(call)
                    while not begun.is_set():
                        await anyio.sleep(0.001)
                    group.cancel_scope.cancel()
                del group
                await run.check_soon("abandoned")
            finally:
                release.set()
            while not ended.is_set():
                await anyio.sleep(0.001)
            await THREADS[way][1](work.add, 1)
            await run.check_soon("ended")

        anyio.run(main, backend=backend)
        run.check("without its loop")

    compare(scenario, loops)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("way", ["run", "run_sync"])
@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_calls_from_threads(backend: str, way: str, outcome: str, loops: Callable[[], None], compare: Compare) -> None:
    def scenario(run: Run) -> None:
        def in_thread() -> None:
            VARIABLE.set(run.watch("value", Thing()))
            with run.carrying():
                try:
                    argument = run.watch("argument", Thing())
                    if way == "run":
                        run.watch("result", anyio.from_thread.run(step, argument, outcome))
                    else:
                        call = functools.partial(FUNCTIONS[outcome], run.watch("bound", Thing()))
                        run.watch("result", anyio.from_thread.run_sync(call, argument))
                except Boom as error:
                    run.watch("error", error)

        async def main() -> None:
            await anyio.to_thread.run_sync(in_thread)
            await anyio.to_thread.run_sync(work.add, 1)
            await run.check_soon("ended")

        anyio.run(main, backend=backend)

    compare(scenario, loops)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_calls_of_portals(backend: str, outcome: str, loops: Callable[[], None], compare: Compare) -> None:
    def scenario(run: Run) -> None:
        begun = threading.Event()

        async def call(argument: Thing) -> Any:
            begun.set()
            try:
                return await step(argument, outcome)
            finally:
                del argument

        with anyio.from_thread.start_blocking_portal(backend) as portal:
            with run.carrying():
                future = run.watch("future", portal.start_task_soon(call, run.watch("argument", Thing())))
            assert begun.wait(LIMIT)
            if outcome == "cancelled":
                future.cancel()
            else:
                error = future.exception(LIMIT)
                run.watch("result" if error is None else "error", error or future.result())
                del error
            assert portal.call(work.add, 1) == 2
            run.check("ended")
            del future
            assert portal.call(work.add, 1) == 2
            run.check("dropped")
        run.check("without its portal")

    compare(scenario, loops)
