"""How old tasks that run again are, and for how long they have run."""

from __future__ import annotations

import anyio

from glasspool import HybridExecutor, Retry
from glasspool.telemetry import catalog
from glasspool.telemetry.recording.registry import REGISTRY

from .support import Starts, both, in_virtual_time


@both
def test_an_age_is_that_of_the_attempt_and_the_duration_that_of_all(backend):
    async def main():
        REGISTRY.reset()
        runs: list[float] = []

        async def twice() -> None:
            runs.append(anyio.current_time())
            await anyio.sleep(100)
            if len(runs) == 1:
                raise OSError

        async with HybridExecutor("ages", max_in_flight=9) as executor:
            handle = await executor.submit(twice, retry=Retry(on=lambda error: 10))
            await anyio.sleep(105)
            waits = executor.stats()
            other = await executor.submit(Starts().note, "other", 60.0)
            await anyio.sleep(35)
            both_run = executor.stats()
            await other
            alone = executor.stats()
            await handle
            ages = [(stats.oldest_queued_age, stats.oldest_active_age) for stats in (waits, both_run, alone)]
            return ages, REGISTRY.collect().histograms[catalog.TASK_DURATION.name]

    ages, durations = in_virtual_time(backend, main)
    assert [tuple(round(age, 6) for age in pair) for pair in ages] == [(5, 0), (0, 35), (0, 55)]
    assert sorted(round(series.sum, 6) for series in durations if series.count) == [60, 200]
