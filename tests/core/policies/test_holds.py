"""What is shown of held tasks: handles, statistics, metrics, spans, slots."""

from __future__ import annotations

import anyio
import pytest

from glasspool import Hold, HybridExecutor, Limit, Rate
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.recording.registry import REGISTRY
from glasspool.telemetry.recording.snapshot_queries import merged, total
from tests.core.support import Gate, conserved
from tests.stateful.virtual import quiet

from .support import Starts, both, in_virtual_time


@both
def test_a_handle_says_why_it_waits_and_until_when(backend):
    async def main():
        gate, begun = Gate(), anyio.current_time()
        limits = {"api": Limit(in_flight=1), "*": Limit(rate=Rate(1, per=10.0))}
        async with HybridExecutor("why", max_in_flight=3, limits=limits) as executor:
            running = await executor.submit(gate.hold, key="api")
            limited = await executor.submit(gate.hold, key="api")
            await executor.submit(gate.hold, key="host")
            first, second = [await executor.submit(gate.hold, key="host") for _ in range(2)]
            waits = [await executor.submit(gate.hold) for _ in range(2)][-1]
            await quiet()
            assert (running.hold, waits.hold) == (None, None)
            assert limited.hold == Hold("limit", "api", None)
            assert first.hold == ("rate", "*", pytest.approx(begun + 10))
            assert second.hold == ("rate", "*", None)
            assert repr(limited).endswith(" queued, held: limit>")
            assert f" queued, held: rate until {begun + 10:.3f}>" in repr(first)
            assert executor.stats().held == {"limit": 1, "rate": 2}
            gate.open()
            await limited
            assert limited.hold is None
        return executor.stats().held

    assert in_virtual_time(backend, main) == {}


@both
def test_who_waits_for_a_slot_only_is_not_held(backend):
    async def main():
        gate = Gate()
        async with HybridExecutor("slots", max_in_flight=1, rate=Rate(100, per=1.0, burst=100)) as executor:
            handles = [await executor.submit(gate.hold, number) for number in range(5)]
            await quiet()
            assert executor.stats().held == {}
            assert [handle.hold for handle in handles] == [None] * 5
            gate.open()

    in_virtual_time(backend, main)


@both
def test_held_tasks_are_queued_ones_whatever_becomes_of_them(backend):
    async def main():
        gate = Gate()
        limits = {"*": Limit(in_flight=1)}
        async with HybridExecutor("conserved", max_in_flight=4, limits=limits, rate=Rate(2, per=1.0)) as executor:
            handles = [
                await executor.submit(
                    gate.hold, number, key=number % 3, deadline=anyio.current_time() + 2.2 if number % 4 == 3 else None
                )
                for number in range(12)
            ]
            for _ in range(4):
                await quiet()
                stats = conserved(executor, handles)
                assert sum(stats.held.values()) <= stats.queued
                await anyio.sleep(1)
            for handle in handles[::5]:
                handle.cancel()
            await quiet()
            conserved(executor, handles)
            gate.open()
        return conserved(executor, handles)

    stats = in_virtual_time(backend, main)
    assert (stats.queued, stats.in_flight, stats.held) == (0, 0, {})


@both
def test_metrics(backend):
    async def main():
        REGISTRY.reset()
        starts = Starts()
        limits = {"api": Limit(in_flight=2, rate=Rate(1, per=4.0, burst=3)), "*": Limit(in_flight=1)}
        async with HybridExecutor("shown", max_in_flight=9, limits=limits) as executor:
            before = REGISTRY.collect()
            for key in ("api", "api", "api", "a", "b", "b"):
                await executor.submit(starts.note, key, 2.0, key=key)
            await anyio.sleep(1)
            during = REGISTRY.collect()
            executor.pause(4)
            await executor.submit(starts.note)
        return before, during, REGISTRY.collect()

    before, during, after = in_virtual_time(backend, main)

    def held(found):
        return {r: total(found, catalog.QUEUE_HELD, {Key.HOLD_REASON: r}) for r in catalog.HOLD_REASONS}

    def limit(found, metric, name):
        return total(found, metric, {Key.LIMIT_NAME: name})

    nothing = {"rate": 0, "limit": 0, "pause": 0, "retry": 0, "dependency": 0}
    assert held(before) == held(after) == nothing
    assert held(during) == {**nothing, "limit": 2}
    assert total(during, catalog.QUEUE_SIZE, {}) == 2
    for found in (before, during, after):
        assert (limit(found, catalog.LIMIT_CAPACITY, "api"), limit(found, catalog.LIMIT_CAPACITY, "*")) in [
            (2, 1),
            (0, 0),
        ]
    assert (limit(during, catalog.LIMIT_USAGE, "api"), limit(during, catalog.LIMIT_USAGE, "*")) == (2, 1)
    assert (limit(before, catalog.LIMIT_AVAILABLE, "api"), limit(during, catalog.LIMIT_AVAILABLE, "*")) == (2, 0)
    # The third "api" and the second "b" were held for 2 s by their limits, then with all others until 5 by the pause.
    spent = {reason: merged(after, catalog.QUEUE_HOLD, {Key.HOLD_REASON: reason}) for reason in ("limit", "pause")}
    assert (spent["limit"].count, spent["limit"].sum) == (2, pytest.approx(4))
    assert (spent["pause"].count, spent["pause"].sum) == (3, pytest.approx(10))
    assert merged(after, catalog.QUEUE_WAIT, {}).sum == pytest.approx(14)


@both
def test_executors_without_policies_have_none_of_it(backend):
    async def main():
        REGISTRY.reset()
        async with HybridExecutor("plain", max_in_flight=2) as executor:
            await executor.run(Starts().note)
            assert executor.stats().held == {}
            return REGISTRY.collect()

    found = in_virtual_time(backend, main)
    for metric in (catalog.QUEUE_HELD, catalog.LIMIT_USAGE, catalog.LIMIT_CAPACITY, catalog.LIMIT_AVAILABLE):
        assert metric.name not in found.points
    assert catalog.QUEUE_HOLD.name not in found.histograms


@both
def test_slots_are_not_in_use_while_tasks_are_held(backend):
    """Neither as "being handed over" nor as saturation."""

    async def main():
        REGISTRY.reset()
        starts = Starts()
        async with HybridExecutor("unused", max_in_flight=1, rate=Rate(1, per=10.0)) as executor:
            for number in range(4):
                await executor.submit(starts.note, number, 1.0)
            await anyio.sleep(5)
            assert total(REGISTRY.collect(), catalog.SLOT_USAGE, {}) == 0
        return REGISTRY.collect()

    found = in_virtual_time(backend, main)
    assert total(found, catalog.SLOT_TIME, {}) == pytest.approx(4)
    assert total(found, catalog.SLOT_SATURATED_TIME, {}) == pytest.approx(4)


@pytest.mark.anyio
async def test_spans_have_an_event_where_a_hold_begins_and_where_it_ends(sdk):
    async with HybridExecutor("traced", max_in_flight=5, limits={"api": Limit(in_flight=1)}) as executor:
        gate = Gate()
        await executor.submit(gate.hold, name="free", key="api")
        await executor.submit(gate.hold, name="held", key="api")
        cancelled = await executor.submit(gate.hold, name="cancelled", key="api")
        await anyio.sleep(0.01)
        cancelled.cancel()
        gate.open()
    assert [event.name for event in sdk.span("traced free").events] == ["glasspool.task.started"]
    for name, more in (("held", ["glasspool.task.started"]), ("cancelled", [])):
        span = sdk.span(f"traced {name}")
        assert [event.name for event in span.events] == ["glasspool.task.held", "glasspool.task.released", *more]
        begun, ended = span.events[:2]
        assert begun.attributes == {Key.HOLD_REASON: "limit", Key.LIMIT_NAME: "api"}
        assert ended.attributes[Key.HOLD_DURATION] >= 0.009
        assert span.start_time <= begun.timestamp <= ended.timestamp <= span.end_time
