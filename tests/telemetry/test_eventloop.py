"""The event-loop monitor: delays are measured, another thread sees a blocked loop, loops are distinguished."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.eventloop import EventLoopMonitor, monitor_event_loop
from glasspool.telemetry.recording.registry import Registry

BACKENDS = [
    pytest.param(("asyncio", {}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    pytest.param(("trio", {}), id="trio"),
]


@pytest.fixture(params=BACKENDS)
def run(request) -> Callable[..., Any]:
    name, options = request.param
    return lambda fn, *args: anyio.run(fn, *args, backend=name, backend_options=options)


def stalls(registry: Registry) -> dict[str, float]:
    points = registry.collect().points.get(catalog.EVENTLOOP_STALL.name, [])
    return {point.attributes[Key.EVENTLOOP_NAME]: point.value for point in points}


def delays(registry: Registry) -> dict[str, Any]:
    found = registry.collect().histograms.get(catalog.EVENTLOOP_DELAY.name, [])
    return {point.attributes[Key.EVENTLOOP_NAME]: point for point in found}


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not condition():
            await anyio.sleep(0.001)


async def until_others_ticked(registry: Registry) -> None:
    """Until a monitor that is started now has ticked a few times: whatever was due on this loop before has run."""
    beside = EventLoopMonitor("beside", interval=0.005, registry=registry)
    beside.start()
    before = delays(registry)["beside"].count
    await until(lambda: delays(registry)["beside"].count > before + 3)
    beside.stop()


def test_a_blocked_loop_is_seen_while_it_is_blocked_and_measured_afterwards(run):
    registry = Registry()
    seen: list[float] = []

    async def main() -> None:
        async with EventLoopMonitor("api", interval=0.005, registry=registry):
            await until(lambda: delays(registry)["api"].count > 0)
            released = threading.Event()

            def look() -> None:
                # The loop waits for this thread: only a value worked out at reading can be above half a second.
                deadline = time.monotonic() + 30
                while time.monotonic() < deadline:
                    seen.append(stalls(registry)["api"])
                    if seen[-1] > 0.5:
                        break
                released.set()

            thread = threading.Thread(target=look)
            thread.start()
            released.wait()  # blocks the loop
            thread.join()
            blocked = seen[-1]
            before = delays(registry)["api"].count
            await until(lambda: delays(registry)["api"].count > before)
            assert delays(registry)["api"].sum >= blocked

    run(main)
    assert seen[-1] > 0.5
    assert stalls(registry) == {"api": 0.0}, "an ended monitor has no stall"
    longest = max(i for i, count in enumerate(delays(registry)["api"].counts) if count)
    assert longest > catalog.EVENTLOOP_DELAY.buckets.index(0.5), "the histogram outlives the monitor"


def test_as_a_service_it_is_ready_when_start_returns_and_ends_with_its_group(run):
    registry = Registry()

    async def main() -> None:
        monitor = EventLoopMonitor("service", interval=0.005, registry=registry)
        async with anyio.create_task_group() as group:
            await group.start(monitor.serve)
            assert monitor.running
            await until(lambda: delays(registry)["service"].count > 2)
            group.cancel_scope.cancel()
        assert not monitor.running

    run(main)


def test_start_and_stop_without_a_task_group_and_again(run):
    registry = Registry()

    async def main() -> None:
        monitor = EventLoopMonitor("plain", interval=0.005, registry=registry)
        for _ in range(2):
            monitor.start()
            before = delays(registry)["plain"].count
            await until(lambda: delays(registry)["plain"].count > before + 1)  # noqa: B023 - awaited here and now
            monitor.stop()
            monitor.stop()
            after = delays(registry)["plain"].count
            await until_others_ticked(registry)
            assert delays(registry)["plain"].count == after

    run(main)


def test_a_stopped_monitor_that_is_started_at_once_ticks_once(run):
    registry = Registry()

    async def main() -> None:
        monitor = EventLoopMonitor("again", interval=0.005, registry=registry)
        monitor.start()
        await until(lambda: delays(registry)["again"].count > 0)
        monitor.stop()
        monitor.start()
        await until(lambda: delays(registry)["again"].count > 3)
        assert monitor.running, "the end of the first run must not end the second"
        monitor.stop()

    run(main)


def test_the_end_of_the_loop_ends_a_monitor_that_nobody_stopped(run):
    registry = Registry()
    monitor = EventLoopMonitor("left", interval=0.005, registry=registry)

    async def main() -> None:
        monitor.start()
        await until(lambda: delays(registry)["left"].count > 0)

    run(main)
    assert stalls(registry) == {"left": 0.0}


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": lambda: pytest.importorskip("uvloop").new_event_loop()}


class Skipping:
    """The clock of the process, which can be put forward."""

    def __init__(self) -> None:
        self.skipped = 0.0

    def __call__(self) -> float:
        return time.perf_counter() + self.skipped


async def _ticked(registry: Registry) -> None:
    before = delays(registry)["api"].count
    await until(lambda: delays(registry)["api"].count > before)


@pytest.mark.parametrize("read", [True, False], ids=["read", "not read"])
@pytest.mark.parametrize("kind", LOOPS)
def test_a_loop_that_nobody_runs_is_neither_late_nor_blocked(kind: str, read: bool) -> None:
    registry, clock, loop = Registry(), Skipping(), LOOPS[kind]()
    monitor = EventLoopMonitor("api", interval=0.005, registry=registry, clock=clock)

    async def begin() -> None:
        monitor.start()
        await _ticked(registry)

    async def go_on() -> None:
        if read:
            assert monitor.stall() < 1e5
        await _ticked(registry)
        await _ticked(registry)
        assert monitor.stall() < 1e5

    async def block() -> None:
        await _ticked(registry)
        clock.skipped += 1e6
        assert monitor.stall() > 1e5
        await _ticked(registry)

    try:
        loop.run_until_complete(begin())
        for _ in range(3):
            clock.skipped += 1e6
            assert not read or monitor.stall() == 0.0
            loop.run_until_complete(go_on())
        assert delays(registry)["api"].sum < 1e5
        loop.run_until_complete(block())
        assert delays(registry)["api"].sum > 1e5
    finally:
        monitor.stop()
        loop.close()


@pytest.mark.parametrize("kind", LOOPS)
def test_a_loop_that_is_blocked_when_it_is_run_again_is_seen(kind: str) -> None:
    registry, clock, loop = Registry(), Skipping(), LOOPS[kind]()
    monitor = EventLoopMonitor("api", interval=0.005, registry=registry, clock=clock)

    async def begin() -> None:
        monitor.start()

    async def block() -> None:
        assert monitor.stall() == 0.0
        clock.skipped += 1e6
        assert 1e5 < monitor.stall() < 1.5e6

    try:
        loop.run_until_complete(begin())
        clock.skipped += 1e6
        assert monitor.stall() == 0.0
        loop.run_until_complete(block())
    finally:
        monitor.stop()
        loop.close()


def test_loops_of_one_name_share_a_histogram_and_show_the_longest_stall(run):
    registry = Registry()
    readings = iter([0.0, 0.0])

    async def main() -> None:
        first = EventLoopMonitor("pool", interval=100, registry=registry, clock=lambda: next(readings, 103.0))
        second = EventLoopMonitor("pool", interval=100, registry=registry, clock=lambda: next(readings, 107.0))
        first.start()
        second.start()
        assert stalls(registry) == {"pool": 7.0}
        second.stop()
        assert stalls(registry) == {"pool": 3.0}
        first.stop()

    run(main)


def test_several_loops_in_several_threads(run):
    registry = Registry()
    barrier = threading.Barrier(3, timeout=30)

    def loop(name: str) -> None:
        async def main() -> None:
            async with EventLoopMonitor(name, interval=0.005, registry=registry):
                await until(lambda: delays(registry)[name].count > 3)
                barrier.wait()

        run(main)

    threads = [threading.Thread(target=loop, args=(f"loop-{i}",)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(delays(registry)) == ["loop-0", "loop-1", "loop-2"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_that_goes_on_with_the_loop_has_no_monitor():
    from glasspool.telemetry.recording.registry import REGISTRY

    async def main() -> int:
        loop = asyncio.get_running_loop()
        monitor = monitor_event_loop("forked", interval=0.005)
        monitor.start()
        await until(lambda: delays(REGISTRY)["forked"].count > 0)
        pid = os.fork()
        if pid == 0:
            try:
                # Due after the monitor's timer, so the loop has run that one when it runs this one. asyncio's own sleep
                # refuses to work in a forked child.
                later = loop.create_future()
                loop.call_later(0.02, later.set_result, None)
                await later
                clean = REGISTRY.collect().histograms == {} and REGISTRY.collect().points == {}
                monitor.stop()
                os._exit(0 if clean else 1)
            finally:
                os._exit(2)
        monitor.stop()
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert asyncio.run(main()) == 0


def test_the_monitor_keeps_nobodys_span(run):
    """Its ticks run in a context of their own, or the starter's request would live as long as the loop."""
    import contextvars
    import gc
    import weakref

    class Request:
        pass

    variable = contextvars.ContextVar[Any]("request")

    async def main() -> None:
        monitor = EventLoopMonitor("context", interval=0.005, registry=Registry())
        request = Request()
        gone = weakref.ref(request)
        context = contextvars.copy_context()
        context.run(variable.set, request)
        if asyncio_runs():
            context.run(monitor.start)
        else:
            monitor.start()  # trio finds its task by thread, not by context: there is nothing to inherit
        del request, context
        gc.collect()
        assert gone() is None
        monitor.stop()

    def asyncio_runs() -> bool:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return False
        return True

    run(main)


def test_starting_twice_and_starting_without_a_loop_are_refused(run):
    async def main() -> None:
        monitor = EventLoopMonitor("twice", registry=Registry())
        monitor.start()
        with pytest.raises(RuntimeError, match=r"event loop 'twice' is started already; make another one per loop"):
            monitor.start()
        monitor.stop()

    run(main)
    with pytest.raises(RuntimeError, match=r"no event loop runs in this thread; start the monitor from a coroutine"):
        EventLoopMonitor("none", registry=Registry()).start()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": ""}, ValueError, r"name='' is empty"),
        ({"name": 3}, TypeError, r"name=3: the name of an event loop is a string"),
        ({"interval": 0}, ValueError, r"interval=0: .* above 0 and finite"),
        ({"interval": float("nan")}, ValueError, r"interval=nan: .* above 0 and finite"),
        ({"interval": "1"}, TypeError, r"interval='1': the seconds between two ticks"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        monitor_event_loop(**arguments)
