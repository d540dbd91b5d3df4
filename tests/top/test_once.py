"""``glasspool top --once`` and ``--json``: what running processes show, whoever serves their metrics."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.backends.support import free_port, started, wait_for
from tests.dashboards.support.backend_tools import need
from tests.live.busy_program import HOSTILE
from tests.programs import Program

from .support import busy, found_json, port_of, run, told

PAIRS = (("succeeded", "succeeded"), ("errors", "failed"), ("timeouts", "timed_out"), ("submitted", "submitted"))
"""A total of ``/live.json``, and the name that ``stats()`` has for it."""


def by_name(found, url=""):
    return {each["name"]: each for each in found["executors"] if each["url"].startswith(url)}


def agrees(shown, stats):
    for name, counts in stats.items():
        totals = shown[name]["totals"]
        assert {key: totals[key] for key, _ in PAIRS} == {key: counts[own] for key, own in PAIRS}
        assert shown[name]["slots"]["used"] == counts["slots_used"]
        assert shown[name]["slots"]["limit"] == counts["slots_limit"]
        assert shown[name]["queue"]["size"] == counts["queued"]
        assert shown[name]["abandoned"] == counts["abandoned"]


def test_its_numbers_are_those_of_stats():
    with busy() as program:
        url = f"http://127.0.0.1:{port_of(program)}"
        stats = told(program, "rest")
        found = found_json("top", url)
        assert found["sources"] == [{"url": f"{url}/metrics", "trouble": "", "fix": "", "note": ""}]
        assert stats["mail"]["succeeded"] > 0
        agrees(by_name(found), stats)
        assert found["loops"][0]["url"] == f"{url}/metrics"


def test_the_table_says_what_is_wrong_and_where_its_runbook_is():
    with busy() as program:
        done = run("top", "--once", f"127.0.0.1:{port_of(program)}")
    titles, *rows = done.stdout.splitlines()
    assert titles.split()[:4] == ["executor", "type", "slots", "queue"]
    assert "finished/s" in titles
    by_executor = {row.split()[0]: row for row in rows if row}
    assert "8/8" in by_executor["mail"]
    assert "1 thread abandoned" in by_executor["reports"]
    assert any(row.startswith("reports: 1 thread abandoned  https://") and row.endswith(".md") for row in rows)
    assert any(HOSTILE in row for row in rows)
    assert done.stderr == ""


def test_rates_are_known_though_nobody_has_looked_before():
    with busy() as program:
        mail = by_name(found_json("top", f":{port_of(program)}", "--seconds", "0.6"))["mail"]
    assert mail["recent"]["per_second"]["finished"] > 0
    assert mail["recent"]["window"] >= 0.5


def test_more_than_one_process():
    with busy() as one, busy() as other:
        urls = [f"http://127.0.0.1:{port_of(program)}" for program in (one, other)]
        stats = [told(program, "rest") for program in (one, other)]
        found = found_json("top", *urls)
        for url, own in zip(urls, stats, strict=True):
            agrees(by_name(found, url), own)
        done = run("top", "--once", *urls)
        assert all(sum(url.partition("://")[2] in line for line in done.stdout.splitlines()) == 4 for url in urls)


def test_one_of_them_is_away():
    with busy() as program:
        url, away = f"http://127.0.0.1:{port_of(program)}", f"http://127.0.0.1:{free_port()}"
        done = run("top", "--once", url, away, status=1)
        assert "mail" in done.stdout
        assert done.stderr.startswith(f"{away}/metrics: nothing can be reached there: Connection refused.")


BY_OTEL = """
import sys
import anyio
from opentelemetry import metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import start_http_server
from glasspool import HybridExecutor

async def main():
    metrics.set_meter_provider(MeterProvider([PrometheusMetricReader()]))
    start_http_server(int(sys.argv[1]), addr="127.0.0.1")
    async with HybridExecutor("mail", max_in_flight=2, max_queued=10) as executor:
        for number in range(7):
            await executor.submit(abs, number)
        await executor.pile().aclose()
        while executor.stats().succeeded < 7:
            await anyio.sleep(0.01)
        for _ in range(5):
            await executor.submit(anyio.sleep_forever)
        print("ready", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        await executor.shutdown(grace=0)

anyio.run(main)
"""


def test_a_page_that_opentelemetrys_exporter_serves():
    port = free_port()
    with Program("-c", BY_OTEL, str(port)) as program:
        program.until_said("ready")
        found = found_json("top", f"127.0.0.1:{port}")
        (mail,) = found["executors"]
        assert mail["totals"]["succeeded"] == 7
        assert mail["totals"]["submitted"] == 12
        assert (mail["slots"]["used"], mail["slots"]["limit"]) == (2, 2)
        assert (mail["queue"]["size"], mail["queue"]["capacity"]) == (3, 10)
        assert mail["recent"]["window"] is not None
        assert found["sources"][0]["note"] == "metrics only"
        assert "metrics only" in run("top", "--once", f"127.0.0.1:{port}").stderr
        program.tell("")


def test_a_prometheus_that_has_scraped_several(tmp_path: Path):
    prometheus = need("prometheus")
    with busy() as one, busy() as other:
        targets = [f"127.0.0.1:{port_of(program)}" for program in (one, other)]
        stats = [told(program, "rest") for program in (one, other)]
        port = free_port()
        config = tmp_path / "prometheus.yml"
        config.write_text(
            "scrape_configs:\n- job_name: app\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\n"
            f"  static_configs: [{{targets: {targets}}}]\n"
        )
        command = [prometheus, f"--config.file={config}", f"--storage.tsdb.path={tmp_path}/data",
                   f"--web.listen-address=127.0.0.1:{port}"]  # fmt: skip
        with started(command, tmp_path / "log", env=dict(os.environ)):
            url = f"http://127.0.0.1:{port}/federate?match[]={{job=%22app%22}}"

            def whole():
                found = found_json("top", url, status=0)
                return found if len(found["executors"]) == 8 else None

            found = wait_for(lambda: _looked(whole), "scrapes of both")
            rows = run("top", "--once", url).stdout.splitlines()
    by_process: dict[int, dict[str, dict[str, object]]] = {}
    for each in found["executors"]:
        by_process.setdefault(each["process"], {})[each["name"]] = each
    assert len(by_process) == 2
    first, second = by_process.values()
    try:
        agrees(first, stats[0])
        agrees(second, stats[1])
    except AssertionError:
        agrees(first, stats[1])
        agrees(second, stats[0])
    assert all(sum(target in row for row in rows) == 4 for target in targets)


def _looked(look):
    try:
        return look()
    except AssertionError:  # it is not up yet, or has scraped nothing
        return None


@pytest.mark.parametrize("arguments", [("top",), ("top", "http://127.0.0.1:1")])
def test_without_a_terminal_it_says_what_to_use(arguments):
    done = run(*arguments, status=2)
    assert "this is no terminal: use --once or --json" in " ".join(done.stderr.replace("│", " ").split())
