"""The program of docs/tutorial.md: lines of the standard library's modules, counted in threads.

python examples/tutorial.py
"""

import sysconfig
import time
import urllib.request
from pathlib import Path

import anyio

from glasspool import HybridExecutor, QueueFull
from glasspool.telemetry import configure


# [work]
def count_lines(path: Path) -> int:
    """Reads a file, so it blocks: the executor runs it in a thread."""
    return path.read_bytes().count(b"\n")


async def look_up(name: str) -> str:
    """Waits without blocking: the executor runs it on the event loop."""
    await anyio.sleep(0.05)
    return name.upper()


# [results]
async def results(executor: HybridExecutor, files: list[Path]) -> None:
    longest = (0, "")
    async for completed in executor.as_completed(count_lines, files):  # in the order in which they end
        longest = max(longest, (completed.unwrap(), completed.item.arguments[0].name))
    print(f"{len(files)} files, the longest is {longest[1]} with {longest[0]} lines")

    print([name async for name in executor.map(look_up, ["ann", "bob"])])  # in the order of the input


# [failures]
async def failures(executor: HybridExecutor) -> None:
    missing = await executor.submit(count_lines, Path("no such file"))
    slow = await executor.submit(anyio.sleep, 60, timeout=0.1)
    for handle in (missing, slow):
        completed = await handle.outcome()  # does not raise; `await handle` does
        print(f"{completed.item.name}: {completed.outcome.value}, {type(completed.error).__name__}")


# [groups]
async def groups(executor: HybridExecutor, files: list[Path]) -> None:
    async with executor.pile() as pile:  # some tasks of the executor, waited for together
        for path in files[:5]:
            await pile.include(count_lines, path)
        drained = await pile.drain()
    drained.raise_errors()  # one ExceptionGroup, if any has failed
    print(f"{sum(drained.values())} lines in five files")


# [full]
async def full() -> None:
    async with HybridExecutor("narrow", max_in_flight=2, max_queued=3) as executor:
        for number in range(10):
            try:
                executor.submit_nowait(time.sleep, 0.1)  # `await executor.submit(...)` would wait for room
            except QueueFull as refused:
                print(f"call {number}: {refused}")
                break


# [telemetry]
async def main() -> None:
    telemetry = configure(service_name="tutorial", prometheus_port=0)  # 0 is any free port
    files = modules()
    async with HybridExecutor("lines", max_in_flight=8, max_queued=100) as executor:
        await results(executor, files)
        await failures(executor)
        await groups(executor, files)
        print(executor.stats())
    await full()
    show(telemetry.prometheus_port)


def modules() -> list[Path]:
    """The files of the standard library's top level."""
    return sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))


def show(port: int | None) -> None:
    """Print some of what Prometheus would read."""
    shown = ("glasspool_task_completed_total", "glasspool_task_rejected_total")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(shown) and not line.endswith(" 0.0"):
                print(line)


# [end]
if __name__ == "__main__":
    anyio.run(main)  # or backend="trio"
