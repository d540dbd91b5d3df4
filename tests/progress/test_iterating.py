"""progress() changes nothing of the iteration that it shows."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from glasspool import Completed, HybridExecutor, Outcome, Retry, progress
from glasspool.signals import shutdown_on_signals

pytestmark = pytest.mark.anyio


async def echo(number: int) -> int:
    await checkpoint()
    return number


async def odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError(number)
    return number


@pytest.fixture(autouse=True)
def no_bar_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    gc.collect()
    for thread in set(threading.enumerate()) - before:
        if thread.name == "glasspool-progress":
            thread.join(5)
            assert not thread.is_alive()


@pytest.mark.parametrize("disable", [False, True])
async def test_everything_comes_through(disable, capsys):
    async with HybridExecutor("e", max_in_flight=4) as executor:
        outcomes = [c async for c in progress(executor.as_completed(odd, range(20)), "some", disable=disable)]
        assert sorted(c.item.arguments[0] for c in outcomes) == list(range(20))
        values = [value async for value in progress(executor.map(echo, range(20)), disable=disable)]
        assert values == list(range(20))
        async with executor.pile() as pile:
            for number in range(5):
                await pile.include(echo, number)
            taken = [c async for c in progress(pile, "pile", disable=disable)]
            assert sorted(c.value for c in taken) == list(range(5))
            await pile.include(echo, 6)
            assert len([c async for c in progress(pile, disable=disable)]) == 1
    lines = capsys.readouterr().err.splitlines()
    if disable:
        assert lines == []
        return
    assert lines[0].startswith("some: 20 of 20, 100%, ")
    assert lines[0].endswith(", 10 errors")
    assert lines[1].startswith("echo: 20 of 20, 100%, ")
    assert lines[2].startswith("pile: 5 of 5, 100%, ")
    assert lines[3].startswith("1 of 1, 100%, ")
    assert len(lines) == 4


async def test_the_first_error_of_map_is_raised_and_ends_it(capsys):
    async with HybridExecutor("e", max_in_flight=1) as executor:
        values = []
        shown = progress(executor.map(odd, [1, 3, 4, 5]), "numbers")
        with pytest.raises(ValueError, match="4"):
            async for value in shown:
                values.append(value)
        assert values == [1, 3]
        with pytest.raises(StopAsyncIteration):
            await anext(shown)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("numbers: 2 of 4, 50%, ")
    assert line.endswith("1 error, ended early")


async def test_an_error_of_the_source_comes_after_the_outcomes(capsys):
    def source() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    async with HybridExecutor("e", max_in_flight=1) as executor:
        taken: list[Any] = []
        with pytest.raises(LookupError):
            async for completed in progress(executor.as_completed(echo, source())):
                taken.append(completed)
        assert len(taken) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("echo: 1 done")


class Sized:
    """A collection whose iterator does not tell how much is left."""

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[int]:
        yield from range(3)


class Broken(Sized):
    def __len__(self) -> int:
        raise LookupError("not now")


async def endless() -> AsyncIterator[int]:
    for number in range(3):
        yield number


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (lambda: [1, 2, 3], "3 of 3"), (lambda: {1: 1, 2: 2, 3: 3}, "3 of 3"), (Sized, "3 of 3"), (Broken, "3 done"),
        (lambda: iter([1, 2, 3]), "3 of 3"), (lambda: (n for n in range(3)), "3 done"), (endless, "3 done"),
    ],
)  # fmt: skip
async def test_the_total_is_the_length_of_the_source(source, shown, capsys):
    async with HybridExecutor("e", max_in_flight=2) as executor:
        async for _ in progress(executor.as_completed(echo, source()), "it"):
            pass
        async for _ in progress(executor.as_completed(echo, source()), "it", total=4):
            pass
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"it: {shown}, ")
    assert second.startswith("it: 3 of 4, 75%, ")


async def test_an_iteration_that_has_begun(capsys):
    async with HybridExecutor("e", max_in_flight=2) as executor:
        iteration = executor.as_completed(echo, range(10))
        await anext(iteration)
        assert len([c async for c in progress(iteration, "rest")]) == 9
    assert capsys.readouterr().err.startswith("rest: 9 of 9, ")


async def test_retries_are_those_of_this_iteration(capsys):
    attempts: dict[int, int] = {}

    async def second_time(number: int) -> int:
        attempts[number] = attempts.get(number, 0) + 1
        if attempts[number] == 1:
            raise ValueError(number)
        return number

    retry = Retry(ValueError, attempts=3, base=0.001)
    async with HybridExecutor("e", max_in_flight=2, retry_budget=None) as executor:
        await executor.run(second_time, 100, retry=retry)
        async for _ in progress(executor.as_completed(second_time, range(6), retry=retry), "again"):
            pass
    assert capsys.readouterr().err.rstrip().endswith("6 retries")


async def test_a_break_ends_the_bar_at_once(capsys):
    async with HybridExecutor("e", max_in_flight=2) as executor:
        async for _ in progress(executor.as_completed(echo, range(100)), "many"):
            break
        line = capsys.readouterr().err
        assert line.startswith("many: 1 of 100, ")
        assert line.endswith("ended early\n")


async def test_closing_closes_the_source(capsys):
    closed: list[int] = []

    def source() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(1)

    async with HybridExecutor("e", max_in_flight=2) as executor:
        async with contextlib.aclosing(progress(executor.as_completed(echo, source()), "one")) as shown:
            await anext(shown)
        async with progress(executor.as_completed(echo, source()), "two") as shown:
            await anext(shown)
        assert closed == [1, 1]
        with pytest.raises(StopAsyncIteration):
            await anext(shown)
        await shown.aclose()
        pile = executor.pile()
        handle = await pile.include(anyio.sleep_forever)
        await progress(pile).aclose()
        assert (await handle.outcome()).outcome is Outcome.CANCELLED
        assert executor.stats().in_flight == 0
    assert [line[:12] for line in capsys.readouterr().err.splitlines()] == ["one: 1 done,", "two: 1 done,"]


async def test_one_that_was_never_iterated_shows_nothing(capsys):
    async with HybridExecutor("e", max_in_flight=2) as executor:
        async with progress(executor.as_completed(echo, range(3))):
            pass
        progress(executor.as_completed(echo, range(3)))
    assert capsys.readouterr().err == ""


async def test_a_cancelled_consumer_loses_nothing_and_may_go_on(capsys):
    gate = anyio.Event()

    async def gated(number: int) -> int:
        await gate.wait()
        return number

    async with HybridExecutor("e", max_in_flight=2) as executor:
        shown = progress(executor.as_completed(gated, range(5)), "gated")
        for _ in range(3):
            with anyio.move_on_after(0.01) as scope:
                await anext(shown)
            assert scope.cancelled_caught
        assert capsys.readouterr().err == ""
        gate.set()
        assert sorted([completed.value async for completed in shown]) == list(range(5))
    assert capsys.readouterr().err.startswith("gated: 5 of 5, ")


async def test_losing_it_cancels_what_has_not_ended():
    async def forever(_number: int) -> None:
        await anyio.sleep_forever()

    async with HybridExecutor("e", max_in_flight=2) as executor:
        with anyio.move_on_after(0.01):
            async for _ in progress(executor.as_completed(forever, range(2))):
                raise AssertionError("none ends")
        gc.collect()
        with anyio.fail_after(10):
            while executor.stats().cancelled < 2:
                await anyio.sleep(0.01)


async def test_a_drain_by_a_signal_is_said(capsys):
    async with HybridExecutor("e", max_in_flight=1) as executor, shutdown_on_signals(executor, grace=10):
        shown = progress(executor.as_completed(echo, range(100)), "drained")
        assert shown.stopped is None
        async for completed in shown:
            if completed.value == 3:
                signal.raise_signal(signal.SIGTERM)
        assert shown.stopped is not None
        assert repr(shown).startswith("<Progress of <glasspool.iterators.AsCompleted")
    assert capsys.readouterr().err.rstrip().endswith("ended early")


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ([[1, 2]], {}, TypeError, "source must be what executor.as_completed"),
        ([None], {}, TypeError, "source must be what"),
        ([...], {"total": -1}, ValueError, "total must be at least 0, not -1"),
        ([...], {"total": 1.5}, TypeError, "total must be an int, not 1.5"),
        ([...], {"total": True}, TypeError, "total must be an int, not True"),
        ([..., 5], {}, TypeError, "description must be a str, not 5"),
        ([...], {"disable": "no"}, TypeError, "disable must be a bool, not 'no'"),
    ],
)
async def test_bad_input(arguments, options, error, message):
    async with HybridExecutor("e", max_in_flight=1) as executor:
        good = executor.map(echo, [])
        with pytest.raises(error, match=message):
            progress(*[good if each is ... else each for each in arguments], **options)


async def test_a_description_is_shown_on_one_line(capsys):
    async with HybridExecutor("e", max_in_flight=1) as executor:
        async for _ in progress(executor.map(echo, [1]), "[red]two\nlines\x1b[2J"):
            pass
    assert capsys.readouterr().err.startswith("[red]two lines [2J: 1 of 1")


@pytest.mark.parametrize("stderr", [None, "closed"])
async def test_no_stderr(stderr, monkeypatch, tmp_path):
    file = (tmp_path / "err").open("w")
    file.close()
    monkeypatch.setattr(sys, "stderr", file if stderr else None)
    async with HybridExecutor("e", max_in_flight=1) as executor:
        assert [value async for value in progress(executor.map(echo, [1, 2]))] == [1, 2]


async def test_two_consumers_of_a_pile(capsys):
    async with HybridExecutor("e", max_in_flight=4) as executor, executor.pile() as pile:
        for number in range(20):
            await pile.include(echo, number)
        shown = progress(pile, "both")
        taken: list[Completed[Any]] = []

        async def consume() -> None:
            async for completed in shown:
                taken.append(completed)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume)
            tasks.start_soon(consume)
        assert len(taken) == 20
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("both: 20 of 20, ")
