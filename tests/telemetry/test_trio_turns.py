"""Event-loop monitors on trio are passive: they count what a timer would, and wake nothing."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from glasspool.telemetry import catalog
from glasspool.telemetry.eventloop import EventLoopMonitor
from glasspool.telemetry.recording.registry import Registry

trio: Any = pytest.importorskip("trio")
testing: Any = pytest.importorskip("trio.testing")

INTERVAL = 0.125  # a power of two, so that sums of it are exact


class Clock:
    """Stands still, until it is put forward."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A monitor with a clock of its own."""

    def __init__(self) -> None:
        self.registry, self.clock = Registry(), Clock()
        self.monitor = EventLoopMonitor("api", interval=INTERVAL, registry=self.registry, clock=self.clock)

    def delays(self) -> dict[float, int]:
        """How many ticks had a delay of at most this, by the bounds of buckets that have some."""
        (point,) = self.registry.collect().histograms[catalog.EVENTLOOP_DELAY.name]
        bounds = [*catalog.EVENTLOOP_DELAY.buckets, float("inf")]
        return {bound: count for bound, count in zip(bounds, point.counts, strict=True) if count}

    def stall(self) -> float:
        self.registry.collect()
        return self.monitor.stall()


@pytest.fixture
def watched() -> Watched:
    return Watched()


FIRST = catalog.EVENTLOOP_DELAY.buckets[0]


def test_waiting_for_an_idle_run_ends_although_the_run_is_watched() -> None:
    async def main() -> None:
        async with EventLoopMonitor("api", interval=0.001, registry=Registry()), trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            with trio.fail_after(60):
                await testing.wait_all_tasks_blocked(0.05)
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_turn_that_blocks_is_counted_as_late_by_what_a_timer_would_have_waited(watched: Watched) -> None:
    async def main() -> None:
        async with watched.monitor:
            await trio.lowlevel.checkpoint()
            watched.clock.now += INTERVAL + 3.0
            assert watched.stall() == 3.0
            assert watched.delays() == {}
            await trio.lowlevel.checkpoint()
            assert watched.stall() == 0.0
            assert list(watched.delays().values()) == [1]
            (point,) = watched.registry.collect().histograms[catalog.EVENTLOOP_DELAY.name]
            assert point.sum == 3.0
            watched.clock.now += INTERVAL / 2  # the next tick is due an interval after the late one
            await trio.lowlevel.checkpoint()
            assert sum(watched.delays().values()) == 1

    trio.run(main)


class Waits(trio.abc.Instrument):  # type: ignore[misc]  # trio is imported by name, so it has no types here
    """Says when the run waits with nothing to do."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def before_io_wait(self, timeout: float) -> None:
        if timeout > 1:
            self.event.set()


@pytest.mark.parametrize("read", [True, False], ids=["read", "not read"])
def test_while_the_run_waits_ticks_are_on_time_and_are_counted_once(watched: Watched, read: bool) -> None:
    waits = Waits()
    seen: list[Any] = []

    def later(token: Any, go: Any) -> None:
        assert waits.event.wait(60)
        for _ in range(2):
            watched.clock.now += 100 * INTERVAL
            if read:
                seen.append((watched.delays(), watched.stall()))
        token.run_sync_soon(go.set)

    async def main() -> None:
        async with watched.monitor:
            trio.lowlevel.add_instrument(waits)  # after the monitor's own
            go = trio.Event()
            thread = threading.Thread(target=later, args=(trio.lowlevel.current_trio_token(), go))
            thread.start()
            await go.wait()
            thread.join()
            assert watched.delays() == {FIRST: 200}
            assert watched.stall() == 0.0

    trio.run(main)
    assert seen == ([({FIRST: 99}, 0.0), ({FIRST: 199}, 0.0)] if read else [])


def test_a_wait_that_lasts_longer_than_the_run_has_asked_for_is_late(watched: Watched) -> None:
    """As when another thread keeps the interpreter: the run cannot go on when its next deadline comes."""

    class Keeps(trio.abc.Instrument):  # type: ignore[misc]  # trio is imported by name, so it has no types here
        def after_io_wait(self, timeout: float) -> None:
            if 0 < timeout < 60 and not kept:
                kept.append(timeout)
                watched.clock.now += timeout + 2.0

    kept: list[float] = []

    async def main() -> None:
        trio.lowlevel.add_instrument(Keeps())  # before the monitor's own
        async with watched.monitor:
            await trio.sleep(0.01)
            assert kept
            await trio.lowlevel.checkpoint()
            (point,) = watched.registry.collect().histograms[catalog.EVENTLOOP_DELAY.name]
            assert sum(point.counts) == 1
            assert point.sum == pytest.approx(kept[0] + 2.0 - INTERVAL)

    trio.run(main)


def test_a_monitor_that_is_stopped_leaves_nothing_in_the_run_from_whichever_thread(watched: Watched) -> None:
    async def main() -> None:
        for stop in (watched.monitor.stop, lambda: trio.to_thread.run_sync(watched.monitor.stop)):
            watched.monitor.start()
            await trio.lowlevel.checkpoint()
            stopping = stop()
            if stopping is not None:
                await stopping
            await testing.wait_all_tasks_blocked()
            hooks = trio.lowlevel.current_task()._runner.instruments  # private: there is no way to ask
            assert not [each for each in hooks["_all"] if type(each).__module__.startswith("glasspool")]

    trio.run(main)
    watched.monitor.stop()
