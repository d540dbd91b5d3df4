"""Looking at tasks from another thread changes nothing in the program, and what the program has made is not asked."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from typing import Any

import anyio
import anyio.to_thread
import pytest

import glasspool_instrumentation as gi
from glasspool.telemetry.live.tasks import tasks_here
from tests.telemetry.support import run_python

from . import work
from .test_whereabouts import Gate, functions, innermost, looked, named, outermost, tasks_of

pytest.importorskip("trio")


pytestmark = pytest.mark.usefixtures("everything")


READ_WHILE_IT_RUNS = """
import sys, threading, anyio
import glasspool_instrumentation as gi
from glasspool.telemetry.live.tasks import tasks_here
gi.instrument()

def read():
    reader = threading.Thread(target=tasks_here, args=(0,))
    reader.start()
    reader.join()

async def child():
    read()

async def cancelled(forever):
    try:
        await forever.wait()
    finally:
        read()

async def main():
    for _ in range(400):
        async with anyio.create_task_group() as group:
            group.start_soon(child)
    for _ in range(20):
        async with anyio.create_task_group() as group:
            group.start_soon(cancelled, anyio.Event())
            await anyio.sleep(0)
            group.cancel_scope.cancel()

anyio.run(main, backend=sys.argv[1])
print("goes on")
"""
"""A coroutine that is executed is not asked what it awaits: until Python 3.12 that crashed the interpreter."""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_is_executed_is_not_asked_what_it_awaits(backend: str) -> None:
    assert run_python(READ_WHILE_IT_RUNS, backend).out.strip() == "goes on"


COLLECT_WHILE_IT_IS_READ = """
import gc, sys, threading
from glasspool.telemetry.live.tasks import tasks_here

go, over, stay, entered = (threading.Event() for _ in range(4))
armed = True

def inner(depth):
    if depth:
        inner(depth - 1)
    else:
        entered.set()
        go.wait()

def churn(depth):
    if depth:
        churn(depth - 1)

def work():
    inner(10)
    for _ in range(3):
        churn(200)
    over.set()
    stay.wait()

class Gives:
    def __init__(self):
        self.itself = self

    def __del__(self):
        if sys._getframe(1).f_code.co_name == "_outwards" and not over.is_set():
            go.set()
            over.wait()
        if armed:
            Gives()

thread = threading.Thread(target=work)
thread.start()
entered.wait()
Gives()
gc.set_threshold(1)
tasks_here(0)
armed = False
gc.set_threshold(700)
assert gc.isenabled()
go.set()
stay.set()
thread.join()
print("goes on")
"""
"""A finalizer lets the thread that is looked at go on, while its frames are gone through."""


def test_frames_that_end_while_garbage_is_collected() -> None:
    assert run_python(COLLECT_WHILE_IT_IS_READ).out.strip() == "goes on"


@gi.instrumented(name="traced")
async def traced(gate: Gate) -> str:
    await innermost(gate)
    return "its result"


@pytest.mark.parametrize("hook", ["settrace", "setprofile"])
def test_the_variables_of_a_traced_program_stay(hook: str, backend: str) -> None:
    def trace(frame: Any, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename.endswith("decorator.py"):
            reader = threading.Thread(target=tasks_here, args=(0,))
            reader.start()
            reader.join()
        return trace

    async def main() -> None:
        gate = Gate()
        gate.opened.set()
        getattr(sys, hook)(trace)
        try:
            assert await traced(gate) == "its result"
            assert await traced(gate) == "its result"
        finally:
            getattr(sys, hook)(None)

    work.run(main, backend=backend)


def test_a_reading_keeps_nothing(backend: str) -> None:
    class Big:
        """What a call works on."""

    async def works_on(big: Big, gate: Gate) -> None:
        await innermost(gate)

    async def main() -> weakref.ref[Big]:
        big = Big()
        found = weakref.ref(big)
        gate = Gate()
        async with anyio.create_task_group() as group:
            group.start_soon(works_on, big, gate)
            del big
            await gate.reached.wait()
            assert await looked(lambda: [t for t in tasks_of("anyio") if t["name"].endswith("works_on")])
            tasks_here(0)
            gate.opened.set()
        await anyio.sleep(0)
        return found

    gc.disable()
    try:
        assert work.run(main, backend=backend)() is None
    finally:
        gc.enable()


def test_nothing_of_the_programs_is_asked() -> None:
    class Hostile:
        """An iterator that is awaited."""

        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            raise AttributeError(name)

        def __iter__(self) -> Hostile:
            return self

        def __next__(self) -> None:
            if gate[0].opened.is_set():
                raise StopIteration

    class Awaitable:
        def __await__(self) -> Any:
            return Hostile()

    class OddTask(asyncio.Task[Any]):
        def get_coro(self) -> Any:
            raise LookupError

        def done(self) -> bool:
            assert threading.get_ident() == here
            return super().done()

    async def main() -> None:
        gate.append(Gate())

        async def waits() -> None:
            gate[0].reached.set()
            await Awaitable()  # type: ignore[misc]

        task = asyncio.create_task(waits())
        await gate[0].reached.wait()
        odd = OddTask(outermost(Gate()), loop=asyncio.get_running_loop())
        asked.clear()
        found = await looked(lambda: [t for t in tasks_of("asyncio") if t["name"].endswith("waits")])
        assert asked == []
        assert functions(found[0])[0].endswith("waits")
        assert found[0]["awaiting"].endswith("Hostile")
        odd.cancel()
        gate[0].opened.set()
        await task

    here = threading.get_ident()
    gate: list[Gate] = []
    asked: list[str] = []
    asyncio.run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_the_first_step_of_an_eager_task() -> None:
    found: list[dict[str, Any]] = []

    async def eager() -> None:
        reader = threading.Thread(target=lambda: found.append(named("asyncio", eager.__qualname__)))
        reader.start()
        reader.join()

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009
        await asyncio.create_task(eager())

    asyncio.run(main())
    assert functions(found[0])[0].endswith("eager")


def test_loops_that_begin_and_end_while_somebody_looks() -> None:
    over = threading.Event()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 0)
            await anyio.to_thread.run_sync(int)

    def busy() -> None:
        while not over.is_set():
            anyio.run(main)

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(200):
            tasks_here(0)
    finally:
        over.set()
        for thread in threads:
            thread.join()
