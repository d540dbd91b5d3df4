"""Healthy programs that wait only for time: three hours of each on trio's mock clock, scraped as in real time.

Every task is a coroutine of a real HybridExecutor, and every series is what its recorder shows; only the clock is not
the machine's. (Threads do not know a mock clock: programs with threads are recorded in real time.)

    python virtual.py PROGRAM            prints one JSON object: {"series": [...], ...}
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import prometheus_client
import trio
from trio.testing import MockClock

from glasspool import HybridExecutor, Limit, Rate, Retry
from glasspool.telemetry import prometheus

HOURS = 3
SCRAPE_SECONDS = 15
M, H = 60, 3600


class Scraper:
    """Takes every series every fifteen seconds, the first time when the program has just begun."""

    def __init__(self) -> None:
        self.collector = prometheus.register(prometheus_client.CollectorRegistry())
        self.series: dict[tuple[str, ...], list[float | None]] = {}
        self.scrapes = 0

    async def run(self) -> None:
        while True:
            self.scrape()
            await trio.sleep(SCRAPE_SECONDS)

    def scrape(self) -> None:
        for family in self.collector.collect():
            for sample in family.samples:
                key = (sample.name, *(text for pair in sorted(sample.labels.items()) for text in pair))
                samples = self.series.setdefault(key, [])
                samples += [None] * (self.scrapes - len(samples))
                samples.append(sample.value)
        self.scrapes += 1

    def spelled(self) -> dict[str, list[float | None]]:
        """The series as Prometheus writes them."""
        found = {}
        for (name, *labels), samples in self.series.items():
            inner = ",".join(f"{key}={json.dumps(value)}" for key, value in zip(labels[::2], labels[1::2], strict=True))
            found[f"{name}{{{inner}}}"] = samples + [None] * (self.scrapes - len(samples))
        return found


async def every(seconds: float, do: Callable[[], Awaitable[object]]) -> None:
    while True:
        await do()
        await trio.sleep(seconds)


async def as_completed() -> None:
    """400 jobs of a second on 8 slots, every ten minutes: what is taken ahead waits as long as a job runs."""
    async with HybridExecutor("as-completed", max_in_flight=8) as executor:

        async def once() -> None:
            async for completed in executor.as_completed(trio.sleep, [1.0] * 400):
                completed.unwrap()

        await every(10 * M, once)


async def fan_out() -> None:
    """Requests that fan out: 50 calls over 10 slots, all at once; half of them wait on purpose."""
    async with HybridExecutor("fan-out", max_in_flight=10) as executor:

        async def request() -> None:
            async with executor.pile() as pile:
                for _ in range(50):
                    await pile.include(trio.sleep, 0.6)
                (await pile.drain()).raise_errors()

        await every(20, request)


async def etl() -> None:
    """A batch of an hour, and again: its queue is full all the time, and its producer blocked for minutes."""
    chance = random.Random(1)

    async def load(seconds: float) -> None:
        await trio.sleep(seconds)

    while True:
        async with HybridExecutor("etl", max_in_flight=4, max_queued=20) as executor:
            begun = trio.current_time()
            while trio.current_time() - begun < H:
                await executor.submit(load, chance.uniform(2 * M, 12 * M))
        await trio.sleep(20 * M)


async def etl_long() -> None:
    """A batch of few, long steps: for most of an hour nothing starts and nothing ends."""

    async def step(seconds: float) -> None:
        await trio.sleep(seconds)

    while True:
        async with HybridExecutor("etl-long", max_in_flight=2, max_queued=4) as executor:
            for minutes in (25, 40, 55, 30, 20, 10):
                await executor.submit(step, minutes * M)


async def nightly() -> None:
    """Quiet by day, 20,000 tasks in a minute at night, gone after a quarter of an hour; one in a hundred fails."""
    chance = random.Random(2)

    async def job(seconds: float, fails: bool) -> None:
        await trio.sleep(seconds)
        if fails:
            raise ValueError("a bad record")

    async with HybridExecutor("nightly", max_in_flight=64) as executor:
        await trio.sleep(70 * M)
        for _ in range(20_000):
            await executor.submit(job, chance.uniform(1, 4), chance.random() < 0.01)
            await trio.sleep(0.003)
        await trio.sleep_forever()


async def nobody() -> None:
    """An unused executor, and an unused one with an objective."""
    async with (
        HybridExecutor("unused", max_in_flight=8),
        HybridExecutor("unused-objective", max_in_flight=8, wait_objective=0.25),
    ):
        await trio.sleep_forever()


async def service() -> None:
    """Steady requests under a declared objective, which one in three hundred misses."""
    chance = random.Random(3)

    async def handle(seconds: float) -> None:
        await trio.sleep(seconds)

    async with HybridExecutor("service", max_in_flight=8, wait_objective=0.5) as executor:
        number = 0
        while True:
            number += 1
            await executor.submit(handle, chance.expovariate(10))
            if number % 1000 == 0:  # a deployment elsewhere: for a moment everything comes at once
                for _ in range(30):
                    await executor.submit(handle, 0.2)
            await trio.sleep(chance.expovariate(3))


async def connections() -> None:
    """Websocket handlers and consumers as tasks: some leave at once, some stay for hours, some have always been there.

    Clients leave of their own accord, which ends their handler normally or by cancelling the request around it.
    """
    chance = random.Random(4)

    async def handler(seconds: float) -> None:
        await trio.sleep(seconds)

    async def consumer() -> None:
        await trio.sleep_forever()

    async def heartbeat() -> None:
        await trio.sleep(0.05)

    async with (
        HybridExecutor("connections", max_in_flight=1000) as executor,
        trio.open_nursery() as nursery,
    ):
        for _ in range(4):
            await executor.submit(consumer)

        async def client() -> None:
            lives = chance.lognormvariate(4.5, 1.8)  # a minute and a half in the middle, hours at the end
            with trio.move_on_after(lives if chance.random() < 0.1 else 10 * H):
                await executor.run(handler, lives)

        while True:
            nursery.start_soon(client)
            await executor.submit(heartbeat)
            await trio.sleep(chance.expovariate(1 / 5))


async def long_polls() -> None:
    """Requests that wait for news for half a minute; a few callers do not wait so long."""
    chance = random.Random(5)

    async def poll() -> None:
        await trio.sleep(chance.uniform(0, 30))

    async with HybridExecutor("long-polls", max_in_flight=500) as executor, trio.open_nursery() as nursery:

        async def caller() -> None:
            with trio.move_on_after(chance.uniform(5, 90)):
                await executor.run(poll)

        while True:
            nursery.start_soon(caller)
            await trio.sleep(chance.expovariate(1))


async def held() -> None:
    """A batch that a rate spreads over an hour, one whose keys have limits, and a client that pauses."""
    chance = random.Random(6)

    async def send() -> None:
        await trio.sleep(0.2)

    async def load() -> None:
        await trio.sleep(chance.uniform(2 * M, 10 * M))

    async def spread() -> None:
        async with HybridExecutor("spread", max_in_flight=8, max_queued=100, rate=Rate(20, per=60)) as executor:
            while True:  # its queue is full of held tasks, and its producer blocked, for an hour
                for _ in range(1200):
                    await executor.submit(send)
                await trio.sleep(20 * M)

    async def in_turn() -> None:
        limits = {"*": Limit(in_flight=2, max_queued=20)}
        async with HybridExecutor("in-turn", max_in_flight=16, max_queued=200, limits=limits) as executor:
            while True:
                await executor.submit(load, key=chance.choice(("one", "two", "three")))

    async def pausing() -> None:
        async with HybridExecutor("pausing", max_in_flight=4, max_queued=500, wait_objective=600) as executor:
            number = 0
            while True:
                number += 1
                await executor.submit(send)
                if number % 600 == 0:  # the service asks for patience: up to five minutes
                    executor.pause(chance.uniform(M, 5 * M))
                await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        for each in (spread, in_turn, pausing):
            nursery.start_soon(each)


async def services() -> None:
    """A consumer that loses its connection now and then, one that ends and starts again by intention, one at times."""
    chance = random.Random(7)

    async def consume(*, task_status: Any) -> None:
        await trio.sleep(chance.uniform(0, 4 * M))  # until the server has handed its queues over
        task_status.started()
        await trio.sleep(chance.uniform(12 * M, 20 * M))
        raise ConnectionResetError

    async def refresh(*, task_status: Any) -> None:
        task_status.started()
        await trio.sleep(M)

    async def watch(*, task_status: Any) -> None:
        task_status.started()
        await trio.sleep_forever()

    async with HybridExecutor("services", max_in_flight=4) as executor:
        await executor.start_service(consume, name="consumer", restart="on_failure")
        await executor.start_service(refresh, name="refresher", restart="always")
        while True:
            watcher = await executor.start_service(watch, name="watcher")
            await trio.sleep(10 * M)
            await watcher.stop()
            await trio.sleep(20 * M)


async def retried() -> None:
    """A client of a service of which one call in ten fails, and which is away for 15 s now and then."""
    chance = random.Random(7)
    again = Retry(on=ConnectionError, attempts=6, base=0.5, cap=5)

    async def call() -> None:
        await trio.sleep(chance.uniform(0.05, 0.2))
        if trio.current_time() % (30 * M) < 15 or chance.random() < 0.1:
            raise ConnectionError("lost")

    async with HybridExecutor("client", max_in_flight=8, max_queued=50, wait_objective=0.5, retry=again) as executor:
        while True:
            await executor.submit(call)
            await trio.sleep(chance.expovariate(5))


PROGRAMS = {
    "as-completed": as_completed, "fan-out": fan_out, "etl-batch": etl, "etl-long-steps": etl_long,
    "nightly-burst": nightly, "nobody": nobody, "service": service, "connections": connections,
    "long-polls": long_polls, "held": held, "services": services, "retried": retried,
}  # fmt: skip


def main() -> None:
    program = PROGRAMS[sys.argv[1]]
    scraper = Scraper()

    async def run() -> None:
        with trio.move_on_after(HOURS * H):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(program)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(scraper.run)

    trio.run(run, clock=MockClock(autojump_threshold=0))
    print(json.dumps({"seconds": SCRAPE_SECONDS, "scrapes": scraper.scrapes, "series": scraper.spelled()}))


if __name__ == "__main__":
    main()
