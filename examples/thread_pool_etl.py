"""A thread-pool ETL: read, parse, write; queue, waits and threads of the two pools that do it.

The pools are plain ``ThreadPoolExecutor``s; ``wrap_executor`` makes them visible and carries the trace into them.

    python examples/thread_pool_etl.py
"""

from __future__ import annotations

import re
import sysconfig
import tempfile
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from opentelemetry import trace

from glasspool.telemetry import catalog, configure
from glasspool_instrumentation import wrap_executor

SHOWN = (
    catalog.TASK_COMPLETED.prometheus_name,
    catalog.QUEUE_WAIT.prometheus_name + "_count",
    catalog.TASK_DURATION.prometheus_name + "_sum",
    catalog.SLOT_SATURATED_TIME.prometheus_name,
)
"""What is shown of /metrics."""


def read(path: Path) -> tuple[str, bytes]:
    """Extract."""
    return path.name, path.read_bytes()


def functions(name: str, source: bytes) -> tuple[str, list[str]]:
    """Transform: the functions that a module defines."""
    return name, [found.decode() for found in re.findall(rb"^ *(?:async )?def (\w+)", source, re.MULTILINE)]


def write(directory: Path, name: str, found: list[str]) -> int:
    """Load."""
    (directory / f"{name}.txt").write_text("\n".join(found))
    return len(found)


def show(port: int | None) -> None:
    """The lines of /metrics to look at."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(SHOWN) and not line.endswith(" 0.0"):
                print(line)


def main() -> None:
    telemetry = configure(service_name="thread-pool-etl", prometheus_port=0)
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:100]
    tracer = trace.get_tracer("example")
    with (
        tempfile.TemporaryDirectory() as directory,
        wrap_executor(ThreadPoolExecutor(8), "etl-io") as io,
        wrap_executor(ThreadPoolExecutor(2), "etl-parse") as parsers,
        tracer.start_as_current_span("nightly etl"),
    ):
        parsed = [parsers.submit(functions, *pair) for pair in io.map(read, files)]
        written = [io.submit(write, Path(directory), *future.result()) for future in parsed]
        print(f"{sum(future.result() for future in written)} functions in {len(files)} modules")
    show(telemetry.prometheus_port)


if __name__ == "__main__":
    main()
