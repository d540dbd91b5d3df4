"""Observers: the task's context in their events, and that they may call every public method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from glasspool import ExecutorClosed, HybridExecutor, QueueFull, TaskHandle, TaskTimeout
from glasspool.telemetry.observers import TaskEvent
from glasspool.testing import run_out_of_time

pytestmark = pytest.mark.anyio

STATE: ContextVar[str] = ContextVar("state", default="unset")


async def succeed() -> None:
    STATE.set("set by the task")
    await checkpoint()


async def fail() -> None:
    await succeed()
    raise LookupError


async def hang() -> None:
    await succeed()
    await anyio.sleep_forever()


@pytest.mark.parametrize(
    ("work", "outcome"), [(succeed, "success"), (fail, "error"), (hang, "timeout"), (hang, "cancelled")]
)
async def test_an_observer_sees_what_the_task_has_set(work: Callable[..., Any], outcome: str) -> None:
    seen = []

    def observe(event: TaskEvent) -> None:
        assert event.context is not None
        seen.append((event.kind, event.context.get(STATE), event.context.run(STATE.get), event.outcome))

    async with HybridExecutor("observed", max_in_flight=1, observers=[observe]) as executor:
        STATE.set("set by the submitter")
        handle = await executor.submit(work, timeout=1e6 if outcome == "timeout" else None)
        await anyio.wait_all_tasks_blocked()
        if outcome == "timeout":
            run_out_of_time(handle)
        elif outcome == "cancelled":
            handle.cancel()
        await handle.outcome()
    before, after = ["set by the submitter"] * 2, ["set by the task"] * 2
    assert seen == [("submitted", *before, ""), ("started", *before, ""), ("settled", *after, outcome)]


# -- whatever is called from outside is called from an observer --------------------------------------------------------


class Watched:
    """An executor, tight in every way, whose observer makes ``call`` at each event of ``kind``, up to a few times."""

    def __init__(self, kind: str, call: Callable[[Watched, TaskEvent], object], places: int) -> None:
        self.kind, self.call = kind, call
        self.places = places
        self.calls, self.broken = 0, list[str]()
        self.handles: dict[int, TaskHandle[Any]] = {}
        self.group: Any = None
        self.over = False  # the group starts no more
        self.limit = 2
        self.told: Counter[str] = Counter()
        self.executor = HybridExecutor("watched", max_in_flight=2, max_queued=places, observers=[self.observe])

    def observe(self, event: TaskEvent) -> None:
        self.told[event.kind] += 1
        self.check(event)
        if event.kind + event.outcome == self.kind and self.calls < 5 and not self.over:
            self.calls += 1
            with suppress(QueueFull, ExecutorClosed):
                self.call(self, event)
            self.check(event)

    def check(self, event: TaskEvent) -> None:
        stats = self.executor.stats()
        ended = stats.succeeded + stats.failed + stats.timed_out + stats.cancelled
        if stats.queued > self.places:
            self.broken.append(f"{event}: {stats.queued} are queued")
        if event.kind == "started" and stats.in_flight > max(self.limit, 2):
            self.broken.append(f"{event}: {stats.in_flight} are in flight")
        if stats.submitted != stats.queued + stats.in_flight + ended or min(stats.queued, stats.in_flight) < 0:
            self.broken.append(f"{event}: {stats}")

    def resize(self, limit: int) -> None:
        self.limit = max(self.limit, limit)
        self.executor.resize(limit)

    def cancel_all(self) -> None:
        for handle in self.handles.values():
            handle.cancel()

    def iterate(self) -> None:
        iteration = self.executor.map(succeed, [])
        del iteration

    def own(self, event: TaskEvent) -> None:
        handle = self.handles.get(event.task_id)
        if handle is not None:
            handle.cancel("by an observer")


KINDS = [
    "submitted", "started", "settledsuccess", "settlederror", "settledtimeout", "settledcancelled", "rejected",
]  # fmt: skip
CALLS: dict[str, Callable[[Watched, TaskEvent], object]] = {
    "cancel this task": lambda watched, event: watched.own(event),
    "cancel all tasks": lambda watched, event: watched.cancel_all(),
    "submit": lambda watched, event: watched.executor.submit_nowait(succeed),
    "grow": lambda watched, event: watched.resize(4),
    "shrink": lambda watched, event: watched.resize(1),
    "grow and shrink": lambda watched, event: (watched.resize(5), watched.resize(1)),
    "shrink and grow": lambda watched, event: (watched.resize(1), watched.resize(3)),
    "pile": lambda watched, event: watched.executor.pile(fail_fast=True).cancel(),
    "map": lambda watched, event: watched.iterate(),
    "repr": lambda watched, event: [repr(handle) for handle in watched.handles.values()],
    "shut down": lambda watched, event: watched.group.start_soon(watched.executor.shutdown),
    "shut down at once": lambda watched, event: watched.group.start_soon(partial(watched.executor.shutdown, grace=0)),
    "fail": lambda watched, event: 1 / 0,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", KINDS)
async def test_an_observer_calls_whatever_it_likes(kind: str, call: str) -> None:
    for places in (0, 1, 4):
        await _watched(Watched(kind, CALLS[call], places), call)


async def _watched(watched: Watched, call: str) -> None:
    executor, handles = watched.executor, watched.handles
    accepted: list[TaskHandle[Any]] = []

    async def produce(work: Callable[..., Any], timeout: float | None) -> None:
        for _ in range(3):
            try:
                handle = await executor.submit(work, timeout=timeout)
            except (TaskTimeout, ExecutorClosed):
                continue
            accepted.append(handle)
            handles[handle.id] = handle

    async with executor:
        async with anyio.create_task_group() as watched.group:
            async with anyio.create_task_group() as producers:
                for work, timeout in ((succeed, None), (fail, None), (hang, 0.001), (hang, 0.002)):
                    producers.start_soon(produce, work, timeout)
                await checkpoint()
                for _ in range(8):
                    with suppress(QueueFull, ExecutorClosed):
                        handle = executor.submit_nowait(hang, timeout=0.001)
                        accepted.append(handle)
                        handle.cancel()
            for work in (hang, succeed):
                with suppress(ExecutorClosed):
                    handle = await executor.submit(work)
                    accepted.append(handle)
                    if work is hang:
                        handle.cancel()
            for handle in accepted:
                await handle.outcome()
            watched.over = True
    stats = executor.stats()
    assert watched.broken == []
    assert watched.calls or watched.kind == "rejected"
    assert (stats.queued, stats.in_flight, stats.pending, stats.slots_used) == (0, 0, 0, 0)
    if call != "fail":  # it is told no more
        assert watched.told["submitted"] == watched.told["settled"] == stats.submitted
    for handle in accepted:
        assert handle.done


async def test_an_observer_that_fails_at_an_event_within_an_event_is_not_told_of_the_outer_one():
    told: list[tuple[str, str]] = []

    def submits(event: TaskEvent) -> None:
        if (event.kind, event.name) == ("submitted", "outer"):
            executor.submit_nowait(succeed, name="inner")

    def fails(event: TaskEvent) -> None:
        told.append((event.kind, event.name))
        raise LookupError

    async with HybridExecutor("nested", max_in_flight=2, observers=[submits, fails]) as executor:
        executor.submit_nowait(succeed, name="outer")
    assert told == [("submitted", "inner")]
