"""Pauses: of a whole executor, and of a key; and what Retry-After asks for."""

from __future__ import annotations

import email.utils
import time
from collections import UserDict

import anyio
import pytest

from glasspool import HybridExecutor, Limit, Rate, retry_after
from tests.stateful.virtual import quiet

from .support import Starts, both, in_virtual_time


@both
def test_nothing_starts_while_an_executor_is_paused(backend):
    async def main():
        starts = Starts()
        async with HybridExecutor("paused", max_in_flight=9) as executor:
            running = await executor.submit(starts.note, "before", 2.0)
            await quiet()
            executor.pause(5)
            held = await executor.submit(starts.note, "held")
            assert held.hold == ("pause", None, pytest.approx(anyio.current_time() + 5))
            assert executor.stats().held == {"pause": 1}
            await running
            assert starts.now == pytest.approx(2)
        return starts.at, executor.stats().held

    assert in_virtual_time(backend, main) == ([0, 5], {})


@both
def test_a_pause_of_a_key_holds_its_tasks_in_all_executors_that_share_the_limit(backend):
    async def main():
        starts, shared = Starts(), Limit(in_flight=5)
        async with (
            HybridExecutor("one", max_in_flight=9, limits={"api": shared}) as one,
            HybridExecutor("two", max_in_flight=9, limits={"api": shared, "*": Limit(in_flight=1)}) as two,
        ):
            one.pause(3, key="api")
            for key in ("api", "other"):
                await two.submit(starts.note, key, key=key)
            await one.submit(starts.note, "none")
            two.pause(7, key="other")
            await two.submit(starts.note, "other", key="other")
            await quiet()
            assert two.stats().held == {"pause": 2}
        return dict(zip(starts.at, starts.keys, strict=True)), len(starts.at)

    found, number = in_virtual_time(backend, main)
    assert (found[3], found[7], number) == ("api", "other", 4)


@both
@pytest.mark.parametrize(("pauses", "until"), [([5, 2], 2), ([2, 5], 5), ([5, 0], 0), ([0], 0)])
def test_a_later_pause_replaces_an_earlier_one(backend, pauses, until):
    async def main():
        starts = Starts()
        async with HybridExecutor("replaced", max_in_flight=9, limits={"k": Limit(in_flight=1)}) as executor:
            for key in (None, "k"):
                for seconds in pauses:
                    executor.pause(seconds, key=key)
                await executor.submit(starts.note, key, key=key)
        return starts.at

    assert in_virtual_time(backend, main) == [until, until]


@both
def test_a_pause_ends_early(backend):
    async def main():
        starts = Starts()
        async with HybridExecutor("ended", max_in_flight=9) as executor:
            executor.pause(3600)
            for number in range(3):
                await executor.submit(starts.note, number)
            await anyio.sleep(1)
            executor.pause(0)
        return starts.at

    assert in_virtual_time(backend, main) == [1, 1, 1]


@both
def test_closing_waits_for_a_pause_until_the_grace_ends(backend):
    async def main():
        starts = Starts()
        async with HybridExecutor("closed", max_in_flight=9) as executor:
            executor.pause(5)
            await executor.submit(starts.note, 1)
            report = await executor.shutdown(grace=10)
            assert (report.succeeded, report.drained, starts.at) == (1, True, [5])
        async with HybridExecutor("cut", max_in_flight=9, rate=Rate(1, per=100)) as executor:
            handles = [await executor.submit(starts.note, number) for number in range(3)]
            report = await executor.shutdown(grace=10)
        return report.succeeded, report.cancelled, [handle.state.value for handle in handles]

    assert in_virtual_time(backend, main) == (1, 2, ["success", "cancelled", "cancelled"])


def http_date(seconds):
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "120"}, 120),
        ({"content-type": "text/plain", "retry-after": " 7 "}, 7),
        ({"RETRY-AFTER": "0"}, 0),
        ({b"retry-after": b"3"}, 3),
        ({"Retry-After": "1.5"}, 1.5),
        (UserDict({"Retry-After": "9"}), 9),
        ({"Retry-After": http_date(-100)}, 0),
        ({}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": ""}, None),
    ],
)
def test_retry_after(headers, seconds):
    assert retry_after(headers) == seconds


def test_retry_after_a_date():
    found = retry_after({"Retry-After": http_date(100)})
    assert found is not None
    assert 98 <= found <= 101


def test_retry_after_of_something_else():
    with pytest.raises(TypeError, match=r"headers must be a mapping of names to values, not '120'"):
        retry_after("120")  # type: ignore[arg-type]


@both
def test_a_pause_of_a_key_while_every_slot_is_in_use(backend):
    async def main():
        starts = Starts()
        async with HybridExecutor("busy", max_in_flight=1, limits={"k": Limit(in_flight=1)}) as executor:
            await executor.submit(starts.note, "runs", 2.0)
            for number in range(2):
                await executor.submit(starts.note, number, key="k")
            assert executor.stats().held == {}
            executor.pause(60, key="k")
            assert executor.stats().held == {"pause": 2}
            await anyio.sleep(10)
            assert executor.stats().held == {"pause": 2}
            executor.pause(0, key="k")
            await quiet()
        return starts.at

    assert in_virtual_time(backend, main) == [0, 10, 10]
