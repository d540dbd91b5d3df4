"""A service that runs until Ctrl-C, so that its /metrics can be looked at while it works.

    python examples/until_ctrl_c.py [PORT]     # and in another terminal: curl http://127.0.0.1:9464/metrics

It reads and parses Python's own modules, over and over, a little more than it can: slots and queue fill up, some calls
time out, and a file that is not there fails.
"""

import ast
import random
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from signal import SIGINT, SIGTERM

import anyio

from glasspool import HybridExecutor
from glasspool.signals import shutdown_on_signals
from glasspool.telemetry import configure


def functions(path: Path) -> int:
    """A plain function: it runs in a thread."""
    return sum(isinstance(node, ast.FunctionDef) for node in ast.walk(ast.parse(path.read_bytes())))


def files() -> Iterator[Path]:
    """Endless."""
    directory = Path(sysconfig.get_paths()["stdlib"])
    found = [*directory.glob("*.py"), directory / "not there.py"]
    while True:
        yield random.choice(found)


async def main(port: int | None) -> None:
    outcomes: Counter[str] = Counter()
    async with (
        HybridExecutor("parsers", max_in_flight=2, max_queued=10) as executor,
        shutdown_on_signals(executor, grace=10, signals=(SIGINT, SIGTERM)),
    ):
        print(f"Look at http://127.0.0.1:{port}/metrics; Ctrl-C ends it.", flush=True)
        async for completed in executor.as_completed(functions, files(), timeout=0.5):
            outcomes[completed.outcome.value] += 1
    print("\nDrained:", dict(outcomes))


telemetry = configure(service_name="until-ctrl-c", prometheus_port=int(sys.argv[1]) if len(sys.argv) > 1 else 9464)
anyio.run(main, telemetry.prometheus_port)
