"""Tasks of event loops and their arguments are released as without observation."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from .keeping import OUTCOMES, Compare, Run, Thing, in_own_context, step

trio = pytest.importorskip("trio")

NEVER_STARTED = "start, and not started"

in_every_way = pytest.mark.parametrize(
    ("way", "outcome"),
    [(way, outcome) for way in ("start_soon", "start") for outcome in OUTCOMES]
    + [(NEVER_STARTED, "failure"), (NEVER_STARTED, "cancelled")],
)


@pytest.mark.parametrize("loop_kind", ["asyncio", "uvloop"])
@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("context", ["copied", "given"])
def test_asyncio_tasks(loop_kind: str, outcome: str, context: str, loops: Callable[[], None], compare: Compare) -> None:
    if context == "given" and not hasattr(asyncio, "TaskGroup"):
        pytest.skip("context= of tasks came with Python 3.11")

    def scenario(run: Run) -> None:
        async def main() -> None:
            begun = anyio.Event()

            def begin() -> Any:
                options = {"context": contextvars.copy_context()} if context == "given" else {}
                coro = step(run.watch("argument", Thing()), outcome, begun)
                return run.watch("task", asyncio.get_running_loop().create_task(coro, **options))

            task = in_own_context(run, begin)
            await begun.wait()
            if outcome == "cancelled":
                task.cancel()
            await asyncio.wait([task])
            if outcome == "failure":
                run.watch("error", task.exception())
            elif outcome == "success":
                run.watch("result", task.result())
            await run.check_soon("ended")
            del task
            await run.check_soon("dropped")

        anyio.run(main, backend_options={"use_uvloop": loop_kind == "uvloop"})

    compare(scenario, loops)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_tasks_that_were_never_looked_at(outcome: str, loops: Callable[[], None], compare: Compare) -> None:
    def scenario(run: Run) -> None:
        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # of the error that nobody retrieves
            begun = anyio.Event()
            argument = run.watch("argument", Thing())
            task = run.watch("task", in_own_context(run, asyncio.create_task, step(argument, outcome, begun)))
            del argument
            await begun.wait()
            if outcome == "cancelled":
                task.cancel()
            del task
            await run.check_soon("dropped")

        asyncio.run(main())

    compare(scenario, loops)


@pytest.mark.skipif(not hasattr(asyncio, "TaskGroup"), reason="asyncio.TaskGroup came with Python 3.11")
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_children_of_asyncios_groups(outcome: str, loops: Callable[[], None], compare: Compare) -> None:
    def scenario(run: Run) -> None:
        async def main() -> None:
            begun = asyncio.Event()
            try:
                async with asyncio.TaskGroup() as group:
                    run.watch("group", group)
                    argument = run.watch("argument", Thing())
                    child = in_own_context(run, group.create_task, step(argument, outcome, begun))
                    run.watch("task", child)
                    del argument
                    await begun.wait()
                    if outcome == "cancelled":
                        child.cancel()
                    del child
            except BaseException as error:
                run.watch("error", error)
            del group
            await run.check_soon("ended")

        asyncio.run(main())

    compare(scenario, loops)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("begun", [True, False])
def test_asyncio_tasks_whose_loop_goes(begun: bool, loops: Callable[[], None], compare: Compare) -> None:
    def scenario(run: Run) -> None:
        async def wait(argument: Any) -> None:
            await futures[0]

        loop = asyncio.new_event_loop()
        futures = [loop.create_future()]
        loop.set_exception_handler(lambda *_: None)  # of the task that is pending when it is thrown away
        with run.carrying():
            task = run.watch("task", loop.create_task(wait(run.watch("argument", Thing()))))
        if begun:
            loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        del task, loop
        run.check("closed")
        futures.clear()
        run.check("dropped")

    compare(scenario, loops)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@in_every_way
def test_children_of_task_groups(
    backend: str, outcome: str, way: str, loops: Callable[[], None], compare: Compare
) -> None:
    def scenario(run: Run) -> None:
        async def started(argument: Any, begun: Any, *, task_status: Any) -> Any:
            if way == "start":
                task_status.started()
            try:
                return await step(argument, outcome, begun)
            finally:
                del argument, task_status

        async def main() -> None:
            begun = anyio.Event()
            try:
                async with anyio.create_task_group() as group:
                    run.watch("group", group)
                    argument = run.watch("argument", Thing())
                    if way == "start_soon":
                        in_own_context(run, group.start_soon, step, argument, outcome, begun)
                    elif way == "start":
                        with run.carrying():
                            await group.start(started, argument, begun)
                    else:
                        if outcome == "cancelled":
                            group.start_soon(cancel, begun, group.cancel_scope)
                        await group.start(started, argument, begun)
                    del argument
                    await begun.wait()
                    if outcome == "cancelled":
                        group.cancel_scope.cancel()
            except BaseException as error:
                run.watch("error", error)
            del group
            await run.check_soon("ended")

        async def cancel(begun: anyio.Event, scope: anyio.CancelScope) -> None:
            await begun.wait()
            scope.cancel()

        anyio.run(main, backend=backend)

    compare(scenario, loops)


@in_every_way
def test_trios_tasks(outcome: str, way: str, loops: Callable[[], None], compare: Compare) -> None:
    def scenario(run: Run) -> None:
        async def child(begun: Any, task_status: Any = trio.TASK_STATUS_IGNORED) -> Any:
            run.watch("task", trio.lowlevel.current_task())
            if way == "start":
                task_status.started()
            del task_status
            await step(run.watch("argument", Thing()), outcome, begun)

        async def main() -> None:
            begun = trio.Event()
            try:
                async with trio.open_nursery() as nursery:
                    run.watch("nursery", nursery)
                    if way == "start_soon":
                        in_own_context(run, nursery.start_soon, child, begun)
                    else:
                        if outcome == "cancelled":
                            nursery.start_soon(cancel, begun, nursery.cancel_scope)
                        with run.carrying():
                            await nursery.start(child, begun)
                    await begun.wait()
                    if outcome == "cancelled":
                        nursery.cancel_scope.cancel()
            except BaseException as error:
                run.watch("error", error)
            del nursery
            await checkpoint()
            await run.check_soon("ended")

        async def cancel(begun: trio.Event, scope: trio.CancelScope) -> None:
            await begun.wait()
            scope.cancel()

        trio.run(main)

    compare(scenario, loops)
