"""A fan-out over asyncio tasks: active tasks, outcomes, which sibling's failure cancelled the others, loop delay.

python examples/asyncio_fan_out.py
"""

from __future__ import annotations

import asyncio
import time
import urllib.request

from opentelemetry import trace

from glasspool.telemetry import catalog, configure
from glasspool_instrumentation import AsyncioInstrumentor

SHOWN = (
    catalog.TASK_COMPLETED.prometheus_name,
    catalog.TASK_CANCELLATIONS.prometheus_name,
    catalog.EVENTLOOP_DELAY.prometheus_name + "_count",
)
"""What is shown of /metrics."""


async def fetch(number: int) -> int:
    """A call that takes a while; the 30th fails."""
    await asyncio.sleep(0.01 * (number % 10))
    if number == 30:
        raise ConnectionError("the 30th of them")
    return number


async def hopeless() -> None:
    await asyncio.sleep(3600)


def show(port: int | None) -> None:
    """The lines of /metrics to look at."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(SHOWN) and not line.endswith(" 0.0"):
                print(line)


async def main() -> None:
    with trace.get_tracer("example").start_as_current_span("fan out"):
        tasks = [asyncio.create_task(fetch(number)) for number in range(50)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        print(f"{sum(not isinstance(result, Exception) for result in results)} of {len(results)} succeeded")
        time.sleep(0.3)  # noqa: ASYNC251 - the mistake that the loop's delay histogram is there to show
        await asyncio.sleep(0.2)
        if hasattr(asyncio, "TaskGroup"):
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(hopeless())
                    group.create_task(fetch(30))
            except Exception as group_error:  # noqa: BLE001 - an ExceptionGroup, which Python 3.10 does not know
                print(f"the group ended with {group_error!r}")


if __name__ == "__main__":
    telemetry = configure(service_name="asyncio-fan-out", prometheus_port=0)
    # Tasks get spans only where asked for; everything else about them is counted anyway.
    AsyncioInstrumentor().instrument(spans="*fetch")
    asyncio.run(main())
    show(telemetry.prometheus_port)
