"""Calls from another thread or event loop: each is refused before it changes anything, without waiting."""

from __future__ import annotations

import asyncio
import inspect
import signal
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

from glasspool import HybridExecutor, WrongThread
from glasspool._executor_block import block_of
from glasspool.signals import shutdown_on_signals

from .support import Gate, echo, until

EXIT = (None, None, None)


async def later(number: int) -> Any:
    for item in range(number):
        yield item


class Scene:
    """An open executor with a task of each kind, piles and iterations, and what must stay as it is."""

    async def enter(self, stack: AsyncExitStack) -> None:
        gate = self.gate = Gate()
        executor = self.executor = await stack.enter_async_context(
            HybridExecutor("scene", max_in_flight=2, max_queued=None)
        )
        self.signals = await stack.enter_async_context(shutdown_on_signals(executor, signals=(signal.SIGUSR1,)))
        self.pile = executor.pile()
        await self.pile.include(echo, "taken by its own loop")
        self.done = await executor.submit(echo, 1)
        self.ready = executor.as_completed(echo, range(6))
        self.taken = [(await anext(self.ready)).value]
        self.ordered = executor.map(echo, range(6))
        assert await anext(self.ordered) == 0
        self.asking = executor.as_completed(echo, later(6))
        self.asked = [(await anext(self.asking)).value]
        await self.done
        await until(lambda: executor.stats().in_flight == executor.stats().queued == 0)
        await anyio.wait_all_tasks_blocked()  # what reads the asynchronous source has come to its limit
        await until(lambda: executor.stats().in_flight == executor.stats().queued == 0)
        self.fresh, self.fresh_asking = executor.as_completed(echo, range(3)), executor.map(echo, later(3))
        self.closed = executor.pile()
        await self.closed.aclose()
        self.producer = self.pile.producer()
        self.include = self.producer.__enter__()
        self.running, self.other = await executor.submit(gate.hold), await executor.submit(gate.hold)
        self.queued = await executor.submit(echo, 2)
        self.before = self.state()

    def state(self) -> object:
        executor, pile = self.executor, self.pile
        stats = executor.stats()
        engine = block_of(executor, "the test").engine
        return (
            [getattr(stats, name) for name in vars(stats) if "age" not in name], repr(pile), repr(executor),
            [handle.state for handle in (self.running, self.queued, self.done)],
            [feed.what for feed in engine.feeds], len(engine.nursery.services),
            dict(engine.reporter.recorder.record.totals.task_names),
        )  # fmt: skip

    async def leave(self) -> None:
        """All of it goes on working."""
        assert self.state() == self.before
        self.gate.open()
        self.producer.__exit__(*EXIT)
        assert [completed.value for completed in await self.pile.drain()] == ["taken by its own loop"]
        assert sorted(self.taken + [completed.value async for completed in self.ready]) == list(range(6))
        assert [value async for value in self.ordered] == [1, 2, 3, 4, 5]
        assert sorted(self.asked + [completed.value async for completed in self.asking]) == list(range(6))
        assert sorted([completed.value async for completed in self.fresh]) == [0, 1, 2]
        assert [value async for value in self.fresh_asking] == [0, 1, 2]
        assert await self.queued == 2


def named() -> None:
    """A function whose name no metric has shown yet."""


CALLS: dict[str, Callable[[Scene], Any]] = {
    "submit": lambda scene: scene.executor.submit(named),
    "submit_nowait": lambda scene: scene.executor.submit_nowait(named),
    "run": lambda scene: scene.executor.run(named),
    "map": lambda scene: scene.executor.map(named, [1]),
    "as_completed": lambda scene: scene.executor.as_completed(named, later(1)),
    "pile": lambda scene: scene.executor.pile(),
    "pile fail fast": lambda scene: scene.executor.pile(fail_fast=True),
    "resize": lambda scene: scene.executor.resize(5),
    "shutdown": lambda scene: scene.executor.shutdown(),
    "shutdown at once": lambda scene: scene.executor.shutdown(grace=0),
    "leave": lambda scene: scene.executor.__aexit__(*EXIT),
    "leave by an exception": lambda scene: scene.executor.__aexit__(ValueError, ValueError(), None),
    "handle.cancel": lambda scene: scene.running.cancel(),
    "handle.outcome": lambda scene: scene.running.outcome(),
    "handle.outcome of an ended one": lambda scene: scene.done.outcome(),
    "await handle": lambda scene: awaited(scene.queued),
    "await an ended handle": lambda scene: awaited(scene.done),
    "pile.include": lambda scene: scene.pile.include(named),
    "pile.include of a closed one": lambda scene: scene.closed.include(named),
    "pile.include of a producer": lambda scene: scene.include(named),
    "pile.producer": lambda scene: scene.pile.producer().__enter__(),
    "leave pile.producer": lambda scene: scene.producer.__exit__(*EXIT),
    "pile.next_completed": lambda scene: scene.pile.next_completed(),
    "anext of a pile": lambda scene: anext(scene.pile),
    "pile.drain": lambda scene: scene.pile.drain(),
    "pile.cancel": lambda scene: scene.pile.cancel(),
    "pile.aclose": lambda scene: scene.pile.aclose(),
    "pile.stats": lambda scene: scene.pile.stats(),
    "enter a pile": lambda scene: scene.pile.__aenter__(),
    "leave a pile": lambda scene: scene.pile.__aexit__(*EXIT),
    "leave a pile by an exception": lambda scene: scene.pile.__aexit__(ValueError, ValueError(), None),
    "wait for a signal": lambda scene: scene.signals.wait(),
    "leave the signals' block": lambda scene: scene.signals.__aexit__(*EXIT),
    **{
        f"{call} of {kind}": lambda scene, kind=kind, made=made: made(getattr(scene, kind))  # type: ignore[misc]
        for kind in ("ready", "ordered", "asking", "fresh", "fresh_asking")
        for call, made in {
            "anext": lambda iteration: anext(iteration),
            "aclose": lambda iteration: iteration.aclose(),
            "enter": lambda iteration: iteration.__aenter__(),
            "leave": lambda iteration: iteration.__aexit__(*EXIT),
        }.items()
    },
}  # fmt: skip


async def awaited(what: Awaitable[Any]) -> Any:
    return await what


def answers(scene: Scene, run: Callable[[Callable[..., Any], Any], Any]) -> dict[str, str]:
    """What each call leads to, where ``run`` runs a coroutine function."""

    async def call(name: str) -> None:
        result = CALLS[name](scene)
        if inspect.isawaitable(result):
            await result

    found = {}
    for name in CALLS:
        try:
            run(call, name)
        except BaseException as error:
            found[name] = type(error).__name__
        else:
            found[name] = "passed"
        if scene.state() != scene.before:
            found[name] += ", and touched something"
            break
    return found


def without_loop(call: Callable[..., Any], name: str) -> None:
    coroutine = call(name)
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise AssertionError("it waits")


def in_asyncio(call: Callable[..., Any], name: str) -> None:
    asyncio.run(asyncio.wait_for(call(name), 60))


def in_trio(call: Callable[..., Any], name: str) -> None:
    async def limited() -> None:
        with anyio.fail_after(60):
            await call(name)

    anyio.run(limited, backend="trio")


REFUSED = dict.fromkeys(CALLS, WrongThread.__name__)


@pytest.mark.anyio
@pytest.mark.parametrize("run", [without_loop, in_asyncio, in_trio])
async def test_from_another_thread_every_call_is_refused(run: Callable[..., Any]) -> None:
    if run is in_trio:
        pytest.importorskip("trio")
    scene, found = Scene(), []
    async with AsyncExitStack() as stack:
        await scene.enter(stack)
        thread = threading.Thread(target=lambda: found.append(answers(scene, run)), daemon=True)
        thread.start()
        await until(lambda: not thread.is_alive())
        assert found == [REFUSED]
        await scene.leave()


@pytest.mark.parametrize("run", [without_loop, in_asyncio, in_trio])
@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_from_another_loop_of_the_thread_every_call_is_refused(kind: str, run: Callable[..., Any]) -> None:
    if run is in_trio:
        pytest.importorskip("trio")
    loop = pytest.importorskip("uvloop").new_event_loop() if kind == "uvloop" else asyncio.new_event_loop()
    scene, entered, resumed = Scene(), asyncio.Event(), asyncio.Event()

    async def main() -> None:
        async with AsyncExitStack() as stack:
            await scene.enter(stack)
            entered.set()
            await resumed.wait()
            await scene.leave()

    task = loop.create_task(main())
    loop.run_until_complete(entered.wait())
    try:
        assert answers(scene, run) == REFUSED  # the loop does not run now
    finally:
        resumed.set()
        loop.run_until_complete(asyncio.wait_for(task, 60))
        loop.close()
