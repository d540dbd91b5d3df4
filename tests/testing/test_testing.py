"""The helpers for users' own tests."""

from __future__ import annotations

import sys
import time
from typing import Any

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from glasspool import ConfigurationError, HybridExecutor, QueueFull
from glasspool.telemetry import catalog
from glasspool.testing import captured_spans, recorded
from tests.telemetry.support import run_python


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> TracerProvider:
    """An application's provider, for as long as the test runs; it can be set only once otherwise."""
    made = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", made)
    return made


async def fail() -> None:
    raise ValueError("as asked")


async def succeed() -> None:
    pass


async def work(name: str) -> None:
    """Three successes, an error, a timeout, a cancellation and a rejected call."""
    async with HybridExecutor(name, max_in_flight=1, max_queued=0) as executor:
        for _ in range(3):
            await executor.run(succeed, name="send")
        await (await executor.submit(fail)).outcome()
        await (await executor.submit(anyio.sleep_forever, timeout=0)).outcome()
        handle = await executor.submit(anyio.sleep_forever)
        with pytest.raises(QueueFull):
            executor.submit_nowait(succeed)
        handle.cancel("enough")


async def test_only_what_happens_in_the_block_is_counted(anyio_backend: Any) -> None:
    await work("counted")
    with recorded() as seen:
        await work("counted")
    await work("counted")
    assert seen.completed("counted") == {"success": 3, "error": 1, "timeout": 1, "cancelled": 1}
    assert seen.total(catalog.TASK_SUBMITTED, executor_name="counted") == 6
    assert seen.total(catalog.TASK_COMPLETED, executor_name="counted", error_type="ValueError") == 1
    assert seen.total(catalog.TASK_REJECTED, executor_name="counted", error_type="queue_full") == 1
    assert seen.total(catalog.TASK_REJECTED, executor_name="counted") == 1
    assert seen.total(catalog.TASK_CANCELLATIONS, cancel_reason="explicit", executor_name="counted") == 1
    assert seen.histogram(catalog.TASK_DURATION, executor_name="counted", task_name="send").count == 3
    assert seen.completed("somebody else") == {"success": 0, "error": 0, "timeout": 0, "cancelled": 0}


async def test_a_histogram_gives_the_time_spent_in_the_block(anyio_backend: Any) -> None:
    async with HybridExecutor("timed", max_in_flight=1) as executor:
        await executor.run(anyio.sleep, 0.05)
        with recorded() as seen:
            before = time.perf_counter()
            await executor.run(anyio.sleep, 0.02)
            spent = time.perf_counter() - before
    measured = seen.histogram(catalog.TASK_DURATION, executor_name="timed")
    assert measured.count == 1
    assert sum(measured.counts) == 1
    assert 0.015 < measured.sum <= spent  # uvloop's timers count whole milliseconds


async def test_figures_can_be_read_inside_the_block_and_gauges_read_as_they_are(anyio_backend: Any) -> None:
    with recorded() as seen:
        async with HybridExecutor("gauged", max_in_flight=3) as executor:
            handle = await executor.submit(anyio.sleep_forever)
            assert seen.total(catalog.SLOT_LIMIT, executor_name="gauged") == 3
            assert seen.total(catalog.TASK_ACTIVE, executor_name="gauged") == 1
            assert seen.total(catalog.TASK_SUBMITTED, executor_name="gauged") == 1
            handle.cancel()
        assert seen.total(catalog.TASK_ACTIVE, executor_name="gauged") == 0


async def test_a_question_that_could_only_be_answered_by_nought_is_refused(anyio_backend: Any) -> None:
    with recorded() as seen:
        pass
    with pytest.raises(TypeError, match=r"no attribute 'executor'; it has .*executor_name"):
        seen.total(catalog.TASK_SUBMITTED, executor="mail")
    with pytest.raises(TypeError, match=r"histogram\(\)"):
        seen.total(catalog.TASK_DURATION)
    with pytest.raises(TypeError, match=r"total\(\)"):
        seen.histogram(catalog.TASK_SUBMITTED)


async def test_spans_of_the_block_are_captured_and_of_each_block_only_its_own(
    anyio_backend: Any, provider: TracerProvider
) -> None:
    with captured_spans() as outer:
        await work("first")
        with captured_spans() as inner:
            await work("second")
    await work("third")
    assert [span.name for span in inner].count("second send") == 3
    assert {span.name.split()[0] for span in inner} == {"second"}
    assert {span.name.split()[0] for span in outer} == {"first", "second"}
    assert len(outer) == 2 * len(inner) == 12


def test_without_a_provider_one_is_set() -> None:
    code = (
        "import anyio\n"
        "from glasspool import HybridExecutor\n"
        "from glasspool.testing import captured_spans\n"
        "async def main():\n"
        "    async with HybridExecutor('mail', max_in_flight=1) as executor:\n"
        "        await executor.run(anyio.sleep, 0, name='send')\n"
        "with captured_spans() as spans:\n"
        "    anyio.run(main)\n"
        "print([span.name for span in spans])\n"
    )
    assert run_python(code).out.strip() == "['mail send']"


def test_a_provider_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", trace.NoOpTracerProvider())
    with pytest.raises(ConfigurationError, match="NoOpTracerProvider"), captured_spans():
        pass


def test_without_the_sdk_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'glasspool\[otlp\]'"), captured_spans():
        pass
