"""One run, read back from real back ends: names, labels and numbers are the same on every path."""

from __future__ import annotations

from pathlib import Path

import pytest

from glasspool.telemetry import catalog

from . import program as scenario
from .collectors import collector
from .stores import Program, program, prometheus, victoria_metrics
from .support import Series, differences, get, require_all_metrics, total, wait_for

BACKENDS = ["asyncio", "trio"]

ONLY_WHEN_ASKED = {"OTEL_METRIC_EXPORT_INTERVAL": "3600000"}
"""An export between the two snapshots, and none after them."""


def check_account(found: Series) -> None:
    """What the program did, by its own constants and not by its own figures."""
    shop = {"glasspool_executor_name": "shop"}
    by_outcome = {
        outcome: total(found, catalog.TASK_COMPLETED, glasspool_task_outcome=outcome, **shop)
        for outcome in ("success", "error", "timeout", "cancelled")
        if outcome != "error"
    }
    errors = total(found, catalog.TASK_COMPLETED, glasspool_task_outcome="error", error_type="ValueError", **shop)
    assert by_outcome == {"success": scenario.OK, "timeout": scenario.SLOW + 1, "cancelled": 2}
    assert errors == scenario.BAD
    assert total(found, catalog.TASK_SUBMITTED, **shop) == scenario.OK + scenario.BAD + scenario.SLOW + 5
    assert total(found, catalog.TASK_REJECTED, error_type="queue_full", **shop) == scenario.REJECTED
    for phase in ("queued", "running"):
        explicit = {"glasspool_cancel_reason": "explicit", "glasspool_task_phase": phase}
        assert total(found, catalog.TASK_CANCELLATIONS, **explicit, **shop) == 1
    shutdown = {"glasspool_cancel_reason": "shutdown", "glasspool_executor_name": "brief"}
    assert total(found, catalog.TASK_CANCELLATIONS, **shutdown) == scenario.TASKS_CUT
    assert total(found, catalog.TASK_ACTIVE, **shop) == 1
    assert total(found, catalog.TASK_ABANDONED, glasspool_runner="thread", **shop) == 1
    assert total(found, catalog.QUEUE_SIZE, **shop) == 1
    assert total(found, catalog.QUEUE_CAPACITY, **shop) == 1
    assert total(found, catalog.SUBMIT_PENDING, **shop) == 1
    assert total(found, catalog.SLOT_USAGE, **shop) == total(found, catalog.SLOT_LIMIT, **shop) == 2
    for age in (catalog.TASK_OLDEST_AGE, catalog.QUEUE_OLDEST_AGE, catalog.SUBMIT_OLDEST_AGE):
        assert total(found, age, **shop) > 0
    for time_counter in (catalog.SLOT_TIME, catalog.SLOT_LIMIT_TIME, catalog.SLOT_SATURATED_TIME):
        assert total(found, time_counter, **shop) > 0
    ran = scenario.OK + scenario.BAD + scenario.SLOW + 2
    assert total(found, catalog.TASK_DURATION, "_count", **shop) == ran
    assert total(found, catalog.TASK_DURATION, "_count", glasspool_task_name="ok", **shop) == scenario.OK
    assert total(found, catalog.TASK_DURATION, "_sum", glasspool_task_name="ok", **shop) >= scenario.OK * 0.002
    assert total(found, catalog.CANCEL_DURATION, "_count", glasspool_cancel_reason="explicit", **shop) >= 1
    for outcome in ("drained", "cut"):
        closed = {"glasspool_shutdown_outcome": outcome, "glasspool_executor_name": "brief"}
        assert total(found, catalog.SHUTDOWN_DURATION, "_count", **closed) == 1
    assert total(found, catalog.EXECUTOR_OPENED, glasspool_executor_name="brief") == 2
    assert total(found, catalog.EXECUTOR_CLOSED, glasspool_executor_name="brief") == 2
    assert total(found, catalog.CONTEXT_LOSSES, glasspool_context_loss_kind="stale") == 1
    assert total(found, catalog.TELEMETRY_FAILURES, glasspool_telemetry_failure_kind="observer", **shop) == 1
    assert total(found, catalog.EVENTLOOP_DELAY, "_count", glasspool_eventloop_name="main") > 0
    service = {"glasspool_service_name": "serve"}
    assert total(found, catalog.SERVICE_STATE, glasspool_service_state="running", **service) == 1
    assert total(found, catalog.SERVICE_RESTARTS, error_type="ValueError", **service) == 1
    assert total(found, catalog.SERVICE_READY, "_count", **service) == 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_prometheus_scrapes_every_metric_and_exemplar(tmp_path: Path, backend: str):
    with (
        program(tmp_path, backend, "--own-tracer") as running,
        prometheus(tmp_path, running.port) as store,
    ):
        before = running.series()
        opened = catalog.EXECUTOR_OPENED.prometheus_name
        probe = f'timestamp({opened}{{glasspool_executor_name="shop"}})'

        def scraped_at() -> float:
            result = get(f"{store.url}/api/v1/query", query=probe)["data"]["result"]
            return float(result[0]["value"][1]) if result else 0.0

        def scraped_after(instant: float) -> float:
            return float(wait_for(lambda: (at := scraped_at()) > instant and at, f"scrape after {instant}"))

        # The next scrape may have begun before the snapshot; the one after it has not.
        at = scraped_after(scraped_after(scraped_after(0)))
        found = store.series(at)
        after = running.series()
        assert differences(before, found, after, by_scrape=True) == []
        require_all_metrics(found)
        check_account(found)
        for metric in catalog.ALL_METRICS:
            if metric.exemplars:
                query = f"{metric.prometheus_name}_bucket"
                answer = get(f"{store.url}/api/v1/query_exemplars", query=query, start=at - 600, end=at + 600)["data"]
                traces = {found["labels"]["trace_id"] for series in answer for found in series["exemplars"]}
                assert traces == {running.trace_id}, f"exemplars of {metric.name}"


def export(running: Program) -> tuple[Series, Series]:
    """Snapshots before and after an export of everything."""
    before = running.series()
    assert running.ask("flush") is True
    return before, running.series()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_collector_receives_every_metric_span_and_exemplar(tmp_path: Path, backend: str, protocol: str):
    with collector(tmp_path) as receiver:
        endpoint = receiver.grpc if protocol == "grpc" else receiver.http
        env = {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **ONLY_WHEN_ASKED}
        with program(tmp_path, backend, **env) as running:
            before, after = export(running)

            def arrived() -> Series | None:
                found = receiver.received().series()
                return found if differences(before, found, after, by_scrape=False) == [] else None

            try:
                found = wait_for(arrived, "export in the collector")
            except AssertionError:
                problems = differences(before, receiver.received().series(), after, by_scrape=False)
                raise AssertionError("\n".join(problems[:20])) from None
            require_all_metrics(found)
            check_account(found)
            received = receiver.received()
            for metric in catalog.ALL_METRICS:
                if metric.exemplars:
                    assert received.exemplars(metric) == {running.trace_id}, f"exemplars of {metric.name}"
            assert running.ask("end") == {"notes": []}
            running.process.wait(30)
        tasks = [
            span
            for span in wait_for(lambda: spans_of(receiver.received().spans, 24), "spans of all tasks")
            if span["Name"].startswith(("shop ", "brief "))
        ]
        check_spans(tasks, running.trace_id)


def spans_of(spans: list[dict[str, object]], least: int) -> list[dict[str, object]] | None:
    return spans if len(spans) >= least else None


def check_spans(tasks: list[dict], trace_id: str) -> None:
    """One span a task, in its submitter's trace, with the outcome that the counters show."""
    outcomes: dict[str, int] = {}
    for span in tasks:
        outcome = span["attributes"][catalog.Key.TASK_OUTCOME]
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        status = span["Status code"].lower().removeprefix("status_code_")
        assert status == ("error" if outcome in ("error", "timeout") else "unset")
    # The blocked producer's task, the waiting and the running one succeed when the program is told to end.
    assert outcomes == {
        "success": scenario.OK + 1 + 3,
        "error": scenario.BAD,
        "timeout": scenario.SLOW + 1,
        "cancelled": 2 + scenario.TASKS_CUT,
    }
    ids = [span["attributes"][catalog.Key.TASK_ID] for span in tasks]
    assert len(ids) == len(set(ids))
    strangers = [span for span in tasks if span["Trace ID"] != trace_id]
    assert len(strangers) == 1, "only the blocked producer submitted outside the request"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_store_takes_the_same_series_by_otlp(tmp_path: Path, backend: str):
    with victoria_metrics(tmp_path) as store:
        env = {
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": store.otlp,
            "OTEL_TRACES_EXPORTER": "none",
            **ONLY_WHEN_ASKED,
        }
        with program(tmp_path, backend, **env) as running:
            before, after = export(running)

            def arrived() -> Series | None:
                found = store.series()
                return found if differences(before, found, after, by_scrape=False) == [] else None

            try:
                found = wait_for(arrived, "export in the store")
            except AssertionError:
                raise AssertionError(
                    "\n".join(differences(before, store.series(), after, by_scrape=False)[:20])
                ) from None
            require_all_metrics(found)
            check_account(found)
