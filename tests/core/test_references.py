"""A task that has ended is released without the garbage collector, however it ended and was awaited."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from glasspool import HybridExecutor, QueueFull, TaskHandle, TaskTimeout
from glasspool._core.task_state import current_task
from glasspool._executor_block import block_of

from .support import PATIENCE, turns

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

pytestmark = pytest.mark.anyio

CARRIED: contextvars.ContextVar[Any] = contextvars.ContextVar("carried")


class Thing:
    """Something that can be seen dying."""


class Failed(Exception):
    """What a task raises."""


class Stopped(StopIteration):
    """Unlike a plain one it can be referred to weakly."""


class Interrupted(KeyboardInterrupt):
    """Likewise."""


class Watched:
    """One task's function and all that it touches, referred to weakly."""

    def __init__(self, ending: str, kind: str) -> None:
        self.references: dict[str, weakref.ref[Any]] = {}
        self.started = threading.Event()
        self.release = threading.Event()  # what ends a thread that was left behind
        self.ending = ending
        self._kind = kind

    def see(self, name: str, thing: Any) -> Any:
        self.references[name] = weakref.ref(thing)
        return thing

    @property
    def alive(self) -> list[str]:
        return [name for name, reference in self.references.items() if reference() is not None]

    def error(self) -> BaseException:
        error = {"stops": Stopped, "interrupts": Interrupted}.get(self.ending, Failed)("ended")
        return self.see("error", error)

    def begin(self) -> Any:
        self.see("task", current_task())
        local = self.see("local", Thing())
        CARRIED.set(self.see("set by the task", Thing()))
        self.started.set()
        return local

    def function(self) -> Callable[[Any], Any]:
        """A function of this task alone."""
        if self._kind == "loop":

            async def work(_argument: Any) -> Any:
                _local = self.begin()
                await checkpoint()
                if self.ending.startswith(("fails", "interrupts", "stops")):
                    raise self.error()
                if not self.ending.startswith("succeeds"):
                    await anyio.Event().wait()  # not sleep_forever: asyncio keeps the context of its cancelled timers
                return self.see("result", Thing())

        else:

            def work(_argument: Any) -> Any:
                _local = self.begin()
                if self.ending.startswith(("fails", "stops")):
                    raise self.error()
                if not self.ending.startswith("succeeds") and self._kind != "inline":
                    self.release.wait(PATIENCE)
                return self.see("result", Thing())

        return self.see("function", work)


# -- the ways to wait: each ends when the task has ended, and keeps nothing of it --------------------------------------

WAYS: dict[str, Callable[..., Any]] = {}


def way(function: Callable[..., Any]) -> Callable[..., Any]:
    WAYS[function.__name__] = function
    return function


@way
async def awaits(executor, fn, argument, options):
    try:
        await (await executor.submit(fn, argument, **options))
    except Exception:
        pass


@way
async def awaits_with_the_handle_at_hand(executor, fn, argument, options):
    handle = await executor.submit(fn, argument, **options)
    try:
        await handle
    except Exception:
        pass
    finally:
        del handle  # as with a task of asyncio, whose traceback leads here as well


@way
async def outcome(executor, fn, argument, options):
    await (await executor.submit(fn, argument, **options)).outcome()


@way
async def unwraps(executor, fn, argument, options):
    try:
        (await (await executor.submit(fn, argument, **options)).outcome()).unwrap()
    except Exception:
        pass


@way
async def runs(executor, fn, argument, options):
    try:
        await executor.run(fn, argument, **options)
    except Exception:
        pass


@way
async def maps(executor, fn, argument, options):
    try:
        [value async for value in executor.map(fn, [argument], **options)]
    except Exception:
        pass


@way
async def maps_later(executor, fn, argument, options):
    async def source(argument):
        yield argument

    try:
        [value async for value in executor.map(fn, source(argument), **options)]
    except Exception:
        pass


@way
async def as_completed(executor, fn, argument, options):
    [completed.outcome async for completed in executor.as_completed(fn, [argument], **options)]


@way
async def as_completed_later(executor, fn, argument, options):
    async def source(argument):
        yield argument

    async with executor.as_completed(fn, source(argument), **options) as iteration:
        try:
            (await anext(iteration)).unwrap()
        except Exception:
            pass


@way
async def pile_next(executor, fn, argument, options):
    async with executor.pile() as pile:
        await pile.include(fn, argument, **options)
        try:
            (await pile.next_completed()).unwrap()
        except Exception:
            pass


@way
async def pile_iterates(executor, fn, argument, options):
    async with executor.pile() as pile:
        await pile.include(fn, argument, **options)
        [completed.outcome async for completed in pile]


@way
async def pile_drains(executor, fn, argument, options):
    async with executor.pile() as pile:
        await pile.include(fn, argument, **options)
        await pile.drain()


@way
async def pile_raises(executor, fn, argument, options):
    async with executor.pile() as pile:
        await pile.include(fn, argument, **options)
        try:
            (await pile.drain()).raise_errors()
        except BaseExceptionGroup:
            pass


@way
async def pile_is_left(executor, fn, argument, options):
    async with executor.pile() as pile:
        await pile.include(fn, argument, **options)


@way
async def pile_fails_fast(executor, fn, argument, options):
    async with executor.pile(fail_fast=True) as pile:
        await pile.include(fn, argument, **options)


@way
async def pile_lost(executor, fn, argument, options):
    pile = executor.pile(fail_fast=True)
    reference = weakref.ref(await pile.include(fn, argument, **options))
    del pile
    while (handle := reference()) is not None and not handle.done:
        del handle
        await anyio.sleep(0.001)


@way
async def nobody(executor, fn, argument, options):
    reference = weakref.ref(await executor.submit(fn, argument, **options))
    while (handle := reference()) is not None and not handle.done:
        del handle
        await anyio.sleep(0.001)


# -- how the task ends -------------------------------------------------------------------------------------------------


async def _ends(executor: HybridExecutor, watched: Watched, ending: str, scope: anyio.CancelScope) -> None:
    """Bring about what the task or its waiter does not do by itself."""
    queue = block_of(executor, "the test").engine.queue
    if ending == "cancelled queued":
        while not queue.waiting:
            await checkpoint()
        TaskHandle(watched.see("task", queue.tasks()[0])).cancel()
    elif ending in ("cancelled", "waiter left", "shut down"):
        while not watched.started.is_set():
            await anyio.sleep(0.001)
        await turns(3)
        if ending == "waiter left":
            scope.cancel()
            await turns(5)
        if ending == "shut down":
            await executor.shutdown(grace=0)
        elif (task := watched.references["task"]()) is not None:
            TaskHandle(task).cancel()


async def _waits(wait: Any, executor: HybridExecutor, watched: Watched, options: dict[str, Any]) -> None:
    CARRIED.set(watched.see("carried", Thing()))
    await wait(executor, watched.function(), watched.see("argument", Thing()), options)


async def _alive_after(wait: Any, ending: str, kind: str) -> list[str]:
    """What of a task is still alive after all is over, with the collector switched off."""
    watched = Watched(ending, kind)
    options: dict[str, Any] = {}
    if ending == "out of time":
        options["timeout"] = 0.01
    elif ending.endswith("in time"):
        options["timeout"] = 10_000.0
    gc.disable()
    try:
        with ThreadPoolExecutor(1) if kind == "pool" else nullcontext() as pool:
            if kind != "loop":
                options["runner"] = pool or kind
            async with HybridExecutor("references", max_in_flight=1) as executor:
                room = anyio.Event()
                if ending.endswith("queued"):
                    await executor.submit(room.wait)
                if ending == "out of time queued":
                    options["deadline"] = anyio.current_time()
                async with anyio.create_task_group() as group:
                    scope = anyio.CancelScope()
                    group.start_soon(_ends, executor, watched, ending, scope)
                    with scope:
                        await _waits(wait, executor, watched, options)
                watched.release.set()
                CARRIED.set(None)
                await turns(5)
                with anyio.move_on_after(PATIENCE if kind in ("thread", "pool") else 0):
                    while watched.alive:
                        await anyio.sleep(0.001)  # a thread may take a moment to come to rest
                room.set()
                return watched.alive
    finally:
        watched.release.set()
        gc.enable()


ENDINGS = {
    "loop": ["succeeds", "succeeds in time", "fails", "fails in time", "stops", "out of time", "out of time queued",
             "cancelled", "cancelled queued", "waiter left", "shut down"],
    "thread": ["succeeds", "succeeds in time", "fails", "fails in time", "stops", "out of time", "out of time queued",
               "cancelled", "cancelled queued", "waiter left", "shut down"],
    "pool": ["succeeds", "fails", "stops", "out of time", "cancelled", "cancelled queued", "waiter left"],
    "inline": ["succeeds", "fails", "stops", "out of time queued", "cancelled queued"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "ending"), [(kind, ending) for kind, endings in ENDINGS.items() for ending in endings]
)
async def test_nothing_of_a_task_that_has_ended_is_alive(kind, ending):
    left = {name: alive for name, wait in WAYS.items() if (alive := await _alive_after(wait, ending, kind))}
    assert left == {}


@pytest.mark.parametrize("ending", ["succeeds", "fails", "cancelled", "cancelled queued"])
async def test_nor_with_spans_and_observers(ending, sdk, monkeypatch):
    kinds = []
    init = HybridExecutor.__init__
    monkeypatch.setattr(
        HybridExecutor,
        "__init__",
        lambda self, *arguments, **options: init(
            self, *arguments, observers=[lambda event: kinds.append(event.kind)], **options
        ),
    )
    left = {name: alive for name, wait in WAYS.items() if (alive := await _alive_after(wait, ending, "loop"))}
    assert left == {}
    assert {"submitted", "settled"} <= set(kinds)
    assert sdk.spans()


# -- blocks that are left with tasks unfinished ------------------------------------------------------------------------


async def _body_fails(watched: Watched) -> None:
    with pytest.raises(LookupError):
        async with HybridExecutor("left", max_in_flight=1) as executor:
            await _two_tasks(executor, watched)
            raise LookupError


async def _scope_is_cancelled(watched: Watched) -> None:
    with anyio.CancelScope() as scope:
        async with HybridExecutor("left", max_in_flight=1) as executor:
            await _two_tasks(executor, watched)
            scope.cancel()
            await checkpoint()


async def _scope_is_cancelled_while_draining(watched: Watched) -> None:
    with anyio.CancelScope() as scope:
        async with HybridExecutor("left", max_in_flight=1) as executor:
            await _two_tasks(executor, watched)
            scope.cancel()


async def _shut_down(watched: Watched) -> None:
    async with HybridExecutor("left", max_in_flight=1) as executor:
        await _two_tasks(executor, watched)
        await executor.shutdown(grace=0)


async def _escalates(watched: Watched) -> None:
    watched.ending = "fails"
    with pytest.raises(BaseExceptionGroup):
        async with HybridExecutor("left", max_in_flight=1, on_error="escalate") as executor:
            await _two_tasks(executor, watched)


async def _interrupts(watched: Watched) -> None:
    watched.ending = "interrupts"
    with pytest.raises(KeyboardInterrupt):
        async with HybridExecutor("left", max_in_flight=1) as executor:
            await _two_tasks(executor, watched)


async def _two_tasks(executor: HybridExecutor, watched: Watched) -> None:
    """One that runs and one that is queued."""
    CARRIED.set(watched.see("carried", Thing()))
    await executor.submit(watched.function(), watched.see("argument", Thing()))
    watched.see("queued", await executor.submit(watched.function(), watched.see("queued argument", Thing())))
    CARRIED.set(None)
    if watched.ending == "waits":
        while not watched.started.is_set():
            await checkpoint()


LEAVING = [_body_fails, _scope_is_cancelled, _scope_is_cancelled_while_draining, _shut_down, _escalates]


@pytest.mark.parametrize(
    ("kind", "leave"),
    [*(("loop", leave) for leave in [*LEAVING, _interrupts]), *(("thread", leave) for leave in LEAVING)],
)
async def test_nothing_of_the_tasks_is_alive_when_their_block_has_been_left(kind, leave):
    watched = Watched("waits", kind)
    gc.disable()
    try:
        await leave(watched)
        watched.release.set()
        await turns(5)
        with anyio.move_on_after(PATIENCE if kind == "thread" else 0):
            while watched.alive:
                await anyio.sleep(0.001)
        assert watched.alive == []
    finally:
        watched.release.set()
        gc.enable()


# -- collections that go on --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("collection", ["map", "map later", "as_completed", "as_completed later", "pile"])
async def test_nothing_of_what_was_taken_is_alive_while_others_go_on(collection):
    seen: list[weakref.ref[Any]] = []

    async def work(argument: Any) -> Any:
        await argument.wait()
        value = Thing()
        seen.extend((weakref.ref(value), weakref.ref(argument)))
        return value

    def source() -> Iterator[Any]:
        event = anyio.Event()
        event.set()
        yield event
        del event
        yield last

    async def later() -> Any:
        for item in source():
            yield item
            del item

    gc.disable()
    try:
        async with HybridExecutor("goes on", max_in_flight=1) as executor:
            last = anyio.Event()
            if collection == "pile":
                taking = executor.pile()
                for item in source():
                    await taking.include(work, item)
                    del item
            else:
                method, *asynchronous = collection.split()
                taking = getattr(executor, method)(work, later() if asynchronous else source())
            await anext(taking)
            await turns(5)
            assert [reference() for reference in seen] == [None, None]
            last.set()
            await taking.aclose()
    finally:
        gc.enable()


# -- calls that never become tasks, and sources ------------------------------------------------------------------------


async def _overfills(executor: HybridExecutor, argument: Any) -> None:
    with pytest.raises(QueueFull):
        executor.submit_nowait(turns, argument)


async def _is_cancelled(executor: HybridExecutor, argument: Any) -> None:
    # Not cancelled_once_blocked: from Python 3.12 on its generator keeps the frames of what it was left by.
    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            group.start_soon(_cancel_once_blocked, scope)
            await executor.submit(turns, argument)


async def _cancel_once_blocked(scope: anyio.CancelScope) -> None:
    await anyio.wait_all_tasks_blocked()
    scope.cancel()


async def _is_late(executor: HybridExecutor, argument: Any) -> None:
    with pytest.raises(TaskTimeout):
        await executor.submit(turns, argument, deadline=anyio.current_time())


async def _closes_its_iteration(executor: HybridExecutor, argument: Any) -> None:
    async with executor.map(turns, [argument]) as iteration, anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            group.start_soon(_cancel_once_blocked, scope)
            await anext(iteration)


@pytest.mark.parametrize("call", [_overfills, _is_cancelled, _is_late, _closes_its_iteration])
async def test_nothing_of_a_refused_call_is_alive(call):
    gc.disable()
    try:
        async with HybridExecutor("refused", max_in_flight=1, max_queued=0) as executor:
            room = anyio.Event()
            await executor.submit(room.wait)
            argument = Thing()
            reference = weakref.ref(argument)
            await call(executor, argument)
            del argument
            await turns(5)
            assert reference() is None
            assert executor.stats().rejected == 1
            room.set()
    finally:
        gc.enable()


@pytest.mark.parametrize("method", ["map", "as_completed"])
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("told", [True, False])
async def test_nothing_of_a_source_that_failed_is_alive(method, kind, told):
    gone = []

    def failed(_local: Thing) -> Failed:
        error = Failed()
        gone.extend((weakref.ref(_local), weakref.ref(error)))
        return error

    def source() -> Iterator[int]:
        local = Thing()
        yield 1
        raise failed(local)

    async def later() -> Any:
        local = Thing()
        yield 1
        raise failed(local)

    gc.disable()
    try:
        async with HybridExecutor("source", max_in_flight=1) as executor:
            iteration = getattr(executor, method)(turns, source() if kind == "sync" else later())
            await anext(iteration)
            await turns(5)
            if told:
                with contextlib.suppress(Failed):
                    await anext(iteration)
            del iteration
            await turns(5)
            assert [reference() for reference in gone] == [None, None]
    finally:
        gc.enable()
