"""Failed tasks that run again: which ones, when, how often, and what others see of it."""

from __future__ import annotations

import contextvars
import random
import sys
from collections import deque
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import Any

import anyio
import anyio.from_thread
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

import glasspool
from glasspool import Hold, HybridExecutor, Limit, Outcome, Rate, Retry, RetryBudget, TaskState, TaskTimeout
from tests.core.support import Gate, conserved, echo
from tests.stateful.virtual import quiet

from .support import Starts, both, in_virtual_time

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

AT_ONCE = Retry(on=lambda error: 0)
"""Tries every failure again, without a delay."""

loops = pytest.mark.anyio


class Flaky:
    """A function that fails so many times, then returns its attempt."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.left = failures
        self.error = error
        self.at: list[float] = []
        self.seen: list[Any] = []

    async def __call__(self) -> int:
        return self.plain()

    def plain(self) -> int:
        self.at.append(anyio.current_time())
        self.seen.append(glasspool.current_task())
        if self.left:
            self.left -= 1
            raise self.error or ConnectionError("down")
        return len(self.at)


async def call(flaky: Flaky) -> int:
    return flaky.plain()


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every delay is as long as it may be."""
    monkeypatch.setattr(random, "random", lambda: 1.0)


@both
@pytest.mark.usefixtures("longest")
def test_it_runs_again_after_a_delay_that_doubles_up_to_the_cap(backend):
    async def main():
        flaky = Flaky(5)
        async with HybridExecutor("again", max_in_flight=1) as executor:
            retry = Retry(on=ConnectionError, attempts=6, base=1, cap=5)
            handle = await executor.submit(flaky.__call__, retry=retry)
            await anyio.sleep(0.5)
            assert (handle.state, handle.hold) == (TaskState.QUEUED, Hold("retry", None, 1.0 + flaky.at[0]))
            assert repr(handle).endswith(f" queued, held: retry until {1 + flaky.at[0]:.3f}>")
            assert (executor.stats().held, executor.stats().slots_used) == ({"retry": 1}, 0)
            assert await handle == 6
            assert (handle.state, handle.hold) == (TaskState.SUCCEEDED, None)
        return [at - flaky.at[0] for at in flaky.at]

    assert in_virtual_time(backend, main) == pytest.approx([0, 1, 3, 7, 12, 17])


@given(
    attempt=st.integers(1, 5000),
    base=st.floats(1e-6, 1e3),
    factor=st.floats(1, 1e6),
    jitter=st.floats(0, 1),
)
def test_a_delay_is_at_most_the_cap_and_the_doubled_base(attempt, base, factor, jitter):
    retry = Retry(on=OSError, base=base, cap=base * factor)
    found = retry.delay(OSError(), attempt, lambda: jitter)
    assert found is not None
    assert 0 <= found <= retry.cap
    if attempt <= 1000:
        assert found <= base * 2 ** (attempt - 1)


def test_delays_are_spread_over_the_whole_range():
    retry = Retry(on=OSError, base=1, cap=8)
    found = sorted(retry.delay(OSError(), 4, random.Random(5).random) or 0 for _ in range(1))
    chance = random.Random(5)
    found = sorted(retry.delay(OSError(), 4, chance.random) or 0 for _ in range(4000))
    quarters = [sum(low <= delay < low + 2 for delay in found) for low in (0, 2, 4, 6)]
    assert all(900 < quarter < 1100 for quarter in quarters)


@both
def test_its_slot_is_free_meanwhile(backend):
    async def main():
        starts, flaky = Starts(), Flaky(1)
        async with HybridExecutor("free", max_in_flight=1) as executor:
            handle = await executor.submit(flaky.__call__, retry=Retry(on=lambda error: 10))
            await executor.run(starts.note, "other", 3.0)
            assert handle.state is TaskState.QUEUED
            await handle
        return [*starts.at, flaky.at[1] - flaky.at[0]]

    assert in_virtual_time(backend, main) == [0, 10]


@both
def test_it_keeps_its_place(backend):
    async def main():
        order: list[Any] = []

        async def note(name: Any) -> None:
            order.append(name)
            await anyio.sleep(1)
            if name == "first" and order.count("first") == 1:
                raise OSError

        async with HybridExecutor("place", max_in_flight=1) as executor:
            await executor.submit(note, "first", retry=Retry(on=lambda error: 1.5))
            for name in range(5):
                await executor.submit(note, name)
        return order

    assert in_virtual_time(backend, main) == ["first", 0, 1, "first", 2, 3, 4]


@both
@pytest.mark.parametrize("max_queued", [0, 1])
def test_it_takes_no_place_in_the_queue(backend, max_queued):
    async def main():
        gate = Gate()
        retry = Retry(on=lambda error: 5)
        async with HybridExecutor("places", max_in_flight=2, max_queued=max_queued) as executor:
            flaky = [Flaky(1) for _ in range(4)]
            waiting = [await executor.submit(each.__call__, retry=retry) for each in flaky]
            await anyio.sleep(1)
            assert executor.stats().held == {"retry": 4}
            held = [executor.submit_nowait(gate.hold, number) for number in range(2 + max_queued)]
            with pytest.raises(glasspool.QueueFull, match=f"of {max_queued} queued tasks"):
                executor.submit_nowait(echo, 1)
            await anyio.sleep(10)
            stats = conserved(executor, [*waiting, *held])
            assert (stats.queued, stats.in_flight) == (4 + max_queued, 2)
            with pytest.raises(glasspool.QueueFull):
                executor.submit_nowait(echo, 1)
            gate.open()
            assert [await handle for handle in waiting] == [2] * 4
            assert await executor.run(echo, 1) == 1

    in_virtual_time(backend, main)


@both
def test_it_takes_none_of_the_places_of_its_key(backend):
    async def main():
        gate = Gate()
        async with HybridExecutor("key", max_in_flight=9, limits={"a": Limit(in_flight=1, max_queued=1)}) as executor:
            flaky = Flaky(1)
            again = await executor.submit(flaky.__call__, key="a", retry=Retry(on=lambda error: 5))
            await quiet()
            held = await executor.submit(gate.hold, "runs meanwhile", key="a")
            executor.submit_nowait(gate.hold, "takes the place", key="a")
            with pytest.raises(glasspool.QueueFull, match="key 'a' has all 1 queue places"):
                executor.submit_nowait(echo, 1, key="a")
            await anyio.sleep(6)
            assert (again.hold, again.state) == (Hold("limit", "a", None), TaskState.QUEUED)
            with pytest.raises(glasspool.QueueFull):
                executor.submit_nowait(echo, 1, key="a")
            gate.open()
            assert (await held, await again) == ("runs meanwhile", 2)
        assert gate.started == ["runs meanwhile", "takes the place"]

    in_virtual_time(backend, main)


@both
def test_each_attempt_takes_of_the_rates(backend):
    async def main():
        flaky = Flaky(2)
        async with HybridExecutor("rates", max_in_flight=9, rate=Rate(1, per=10)) as executor:
            await executor.run(flaky.__call__, retry=AT_ONCE)
        return [at - flaky.at[0] for at in flaky.at]

    assert in_virtual_time(backend, main) == [0, 10, 20]


@both
def test_a_timeout_is_of_each_attempt_and_a_deadline_of_all(backend):
    async def main():
        starts = Starts()
        async with HybridExecutor("time", max_in_flight=9) as executor:
            retry = Retry(on=TaskTimeout, attempts=3, base=1e-9, cap=1e-9)
            handle = await executor.submit(starts.note, "slow", 9.0, timeout=2, retry=retry)
            completed = await handle.outcome()
            assert (completed.outcome, starts.at) == (Outcome.TIMEOUT, [0, 2, 4])
            assert isinstance(completed.error, TaskTimeout)
            assert completed.error.__notes__ == [
                "attempt 3 of 3 failed, and the task is not tried again: no attempts are left"
            ]
            deadline = anyio.current_time() + 5  # it was 6 when it began
            handle = await executor.submit(
                starts.note,
                "late",
                9.0,
                timeout=2,
                deadline=deadline,
                retry=Retry(on=TaskTimeout, attempts=9, base=1e-9),
            )
            completed = await handle.outcome()
        return completed, starts.at[3:]

    completed, at = in_virtual_time(backend, main)
    assert (completed.outcome, at) == (Outcome.TIMEOUT, [6, 8, 10])
    assert "deadline" in completed.error.__notes__[0]


@both
def test_a_delay_beyond_the_deadline_gives_up_at_once(backend):
    async def main():
        async with HybridExecutor("late", max_in_flight=1) as executor:
            begun = anyio.current_time()
            flaky = Flaky(1)
            handle = await executor.submit(flaky.__call__, deadline=begun + 5, retry=Retry(on=lambda error: 5))
            completed = await handle.outcome()
            return completed, anyio.current_time() - begun, executor.stats()

    completed, took, stats = in_virtual_time(backend, main)
    assert (completed.outcome, took, stats.failed) == (Outcome.ERROR, 0, 1)
    assert isinstance(completed.error, ConnectionError)
    assert completed.error.__notes__ == [
        "attempt 1 of 3 failed, and the task is not tried again: the next attempt would begin after its deadline"
    ]


@both
def test_a_deadline_that_passes_in_the_queue_ends_it_as_its_last_attempt(backend):
    async def main():
        flaky, gate = Flaky(1), Gate()
        async with HybridExecutor("queue", max_in_flight=1) as executor:
            begun = anyio.current_time()
            handle = await executor.submit(flaky.__call__, deadline=begun + 5, retry=Retry(on=lambda error: 1))
            await quiet()
            other = await executor.submit(gate.hold)
            completed = await handle.outcome()
            stats = conserved(executor, [handle, other])
            gate.open()
            return completed, anyio.current_time() - begun, stats

    completed, took, stats = in_virtual_time(backend, main)
    assert (completed.outcome, took) == (Outcome.ERROR, 5)
    assert (stats.queued, stats.failed, stats.timed_out) == (0, 1, 0)
    assert "its deadline" in completed.error.__notes__[0]


class Refused(Exception):
    pass


@loops
@pytest.mark.parametrize(
    ("on", "error", "runs"),
    [
        (OSError, ConnectionError("a subclass"), 2),
        (OSError, Refused(), 1),
        ((Refused, OSError), Refused(), 2),
        (OSError, ExceptionGroup("all", [OSError(), ConnectionError()]), 2),
        (OSError, ExceptionGroup("some", [OSError(), Refused()]), 1),
        (ExceptionGroup, ExceptionGroup("by itself", [Refused()]), 2),
        (lambda error: isinstance(error, Refused), Refused(), 2),
        (lambda error: False, Refused(), 1),
        (lambda error: None, Refused(), 1),
        (lambda error: 0, Refused(), 2),
        (lambda error: 0.0, Refused(), 2),
    ],
)
async def test_on(on, error, runs):
    flaky = Flaky(1, error)
    async with HybridExecutor("on", max_in_flight=1) as executor:
        handle = await executor.submit(flaky.__call__, retry=Retry(on=on, base=1e-9, cap=1e-9))
        completed = await handle.outcome()
    assert len(flaky.at) == runs
    assert completed.error is (None if runs == 2 else error)
    assert not hasattr(error, "__notes__")


@loops
@pytest.mark.parametrize(
    ("found", "named"),
    [
        (-1, "ValueError"),
        (float("nan"), "ValueError"),
        (float("inf"), "ValueError"),
        ("soon", "TypeError"),
        (ZeroDivisionError(), "ZeroDivisionError"),
    ],
)
async def test_a_function_that_does_not_say_what_follows(found, named, caplog):
    def on(error: Exception) -> Any:
        if isinstance(found, Exception):
            raise found
        return found

    flaky = Flaky(1)
    async with HybridExecutor("broken", max_in_flight=1) as executor:
        completed = await (await executor.submit(flaky.__call__, retry=Retry(on=on))).outcome()
        assert await executor.run(echo, 1) == 1
    assert (type(completed.error), len(flaky.at)) == (ConnectionError, 1)
    assert completed.error.__notes__ == [
        f"attempt 1 of 3 failed, and the task is not tried again: the on= of its retry= failed with {named}"
    ]
    assert "the on= of retry= of task" in caplog.text


@loops
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_an_interrupt_in_such_a_function_ends_the_program(kind):
    def on(error: Exception) -> bool:
        raise kind

    handle: Any = None
    with pytest.raises(kind):
        async with HybridExecutor("interrupt", max_in_flight=1) as executor:
            handle = await executor.submit(Flaky(1).__call__, retry=Retry(on=on))
            await anyio.sleep_forever()
    assert isinstance((await handle.outcome()).error, ConnectionError)


@loops
async def test_a_function_that_cancels_the_task():
    handles: list[Any] = []

    def on(error: Exception) -> bool:
        assert handles[0].cancel("enough")
        return True

    async with HybridExecutor("cancels", max_in_flight=1) as executor:
        flaky = Flaky(1)
        handles.append(await executor.submit(flaky.__call__, retry=Retry(on=on)))
        completed = await handles[0].outcome()
        handles.append(await executor.submit(echo, 1))
        assert await handles[1] == 1
        conserved(executor, handles)
    assert (type(completed.error), len(flaky.at)) == (ConnectionError, 1)


@loops
async def test_a_task_says_itself_what_the_executor_says_for_others():
    async with HybridExecutor("default", max_in_flight=1, retry=AT_ONCE) as executor:
        assert await executor.run(Flaky(2).__call__) == 3
        assert await executor.run(Flaky(3).__call__, retry=Retry(on=lambda error: 0, attempts=4)) == 4
        with pytest.raises(ConnectionError):
            await executor.run(Flaky(1).__call__, retry=None)
        assert [value async for value in executor.map(call, [Flaky(1), Flaky(0)])] == [2, 1]
    async with HybridExecutor("none", max_in_flight=1) as executor:
        with pytest.raises(ConnectionError):
            await executor.run(Flaky(1).__call__)


# -- the budget --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "calls"),
    [(RetryBudget(), 130), (None, 300), (RetryBudget(ratio=0, floor=3), 103), (RetryBudget(0.5, 0), 150)],
)
@both
def test_what_a_dead_server_sees(backend, budget, calls):
    async def main():
        dead = Flaky(10_000)
        retry = Retry(on=ConnectionError, base=0.01, cap=0.01)
        async with HybridExecutor("dead", max_in_flight=100, retry=retry, retry_budget=budget) as executor:
            handles = [await executor.submit(dead.__call__) for _ in range(100)]
            notes = [(await handle.outcome()).error.__notes__[0] for handle in handles]
        return len(dead.at), notes

    seen, notes = in_virtual_time(backend, main)
    assert seen == calls
    ended = [("the retry budget of its executor is spent" in note, "no attempts are left" in note) for note in notes]
    assert all(map(any, ended))
    assert any(budget for budget, _ in ended) is (calls != 300)


@both
def test_a_budget_fills_up_again(backend):
    async def main():
        dead, begun = Flaky(10_000), anyio.current_time()
        budget = RetryBudget(ratio=0, floor=2, window=10)
        async with HybridExecutor("window", max_in_flight=9, retry=AT_ONCE, retry_budget=budget) as executor:
            for _ in range(4):
                await (await executor.submit(dead.__call__)).outcome()
                await anyio.sleep(5.5)
        return [round(at - begun, 6) for at in dead.at]

    # Two retries at once, none while they count, two more when both are forgotten.
    assert in_virtual_time(backend, main) == [0, 0, 0, 5.5, 11, 11, 11, 16.5]


@given(
    steps=st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=200),
    ratio=st.sampled_from([0, 0.1, 0.2, 1, 2.5]),
    floor=st.integers(0, 5),
)
@settings(deadline=None)
def test_no_window_has_more_retries_than_the_budget_says(steps, ratio, floor):
    from glasspool._core.policies.budget import Budget

    budget = Budget(RetryBudget(ratio, floor, window=10))
    now, firsts, retries = 0.0, deque[float](), deque[float]()
    for pause, retry in steps:
        now += pause
        oldest = int(now) - 9  # parts of a second
        earned = sum(int(at) >= oldest for at in firsts)
        spent = sum(int(at) >= oldest for at in retries)
        allowed = max(0, floor + int(ratio * earned + 1e-9) - spent)
        assert budget.available(now) == allowed
        if not retry:
            budget.first(now)
            firsts.append(now)
        elif budget.take(now):
            assert allowed >= 1
            retries.append(now)
        else:
            assert allowed == 0


# -- what an attempt knows ---------------------------------------------------------------------------------------------


@loops
@pytest.mark.parametrize("runner", ["inline", "thread"])
async def test_the_current_task(runner):
    async def within() -> Any:
        return glasspool.current_task()

    flaky = Flaky(2)
    function = flaky.plain if runner == "inline" else partial(_in_thread, flaky)
    assert glasspool.current_task() is None
    async with HybridExecutor("current", max_in_flight=1) as executor:
        await executor.run(function, name="ask", runner=runner, retry=AT_ONCE)
        plain = await executor.run(within)
        again = await executor.run(within)
    assert [(seen.name, seen.attempt) for seen in flaky.seen] == [("ask", 1), ("ask", 2), ("ask", 3)]
    keys = {seen.idempotency_key for seen in flaky.seen}
    assert len(keys) == 1
    assert len({*keys, plain.idempotency_key, again.idempotency_key}) == 3
    assert (plain.attempt, glasspool.current_task()) == (1, None)


def _in_thread(flaky: Flaky) -> Any:
    flaky.at.append(0.0)
    flaky.seen.append(glasspool.current_task())
    if flaky.left:
        flaky.left -= 1
        raise OSError
    return True


def _elsewhere() -> Any:
    return glasspool.current_task()


def _fails_elsewhere() -> Any:
    raise OSError(glasspool.current_task())


@loops
async def test_the_current_task_in_a_pool_of_processes():
    with ProcessPoolExecutor(1) as pool:
        async with HybridExecutor("processes", max_in_flight=1) as executor:
            first = await executor.submit(_fails_elsewhere, runner=pool, name="there", retry=AT_ONCE)
            completed = await first.outcome()
            other = await executor.run(_elsewhere, runner=pool)
            assert pool.submit(_elsewhere).result() is None
    found = completed.error.args[0]
    assert (found.name, found.attempt, other.attempt) == ("there", 3, 1)
    assert found.idempotency_key != other.idempotency_key


seen_by = contextvars.ContextVar[str]("seen_by", default="nobody")


@loops
@pytest.mark.parametrize("runner", ["inline", "thread", "shared"])
async def test_attempts_share_nothing_of_each_others_context(runner):
    seen: list[str] = []

    def look() -> None:
        seen.append(seen_by.get())
        seen_by.set(f"attempt {len(seen)}")
        if len(seen) < 3:
            raise OSError

    async def look_shared() -> None:
        await checkpoint()
        look()

    async with HybridExecutor("context", max_in_flight=1) as executor:
        token = seen_by.set("the submitter")
        options = {"isolate": False} if runner == "shared" else {"runner": runner}
        handle = await executor.submit(look_shared if runner == "shared" else look, retry=AT_ONCE, **options)
        seen_by.reset(token)
        await handle
    assert seen == ["the submitter"] * 3


# -- what others see ---------------------------------------------------------------------------------------------------


@loops
async def test_piles_iterators_dependents_and_observers_see_one_outcome():
    events: list[Any] = []

    def observe(event: Any) -> None:
        events.append((event.kind, event.name, event.outcome))

    async with HybridExecutor("one", max_in_flight=4, retry=AT_ONCE, observers=[observe]) as executor:
        pile = executor.pile(fail_fast=True)
        gate = Gate()
        await pile.include(gate.hold, name="sibling")
        await pile.include(Flaky(2).__call__, name="flaky")
        first = await pile.next_completed()
        assert (first.value, pile.stats().in_flight) == (3, 1)
        handle = await executor.submit(Flaky(1).__call__, name="needed")
        assert await executor.run(echo, "after", after=[handle], name="after") == "after"
        gate.open()
        await pile.drain()
        found = [done.unwrap() async for done in executor.as_completed(call, [Flaky(1)], name="each")]
        assert found == [2]
    assert [kind for kind, name, _ in events if name == "flaky"] == ["submitted", "started", "settled"]
    assert [outcome for kind, name, outcome in events if kind == "settled"] == ["success"] * 5


@loops
async def test_everything_is_cancelled_by_the_last_failure_only():
    async with HybridExecutor("fail fast", max_in_flight=4, retry=AT_ONCE) as executor:
        pile = executor.pile(fail_fast=True)
        await pile.include(anyio.sleep_forever)
        flaky = Flaky(3)
        await pile.include(flaky.__call__)
        ended = [(await pile.next_completed()).outcome for _ in range(2)]
    assert (ended, len(flaky.at)) == ([Outcome.ERROR, Outcome.CANCELLED], 3)
    escalating = Flaky(3)
    with pytest.raises(ExceptionGroup) as raised:
        async with HybridExecutor("escalate", max_in_flight=4, retry=AT_ONCE, on_error="escalate") as executor:
            await executor.submit(escalating.__call__)
            await anyio.sleep_forever()
    assert [type(error) for error in raised.value.exceptions] == [ConnectionError]
    assert len(escalating.at) == 3


@loops
async def test_a_generator_is_not_run_twice():
    async with HybridExecutor("used up", max_in_flight=1, retry=AT_ONCE) as executor:
        pile = executor.pile()
        for argument in ((number for number in "ab"), map(str, [1]), iter([1]), zip([1], [2], strict=True)):
            for refused in (executor.submit, executor.run, pile.include):
                with pytest.raises(ValueError, match="a second attempt would find it used up; pass a list"):
                    await refused(echo, argument)
            with pytest.raises(ValueError, match="retry= with the argument"):
                executor.submit_nowait(partial(echo, argument))
            with pytest.raises(ValueError, match="used up"):
                _ = [value async for value in executor.map(echo, [argument])]
            assert await executor.run(echo, argument, retry=None) is argument
        coroutine = echo(1)
        with pytest.raises(ValueError, match="used up"):
            executor.submit_nowait(echo, coroutine)
        coroutine.close()
        stats = executor.stats()
        assert (stats.submitted, stats.succeeded) == (4, 4)
        assert await executor.run(echo, [1]) == [1]


@loops
async def test_a_pool_of_the_users():
    flaky = Flaky(2)
    with ThreadPoolExecutor(1) as pool:
        async with HybridExecutor("pool", max_in_flight=1) as executor:
            assert await executor.run(partial(_in_thread, flaky), runner=pool, retry=AT_ONCE)
    assert [seen.attempt for seen in flaky.seen] == [1, 2, 3]
