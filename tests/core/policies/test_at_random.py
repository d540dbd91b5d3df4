"""Anything that users may do, in any order: nothing is lost, nothing idles that could run, no bound is exceeded."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from glasspool import HybridExecutor, Limit, QueueFull, Rate
from tests.core.support import conserved
from tests.stateful.virtual import quiet

from .support import both, in_virtual_time

KEYS = [None, "named", "rated", 1, 2]

submit = st.tuples(
    st.just("submit"), st.sampled_from(KEYS), st.integers(1, 3), st.sampled_from([0.0, 0.5, 2.0]),
    st.sampled_from([None, None, None, 1.0, 4.0]),
)  # fmt: skip
steps = st.one_of(
    submit,
    submit,
    submit,
    st.tuples(st.just("cancel"), st.integers(0, 40)),
    st.tuples(st.just("sleep"), st.sampled_from([0.0, 0.25, 1.0, 3.0])),
    st.tuples(st.just("pause"), st.sampled_from([None, "named", 1]), st.sampled_from([0.0, 0.7, 2.0])),
    st.tuples(st.just("resize"), st.integers(1, 4)),
    st.tuples(st.just("limit"), st.integers(1, 3)),
    st.tuples(st.just("rate"), st.sampled_from([(), (Rate(2, burst=3),), (Rate(5, burst=4, of="starts"),)])),
)


class Case:
    """One executor and what is done to it."""

    def __init__(self, executor: HybridExecutor, named: Limit) -> None:
        self.executor = executor
        self.named = named
        self.handles: list[Any] = []
        self.running: Counter[Any] = Counter()
        self.ran: list[int] = []

    async def work(self, number: int, key: Any, seconds: float) -> None:
        self.ran.append(number)
        self.running[key] += 1
        assert self.running[key] <= {"named": 3, None: 9, "rated": 9}.get(key, 1)
        try:
            await anyio.sleep(seconds)
        finally:
            self.running[key] -= 1

    async def do(self, what: str, *arguments: Any) -> None:
        executor = self.executor
        if what == "submit":
            key, cost, seconds, deadline = arguments
            until = None if deadline is None else anyio.current_time() + deadline
            options = {"cost": cost} if key == "rated" else {}
            try:
                handle = executor.submit_nowait(
                    self.work, len(self.handles), key, seconds, key=key, deadline=until, **options
                )
            except QueueFull:
                return
            self.handles.append(handle)
        elif what == "cancel" and self.handles:
            self.handles[arguments[0] % len(self.handles)].cancel()
        elif what == "sleep":
            await anyio.sleep(arguments[0])
        elif what == "pause":
            executor.pause(arguments[1], key=arguments[0])
        elif what == "resize":
            executor.resize(arguments[0])
        elif what == "limit":
            self.named.resize(in_flight=arguments[0])
        elif what == "rate":
            executor.resize(rate=arguments[0])

    def check(self) -> None:
        stats = conserved(self.executor, self.handles)
        held = Counter(handle.hold.reason for handle in self.handles if handle.hold is not None)
        assert stats.held == held
        if stats.slots_used < stats.slots_limit:
            assert stats.queued == held.total(), "nobody waits for a slot while one is free"


@both
@settings(max_examples=150, deadline=None)
@given(st.lists(steps, min_size=1, max_size=40), st.sampled_from([None, 3]))
def test_it_adds_up(backend: str, program: list[tuple[Any, ...]], max_queued: int | None) -> None:
    async def main() -> None:
        named = Limit(in_flight=2)
        limits = {"named": named, "rated": Limit(rate=Rate(4, burst=3), max_queued=max_queued), "*": Limit(in_flight=1)}
        async with HybridExecutor("random", max_in_flight=2, limits=limits, max_queued=8) as executor:
            case = Case(executor, named)
            for step in program:
                await case.do(*step)
                await quiet()
                case.check()
            with anyio.fail_after(200):
                for handle in case.handles:
                    await handle.outcome()
            case.check()
        assert len(case.ran) == len(set(case.ran))
        assert not any(case.running.values())

    in_virtual_time(backend, main)
