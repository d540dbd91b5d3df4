"""The long proof: one run of every situation, every expression on three paths, written down and drawn.

    GLASSPOOL_BACKENDS=… python tools/prove_dashboards.py

writes docs/proof-dashboards.md and docs/images/panel-*.png. Takes two minutes; needs the back ends and matplotlib.
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / part) for part in ("tests/dashboards", "tools", "", "src", "instrumentation")]

from expectations import LATE_TIMERS  # noqa: E402 - the tests' helpers are no package
from expectations import alerts as alert_expectations  # noqa: E402
from judging import FOR_ONE_EXECUTOR, VARIABLES, Verdict, exemplars, judge  # noqa: E402
from proof_run import HOLD_SECONDS, OPTIONS, SHORTENED, STUCK_SECONDS, Run, run  # noqa: E402
from queries import filled_in  # noqa: E402
from render_panels import draw  # noqa: E402
from situation_table import SITUATIONS  # noqa: E402

from glasspool import provisioning  # noqa: E402
from glasspool.telemetry.catalog import QUEUE_WAIT, TASK_DURATION  # noqa: E402

EVERY_TEN_SECONDS = {"__rate_interval": "10s", "__rate_interval_ms": "10000"}
PICTURES = {
    "overview-pressure-table": ("glasspool-overview", "Executors under most pressure"),
    "overview-slots": ("glasspool-overview", "Slots in use"),
    "overview-queue": ("glasspool-overview", "Queue against capacity"),
    "overview-cancellations": ("glasspool-overview", "Cancellations by reason"),
    "executor-waits-runs": ("glasspool-executor", "Waits against runs"),
    "executor-wait-heatmap": ("glasspool-executor", "Queue waits"),
    "executor-in-flight": ("glasspool-executor", "In flight against the limit"),
    "executor-oldest": ("glasspool-executor", "Oldest queued and oldest running"),
    "executor-error-types": ("glasspool-executor", "Error types"),
    "executor-run-by-task": ("glasspool-executor", "Run time by task, p95"),
    "runtime-stall": ("glasspool-runtime", "Event loop stalled now"),
    "runtime-tokens": ("glasspool-runtime", "Thread tokens in use"),
}

UNTIL = {"executor-waits-runs": "rushed_until"}
"""Pictures of one situation: they end with it, by the program's account."""


def pictures(finished: Run) -> None:
    """Draw the panels over the run, with windows short enough for a run of a minute."""
    models = {dashboard.uid: json.loads(dashboard.text) for dashboard in provisioning.dashboards()}
    start = finished.account["idle_from"]
    for name, (uid, title) in PICTURES.items():
        panel = next(panel for panel in models[uid]["panels"] if panel["title"] == title)
        variables = {
            **VARIABLES,
            **FOR_ONE_EXECUTOR.get(uid, {}),
            "__rate_interval": "10s",
            "__rate_interval_ms": "10000",
        }
        expressions = [filled_in(target["expr"], **variables) for target in panel["targets"]]
        path = ROOT / "docs" / "images" / f"panel-{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        end = finished.account[UNTIL[name]] if name in UNTIL else finished.at
        draw(panel, expressions, finished.stores[0], start, end, path)


def values(verdicts: list[Verdict]) -> list[str]:
    """One line a series: account, then each path."""
    table = ["| expression | line | account | scrape | OTLP | Collector |", "|---|---|---|---|---|---|"]
    by_name: dict[str, dict[str, Verdict]] = {}
    for verdict in verdicts:
        by_name.setdefault(verdict.what, {})[verdict.store] = verdict
    for name, paths in by_name.items():
        lines: dict[str, dict[str, Any]] = {}
        for path, verdict in paths.items():
            for key, should, does in verdict.lines:
                lines.setdefault(key, {})[path] = (should, does)
        shown = {key: found for key, found in lines.items() if any(any(pair) for pair in found.values())}
        for key, found in sorted(shown.items()):
            own = found.get("scrape", (None, None))[0], found.get("OTLP", (None, None))[0]
            account = " / ".join(dict.fromkeys(_number(value) for value in own))
            cells = [_number(found.get(path, (None, None))[1]) for path in ("scrape", "OTLP", "Collector")]
            table.append(f"| {name} | {key or '·'} | {account} | {' | '.join(cells)} |")
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def situations(finished: Run) -> list[str]:
    """What happened, who names it, who fired."""
    fired = {store.name: set(store.firing()) for store in finished.stores}
    titles = ("situation", "panels that name it", "alerts that must fire", "fired: scrape / OTLP / Collector", "quiet")
    lines = [f"| {' | '.join(titles)} |", "|---|---|---|---|---|"]
    every = set(alert_expectations()) - {LATE_TIMERS}
    for situation in SITUATIONS:
        states = " / ".join("yes" if set(situation.alerts) <= fired[store.name] else "NO" for store in finished.stores)
        alerts = ", ".join(situation.alerts) or "(none)"
        cells = (situation.what, "; ".join(situation.panels), alerts, states, situation.quiet)
        lines.append(f"| {' | '.join(cells)} |")
    assert {name for situation in SITUATIONS for name in situation.alerts} == every
    return lines


CONDITIONS = f"""The program (`tests/dashboards/situations.py`) keeps book of every task itself; the account's value is
computed from that book alone (`tests/dashboards/expectations.py`, with the tolerance of each: rates and ratios within
15 % of the value or 0.02 to 0.06, ages within 3.5 s, quantiles within a fifth or 20 ms, gauges exactly). Where two
account values stand, the second is for the OTLP paths: VictoriaMetrics divides a rate by the time its samples cover,
Prometheus by the window. In this run alerts have no holding time, producers count as stuck after
{OPTIONS.producer_seconds:g} s and tasks after {STUCK_SECONDS} s, the objective's floor is {OPTIONS.wait_floor} tasks
and its rules run every {OPTIONS.long_interval}; the windows of {", ".join(SHORTENED)} are divided by
{max(SHORTENED.values())}, since the standstill lasts {HOLD_SECONDS} s; the panels' interval and range are the whole
run. Windows of hours and days are proved at full length in promtool's tests."""


def summary(verdicts: list[Verdict], seconds: float) -> str:
    """The result in one paragraph."""
    wrong = sum(bool(verdict.wrong) for verdict in verdicts)
    return (
        f"{len(verdicts)} answers: {len(verdicts) // 3} expressions on three paths, {wrong} outside their tolerance."
        " The paths are Prometheus by scrape, VictoriaMetrics by OTLP, and the same through the Collector with"
        f" `examples/stack/otelcol.yaml`. Python {platform.python_version()}, {seconds:.0f} s."
    )


def main() -> int:
    """Returns 1 when any answer is wrong."""
    began = time.time()
    with tempfile.TemporaryDirectory() as directory, run(Path(directory)) as finished:
        verdicts = judge(finished)
        table = situations(finished)
        found = {
            metric.name: exemplars(
                finished.stores[0],
                f"histogram_quantile(0.95, sum by (le) (rate({metric.prometheus_name}_bucket[5m])))",
                finished.at - 120,
                finished.at,
            )
            for metric in (QUEUE_WAIT, TASK_DURATION)
        }
        printed = finished.debug_output.count("Exemplar #")
        pictures(finished)
    wrong = [verdict for verdict in verdicts if verdict.wrong]
    text = [
        "# Proof: what the dashboards, rules and alerts return",
        "",
        "<!-- Written by tools/prove_dashboards.py from one run; do not edit. -->",
        "",
        summary(verdicts, time.time() - began),
        "",
        CONDITIONS,
        "",
        "## Situations",
        "",
        *table,
        "",
        "## Exemplars",
        "",
        *(
            f"- `{name}`: {len(traces)} from Prometheus' exemplar query, such as trace `{traces[0]}`"
            for name, traces in found.items()
        ),
        f"- the Collector's debug output: {printed} exemplars",
        "",
        "## Values",
        "",
        *values(verdicts),
        "",
    ]
    (ROOT / "docs" / "proof-dashboards.md").write_text("\n".join(text), encoding="utf-8")
    for verdict in wrong:
        print(f"{verdict.store}: {verdict.what}: {verdict.wrong}", file=sys.stderr)
    print(f"{len(verdicts)} answers, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
