"""Interrupt a busy executor by Ctrl-C at random moments, many times, and check that each run ends cleanly.

    python tools/interrupts.py trio 2000 --seed 7
    python tools/interrupts.py trio 2000 --seed 7 --bare

A run is clean if the program ends by KeyboardInterrupt at the first interrupt (on trio in the groups that the program's
nurseries make of it), every accepted task has ended and was reported once, no slot is in use, and nothing else is
raised. ``--bare`` does the same with a plain task group, for comparison.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import select
import signal
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from glasspool import HybridExecutor
from glasspool._foreign.guarded import leaves
from glasspool.telemetry.observers import TaskEvent

LATEST = 0.02
"""Seconds after opening within which the interrupt comes."""
PATIENCE = 5.0
"""Seconds after which another one is sent, because the first was lost."""
HUNG = 30.0


async def nothing() -> None:
    """End at once."""


async def turn() -> None:
    """End in the next turn."""
    await checkpoint()


async def items() -> AsyncIterator[int]:
    """An endless source."""
    while True:
        await checkpoint()
        yield 1


class Round:
    """One executor, interrupted once."""

    def __init__(self, rnd: random.Random) -> None:
        self.rnd = rnd
        self.executor: HybridExecutor | None = None
        self.events: Counter[tuple[str, int]] = Counter()

    async def run(self) -> None:
        """Be busy until interrupted."""
        executor = HybridExecutor("interrupted", max_in_flight=8, max_queued=20, observers=[self._observe])
        async with executor:
            self.executor = executor
            while True:
                for work in (self._submits, self._maps, self._takes, self._includes):
                    await work(executor)

    def _observe(self, event: TaskEvent) -> None:
        self.events[event.kind, event.task_id] += 1

    async def _submits(self, executor: HybridExecutor) -> None:
        for _ in range(40):
            handle = await executor.submit(self.rnd.choice((nothing, turn)))
            if self.rnd.random() < 0.05:
                handle.cancel()
            if self.rnd.random() < 0.05:
                await executor.submit(anyio.sleep, 0.001, timeout=0.0005)
            if self.rnd.random() < 0.05:
                executor.resize(self.rnd.randint(4, 8))

    async def _maps(self, executor: HybridExecutor) -> None:
        async for _ in executor.map(abs, (number for number in range(30)), runner="inline"):
            pass

    async def _takes(self, executor: HybridExecutor) -> None:
        taken = 0
        async with executor.as_completed(anyio.sleep, items(), timeout=0.0005) as outcomes:
            async for _ in outcomes:
                taken += 1
                if taken == 10:
                    break

    async def _includes(self, executor: HybridExecutor) -> None:
        async with executor.pile() as pile:
            for _ in range(10):
                await pile.include(turn)
            await pile.drain()

    def wrong(self) -> str:
        """The deviations from a clean end."""
        if self.executor is None:
            return ""
        stats = self.executor.stats()
        accepted = {task for kind, task in self.events if kind == "submitted"}
        wrong = []
        if stats.queued or stats.in_flight or stats.slots_used or stats.pending:
            wrong.append(f"in use: {stats}")
        if stats.submitted != len(accepted) or any(self.events["settled", task] != 1 for task in accepted):
            wrong.append("outcomes lost")
        return ", ".join(wrong)


class Bare(Round):
    """The same with a task group."""

    async def run(self) -> None:
        """Be busy until interrupted."""
        limiter = anyio.Semaphore(8)

        async def limited(work: Callable[[], Awaitable[None]]) -> None:
            async with limiter:
                await work()

        async with anyio.create_task_group() as group:
            while True:
                for _ in range(20):
                    group.start_soon(limited, self.rnd.choice((nothing, turn)))
                await checkpoint()


class Interrupter:
    """Sends SIGINT to the process, and again if the first was lost."""

    def __init__(self, delay: float) -> None:
        self.sent = 0
        self.over = threading.Event()
        self._delay = delay
        self._thread = threading.Thread(target=self._send, daemon=True)

    def start(self) -> None:
        """Begin to count."""
        self._thread.start()

    def join(self) -> None:
        """Send no more."""
        self.over.set()
        self._thread.join()

    def _send(self) -> None:
        time.sleep(self._delay)
        while not self.over.is_set():
            self.sent += 1
            os.kill(os.getpid(), signal.SIGINT)
            self.over.wait(PATIENCE)


def interrupt(backend: str, rnd: random.Random, *, bare: bool) -> str:
    """Run a round and interrupt it. Returns what went wrong, ``clean``, or ``early`` for an interrupt that came too
    soon."""
    found = Bare(rnd) if bare else Round(rnd)
    interrupter = Interrupter(rnd.random() * LATEST)
    entered: list[bool] = []

    async def main() -> None:
        entered.append(True)
        interrupter.start()
        await found.run()

    options: dict[str, Any] = {"use_uvloop": True} if backend == "uvloop" else {}
    ended = "returned"
    try:
        try:
            anyio.run(main, backend="trio" if backend == "trio" else "asyncio", backend_options=options)
        except KeyboardInterrupt:
            ended = "KeyboardInterrupt"
        except asyncio.CancelledError:  # by anyio on Python 3.10
            ended = "KeyboardInterrupt" if sys.version_info < (3, 11) else "CancelledError"
        except BaseException as error:  # noqa: BLE001 - counted
            kinds = {type(leaf).__name__ for leaf in leaves(error)}
            ended = "KeyboardInterrupt" if kinds == {"KeyboardInterrupt"} else f"{type(error).__name__} of {kinds}"
        interrupter.join()
    except KeyboardInterrupt:
        ended = "KeyboardInterrupt late"
    if ended == "KeyboardInterrupt" and interrupter.sent > 1:
        ended = "KeyboardInterrupt, but not at the first"
    wrong = found.wrong()
    if ended == "KeyboardInterrupt" and not wrong:
        return "clean"
    return ", ".join(filter(None, (ended, wrong)))


def apart(seed: int, backend: str, *, bare: bool) -> str:
    """The same in a separate process, which may hang."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, interrupt(backend, random.Random(seed), bare=bare).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as answer:
        if select.select([answer], [], [], HUNG)[0]:
            found = answer.read().decode() or "crashed"
        else:
            found = "hung"
            os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return found


def main() -> int:
    """Interrupt so many times and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backend", choices=("asyncio", "uvloop", "trio"))
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bare", action="store_true", help="a plain task group instead of an executor")
    asked = parser.parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)  # a coroutine that was interrupted before its first step
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell has put this into the background
    results: Counter[str] = Counter()
    interrupt(asked.backend, random.Random(0), bare=asked.bare)  # what is imported late is imported here
    for number in range(asked.count):
        results[apart(asked.seed + number, asked.backend, bare=asked.bare)] += 1
    for result, number in results.most_common():
        print(f"{number:6} {result}")
    return 0 if set(results) <= {"clean"} else 1


if __name__ == "__main__":
    sys.exit(main())
