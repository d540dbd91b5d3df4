"""Where the tasks of asyncio, anyio and trio are, the calls of thread limiters, and those of decorated functions."""

from __future__ import annotations

import asyncio
import functools
import json
import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

import glasspool_instrumentation as gi
from glasspool.telemetry.live.answers import Live
from glasspool.telemetry.live.tasks import MOST, tasks_here

from . import work

trio = pytest.importorskip("trio")


pytestmark = pytest.mark.usefixtures("everything")


class Gate:
    """Where tasks wait, and how it is known that they do."""

    def __init__(self) -> None:
        self.reached = anyio.Event()
        self.opened = anyio.Event()


async def outermost(gate: Gate) -> None:
    """A task."""
    await innermost(gate)


async def innermost(gate: Gate) -> None:
    """Where it waits."""
    gate.reached.set()
    await gate.opened.wait()


def blocked(reached: threading.Event, opened: threading.Event) -> None:
    """A call in a thread."""
    waits(reached, opened)


def waits(reached: threading.Event, opened: threading.Event) -> None:
    """Where it waits."""
    reached.set()
    assert opened.wait(work.LIMIT)


def tasks_of(executor: str, kind: str | None = None, state: str = "active") -> list[dict[str, Any]]:
    return [
        task for task in tasks_here(0, lambda name, type: name == executor and kind in (None, type))
        if task["state"] == state
    ]  # fmt: skip


def functions(task: dict[str, Any]) -> list[str]:
    return [] if task["stack"] is None else [frame["function"] for frame in task["stack"]]


def named(executor: str, name: str) -> dict[str, Any]:
    (task,) = [task for task in tasks_of(executor) if task["name"] == name]
    return task


async def looked(read: Callable[[], Any]) -> Any:
    """What ``read`` finds in another thread, as the page looks."""
    found: list[Any] = []
    reader = threading.Thread(target=lambda: found.append(read()))
    reader.start()
    await anyio.to_thread.run_sync(reader.join)
    return found[0]


class Blocking:
    """A call that blocks until another thread has looked at it."""

    def __init__(self, main: Callable[[Blocking], Any], read: Callable[[], list[dict[str, Any]]], backend: str) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        self.seen: list[dict[str, Any]] = []
        looking = threading.Thread(target=self._look, args=(read,))
        looking.start()
        work.run(functools.partial(main, self), backend=backend)
        looking.join()

    def _look(self, read: Callable[[], list[dict[str, Any]]]) -> None:
        assert self.reached.wait(work.LIMIT)
        self.seen = read()
        self.opened.set()

    def __call__(self) -> None:
        blocked(self.reached, self.opened)


async def waiting_task() -> dict[str, Any]:
    """A task of asyncio's as it is shown while it waits."""
    gate = Gate()
    task = asyncio.create_task(outermost(gate))
    await gate.reached.wait()
    found: dict[str, Any] = await looked(lambda: named("asyncio", "outermost"))
    gate.opened.set()
    await task
    return found


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_tasks_of_asyncio(loop: str, traced: bool, provider: object) -> None:
    gi.uninstrument()
    gi.AsyncioInstrumentor().instrument(**({"spans": "*"} if traced else {}))
    try:
        found = work.run(waiting_task, backend=loop)
    finally:
        gi.AsyncioInstrumentor().uninstrument()
    assert functions(found)[:2] == ["outermost", "innermost"]
    assert found["awaiting"] is not None
    assert found["thread"] is None


def test_tasks_of_anyio(backend: str) -> None:
    async def main() -> None:
        gate = Gate()
        async with anyio.create_task_group() as group:
            group.start_soon(outermost, gate)
            await gate.reached.wait()
            found = await looked(lambda: named("anyio", "outermost"))
            gate.opened.set()
        assert functions(found)[:2] == ["outermost", "innermost"]

    work.run(main, backend=backend)


def test_tasks_of_anyio_that_were_started_with_a_handshake(backend: str) -> None:
    async def serves(gate: Gate, *, task_status: Any) -> None:
        task_status.started()
        await innermost(gate)

    async def main() -> None:
        gate = Gate()
        async with anyio.create_task_group() as group:
            await group.start(serves, gate)
            await gate.reached.wait()
            (found,) = [task for task in await looked(lambda: tasks_of("anyio")) if "serves" in task["name"]]
            gate.opened.set()
        assert functions(found)[0].endswith("serves")
        assert functions(found)[1] == "innermost"

    work.run(main, backend=backend)


def test_tasks_of_trio() -> None:
    async def main() -> None:
        gate = Gate()
        async with trio.open_nursery() as outer:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(outermost, gate)
                await gate.reached.wait()
                found = await looked(lambda: named("trio", "outermost"))
                gate.opened.set()
            outer.cancel_scope.cancel()
        assert functions(found)[:2] == ["outermost", "innermost"]

    trio.run(main)


def test_a_task_that_blocks_its_loop_is_seen_where_it_blocks(backend: str) -> None:
    """From another thread, while the loop can do nothing."""

    async def main(call: Blocking) -> None:
        async def outer() -> None:
            call()

        async with anyio.create_task_group() as group:
            group.start_soon(outer)

    call = Blocking(main, lambda: [task for task in tasks_of("anyio") if task["name"].endswith(".outer")], backend)
    (task,) = call.seen
    assert task["thread"]["id"] == threading.get_ident()
    assert [name.rpartition(".")[2] for name in functions(task)][:4] == ["outer", "__call__", "blocked", "waits"]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_task_of_asyncio_that_blocks_its_loop(loop: str) -> None:
    async def main(call: Blocking) -> None:
        async def outer() -> None:
            await inner()

        async def inner() -> None:
            call()

        await asyncio.create_task(outer())

    call = Blocking(main, lambda: [task for task in tasks_of("asyncio") if task["name"].endswith(".outer")], loop)
    (task,) = call.seen
    assert task["thread"]["id"] == threading.get_ident()
    assert [name.rpartition(".")[2] for name in functions(task)][:4] == ["outer", "inner", "__call__", "blocked"]


def test_what_blocks_a_loop_is_listed_however_many_tasks_are_older(backend: str) -> None:
    async def main(call: Blocking) -> None:
        async def outer() -> None:
            call()

        async with anyio.create_task_group() as group:
            for _ in range(MOST + 10):
                group.start_soon(anyio.sleep_forever)
            await anyio.sleep(0)
            group.start_soon(outer)
            await anyio.sleep(0)
            group.cancel_scope.cancel()

    found = Blocking(main, lambda: tasks_of("anyio"), backend).seen
    assert len(found) == MOST + 1
    assert "blocked" in functions(found[-1])


class OwnTask(asyncio.Task[Any]):
    """A task of an application's own class."""


def test_tasks_of_a_task_factory() -> None:
    async def main() -> dict[str, Any]:
        asyncio.get_running_loop().set_task_factory(lambda loop, coro, **more: OwnTask(coro, loop=loop, **more))
        return await waiting_task()

    assert functions(work.run(main, backend="asyncio"))[:2] == ["outermost", "innermost"]


def test_the_first_task_of_a_loop_without_a_monitor() -> None:
    gi.uninstrument()
    gi.AsyncioInstrumentor().instrument(monitor=False)
    gate: list[Gate] = []

    async def main() -> None:
        gate.append(Gate())
        await outermost(gate[0])

    def looks() -> None:
        work.until(lambda: bool(gate) and gate[0].reached.is_set(), "the task")
        work.until(lambda: "innermost" in functions(tasks_of("asyncio")[0]), "its stack")
        loops[0].call_soon_threadsafe(gate[0].opened.set)

    loops = [asyncio.new_event_loop()]
    looking = threading.Thread(target=looks)
    looking.start()
    try:
        loops[0].run_until_complete(loops[0].create_task(main()))
    finally:
        looking.join()
        loops[0].close()
        gi.AsyncioInstrumentor().uninstrument()


@pytest.mark.parametrize("library", ["anyio", "trio"])
def test_calls_under_a_limiter(library: str, backend: str) -> None:
    if library == "trio" and backend != "trio":
        pytest.skip("trio's own")
    reached, opened = threading.Event(), threading.Event()
    run_sync = anyio.to_thread.run_sync if library == "anyio" else trio.to_thread.run_sync

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(run_sync, blocked, reached, opened)
            while not reached.is_set():
                await anyio.sleep(0.005)
            found = named(f"{library}.to_thread", "blocked")
            opened.set()
        assert functions(found)[:2] == ["blocked", "waits"]
        assert found["thread"]["id"] not in (None, threading.get_ident())

    work.run(main, backend=backend)


def test_a_call_that_was_left_in_its_thread_is_shown_as_abandoned(backend: str) -> None:
    reached, opened = threading.Event(), threading.Event()

    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                call = functools.partial(anyio.to_thread.run_sync, blocked, reached, opened, abandon_on_cancel=True)
                group.start_soon(call)
                while not reached.is_set():
                    await anyio.sleep(0.005)
                scope.cancel()
        other = anyio.CapacityLimiter(1)
        gi.name_limiter(other, "beside")
        await anyio.to_thread.run_sync(str, limiter=other)
        assert tasks_of("anyio.to_thread") == []
        assert tasks_of("beside", state="abandoned") == []
        (left,) = tasks_of("anyio.to_thread", state="abandoned")
        assert left["name"] == "blocked"
        assert left["age"] >= 0
        assert functions(left)[:2] == ["blocked", "waits"]
        opened.set()
        while tasks_of("anyio.to_thread", state="abandoned"):
            await anyio.sleep(0.005)

    work.run(main, backend=backend)


@pytest.mark.parametrize("sync", [True, False])
def test_calls_from_threads(backend: str, sync: bool) -> None:
    async def main(call: Blocking) -> None:
        async def asynchronous() -> None:
            call()

        def synchronous() -> None:
            call()

        def enters() -> None:
            if sync:
                anyio.from_thread.run_sync(synchronous)
            else:
                anyio.from_thread.run(asynchronous)

        await anyio.to_thread.run_sync(enters)

    (task,) = Blocking(main, lambda: tasks_of("anyio.from_thread"), backend).seen
    names = [name.rpartition(".")[2] for name in functions(task)]
    assert names[:3] == ["synchronous" if sync else "asynchronous", "__call__", "blocked"]
    assert task["thread"]["id"] == threading.get_ident()


def test_tasks_of_a_portal() -> None:
    gates: list[Gate] = []

    async def waits_for_ever() -> None:
        gates.append(Gate())
        await outermost(gates[0])

    with anyio.from_thread.start_blocking_portal() as portal:
        future = portal.start_task_soon(waits_for_ever)
        work.until(lambda: bool(gates) and gates[0].reached.is_set(), "the task")
        (found,) = [task for task in tasks_of("anyio") if "waits_for_ever" in task["name"]]
        portal.call(gates[0].opened.set)
        future.result(work.LIMIT)
    assert functions(found)[1:3] == ["outermost", "innermost"]


@gi.instrumented(name="decorated")
async def decorated(gate: Gate) -> None:
    await innermost(gate)


@gi.instrumented(name="decorated sync")
def decorated_sync(reached: threading.Event, opened: threading.Event) -> None:
    waits(reached, opened)


def test_calls_of_a_decorated_coroutine_function(backend: str) -> None:
    async def main() -> None:
        gate = Gate()
        async with anyio.create_task_group() as group:
            group.start_soon(decorated, gate)
            await gate.reached.wait()
            (found,) = await looked(lambda: tasks_of("decorated"))
            gate.opened.set()
        assert functions(found)[:2] == ["decorated", "innermost"]

    work.run(main, backend=backend)


def test_calls_of_a_decorated_function() -> None:
    reached, opened = threading.Event(), threading.Event()
    thread = threading.Thread(target=decorated_sync, args=(reached, opened))
    thread.start()
    assert reached.wait(work.LIMIT)
    (found,) = tasks_of("decorated sync")
    opened.set()
    thread.join()
    assert functions(found)[:2] == ["decorated_sync", "waits"]
    assert found["thread"]["id"] == thread.ident


def test_a_task_that_waits_for_another_one_shows_what_it_waits_for(backend: str) -> None:
    async def main() -> None:
        gate = Gate()

        async def inner_group() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(outermost, gate)

        async with anyio.create_task_group() as group:
            group.start_soon(inner_group)
            await gate.reached.wait()
            found = await looked(lambda: tasks_of("anyio"))
            gate.opened.set()
        assert len(found) == 2
        for task in found:
            assert functions(task)[0].endswith("outermost" if task["name"] == "outermost" else "inner_group")

    work.run(main, backend=backend)


def test_many_loops_each_in_its_thread(backend: str) -> None:
    """A task is shown with its own stack, whichever loop it belongs to."""
    ready = threading.Barrier(4)
    done = threading.Event()

    async def main(number: int) -> None:
        async def waits_in(index: int) -> None:
            assert index == number
            await anyio.to_thread.run_sync(done.wait, work.LIMIT)

        waits_in.__qualname__ = waits_in.__name__ = f"loop_{number}"
        async with anyio.create_task_group() as group:
            group.start_soon(waits_in, number)
            await anyio.to_thread.run_sync(ready.wait)

    threads = [threading.Thread(target=functools.partial(work.run, main, backend=backend), args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    ready.wait()

    def all_are_there() -> bool:
        found = [task for task in tasks_of("anyio") if task["name"].startswith("loop_")]
        return len(found) == 3 and all(functions(task) and "waits_in" in functions(task)[0] for task in found)

    try:
        work.until(all_are_there, "the stacks of three loops")
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_a_library_without_a_task_is_no_executor() -> None:
    async def main() -> list[str]:
        await asyncio.create_task(asyncio.sleep(0))
        return [shown["type"] for shown in json.loads(live.answer("GET", "/live.json", "").body)["executors"]]

    live = Live()
    try:
        assert asyncio.run(main()) == ["asyncio"]
    finally:
        live.close()
