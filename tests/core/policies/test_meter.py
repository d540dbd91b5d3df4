"""The state of a rate by itself: exact, whatever is claimed when."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glasspool._core.policies.meter import ONE, Meter, billionths, nanoseconds, seconds_from

SECOND = 1_000_000_000


def greedy(meter: Meter, costs: list[int], delays: list[int]) -> list[tuple[int, int]]:
    """Claims as early as may be, or so many nanoseconds later: instant and cost of each."""
    now, found = 0, []
    for cost, delay in zip(costs, delays, strict=True):
        now = max(now, meter.ready_at(cost * ONE)) + delay
        meter.claim(cost * ONE, now)
        found.append((now, cost))
    return found


counts = st.integers(1, 50)
bursts = st.integers(1, 20)
periods = st.sampled_from([0.1, 0.3, 1.0, 7.0, 60.0])


@given(count=counts, per=periods, burst=bursts, data=st.data())
def test_no_window_has_more_than_count_and_burst_less_one(count: int, per: float, burst: int, data: Any) -> None:
    costs = data.draw(st.lists(st.integers(1, burst), min_size=2, max_size=60))
    late = data.draw(st.lists(st.sampled_from([0, 0, 1, 1000, 10**7, 10**9]), min_size=len(costs), max_size=len(costs)))
    claims = greedy(Meter(count, per, burst), costs, late)
    window = int(per * SECOND)
    for start, _ in claims:
        inside = sum(cost for instant, cost in claims if start <= instant < start + window)
        assert inside <= count + burst - 1


@given(count=counts, per=periods, burst=bursts)
def test_a_greedy_client_gets_all_that_there_is(count: int, per: float, burst: int) -> None:
    claims = greedy(Meter(count, per, burst), [1] * (count + burst), [0] * (count + burst))
    window = int(per * SECOND)
    assert [instant for instant, _ in claims[:burst]] == [0] * burst
    assert sum(instant < window for instant, _ in claims) == count + burst - 1
    assert claims[-1][0] == window


def test_starts_are_spaced_evenly_without_drift() -> None:
    instants = [instant for instant, _ in greedy(Meter(3, 1.0, 1), [1] * 3001, [0] * 3001)]
    assert instants[:5] == [0, 333_333_334, 666_666_667, 1_000_000_000, 1_333_333_334]
    assert instants[3000] == 1000 * SECOND


def test_what_was_not_used_is_saved_up_to_the_burst_only() -> None:
    meter = Meter(10, 1.0, 3)
    meter.claim(ONE, 0)
    assert meter.available(0) == 2
    later = 3600 * SECOND
    assert meter.available(later) == 3
    assert [instant - later for instant, _ in _from(meter, later, 5)] == [0, 0, 0, 10**8, 2 * 10**8]


def _from(meter: Meter, now: int, number: int) -> list[tuple[int, int]]:
    found = []
    for _ in range(number):
        now = max(now, meter.ready_at(ONE))
        meter.claim(ONE, now)
        found.append((now, 1))
    return found


def test_a_large_claim_waits_for_its_tokens_and_holds_later_ones() -> None:
    meter = Meter(100, 1.0, 50)
    meter.claim(50 * ONE, 0)
    assert meter.ready_at(50 * ONE) == SECOND // 2
    meter.claim(50 * ONE, SECOND // 2)
    assert meter.ready_at(ONE) == SECOND // 2 + SECOND // 100


def test_a_claim_above_the_burst_takes_a_full_rest() -> None:
    """The burst was made smaller while such a task was queued."""
    meter = Meter(10, 1.0, 5)
    assert meter.ready_at(100 * ONE) <= 0
    meter.claim(100 * ONE, 0)
    assert meter.ready_at(ONE) == 10 * SECOND - 4 * SECOND // 10


@pytest.mark.parametrize(("count", "ready"), [(20, SECOND // 20), (1, SECOND)])
def test_another_rate_keeps_what_is_spent(count: int, ready: int) -> None:
    meter = Meter(10, 1.0, 1)
    meter.claim(ONE, 0)
    meter.resize(count, 1.0, 1, 0)
    assert meter.ready_at(ONE) == ready
    assert not meter.rests(ready - 1)
    assert meter.rests(ready)


def test_amounts_are_rounded_to_the_safe_side() -> None:
    assert billionths(1 / 3) == 333_333_334
    assert billionths(3) == 3 * ONE


@given(st.integers(0, 10**18))
def test_a_timer_set_for_an_instant_is_not_too_early(instant: int) -> None:
    found = seconds_from(instant)
    assert nanoseconds(found) >= instant
    assert found - instant / ONE <= 1e-6
