"""The figures of the views: quantiles from buckets, and a picture that fits its terminal."""

from __future__ import annotations

import io
import time
from typing import Any

import anyio
import pytest
from rich.console import Console

from glasspool import HybridExecutor
from glasspool.demo.client import Client
from glasspool.demo.figures import read
from glasspool.demo.live import Picture
from glasspool.demo.program import Options, Scene
from glasspool.demo.service import Service
from glasspool.telemetry import catalog
from glasspool.telemetry.recording.snapshot_queries import quantile

BOUNDS = (1.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("counts", "q", "expected"),
    [
        ((0, 0, 0, 0), 0.5, None),
        ((4, 0, 0, 0), 0.5, 0.5),  # linear from 0 to the first bound
        ((0, 10, 0, 0), 0.5, 1.5),
        ((0, 10, 0, 0), 1.0, 2.0),
        ((5, 0, 5, 0), 0.5, 1.0),
        ((5, 0, 5, 0), 0.75, 3.0),  # an empty bucket in between is passed over
        ((0, 0, 0, 3), 0.5, 4.0),  # beyond the last bound: the last bound
    ],
)
def test_quantiles_are_linear_within_a_bucket(counts: tuple[int, ...], q: float, expected: float | None) -> None:
    assert quantile(counts, BOUNDS, q) == expected


@pytest.mark.anyio
async def test_figures_are_those_of_the_executor(anyio_backend: Any) -> None:
    async with HybridExecutor("figured", max_in_flight=2, max_queued=5) as executor:
        before = time.perf_counter()
        handles = [await executor.submit(anyio.sleep, 0.05) for _ in range(6)]
        for handle in handles:
            await handle
        spent = time.perf_counter() - before
        figures = read(executor)
    # A quantile is somewhere in its bucket, and no task can have waited or run for longer than all of it took.
    ceiling = min(bound for bound in catalog.TASK_DURATION.buckets if bound >= spent)
    assert figures.stats.succeeded == 6
    assert figures.run.p50 is not None
    assert 0.025 <= figures.run.p50 <= ceiling
    assert figures.wait.p99 is not None
    assert 0.025 <= figures.wait.p99 <= ceiling
    assert 0 < figures.utilisation <= 1
    assert 0 < figures.saturated <= 1


@pytest.mark.parametrize("width", [80, 104, 160])
@pytest.mark.anyio
async def test_the_picture_fits_its_terminal(anyio_backend: Any, width: int) -> None:
    service, over = Service(), anyio.Event()
    async with HybridExecutor("left", max_in_flight=2) as left, HybridExecutor("right", max_in_flight=2) as right:
        for executor in (left, right):
            await executor.run(anyio.sleep, 0, name="now")
            await executor.submit(over.wait)
        scene = Scene(
            Options(seconds=99), (left, right), Client(service), service, None, False, {"left": 4, "right": 4}
        )
        console = Console(width=width, file=io.StringIO(), record=True, color_system=None)
        console.print(Picture(scene, width).draw())
        over.set()
    text = console.export_text()
    assert max(map(len, text.splitlines())) == width
    assert "…" not in text
    assert text.count("1 of 2") == 2
    assert text.count("p95") == 4
