"""trio: nurseries and threads, with trio's own reasons for each cancellation.

python examples/trio_nursery.py
"""

from __future__ import annotations

import time

import trio
from _shown import start_telemetry

from glasspool.telemetry import catalog
from glasspool_instrumentation import TrioInstrumentor, name_limiter


async def serve_forever() -> None:
    await trio.sleep_forever()


async def work(limiter: trio.CapacityLimiter) -> None:
    """Blocks a thread, of which there are three."""
    await trio.to_thread.run_sync(time.sleep, 0.1, limiter=limiter)


async def main() -> None:
    limiter = name_limiter(trio.CapacityLimiter(3), "blocking")
    async with trio.open_nursery() as nursery:
        for _ in range(9):
            nursery.start_soon(work, limiter)
    with trio.move_on_after(0.05):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_forever)
    print("nine calls through three threads, and a service that ran out of time")


if __name__ == "__main__":
    metrics = start_telemetry("trio-nursery")
    TrioInstrumentor().instrument()
    trio.run(main)
    metrics.show(catalog.TASK_COMPLETED, catalog.TASK_CANCELLATIONS, catalog.QUEUE_WAIT, catalog.SLOT_SATURATED_TIME)
