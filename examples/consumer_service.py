"""A consumer that runs for as long as the executor, and starts again when its connection breaks.

    python examples/consumer_service.py

A broker sends 300 orders and drops the connection three times. Two services of the executor run beside its tasks: the
consumer, which takes orders from the connection and submits them as tasks, and a store, which the tasks write to. The
consumer is ready when it is connected. The block ends when every order is stored: then the store is stopped last,
since the tasks need it to the end.
"""

import logging
import random
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from glasspool import HybridExecutor
from glasspool.telemetry import configure
from glasspool.telemetry.catalog import SERVICE_RESTARTS

ORDERS = 300


class Broker:
    """Stands for a message broker: what was sent and not acknowledged is sent again to who connects next."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.connections = 0
        self.drops_at = {60, 150, 210}

    async def connect(self) -> None:
        await anyio.sleep(0.02)
        self.connections += 1

    async def receive(self) -> int:
        await anyio.sleep(0.002)
        if self.acknowledged in self.drops_at:
            self.drops_at.remove(self.acknowledged)
            raise ConnectionResetError("the broker has gone away")
        if self.acknowledged == ORDERS:
            await anyio.sleep_forever()
        return self.acknowledged

    def acknowledge(self) -> None:
        self.acknowledged += 1


class Store:
    """Stands for a database that is to be closed when nobody writes any more."""

    def __init__(self) -> None:
        self.orders: set[int] = set()
        self.is_open = False

    @contextmanager
    def opened(self) -> Iterator["Store"]:
        self.is_open = True
        try:
            yield self
        finally:
            self.is_open = False

    def write(self, order: int) -> None:
        assert self.is_open, "the store is closed"
        self.orders.add(order)


async def keep(store: Store, *, task_status: TaskStatus[Store] = TASK_STATUS_IGNORED) -> None:
    """A service: the store is open while it runs."""
    with store.opened():
        task_status.started(store)
        await anyio.sleep_forever()


async def handle(order: int, store: Store) -> None:
    """A task: one order."""
    await anyio.sleep(random.uniform(0.001, 0.02))
    store.write(order)


async def consume(
    executor: HybridExecutor, broker: Broker, store: Store, done: anyio.Event, *, task_status: TaskStatus[int]
) -> None:
    """A service: it is ready when it is connected, and raises when the connection breaks."""
    await broker.connect()
    task_status.started(broker.connections)
    while True:
        order = await broker.receive()
        await executor.submit(handle, order, store)  # waits while the queue is full
        broker.acknowledge()
        if broker.acknowledged == ORDERS:
            done.set()


async def main() -> None:
    broker, done = Broker(), anyio.Event()
    async with HybridExecutor("orders", max_in_flight=8, max_queued=16) as executor:
        keeper = await executor.start_service(keep, Store(), name="store")
        store = keeper.value
        consumer = await executor.start_service(
            consume, executor, broker, store, done, name="consumer", restart="on_failure", max_restarts=5, within=60
        )
        print(f"connection {consumer.value}: {consumer}")
        await done.wait()
        print(f"connection {consumer.value}: {consumer}")
        print(f"{len(store.orders)} or more of {ORDERS} orders are stored, {executor.stats().in_flight} are under way")
    print(f"{len(store.orders)} orders are stored; the store is {'open' if store.is_open else 'closed'}")


def show(port: int | None) -> None:
    """What /metrics says of services that have crashed."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(SERVICE_RESTARTS.prometheus_name) and "error_type" in line:
                print(line)


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    telemetry = configure(service_name="consumer", prometheus_port=0)
    anyio.run(main)
    show(telemetry.prometheus_port)
