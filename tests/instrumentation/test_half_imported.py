"""Optional libraries while another thread imports them: the module in ``sys.modules`` is incomplete then."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs import Program

IMPORTING = """
import importlib
import sys
import threading

LIMIT = 60


class Steps:
    \"\"\"A thread imports ``name``; when a module of it begins, it waits until ``look`` has been called.\"\"\"

    def __init__(self, name):
        self.name, self.steps = name, 0
        self.there, self.on = threading.Semaphore(0), threading.Semaphore(0)
        self.thread = threading.Thread(target=self.work, daemon=True)

    def work(self):
        sys.setprofile(self.step)
        try:
            importlib.import_module(self.name)
        except RuntimeError as error:
            print(error)
        finally:
            sys.setprofile(None)
            self.thread = None
            self.there.release()

    def step(self, frame, event, argument):
        module = frame.f_globals.get("__name__", "") if event == "call" and frame.f_code.co_name == "<module>" else ""
        if module.partition(".")[0] == self.name:
            self.module = module
            self.there.release()
            assert self.on.acquire(timeout=LIMIT)

    def walk(self, look):
        self.thread.start()
        while True:
            assert self.there.acquire(timeout=LIMIT)
            if self.thread is None:
                return
            self.steps += 1
            assert self.name in sys.modules
            look()
            self.on.release()
"""


def output(program: str, *arguments: str, cwd: Path | None = None) -> str:
    with Program("-c", IMPORTING + program, *arguments, cwd=cwd) as running:
        running.until(lambda: running.process.poll() is not None, "an end")
        assert running.process.returncode == 0, running.err
        assert running.err == ""
        return running.out


def test_everything_works_on_asyncio_while_another_thread_imports_trio() -> None:
    pytest.importorskip("trio")
    program = """
import asyncio
import anyio, anyio.to_thread
from glasspool import HybridExecutor
from glasspool.telemetry.eventloop import EventLoopMonitor
from glasspool_instrumentation import AnyioInstrumentor, AsyncioInstrumentor

async def main():
    async with HybridExecutor("imports", max_in_flight=1) as executor, EventLoopMonitor("loop"):
        assert await executor.run(asyncio.sleep, 0, "value") == "value"
        assert await executor.run(str, 1) == "1"
        assert await anyio.to_thread.run_sync(str, 2) == "2"
        await asyncio.create_task(asyncio.sleep(0))

def everything():
    asyncio.run(main())

AsyncioInstrumentor().instrument()
AnyioInstrumentor().instrument()
everything()
assert "trio" not in sys.modules
steps = Steps("trio")
steps.walk(everything)
import trio
assert anyio.run(anyio.to_thread.run_sync, str, 3, backend="trio") == "3"
print("steps", steps.steps)
"""
    assert int(output(program).split()[1]) > 20


@pytest.mark.parametrize("module", ["trio._core._run", "trio._sync", "trio.to_thread"])
def test_an_instrumentor_waits_for_the_import_in_another_thread(module: str) -> None:
    pytest.importorskip("trio")
    program = """
from glasspool.telemetry.recording.registry import REGISTRY
from glasspool_instrumentation import TrioInstrumentor

instrumenting = threading.Thread(target=TrioInstrumentor().instrument, daemon=True)

def look():
    if steps.module == sys.argv[1] and instrumenting.ident is None:
        instrumenting.start()
        instrumenting.join(0.2)  # it gets as far as it can

steps = Steps("trio")
steps.walk(look)
instrumenting.join(LIMIT)
assert not instrumenting.is_alive()

import trio

async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 0)
    return await trio.to_thread.run_sync(str, 1)

assert trio.run(main) == "1"
print(sorted(point.attributes["glasspool.executor.type"] for point in
    REGISTRY.collect().points["glasspool.task.submitted"]))
TrioInstrumentor().uninstrument()
print(trio.to_thread.run_sync.__module__)
"""
    assert output(program, module) == "['trio', 'trio_limiter']\ntrio._threads\n"


def test_an_import_that_fails_in_another_thread_is_that_threads_own_matter(tmp_path: Path) -> None:
    (tmp_path / "halved").mkdir()
    (tmp_path / "halved" / "__init__.py").write_text("from . import part\nraise RuntimeError('broken')\n")
    (tmp_path / "halved" / "part.py").write_text("")
    program = """
from glasspool_instrumentation._patch.import_hook import cancel, when_imported

found = []

def look():
    if steps.module == "halved.part":
        waiting.start()

waiting = threading.Thread(target=when_imported, args=("halved", found.append), daemon=True)
steps = Steps("halved")
steps.walk(look)
waiting.join(LIMIT)
assert not waiting.is_alive()
print(found, "halved" in sys.modules)
cancel("halved", found.append)
"""
    assert output(program, cwd=tmp_path) == "broken\n[] False\n"
