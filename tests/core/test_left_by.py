"""The exception that leaves the block: the table of docs/semantics.md, compared with a plain task group."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from itertools import product
from typing import Any

import anyio
import pytest

from glasspool import ExecutorClosed, HybridExecutor, TaskCancelled
from glasspool._foreign.guarded import leaves
from glasspool.signals import shutdown_on_signals

from .support import echo, fail, forever

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

pytestmark = pytest.mark.anyio

Start = Callable[..., Awaitable[Any]]


class Own(Exception):
    """Of the body."""


class OwnBase(BaseException):
    """Of the body, too."""


class Failure(Exception):
    """Of a task."""


class Cell:
    """One run of a block: how its body ends, what its tasks do, and when a scope around it is cancelled."""

    def __init__(self, body: str, tasks: str, enclosing: str) -> None:
        self.body, self.tasks, self.enclosing = body, tasks, enclosing
        self.scope = anyio.CancelScope()
        self.ready, self.leaving, self.release = anyio.Event(), anyio.Event(), anyio.Event()
        self.raised: BaseException | None = None  # what the body has raised

    async def run(self, block: AbstractAsyncContextManager[Start]) -> BaseException | None:
        """What leaves the block and the scope around it."""
        left: BaseException | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._around)
            try:
                with self.scope:
                    async with block as start:
                        await start(self._holds_up)
                        if self.tasks != "none":
                            await start(self._fails)
                        await anyio.wait_all_tasks_blocked()
                        await self._body(start)
            except BaseException as error:
                left = error
            finally:
                self.leaving.set()
        return left

    async def _around(self) -> None:
        await self.leaving.wait()
        await anyio.wait_all_tasks_blocked()
        if self.enclosing == "while draining":
            self.scope.cancel()
            await anyio.wait_all_tasks_blocked()
        self.release.set()

    async def _holds_up(self) -> None:
        """The leaving: it is cleaning up, or still at work."""
        with anyio.CancelScope(shield=True):
            await self.release.wait()

    async def _fails(self) -> None:
        """When it is cancelled, or the body has ended, or before that."""
        try:
            await (self.ready if self.tasks == "fail early" else self.leaving).wait()
        finally:
            raise Failure

    async def _body(self, start: Start) -> None:
        self.ready.set()
        try:
            if self.enclosing == "before":
                self.scope.cancel()
            if self.body == "cancelled" or self.body.startswith("cleanup"):
                await forever()
            elif self.body == "raises":
                raise Own
            elif self.body == "raises a BaseException":
                raise OwnBase
        except BaseException as error:
            self.raised = error
            raise
        finally:
            self.leaving.set()
            if self.body == "cleanup raises":
                self.raised = Own()
                raise self.raised
            if self.body == "cleanup raises in a group":
                self.raised = BaseExceptionGroup("of the body", [Own(), sys.exc_info()[1] or Own()])
                raise self.raised from None


@asynccontextmanager
async def plain() -> AsyncIterator[Start]:
    async with anyio.create_task_group() as group:

        async def start(work: Callable[[], Awaitable[None]]) -> None:
            group.start_soon(work)

        yield start


@asynccontextmanager
async def plain_collecting() -> AsyncIterator[Start]:
    async def collected(work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Failure:
            pass

    async with anyio.create_task_group() as group:

        async def start(work: Callable[[], Awaitable[None]]) -> None:
            group.start_soon(collected, work)

        yield start


class Executor:
    def __init__(self, on_error: Any, observer: Any = None) -> None:
        observers = () if observer is None else (observer,)
        self.executor = HybridExecutor("left", max_in_flight=4, on_error=on_error, observers=observers)

    async def __aenter__(self) -> Start:
        await self.executor.__aenter__()
        return self.executor.submit

    async def __aexit__(self, *info: Any) -> bool:
        return await self.executor.__aexit__(*info)


def kinds(error: BaseException | None) -> list[str]:
    return [] if error is None else sorted(type(leaf).__name__ for leaf in leaves(error))


BODIES = (
    "ends", "raises", "raises a BaseException", "cancelled", "cleanup raises", "cleanup raises in a group",
)  # fmt: skip
ENCLOSING = ("none", "before", "while draining")
TASKS = ("none", "fail", "fail early")


def possible(body: str, tasks: str, enclosing: str, on_error: str) -> bool:
    """Whether there is something that cancels a body that waits for that."""
    waits = body == "cancelled" or body.startswith("cleanup")
    return not waits or enclosing == "before" or (tasks == "fail early" and on_error == "escalate")


CELLS = [
    cell
    for cell in product(BODIES, TASKS, ENCLOSING, ("collect", "escalate"))
    if possible(*cell) and (cell[3] == "escalate" or cell[1] != "fail early")
]


@pytest.mark.parametrize(("body", "tasks", "enclosing", "on_error"), CELLS)
async def test_it_is_what_leaves_a_plain_task_group(body, tasks, enclosing, on_error):
    cell, other = Cell(body, tasks, enclosing), Cell(body, tasks, enclosing)
    expected = await other.run(plain() if on_error == "escalate" else plain_collecting())
    left = await cell.run(Executor(on_error))
    wanted = kinds(expected)
    if version("anyio").startswith("4.9.") and (enclosing, tasks) == ("none", "fail early"):
        # There a task group on asyncio leaves its own cancellation among the failures of a body's group.
        wanted = [kind for kind in wanted if kind != "CancelledError"]
    assert kinds(left) == wanted
    if left is None and body != "ends":  # leaving an executor is always a checkpoint
        assert cell.scope.cancelled_caught == other.scope.cancelled_caught
    own = cell.raised is not None and "Own" in kinds(cell.raised)[0]
    failed = "Failure" in kinds(left)
    assert failed == (on_error == "escalate" and tasks != "none")
    if failed:
        assert isinstance(left, BaseExceptionGroup)
        assert left.message == "tasks of executor 'left' failed"
    elif own and not isinstance(cell.raised, BaseExceptionGroup):
        assert left is cell.raised  # as itself


def interrupts(event: Any) -> None:
    if event.kind == "settled":
        raise KeyboardInterrupt


@pytest.mark.parametrize("crash", ["task", "group", "observer"])
@pytest.mark.parametrize(
    ("body", "tasks", "enclosing", "on_error"),
    [cell for cell in CELLS if cell[1] != "fail early" and cell[3] == "escalate"],
)
async def test_a_crash_leaves_whatever_else_happens(body, tasks, enclosing, on_error, crash):
    cell = Cell(body, tasks, enclosing)
    block = Executor(on_error, interrupts if crash == "observer" else None)

    async def crashes() -> None:
        try:
            await cell.leaving.wait()
        finally:
            interrupt = KeyboardInterrupt()
            raise interrupt if crash == "task" else BaseExceptionGroup("of a nursery", [Failure(), interrupt])

    @asynccontextmanager
    async def with_crash() -> AsyncIterator[Start]:
        async with block as start:
            if crash != "observer":
                await start(crashes)
            yield start

    left = await cell.run(with_crash())
    assert type(left) is KeyboardInterrupt
    stats = block.executor.stats()
    assert (stats.queued, stats.in_flight) == (0, 0)


@pytest.mark.parametrize("how", ["submit", "submit_nowait", "blocked", "map", "task", "failure", "group"])
async def test_what_a_failure_causes_does_not_hide_it(how):
    """Under escalate the body may end by what the failure has caused, before its cancellation gets to it."""
    failure = Failure()
    with pytest.raises(ExceptionGroup) as caught:
        async with HybridExecutor("caused", max_in_flight=2, max_queued=0, on_error="escalate") as executor:
            other = await executor.submit(forever)
            await anyio.wait_all_tasks_blocked()
            iteration = executor.map(echo, range(3))
            failing = await executor.submit(fail, failure)
            with anyio.CancelScope(shield=True):  # the turn in which it is cancelled is not over yet
                if how == "blocked":
                    await executor.submit(forever)
                await failing.outcome()
                if how == "submit":
                    await executor.submit(echo, 1)
                elif how == "submit_nowait":
                    executor.submit_nowait(echo, 1)
                elif how == "map":
                    await anext(iteration)
                elif how == "task":
                    await other
                elif how == "failure":
                    await failing
                else:
                    with pytest.raises(ExecutorClosed) as closed:
                        await executor.submit(echo, 1)
                    with pytest.raises(TaskCancelled) as cancelled:
                        await other
                    raise BaseExceptionGroup("both", [closed.value, cancelled.value])
    assert list(caught.value.exceptions) == [failure]


async def test_a_refusal_by_another_executor_is_the_bodys_own():
    async with HybridExecutor("other", max_in_flight=1) as other:
        await other.shutdown()
        with pytest.raises(ExceptionGroup) as caught:
            async with HybridExecutor("escalates", max_in_flight=1, on_error="escalate") as executor:
                failing = await executor.submit(fail, Failure())
                with anyio.CancelScope(shield=True):
                    await failing.outcome()
                    other.submit_nowait(echo, 1)
    assert [type(error) for error in caught.value.exceptions] == [ExecutorClosed, Failure]


async def leaves_pile(executor: HybridExecutor, cell: Cell) -> BaseException | None:
    @asynccontextmanager
    async def block() -> AsyncIterator[Start]:
        async with executor.pile() as pile:
            yield pile.include

    return await cell.run(block())


async def leaves_iterator(executor: HybridExecutor, cell: Cell) -> BaseException | None:
    works: list[Any] = []

    async def work(_: int) -> None:
        await works.pop()()

    @asynccontextmanager
    async def block() -> AsyncIterator[Start]:
        async def source() -> AsyncIterator[int]:
            yield 1

        async with executor.as_completed(work, source()) as outcomes:

            async def start(one: Any) -> None:
                if not works and cell.tasks == "none":
                    works.append(one)
                    with anyio.move_on_after(0):
                        await anext(outcomes)

            yield start

    return await cell.run(block())


async def leaves_signals(executor: HybridExecutor, cell: Cell) -> BaseException | None:
    @asynccontextmanager
    async def block() -> AsyncIterator[Start]:
        async with shutdown_on_signals(executor):
            yield executor.submit

    return await cell.run(block())


@pytest.mark.parametrize("leave", [leaves_pile, leaves_iterator, leaves_signals])
@pytest.mark.parametrize(
    ("body", "enclosing"),
    [(body, enclosing) for body, tasks, enclosing, how in CELLS if (tasks, how) == ("none", "collect")],
)
async def test_the_other_blocks(leave, body, enclosing):
    cell, other = Cell(body, "none", enclosing), Cell(body, "none", enclosing)
    expected = await other.run(plain_collecting())
    async with HybridExecutor("around", max_in_flight=4) as executor:
        left = await leave(executor, cell)
    assert kinds(left) == kinds(expected)
    if cell.raised is not None and kinds(cell.raised) in (["Own"], ["OwnBase"]):
        assert left is cell.raised or isinstance(cell.raised, BaseExceptionGroup)
