"""Rates of a whole executor and of keys: when tasks start."""

from __future__ import annotations

from itertools import pairwise

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasspool import HybridExecutor, Limit, Rate

from .support import Starts, both, in_virtual_time


@both
def test_starts_are_spaced_evenly(backend):
    async def main():
        starts = Starts()
        async with HybridExecutor("even", max_in_flight=100, rate=Rate(10, per=1.0)) as executor:
            async for _ in executor.as_completed(starts.note, range(25)):
                pass
        return starts.at

    assert in_virtual_time(backend, main) == [round(number * 0.1, 6) for number in range(25)]


@both
def test_a_burst_is_used_after_a_rest(backend):
    async def main():
        starts = Starts()
        async with HybridExecutor("burst", max_in_flight=100, rate=Rate(10, per=1.0, burst=3)) as executor:
            for begin in (0, 100):
                await anyio.sleep(begin - starts.now if begin else 0)
                async for _ in executor.as_completed(starts.note, range(5)):
                    pass
        return starts.at

    assert in_virtual_time(backend, main) == [0, 0, 0, 0.1, 0.2, 100, 100, 100, 100.1, 100.2]


@both
def test_costs_are_counted(backend):
    async def main():
        starts = Starts()
        async with HybridExecutor("costs", max_in_flight=9, rate=Rate(10, per=1.0, burst=5)) as executor:
            for cost in (5, 5, 1, 2.5):
                await executor.submit(starts.note, cost, cost=cost)
        return starts.keys, starts.at

    assert in_virtual_time(backend, main) == ([5, 5, 1, 2.5], [0, 0.5, 0.6, 0.85])


@both
def test_a_large_task_is_not_overtaken_within_its_rate(backend):
    async def main():
        starts = Starts()
        limits = {"large": Limit(rate=Rate(10, per=1.0, burst=10)), "other": Limit(in_flight=1)}
        async with HybridExecutor("order", max_in_flight=9, limits=limits) as executor:
            for key, cost in (("large", 10), ("large", 10), ("large", 1)):
                await executor.submit(starts.note, cost, key=key, cost=cost)
            await executor.submit(starts.note, "other", key="other")
            await executor.submit(starts.note, "none")
        return starts.keys, starts.at

    keys, at = in_virtual_time(backend, main)
    assert (set(keys[:3]), keys[3:]) == ({10, "other", "none"}, [10, 1])
    assert at == [0, 0, 0, 1.0, 1.1]


@both
def test_requests_and_tokens_a_minute(backend):
    async def main():
        starts = Starts()
        rates = [Rate(60, per=60, of="starts"), Rate(1000, per=60, burst=500)]
        async with HybridExecutor("both", max_in_flight=9, limits={"api": Limit(rate=rates)}) as executor:
            for tokens in (500, 1, 500, 1):
                await executor.submit(starts.note, tokens, key="api", cost=tokens)
        return starts.at

    # A start each second; and 500 tokens take half a minute to come back, one 0.06 s.
    assert in_virtual_time(backend, main) == [0, 1, 30.06, 31.06]


@both
def test_a_slot_is_not_held_while_a_token_is_missing_nor_a_token_spent_without_a_slot(backend):
    async def main():
        starts = Starts()
        async with HybridExecutor("one step", max_in_flight=1, rate=Rate(1, per=10, burst=2)) as executor:
            await executor.submit(starts.note, "long", 25)
            for number in range(4):
                await executor.submit(starts.note, number)
            await anyio.sleep(1)
            assert (executor.stats().slots_used, executor.stats().held) == (1, {})
            await anyio.sleep(24.5)  # two tokens have been saved up: one is spent with the slot that has become free
            assert (executor.stats().slots_used, executor.stats().held) == (0, {"rate": 2})
        return starts.at

    assert in_virtual_time(backend, main) == [0, 25, 25, 35, 45]


@both
def test_an_executor_with_a_rate_of_its_own_and_rates_of_keys(backend):
    async def main():
        starts = Starts()
        limits = {"slow": Limit(rate=Rate(1, per=1.0))}
        async with HybridExecutor("two levels", max_in_flight=9, rate=Rate(10, per=1.0), limits=limits) as executor:
            for key in ("slow", "slow", None, None, None):
                await executor.submit(starts.note, key, key=key)
        return list(zip(starts.keys, starts.at, strict=True))

    found = in_virtual_time(backend, main)
    assert found == [("slow", 0), (None, 0.1), (None, 0.2), (None, 0.3), ("slow", 1.0)]


@both
def test_resizing_a_rate(backend):
    async def main():
        starts = Starts()
        async with HybridExecutor("resized", max_in_flight=9, rate=Rate(1, per=10.0)) as executor:
            for number in range(6):
                await executor.submit(starts.note, number)
            await anyio.sleep(5)
            executor.resize(rate=Rate(1, per=1.0))
            assert executor.stats().slots_limit == 9
            await anyio.sleep(2)
            executor.resize(3, rate=())
            assert executor.stats().slots_limit == 3
        return starts.at

    # Half a token was missing at 5, which now takes half a second.
    assert in_virtual_time(backend, main) == [0, 5.5, 6.5, 7, 7, 7]


@both
def test_a_rate_can_come_later(backend):
    async def main():
        starts = Starts()
        async with HybridExecutor("later", max_in_flight=1) as executor:
            await executor.submit(starts.note, 0, 1.0)
            for number in range(3):
                await executor.submit(starts.note, number)
            executor.resize(9, rate=Rate(1, per=5.0))
        return starts.at

    assert in_virtual_time(backend, main) == [0, 0, 5, 10]


@both
def test_the_deadline_counts_while_held_and_the_timeout_does_not(backend):
    async def main():
        starts = Starts()
        async with HybridExecutor("time", max_in_flight=9, rate=Rate(1, per=10.0)) as executor:
            await executor.submit(starts.note, 0)
            late = await executor.submit(starts.note, 1, deadline=anyio.current_time() + 5)
            patient = await executor.submit(starts.note, 2, 1.0, timeout=2)
            await late.outcome()
            assert starts.now == pytest.approx(5)
            assert await patient == 2
        return late.state.value, starts.at

    assert in_virtual_time(backend, main) == ("timeout", [0, 10])


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 8), burst=st.integers(1, 6), slots=st.integers(1, 4),
    tasks=st.lists(st.tuples(st.integers(1, 6), st.sampled_from([0.0, 0.05, 0.3, 2.0])), min_size=1, max_size=30),
)  # fmt: skip
def test_no_window_has_more_than_it_may(count, burst, slots, tasks):
    """Whatever the slots and the running times are; and every task runs once."""

    async def main():
        starts: list[tuple[float, int]] = []

        async def note(task):
            starts.append((anyio.current_time(), task[0]))
            await anyio.sleep(task[1])

        async with HybridExecutor("any", max_in_flight=slots, rate=Rate(count, per=1.0, burst=burst)) as executor:
            fitting = [(min(cost, burst), seconds) for cost, seconds in tasks]
            async for _ in executor.as_completed(note, fitting, cost=lambda task: task[0]):
                pass
        return starts

    starts = in_virtual_time("asyncio", main)
    assert len(starts) == len(tasks)
    assert all(first <= second for (first, _), (second, _) in pairwise(starts))
    for begin, _ in starts:
        assert sum(cost for instant, cost in starts if begin <= instant < begin + 1.0 - 1e-9) <= count + burst - 1
