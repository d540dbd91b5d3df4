"""Tasks that start when others have succeeded, and are cancelled when one of them has not."""

from __future__ import annotations

import gc
import weakref
from functools import partial
from itertools import pairwise
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasspool import Hold, HybridExecutor, Limit, Rate, TaskCancelled, TaskState
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.recording.registry import REGISTRY
from glasspool.telemetry.recording.snapshot_queries import merged, total
from tests.core.support import Gate, conserved, echo, fail
from tests.stateful.virtual import quiet

from .support import Starts, both, in_virtual_time


@both
def test_it_starts_when_all_have_succeeded(backend):
    async def main():
        starts = Starts()
        async with HybridExecutor("after", max_in_flight=9) as executor:
            first = await executor.submit(starts.note, "first", 1.0)
            second = await executor.submit(starts.note, "second", 3.0)
            third = await executor.submit(starts.note, "third", 1.0, after=[first, second, first])
            last = await executor.submit(starts.note, "last", after=(handle for handle in [third]))
            assert third.hold == last.hold == Hold("dependency", None, None)
            assert repr(third).endswith(" queued, held: dependency>")
            assert executor.stats().held == {"dependency": 2}
            assert await executor.run(starts.note, "of those that have ended", after=[first]) is not None
            await last
            late = executor.submit_nowait(starts.note, "late", after=[first, last])
            assert await late == "late"
        return list(zip(starts.keys, starts.at, strict=True))

    found = in_virtual_time(backend, main)
    assert sorted(found[:2]) == [("first", 0), ("second", 0)]
    assert found[2:] == [("of those that have ended", 1), ("third", 3), ("last", 4), ("late", 4)]


@both
def test_nobody_else_waits_behind_it(backend):
    async def main():
        gate = Gate()
        async with HybridExecutor("others", max_in_flight=2) as executor:
            first = await executor.submit(gate.hold, "first")
            for _ in range(5):
                await executor.submit(gate.hold, "held", after=[first])
            await executor.submit(gate.hold, "other")
            await quiet()
            assert sorted(gate.started) == ["first", "other"]
            gate.open()
        return len(gate.ended)

    assert in_virtual_time(backend, main) == 7


@both
def test_it_keeps_its_place(backend):
    """It was accepted before those that wait for the same slot."""

    async def main():
        starts = Starts()
        async with HybridExecutor("place", max_in_flight=1) as executor:
            first = await executor.submit(starts.note, "first", 1.0)
            await executor.submit(starts.note, "second", 1.0)
            await executor.submit(starts.note, "dependent", after=[first])
            await executor.submit(starts.note, "third")
        return starts.keys

    assert in_virtual_time(backend, main) == ["first", "second", "dependent", "third"]


@both
@pytest.mark.parametrize("how", ["error", "timeout", "cancelled"])
def test_one_that_does_not_succeed_cancels_those_that_depend_on_it(backend, how):
    async def main():
        async with HybridExecutor("failing", max_in_flight=9) as executor:
            error = ValueError("no")
            if how == "error":
                first = await executor.submit(partial(fail, error))
            else:
                first = await executor.submit(anyio.sleep_forever, timeout=1 if how == "timeout" else None)
            other = await executor.submit(echo, 1)
            second = await executor.submit(echo, 2, after=[other, first])
            third = await executor.submit(echo, 3, after=[second])
            if how == "cancelled":
                first.cancel()
            outcomes = [await handle.outcome() for handle in (first, second, third)]
            late = await executor.submit(echo, 4, after=[third, other])
            with pytest.raises(TaskCancelled, match=r"task 'echo' was cancelled \(dependency\)") as caught:
                await late
            assert caught.value.__cause__ is outcomes[2].error
            conserved(executor, [first, other, second, third, late])
        assert outcomes[0].outcome.value == how
        for needed, outcome in pairwise(outcomes):
            assert (outcome.outcome.value, outcome.error.reason) == ("cancelled", "dependency")
            assert outcome.error.__cause__ is needed.error

    in_virtual_time(backend, main)


@both
def test_a_long_chain(backend):
    """Neither its success nor its failure goes through the stack."""

    async def main():
        async with HybridExecutor("chain", max_in_flight=9, max_queued=None) as executor:
            for error in (None, ValueError()):
                gate = Gate()
                handle = await executor.submit(gate.hold if error is None else partial(fail, error))
                handles = [handle]
                for number in range(3000):
                    handle = await executor.submit(echo, number, after=[handle])
                    handles.append(handle)
                gate.open()
                outcome = await handles[-1].outcome()
                assert (outcome.value, outcome.outcome.value) == (
                    (2999, "success") if error is None else (None, "cancelled")
                )

            return executor.stats()

    stats = in_virtual_time(backend, main)
    assert (stats.succeeded, stats.failed, stats.cancelled, stats.held) == (3001, 1, 3000, {})


@both
def test_a_held_one_can_be_cancelled_and_can_run_out_of_time(backend):
    async def main():
        gate = Gate()
        async with HybridExecutor("ends", max_in_flight=9) as executor:
            first = await executor.submit(gate.hold)
            cancelled = await executor.submit(echo, 1, after=[first])
            late = await executor.submit(echo, 2, after=[first], deadline=anyio.current_time() + 1)
            behind = [await executor.submit(echo, 3, after=[handle]) for handle in (cancelled, late)]
            assert cancelled.cancel()
            await late.outcome()
            assert executor.stats().held == {}
            gate.open()
            return [handle.state for handle in (cancelled, late, *behind)]

    states = in_virtual_time(backend, main)
    assert states == [TaskState.CANCELLED, TaskState.TIMED_OUT, TaskState.CANCELLED, TaskState.CANCELLED]


@both
def test_with_limits_and_rates(backend):
    async def main():
        starts = Starts()
        limits = {"api": Limit(in_flight=1, max_queued=3)}
        async with HybridExecutor("both", max_in_flight=9, limits=limits, rate=Rate(1, per=1.0)) as executor:
            first = await executor.submit(starts.note, "first", 0.5)
            dependent = await executor.submit(starts.note, "dependent", 0.5, key="api", after=[first])
            others = [await executor.submit(starts.note, "other", 0.5, key="api") for _ in range(2)]
            await quiet()
            assert executor.stats().held == {"dependency": 1, "rate": 2}
            with anyio.move_on_after(0.1) as scope:
                await executor.submit(starts.note, "no place", key="api")
            assert scope.cancelled_caught
            assert [handle.hold.reason for handle in (dependent, *others)] == ["dependency", "rate", "rate"]
        return list(zip(starts.keys, starts.at, strict=True))

    assert in_virtual_time(backend, main) == [("first", 0), ("dependent", 1), ("other", 2), ("other", 3)]


@both
def test_iterations_and_piles(backend):
    async def main():
        starts = Starts()
        async with HybridExecutor("many", max_in_flight=3) as executor:
            ready = await executor.submit(starts.note, "ready", 1.0)
            found = [value async for value in executor.map(starts.second, range(5), after=[ready])]
            assert (found, starts.now) == (list(range(5)), pytest.approx(3))
            async with executor.pile() as pile:
                broken = await pile.include(partial(fail, ValueError()))
                await pile.include(echo, 1, after=[broken])
                outcomes = [completed.outcome.value async for completed in pile]
        return outcomes

    assert in_virtual_time(backend, main) == ["error", "cancelled"]


@both
def test_closing(backend):
    async def main():
        starts = Starts()
        async with HybridExecutor("drained", max_in_flight=9) as executor:
            first = await executor.submit(starts.note, 1, 1.0)
            await executor.submit(starts.note, 2, after=[first])
        assert starts.at == [0, 1]
        async with HybridExecutor("cut", max_in_flight=9) as executor:
            first = await executor.submit(anyio.sleep_forever)
            held = await executor.submit(starts.note, 2, after=[first])
            report = await executor.shutdown(grace=1)
        return sorted(cut.phase for cut in report.cut), (await held.outcome()).error.reason

    assert in_virtual_time(backend, main) == (["queued", "running"], "shutdown")


@both
def test_metrics_and_counts(backend):
    async def main():
        REGISTRY.reset()
        async with HybridExecutor("shown", max_in_flight=9) as executor:
            first = await executor.submit(anyio.sleep, 2)
            await executor.submit(echo, 1, after=[first])
            broken = await executor.submit(anyio.sleep_forever, timeout=1)
            await executor.submit(echo, 1, after=[broken])
            await quiet()
            during = REGISTRY.collect()
        return during, REGISTRY.collect()

    during, after = in_virtual_time(backend, main)
    why = {Key.HOLD_REASON: "dependency"}
    assert (total(during, catalog.QUEUE_HELD, why), total(after, catalog.QUEUE_HELD, why)) == (2, 0)
    assert (merged(after, catalog.QUEUE_HOLD, why).count, merged(after, catalog.QUEUE_HOLD, why).sum) == (
        2,
        pytest.approx(3),
    )
    ended = {Key.CANCEL_REASON: "dependency", Key.TASK_PHASE: "queued"}
    assert (total(during, catalog.TASK_CANCELLATIONS, ended), total(after, catalog.TASK_CANCELLATIONS, ended)) == (0, 1)


@both
def test_what_has_ended_is_let_go(backend):
    class Thing:
        pass

    async def main():
        gate = Gate()
        async with HybridExecutor("let go", max_in_flight=9) as executor:
            thing = Thing()
            seen = weakref.ref(thing)
            first = await executor.submit(lambda thing: None, thing, runner="inline")
            running = await executor.submit(gate.hold)
            second = await executor.submit(echo, 1, after=[first, running])
            await first
            del thing, first
            gate.open()
            await second
            gc.collect()
            return seen(), second

    assert in_virtual_time(backend, main)[0] is None


@pytest.mark.anyio
async def test_bad_input():
    async with HybridExecutor("here", max_in_flight=1) as executor, HybridExecutor("there", max_in_flight=1) as other:
        handle, foreign = await executor.submit(echo, 1), await other.submit(echo, 1)
        for error, message, after in (
            (
                TypeError,
                r"after must be an iterable of task handles, not <TaskHandle .*>; write after=\[handle\]",
                handle,
            ),
            (TypeError, "after must be an iterable of task handles, not 5", 5),
            (TypeError, "after must have task handles, as submit returns them, not 'first'", ["first"]),
            (TypeError, "after must have task handles, as submit returns them, not None", [handle, None]),
            (
                ValueError,
                "after must have tasks of executor 'here' only, not <TaskHandle .*> of 'there'; await that",
                [foreign],
            ),
        ):
            with pytest.raises(error, match=message):
                await executor.submit(echo, 2, after=after)
        assert await executor.run(echo, 3, after=[]) == 3


@both
@settings(max_examples=60, deadline=None)
@given(
    graph=st.lists(
        st.tuples(st.lists(st.integers(0, 30), max_size=4), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 6)),
        min_size=1, max_size=25,
    ),
    slots=st.integers(1, 4),
)  # fmt: skip
def test_any_graph(backend, graph, slots):
    """Each task runs after all that it depends on, and exactly those run of which all have succeeded."""

    async def main():
        began: dict[int, float] = {}
        ended: dict[int, float] = {}

        async def work(number: int, seconds: float, fails: bool) -> None:
            began[number] = anyio.current_time()
            await anyio.sleep(seconds)
            ended[number] = anyio.current_time()
            if fails:
                raise ValueError(number)

        async with HybridExecutor("graph", max_in_flight=slots) as executor:
            handles: list[Any] = []
            needs: list[set[int]] = []
            for number, (wanted, seconds, luck) in enumerate(graph):
                needs.append({each % number for each in wanted} if number else set())
                after = [handles[each] for each in needs[-1]]
                handles.append(await executor.submit(work, number, seconds, luck == 0, after=after))
        expected: list[str] = []
        for number, (_, _, luck) in enumerate(graph):
            runs = all(expected[each] == "success" for each in needs[number])
            expected.append("cancelled" if not runs else "error" if luck == 0 else "success")
            assert (number in began) is runs
            assert all(ended[each] <= began[number] for each in needs[number] if runs)
        assert [handle.state.value for handle in handles] == expected
        conserved(executor, handles)
        assert executor.stats().held == {}

    in_virtual_time(backend, main)


@both
def test_an_observer_that_cancels_while_others_are_let_go_on(backend):
    async def main():
        handles: list[Any] = []

        def observe(event):
            if event.kind == "settled" and event.outcome == "cancelled":
                for handle in handles:
                    handle.cancel()

        async with HybridExecutor("observed", max_in_flight=9, observers=[observe]) as executor:
            first = await executor.submit(partial(fail, ValueError()))
            handles += [await executor.submit(echo, number, after=[first]) for number in range(5)]
        return conserved(executor, [first, *handles])

    stats = in_virtual_time(backend, main)
    assert (stats.failed, stats.cancelled, stats.held) == (1, 5, {})
