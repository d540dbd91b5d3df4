"""The plain view: prints the run in lines, for logs, pipes and terminals without a live view."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from glasspool import ExecutorStats

from .program import Scene

__all__ = ["announcement", "plain_lines", "repeated", "say"]

EVERY = 2.0


def say(text: str) -> None:
    """Print a line now. The run goes on if the reader has gone (``| head``)."""
    try:
        print(text, flush=True)  # noqa: T201 - this is the program's output
    except BrokenPipeError:
        # What is still buffered would raise once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def announcement(scene: Scene) -> str:
    """The addresses of the live page and the metrics."""
    metrics = scene.metrics_url or "no endpoint (see above)"
    otlp = "exporting" if scene.otlp else "off (set OTEL_EXPORTER_OTLP_ENDPOINT)"
    page = scene.page_url or "none"
    return f"live page: {page}   metrics: {metrics}   OTLP: {otlp}"


@contextmanager
def plain_lines(scene: Scene) -> Generator[None, None, None]:
    """Prints a line for each executor every two seconds."""
    say(announcement(scene))

    def tell() -> None:
        for executor in scene.executors:
            say(_line(scene, executor.name, executor.stats()))

    with repeated(tell, EVERY):
        yield


@contextmanager
def repeated(do: Callable[[], object], every: float) -> Generator[None, None, None]:
    """Call ``do`` in a separate thread every so many seconds while the block is open."""
    over = threading.Event()

    def loop() -> None:
        while not over.wait(every):
            do()

    thread = threading.Thread(target=loop, name="glasspool-demo-view")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _line(scene: Scene, name: str, stats: ExecutorStats) -> str:
    return (
        f"{scene.elapsed:5.1f} s  {name:<8} {stats.in_flight:>3}/{stats.slots_limit} in flight  "
        f"{stats.queued:>3}/{scene.capacities[name]} queued  {stats.succeeded:>6} succeeded  {stats.failed:>4} failed  "
        f"{stats.timed_out:>4} timed out  {stats.cancelled:>4} cancelled  {stats.rejected:>4} rejected"
    )
