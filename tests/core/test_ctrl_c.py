"""Ctrl-C at every point of our own code, and in users' code: the block raises KeyboardInterrupt, and nothing is
lost."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import glasspool
from glasspool import HybridExecutor, Outcome
from glasspool._foreign.guarded import leaves
from glasspool.task import task_of
from tests.programs import BACKENDS
from tests.tracing import tracing

from .support import echo, fail, forever, turns

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

PACKAGE = str(Path(glasspool.__file__).parent)
TELEMETRY = str(Path(PACKAGE, "telemetry"))


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    pytest.importorskip(name)
    return name


class Interrupt:
    """SIGINT at the line of ours that is the nth to be run for the first time."""

    def __init__(self, nth: int) -> None:
        self.nth = nth
        self.seen: set[tuple[str, int]] = set()

    def tracing(self) -> AbstractContextManager[None]:
        return tracing(self._trace)

    @property
    def came(self) -> bool:
        return len(self.seen) > self.nth

    def _trace(self, frame: FrameType, event: str, _argument: Any) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(PACKAGE) or file.startswith(TELEMETRY):
            return None
        place = file, frame.f_lineno
        if event == "line" and not self.came and place not in self.seen:
            self.seen.add(place)
            if self.came:
                sys.settrace(None)
                frame.f_trace = None
                signal.raise_signal(signal.SIGINT)
        return self._trace


class Busy:
    """An executor that does a little of everything."""

    def __init__(self) -> None:
        self.events: Counter[tuple[str, int]] = Counter()
        self.executor = HybridExecutor(
            "busy",
            max_in_flight=2,
            max_queued=2,
            observers=[lambda event: self.events.update([(event.kind, event.task_id)])],
        )

    async def run(self) -> None:
        async with self.executor as executor:
            for _ in range(6):
                await executor.submit(turns, 1)
            (await executor.submit(forever)).cancel()
            await executor.submit(forever, timeout=0.001)
            await executor.submit(fail, ValueError())
            await executor.run(abs, -1, runner="inline")
            async for _ in executor.map(echo, (number for number in range(5))):
                pass
            async with executor.as_completed(echo, self._source()) as outcomes:
                async for _ in outcomes:
                    break
            async with executor.pile() as pile:
                await pile.include(echo, 1)
                await pile.next_completed()
                await pile.include(echo, 2)
            executor.resize(3)
            await executor.shutdown(grace=1)
        await turns(3)  # where what has come at the end is told

    async def _source(self) -> Any:
        for number in range(5):
            await checkpoint()
            yield number

    def check(self) -> None:
        """Nothing is in use, and every accepted task has ended once."""
        stats = self.executor.stats()
        assert (stats.queued, stats.in_flight, stats.slots_used, stats.pending) == (0, 0, 0, 0)
        accepted = [task for kind, task in self.events if kind == "submitted"]
        assert stats.submitted == len(accepted)
        assert [self.events["settled", task] for task in accepted] == [1] * len(accepted)


def interrupted(backend: str, main: Callable[[], Any]) -> BaseException | None:
    """What leaves the program."""
    try:
        anyio.run(main, **BACKENDS[backend])
    except asyncio.CancelledError as error:  # by anyio on Python 3.10
        return KeyboardInterrupt() if sys.version_info < (3, 11) else error
    except BaseException as error:
        return error
    return None


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_at_every_second_line_of_ours(backend: str) -> None:
    pytest.importorskip(backend)
    nth = 0
    while True:
        interrupt, busy = Interrupt(nth), Busy()
        with interrupt.tracing():
            error = interrupted(backend, busy.run)
        if not interrupt.came:
            assert error is None
            break
        assert type(error) is KeyboardInterrupt, nth
        busy.check()
        nth += 2
    assert nth > 500  # there are that many


def raises_it() -> None:
    signal.raise_signal(signal.SIGINT)


async def bare() -> None:
    raises_it()


async def nested() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(bare)


async def in_a_group() -> None:
    try:
        raises_it()
    except KeyboardInterrupt as error:
        raise BaseExceptionGroup("of a library's own", [ValueError(), error]) from None


async def exits() -> None:
    """As a nursery does whose child exits. (On asyncio the exit of a child leaves the loop by itself.)"""
    await checkpoint()
    raise BaseExceptionGroup("of a nursery", [BaseExceptionGroup("of another", [ValueError(), SystemExit(3)])])


IN_TASKS = {
    "coroutine": (bare, {}),
    "inline": (raises_it, {"runner": "inline"}),
    "nursery": (nested, {}),
    "group": (in_a_group, {}),
}


@pytest.mark.parametrize("how", IN_TASKS)
def test_in_a_task_on_trio(how: str) -> None:
    """The function is interrupted where it is, its handle has that as the error, and the block raises it bare."""
    pytest.importorskip("trio")
    function, options = IN_TASKS[how]
    handles: list[Any] = []
    reached: list[str] = []

    async def main() -> None:
        async with HybridExecutor("interrupted", max_in_flight=2) as executor:
            handles.append(await executor.submit(forever))
            handles.append(await executor.submit(function, **options))
            await anyio.sleep_forever()
            reached.append("the body goes on")

    assert type(interrupted("trio", main)) is KeyboardInterrupt
    assert reached == []
    (others, interrupt) = [task_of(handle).completed for handle in handles]
    assert (others.outcome, others.error.reason) == (Outcome.CANCELLED, "keyboard_interrupt")
    assert interrupt.outcome is Outcome.ERROR
    assert KeyboardInterrupt in map(type, leaves(interrupt.error))


@pytest.mark.parametrize("draining", [False, True])
def test_an_exit_in_a_group(backend: str, draining: bool) -> None:
    found: list[BaseException] = []

    async def main() -> None:
        try:
            async with HybridExecutor("exits", max_in_flight=2) as executor:
                await executor.submit(forever)
                await executor.submit(exits)
                if not draining:
                    await anyio.sleep_forever()
        except SystemExit as error:
            found.append(error)

    assert interrupted(backend, main) is None
    assert [error.args for error in found] == [(3,)]


def spinning() -> None:
    """Never ends by itself, and does not wait."""
    signal.raise_signal(signal.SIGINT)
    while True:
        pass


async def spins() -> None:
    spinning()


def test_what_spins_is_interrupted_on_trio() -> None:
    """Only our own code is protected: in the function, in the body, in sources of both kinds and their closing."""
    pytest.importorskip("trio")

    def source() -> Iterator[int]:
        yield 1
        spinning()

    async def source_later() -> Any:
        yield 1
        spinning()

    async def closes() -> Any:
        try:
            yield 1
        finally:
            spinning()

    async def tasks(executor: HybridExecutor) -> None:
        await executor.run(spins)

    async def with_timeout(executor: HybridExecutor) -> None:
        await executor.run(spins, timeout=1000)

    async def inline(executor: HybridExecutor) -> None:
        await executor.run(spinning, runner="inline")

    async def body(executor: HybridExecutor) -> None:
        await executor.run(echo, 1)
        spinning()

    def iterates(made: Callable[[], Any]) -> Callable[[HybridExecutor], Any]:
        async def read(executor: HybridExecutor) -> None:
            async with executor.as_completed(echo, made()) as outcomes:
                async for _ in outcomes:
                    if made is closes:
                        break

        return read

    for what in (tasks, with_timeout, inline, body, iterates(source), iterates(source_later), iterates(closes)):

        async def main(what: Callable[[HybridExecutor], Any] = what) -> None:
            async with HybridExecutor("spins", max_in_flight=1) as executor:
                await what(executor)

        assert type(interrupted("trio", main)) is KeyboardInterrupt
