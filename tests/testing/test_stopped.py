"""After a drain that a signal began, iterators and piles deliver all accepted outcomes, end, and report what is
left."""

from __future__ import annotations

import itertools
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from signal import Signals
from typing import Any

import anyio
import pytest

from glasspool import ExecutorClosed, HybridExecutor, Outcome, Stopped, TaskCancelled
from glasspool.signals import shutdown_on_signals
from glasspool.telemetry import catalog
from glasspool.testing import Recorded, recorded
from tests.core.support import Gate, until

pytestmark = pytest.mark.anyio

TOTAL = 100
AFTER = 7  # outcomes that are taken before the signal comes


@pytest.fixture
def seen() -> Iterator[Recorded]:
    with recorded() as seen:
        yield seen


class Work:
    """What runs, and what has run."""

    def __init__(self) -> None:
        self.done: list[int] = []

    async def __call__(self, number: int) -> int:
        for _ in range(number % 3):
            await anyio.sleep(0)
        self.done.append(number)
        return number


class Source:
    """Numbers from 0 on; knows how many were taken, and whether it was closed."""

    def __init__(self, kind: str, total: int | None = TOTAL) -> None:
        self.kind = kind
        self.taken = 0
        self.closed = False
        self.total = total

    def make(self) -> Any:
        if self.kind == "list":
            assert self.total is not None
            return list(range(self.total))
        return {"generator": self.generator, "async": self.asynchronous, "blocks": self.blocks}[self.kind]()

    def generator(self) -> Iterator[int]:
        for number in itertools.count() if self.total is None else range(self.total):
            self.taken += 1
            yield number

    async def asynchronous(self) -> AsyncIterator[int]:
        try:
            numbers = self.generator()
            while True:
                await anyio.sleep(0)  # before it takes one: it is cancelled where it waits
                for number in itertools.islice(numbers, 1):
                    yield number
                if self.taken == self.total:
                    return
        finally:
            self.closed = True

    async def blocks(self) -> AsyncIterator[int]:
        try:
            for number in itertools.islice(self.generator(), AFTER):
                yield number
            await anyio.sleep_forever()
        finally:
            self.closed = True


async def consume(iterator: Any, stop: Any) -> list[int]:
    """Everything it gives; the signal comes when so much has been taken."""
    found = []
    async for each in iterator:
        found.append(each if isinstance(each, int) else each.unwrap())
        if len(found) == AFTER:
            signal.raise_signal(signal.SIGTERM)
    await until(lambda: stop.received)
    return found


@pytest.mark.parametrize("how", ["map", "as_completed"])
@pytest.mark.parametrize(
    ("kind", "total"),
    [("list", TOTAL), ("generator", TOTAL), ("generator", None), ("async", TOTAL), ("async", None), ("blocks", None)],
)
async def test_everything_that_was_accepted_is_delivered_and_the_rest_is_counted(
    how: str, kind: str, total: int | None, seen: Recorded
) -> None:
    work, source = Work(), Source(kind, total)
    async with HybridExecutor("batch", max_in_flight=2) as executor, shutdown_on_signals(executor) as stop:
        iterator: Any = getattr(executor, how)(work, source.make())
        assert iterator.stopped is None
        found = await consume(iterator, stop)
        assert sorted(found) == sorted(work.done)
        if how == "map":
            assert found == list(range(len(found)))
        stopped = iterator.stopped
        assert isinstance(stopped, Stopped)
        assert (stopped.signal, stopped.refused) == (Signals.SIGTERM, len(stopped.items))
        assert seen.total(catalog.TASK_REJECTED, executor_name="batch", error_type="already_shutdown") == 0
        if kind == "list":
            assert stopped.remaining is not None
            assert len(found) + stopped.refused + stopped.remaining == TOTAL
        else:
            assert stopped.remaining is None
            assert source.taken == len(found) + len(stopped.items)
            assert source.closed is (kind != "generator")
        assert list(stopped.items) == [len(found)] * len(stopped.items)
        with pytest.raises(StopAsyncIteration):
            await anext(iterator)
    assert stop.report is not None
    assert stop.report.cut == ()
    assert executor.stats().succeeded == len(found)


@pytest.mark.parametrize("how", ["map", "as_completed"])
async def test_a_source_that_had_ended_was_not_stopped(how: str) -> None:
    work = Work()
    async with HybridExecutor("batch", max_in_flight=20) as executor, shutdown_on_signals(executor) as stop:
        iterator: Any = getattr(executor, how)(work, range(AFTER))
        assert len(await consume(iterator, stop)) == AFTER
        assert iterator.stopped is None


@pytest.mark.parametrize("how", ["map", "as_completed"])
@pytest.mark.parametrize("kind", ["generator", "async"])
async def test_the_item_in_hand_is_given_back(how: str, kind: str) -> None:
    gate, source = Gate(), Source(kind)
    async with (
        HybridExecutor("full", max_in_flight=1, max_queued=0) as executor,
        shutdown_on_signals(executor) as stop,
        anyio.create_task_group() as group,
    ):
        other = await executor.submit(gate.hold)
        iterator: Any = getattr(executor, how)(gate.hold, source.make())

        async def sends() -> None:
            await until(lambda: executor.stats().pending)
            signal.raise_signal(signal.SIGTERM)
            await until(lambda: stop.received)
            gate.open()

        group.start_soon(sends)
        assert [each async for each in iterator] == []
        assert iterator.stopped == Stopped(Signals.SIGTERM, 1, (0,), None)
        await other
    assert executor.stats().rejected == 1


@pytest.mark.parametrize("how", ["map", "as_completed"])
async def test_what_the_grace_cuts_is_delivered_as_that(how: str) -> None:
    async def work(number: int) -> int:
        if number >= AFTER:
            await anyio.sleep_forever()
        return number

    async with HybridExecutor("cut", max_in_flight=2) as executor, shutdown_on_signals(executor, grace=0) as stop:
        iterator: Any = getattr(executor, how)(work, itertools.count())
        if how == "map":
            with pytest.raises(TaskCancelled, match="shutdown"):
                await consume(iterator, stop)
            return
        outcomes = []
        async for completed in iterator:
            outcomes.append(completed.outcome)
            if len(outcomes) == AFTER:
                signal.raise_signal(signal.SIGTERM)
        assert outcomes.count(Outcome.SUCCESS) == AFTER
        assert outcomes.count(Outcome.CANCELLED) == len(outcomes) - AFTER > 0
        assert executor.stats().submitted == len(outcomes)


@pytest.mark.parametrize("how", ["map", "as_completed"])
@pytest.mark.parametrize("kind", ["list", "generator", "async", "blocks"])
async def test_a_shutdown_by_hand_is_an_error_that_comes_last(how: str, kind: str) -> None:
    """The iteration raises after a shutdown by hand: its consumer would otherwise take it for complete."""
    work, found = Work(), []
    async with HybridExecutor("hand", max_in_flight=2) as executor, anyio.create_task_group() as group:
        iterator: Any = getattr(executor, how)(work, Source(kind).make())
        with pytest.raises(ExecutorClosed, match=f"'hand' closed before {how} had read its source"):
            async for each in iterator:
                found.append(each if isinstance(each, int) else each.unwrap())
                if len(found) == AFTER:
                    group.start_soon(executor.shutdown)
                    await until(lambda: "clos" in repr(executor))
        assert sorted(found) == sorted(work.done)
        assert iterator.stopped is None
        with pytest.raises(StopAsyncIteration):
            await anext(iterator)


Drain = Callable[[Any], Any]


async def _iterated(pile: Any) -> list[Any]:
    return [completed.unwrap() async for completed in pile]


async def _drained(pile: Any) -> list[Any]:
    return list((await pile.drain()).values())


@pytest.mark.parametrize("take", [_iterated, _drained])
async def test_a_piles_producers_end_and_its_consumer_gets_everything(take: Drain, seen: Recorded) -> None:
    work, ended = Work(), []
    async with HybridExecutor("pile", max_in_flight=2, max_queued=2) as executor, shutdown_on_signals(executor):
        async with executor.pile() as pile, anyio.create_task_group() as group:

            async def produces() -> None:
                with pile.producer() as include:
                    for number in itertools.count():
                        await include(work, number)
                ended.append("producer")

            async def sends() -> None:
                await until(lambda: len(work.done) > AFTER)
                signal.raise_signal(signal.SIGTERM)

            assert pile.stopped is None
            for _ in range(3):
                group.start_soon(produces)
            await until(lambda: pile.stats().submitted)
            group.start_soon(sends)
            found = await take(pile)
            await until(lambda: len(ended) == 3)
            assert sorted(found) == sorted(work.done)
            assert pile.stopped == Stopped(Signals.SIGTERM, 3, (), None)
    assert seen.total(catalog.TASK_REJECTED, executor_name="pile", error_type="already_shutdown") == 0
    assert seen.total(catalog.TASK_REJECTED, executor_name="pile", error_type="submit_cancelled") == 3


@pytest.mark.parametrize("take", [_iterated, _drained])
@pytest.mark.parametrize("how", ["signal", "by hand"])
async def test_a_producer_that_waits_for_something_else_holds_nobody_up(take: Drain, how: str) -> None:
    work = Work()
    async with HybridExecutor("pile", max_in_flight=2) as executor, shutdown_on_signals(executor):
        async with anyio.create_task_group() as group:
            async with executor.pile() as pile:

                async def produces() -> None:
                    with pile.producer() as include:
                        await include(work, 1)
                        await anyio.sleep_forever()

                async def closes() -> None:
                    await anyio.wait_all_tasks_blocked()
                    if how == "signal":
                        signal.raise_signal(signal.SIGTERM)
                    else:
                        await executor.shutdown()

                group.start_soon(produces)
                await until(lambda: pile.stats().submitted)
                group.start_soon(closes)
                assert await take(pile) == [1]
                assert pile.stopped is None  # nothing was refused
            group.cancel_scope.cancel()


async def test_a_producer_learns_of_a_shutdown_by_hand() -> None:
    async with HybridExecutor("pile", max_in_flight=2) as executor, executor.pile() as pile:
        await executor.shutdown()
        with pytest.raises(ExecutorClosed, match="is closed"):
            with pile.producer() as include:
                await include(anyio.sleep, 0)
        assert pile.stopped is None


async def test_an_error_that_is_not_the_piles_own_leaves_its_producer() -> None:
    async with HybridExecutor("pile", max_in_flight=2) as executor, shutdown_on_signals(executor) as stop:
        signal.raise_signal(signal.SIGTERM)
        await until(lambda: stop.received)
        other = executor.pile()
        with pytest.raises(ExecutorClosed):
            with executor.pile().producer():
                await other.include(anyio.sleep, 0)
        with pytest.raises(ExecutorClosed):
            with executor.pile().producer():
                await executor.submit(anyio.sleep, 0)
