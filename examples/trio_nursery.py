"""trio: nurseries and threads, with trio's own reasons for each cancellation.

python examples/trio_nursery.py
"""

from __future__ import annotations

import time
import urllib.request

import trio

from glasspool.telemetry import catalog, configure
from glasspool_instrumentation import TrioInstrumentor, name_limiter

SHOWN = (
    catalog.TASK_COMPLETED.prometheus_name,
    catalog.TASK_CANCELLATIONS.prometheus_name,
    catalog.QUEUE_WAIT.prometheus_name + "_count",
    catalog.SLOT_SATURATED_TIME.prometheus_name,
)
"""What is shown of /metrics."""


async def serve_forever() -> None:
    await trio.sleep_forever()


async def work(limiter: trio.CapacityLimiter) -> None:
    """Blocks a thread, of which there are three."""
    await trio.to_thread.run_sync(time.sleep, 0.1, limiter=limiter)


def show(port: int | None) -> None:
    """The lines of /metrics to look at."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(SHOWN) and not line.endswith(" 0.0"):
                print(line)


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
    telemetry = configure(service_name="trio-nursery", prometheus_port=0)
    TrioInstrumentor().instrument()
    trio.run(main)
    show(telemetry.prometheus_port)
