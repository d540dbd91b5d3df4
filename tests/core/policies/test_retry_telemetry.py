"""What metrics, spans and statistics say of tasks that run more than once."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from opentelemetry.trace import StatusCode, get_current_span

from glasspool import HybridExecutor, Retry, RetryBudget, TaskTimeout
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.recording.registry import REGISTRY
from glasspool.telemetry.recording.snapshot_queries import merged, total
from tests.core.support import Gate, echo, until
from tests.stateful.virtual import quiet

from .support import both, in_virtual_time
from .test_retries import AT_ONCE, Flaky

loops = pytest.mark.anyio


def _stops(found: Any) -> dict[str, float]:
    return {why: total(found, catalog.RETRY_STOPPED, {Key.RETRY_STOP: why}) for why in catalog.RETRY_STOPS}


@both
def test_metrics(backend):
    async def main():
        REGISTRY.reset()
        budget = RetryBudget(ratio=0, floor=3)
        async with HybridExecutor("shown", max_in_flight=9, retry_budget=budget) as executor:
            plain = REGISTRY.collect()
            retry = Retry(on=lambda error: 2)
            ok = await executor.submit(_slow_flaky(Flaky(1)), retry=retry)
            before = REGISTRY.collect()
            await anyio.sleep(2)
            during = REGISTRY.collect()
            await ok
            deadline = anyio.current_time() + 1
            late = await executor.submit(Flaky(1).__call__, retry=retry, deadline=deadline)
            spent = await executor.submit(Flaky(9).__call__, retry=Retry(on=lambda error: 0, attempts=9))
            one = await executor.submit(Flaky(9).__call__, retry=Retry(on=OSError, attempts=1))
            for handle in (late, spent, one):
                await handle.outcome()
            after = REGISTRY.collect()
        return plain, before, during, after

    plain, before, during, after = in_virtual_time(backend, main)
    for metric in (catalog.TASK_RETRIES, catalog.RETRY_STOPPED, catalog.RETRY_BUDGET):
        assert metric.name not in plain.points
    assert catalog.ATTEMPT_DURATION.name not in plain.histograms
    assert _stops(before) == {"attempts": 0, "budget": 0, "deadline": 0, "closing": 0}
    assert (total(before, catalog.RETRY_BUDGET, {}), total(during, catalog.RETRY_BUDGET, {})) == (3, 2)
    assert total(during, catalog.TASK_RETRIES, {Key.ERROR_TYPE: "ConnectionError"}) == 1
    held = {Key.HOLD_REASON: "retry"}
    assert (total(during, catalog.QUEUE_HELD, held), total(after, catalog.QUEUE_HELD, held)) == (1, 0)
    assert (total(during, catalog.QUEUE_SIZE, {}), total(during, catalog.SLOT_USAGE, {})) == (1, 0)
    assert _stops(after) == {"attempts": 1, "budget": 1, "deadline": 1, "closing": 0}
    assert total(after, catalog.RETRY_BUDGET, {}) == 0
    # Of the first task: an attempt of a second, two seconds of delay, another attempt.
    success = {Key.TASK_OUTCOME: "success"}
    ran, attempt = merged(after, catalog.TASK_DURATION, success), merged(after, catalog.ATTEMPT_DURATION, success)
    assert (ran.count, ran.sum, attempt.count, attempt.sum) == (1, 2, 1, 1)
    assert merged(after, catalog.ATTEMPT_DURATION, {Key.TASK_OUTCOME: "error"}).count == 1 + 1 + 3 + 1
    assert (merged(after, catalog.QUEUE_HOLD, held).count, merged(after, catalog.QUEUE_HOLD, held).sum) == (3, 2)
    started = merged(after, catalog.QUEUE_WAIT, {Key.QUEUE_OUTCOME: "started"})
    assert (started.count, started.sum) == (4, 0)
    # A task in its delay does not use its slot.
    assert total(after, catalog.SLOT_TIME, {}) == pytest.approx(2)


def _slow_flaky(flaky: Flaky) -> Any:
    async def work() -> int:
        await anyio.sleep(1)
        return flaky.plain()

    return work


@both
def test_cancellations_between_two_attempts(backend):
    async def main():
        REGISTRY.reset()
        async with HybridExecutor("cancelled", max_in_flight=1) as executor:
            handle = await executor.submit(_slow_flaky(Flaky(1)), retry=Retry(on=lambda error: 9))
            await anyio.sleep(3)
            before = REGISTRY.collect()
            stats = executor.stats()
            handle.cancel()
            return before, stats, REGISTRY.collect()

    before, stats, after = in_virtual_time(backend, main)
    where = {Key.CANCEL_REASON: "explicit", Key.TASK_PHASE: "retry_wait"}
    cancelled = [total(found, catalog.TASK_CANCELLATIONS, where) for found in (before, after)]
    assert cancelled == [0, 1]
    ran = merged(after, catalog.TASK_DURATION, {Key.TASK_OUTCOME: "cancelled"})
    assert (ran.count, ran.sum, merged(after, catalog.ATTEMPT_DURATION, {}).count) == (1, 1, 1)
    assert stats.oldest_queued_age == 2  # since it is queued again


@loops
async def test_spans(sdk):
    async def work() -> None:
        seen.append(get_current_span().get_span_context().span_id)
        with sdk.tracer.start_as_current_span("call"):
            await anyio.lowlevel.checkpoint()
        if len(seen) < 3:
            raise ConnectionError("down")

    seen: list[int] = []
    with sdk.tracer.start_as_current_span("request"):
        async with HybridExecutor("traced", max_in_flight=1) as executor:
            await executor.run(work, name="ask", retry=AT_ONCE)
            await executor.run(echo, 1, name="plain")
    task = sdk.span("traced ask")
    attempts = sdk.spans("traced ask attempt")
    assert [span.context.span_id for span in attempts] == seen
    assert [span.parent.span_id for span in attempts] == [task.context.span_id] * 3
    assert [span.parent.span_id for span in sdk.spans("call")] == seen
    assert task.parent.span_id == sdk.span("request").context.span_id
    assert [span.attributes[Key.TASK_ATTEMPT] for span in [*attempts, task]] == [1, 2, 3, 3]
    assert [span.attributes[Key.TASK_OUTCOME] for span in [*attempts, task]] == ["error", "error", "success", "success"]
    assert {span.attributes[Key.TASK_NAME] for span in attempts} == {"ask"}
    assert [span.status.status_code for span in attempts] == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    assert [[event.name for event in span.events] for span in attempts] == [["exception"], ["exception"], []]
    assert [event.name for event in task.events] == [
        "glasspool.task.started",
        *["glasspool.task.held", "glasspool.task.released"] * 2,
    ]
    assert {event.attributes[Key.HOLD_REASON] for event in task.events[1:]} == {"retry"}
    assert Key.TASK_ATTEMPT not in sdk.span("traced plain").attributes
    assert task.attributes[Key.TASK_DURATION] >= sum(span.attributes[Key.TASK_DURATION] for span in attempts) - 1e-6
    assert all(span.end_time <= task.end_time for span in attempts)


@loops
@pytest.mark.parametrize("observed", [False, True])
async def test_a_span_of_each_kind_of_end(sdk, observed):
    events: list[Any] = []
    async with HybridExecutor("ends", max_in_flight=1, observers=[events.append] if observed else []) as executor:
        retry = Retry(on=(TaskTimeout, ConnectionError), attempts=2, base=1e-9)
        await (await executor.submit(anyio.sleep_forever, name="slow", timeout=0.001, retry=retry)).outcome()
        await (await executor.submit(Flaky(5).__call__, name="fails", retry=retry)).outcome()
        gate = Gate()
        handle = await executor.submit(gate.hold, name="cancelled", retry=retry)
        await until(lambda: gate.started)
        handle.cancel()
        await handle.outcome()
        waits = await executor.submit(Flaky(5).__call__, name="waits", retry=Retry(on=lambda error: 1000))
        await until(lambda: waits.hold is not None)
        waits.cancel()
    found = {
        name: [span.attributes[Key.TASK_OUTCOME] for span in sdk.spans(f"ends {name} attempt")]
        for name in ("slow", "fails", "cancelled", "waits")
    }
    assert found == {
        "slow": ["timeout"] * 2, "fails": ["error"] * 2, "cancelled": ["cancelled"], "waits": ["error"],
    }  # fmt: skip
    assert sdk.span("ends waits").attributes[Key.TASK_OUTCOME] == "cancelled"
    for name, spans in found.items():
        task = sdk.span(f"ends {name}")
        assert task.attributes[Key.TASK_ATTEMPT] == len(spans)
        attempts = sdk.spans(f"ends {name} attempt")
        assert all(span.parent.span_id == task.context.span_id for span in attempts)
        assert all(span.end_time <= task.end_time for span in attempts)
    if observed:
        settled = [event.outcome for event in events if event.kind == "settled"]
        assert settled == ["timeout", "error", "cancelled", "cancelled"]


@both
def test_snapshots_add_up_all_the_time(backend):
    """No reading finds a task in two places, or in none."""

    async def main():
        REGISTRY.reset()
        sums: set[tuple[float, float]] = set()

        def look(event: Any = None) -> None:
            stats, found = executor.stats(), REGISTRY.collect()
            submitted = total(found, catalog.TASK_SUBMITTED, {})
            sums.add((stats.submitted, submitted))
            shown = total(found, catalog.QUEUE_SIZE, {}) + total(found, catalog.TASK_ACTIVE, {})
            assert shown + total(found, catalog.TASK_COMPLETED, {}) == submitted == stats.submitted

        retry = Retry(on=lambda error: look() or 1)
        async with HybridExecutor("sums", max_in_flight=2, observers=[look]) as executor:
            handles = [await executor.submit(Flaky(2).__call__, retry=retry) for _ in range(5)]
            while not all(handle.done for handle in handles):
                look()
                await anyio.sleep(0.5)
            await quiet()
        return sums

    assert in_virtual_time(backend, main) == {(number, number) for number in range(1, 6)}
