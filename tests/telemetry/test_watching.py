"""configure() monitors the event loops in which executors are open: each once, as long as one is open.

configure() is called once per process, so each case runs in an interpreter of its own.
"""

from __future__ import annotations

import pytest

from .support import run_python

BACKENDS = ["asyncio", "uvloop", "trio"]

SETUP = """
import gc, sys, threading, time, weakref
import anyio
from glasspool import HybridExecutor
from glasspool.telemetry import catalog, configure, monitor_event_loop
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.eventloop import running_on
from glasspool.telemetry.recording.registry import REGISTRY
from glasspool.telemetry.loop_monitors import current

LIBRARY, OPTIONS = {
    "asyncio": ("asyncio", {}), "uvloop": ("asyncio", {"use_uvloop": True}), "trio": ("trio", {})
}[sys.argv[1]]

def run(main):
    anyio.run(main, backend=LIBRARY, backend_options=OPTIONS)

def delays():
    found = REGISTRY.collect().histograms.get(catalog.EVENTLOOP_DELAY.name, [])
    return {point.attributes[Key.EVENTLOOP_NAME]: point for point in found}

def stalls():
    found = REGISTRY.collect().points.get(catalog.EVENTLOOP_STALL.name, [])
    return {point.attributes[Key.EVENTLOOP_NAME]: point.value for point in found}

def monitors():
    return [monitor.name for monitor in running_on(current())]

async def until(condition):
    with anyio.fail_after(60):
        while not condition():
            await anyio.sleep(0.001)
"""


def passes(program: str, *arguments: str) -> None:
    assert "passed" in run_python(SETUP + program + "\nprint('passed')", *arguments).out


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


def test_a_coroutine_that_blocks_the_loop_shows_in_both_series(backend: str) -> None:
    passes(
        """
configure(prometheus_port=0)
seen = []

def look(released):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        seen.append(stalls()[LIBRARY])
        if seen[-1] > 0.3:
            break
    released.set()

async def blocks():
    released = threading.Event()
    thread = threading.Thread(target=look, args=(released,))
    thread.start()
    released.wait()
    thread.join()

async def main():
    async with HybridExecutor("jobs", max_in_flight=3) as executor:
        await until(lambda: delays()[LIBRARY].count > 0)
        await executor.run(blocks, timeout=0.1)
        before = delays()[LIBRARY].count
        await until(lambda: delays()[LIBRARY].count > before)
        assert delays()[LIBRARY].sum >= seen[-1] > 0.3
        assert executor.stats().succeeded == 1, "the monitor is no task of the executor"

run(main)
assert stalls() == {LIBRARY: 0.0}
""",
        backend,
    )


def test_switched_off_nothing_ticks(backend: str) -> None:
    passes(
        """
configure(prometheus_port=0, monitor_event_loops=False)

async def main():
    async with HybridExecutor("jobs", max_in_flight=3):
        assert monitors() == []

run(main)
assert delays() == stalls() == {}
""",
        backend,
    )


def test_without_configure_a_loop_has_series_once_it_was_late(backend: str) -> None:
    passes(
        """
async def main():
    async with HybridExecutor("jobs", max_in_flight=3):
        assert monitors() == [LIBRARY]
        assert delays() == stalls() == {}
        time.sleep(0.5)
        await until(lambda: LIBRARY in delays() and delays()[LIBRARY].sum > 0.3)

run(main)
assert stalls() == {LIBRARY: 0.0}
""",
        backend,
    )


def test_executors_opened_before_configure_are_watched_whoever_calls_it(backend: str) -> None:
    passes(
        """
async def main():
    async with HybridExecutor("jobs", max_in_flight=3):
        thread = threading.Thread(target=configure, kwargs={"prometheus_port": 0})
        thread.start()
        await until(stalls)
        assert monitors() == [LIBRARY]
        thread.join()
        await until(lambda: delays()[LIBRARY].count > 0)

run(main)
""",
        backend,
    )


def test_a_call_in_the_loop_itself_watches_it_at_once_and_the_shutdown_ends_that(backend: str) -> None:
    passes(
        """
async def main():
    async with HybridExecutor("jobs", max_in_flight=3):
        handle = configure(prometheus_port=0)
        assert monitors() == [LIBRARY]
        handle.shutdown()
        assert monitors() == []

run(main)
""",
        backend,
    )


def test_one_monitor_for_a_loop_until_its_last_executor_is_closed(backend: str) -> None:
    passes(
        """
configure(prometheus_port=0)

async def main():
    async with HybridExecutor("a", max_in_flight=3) as first:
        async with HybridExecutor("b", max_in_flight=3):
            assert monitors() == [LIBRARY]
            await first.shutdown()
            assert monitors() == [LIBRARY]
        assert monitors() == []
    async with HybridExecutor("c", max_in_flight=3):
        assert monitors() == [LIBRARY]

run(main)
""",
        backend,
    )


def test_loops_in_several_threads_have_a_monitor_each(backend: str) -> None:
    passes(
        """
configure(prometheus_port=0)
barrier = threading.Barrier(2, timeout=60)
found = []

async def main():
    async with HybridExecutor("jobs", max_in_flight=3):
        barrier.wait()
        found.append(monitors())
        barrier.wait()

threads = [threading.Thread(target=run, args=(main,)) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert found == [[LIBRARY], [LIBRARY]]
""",
        backend,
    )


def test_a_monitor_of_the_applications_own_stands_in(backend: str) -> None:
    passes(
        """
configure(prometheus_port=0)

async def main():
    async with monitor_event_loop("mine"):
        async with HybridExecutor("jobs", max_in_flight=3):
            assert monitors() == ["mine"]
    assert list(delays()) == ["mine"]
    async with HybridExecutor("jobs", max_in_flight=3):
        assert monitors() == [LIBRARY]
        async with monitor_event_loop("mine"):
            assert monitors() == ["mine"]
        assert monitors() == [LIBRARY]
    assert monitors() == []

run(main)
""",
        backend,
    )


def test_the_end_of_a_run_ends_the_applications_monitor_and_starts_no_other(backend: str) -> None:
    passes(
        """
configure(prometheus_port=0)

async def main():
    monitor_event_loop("mine").start()
    async with HybridExecutor("jobs", max_in_flight=3):
        assert monitors() == ["mine"]

run(main)
assert list(delays()) == ["mine"]
""",
        backend,
    )


def test_the_monitor_of_an_instrumentor_is_the_executors_too(backend: str) -> None:
    passes(
        """
import glasspool_instrumentation as gi
configure(prometheus_port=0)
gi.instrument()

async def child():
    await anyio.sleep(0)

async def main():
    async with anyio.create_task_group() as group:
        group.start_soon(child)
    assert monitors() == [LIBRARY]
    async with HybridExecutor("jobs", max_in_flight=3) as executor:
        assert monitors() == [LIBRARY]
        gi.uninstrument()
        assert monitors() == [LIBRARY], "the executor is still open"
        gi.instrument()
        async with anyio.create_task_group() as group:
            group.start_soon(child)
        assert monitors() == [LIBRARY]
    assert monitors() == [LIBRARY], "the instrumentor still wants it"
    gi.uninstrument()
    assert monitors() == []

run(main)
names = {point.attributes.get(Key.TASK_NAME) for found in REGISTRY.collect().histograms.values() for point in found}
assert not [name for name in names if name and "glasspool" in name], names
""",
        backend,
    )


def test_a_loop_is_let_go_of_and_neither_it_nor_the_exit_waits_for_a_tick() -> None:
    passes(
        """
import asyncio
configure(prometheus_port=0)

async def main():
    async with HybridExecutor("jobs", max_in_flight=3):
        assert monitors() == ["asyncio"]
        (monitor,) = running_on(current())
        return weakref.ref(monitor)

loop = asyncio.new_event_loop()
monitor = loop.run_until_complete(main())
gone = weakref.ref(loop)
loop.close()
del loop
gc.collect()
assert gone() is None and monitor() is None
assert stalls() == {"asyncio": 0.0}
""",
        "asyncio",
    )


def test_clocks_of_tests_are_left_alone() -> None:
    pytest.importorskip("trio")
    passes(
        """
import asyncio, trio, trio.testing
configure(prometheus_port=0)

async def main():
    async with HybridExecutor("jobs", max_in_flight=3):
        assert monitors() == []

class Jumping(asyncio.SelectorEventLoop):
    def time(self):
        return 0.0

trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
loop = Jumping()
loop.run_until_complete(main())
loop.close()
assert delays() == {}
""",
        "trio",
    )
