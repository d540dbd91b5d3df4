"""Count the calls that a server sees which fails all of them, by retry budget.

Usage: python benchmarks/retry_storm.py [--calls N] [--backend asyncio|trio]

A real server on a local port closes every connection without an answer. A client makes so many calls, 64 in flight,
with three attempts each: without retries, without a budget, and with the default one.
"""

from __future__ import annotations

import argparse
import platform
from typing import Any

import anyio
from anyio.abc import SocketStream

from glasspool import HybridExecutor, Retry, RetryBudget

CASES: dict[str, dict[str, Any]] = {
    "no retries": {},
    "three attempts, no budget": {"retry": Retry(on=anyio.EndOfStream), "retry_budget": None},
    "three attempts, the default budget": {"retry": Retry(on=anyio.EndOfStream), "retry_budget": RetryBudget()},
}


async def count(case: str, calls: int) -> tuple[int, float]:
    """How many calls the server has seen, and the seconds until the last one had failed."""
    seen = 0

    async def refuse(stream: SocketStream) -> None:
        nonlocal seen
        seen += 1
        await stream.aclose()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)

    async def call() -> bytes:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            return await stream.receive()

    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, refuse)
        began = anyio.current_time()
        async with HybridExecutor("client", max_in_flight=64, max_queued=None, **CASES[case]) as executor:
            handles = [await executor.submit(call) for _ in range(calls)]
            assert not [handle for handle in handles if (await handle.outcome()).error is None]
        took = anyio.current_time() - began
        group.cancel_scope.cancel()
    return seen, took


def main() -> None:
    """Count, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--backend", default="asyncio")
    options = parser.parse_args()
    print(f"{platform.python_implementation()} {platform.python_version()}, {options.backend}, {options.calls} calls")
    for case in CASES:
        seen, took = anyio.run(count, case, options.calls, backend=options.backend)
        print(f"{case:36}{seen:6} calls seen   {took:5.2f} s")


if __name__ == "__main__":
    main()
