"""Run the program of all situations, evaluate every expression on three paths, and write the comparison.

    GLASSPOOL_BACKENDS=… python tools/prove_dashboards.py

writes docs/evidence/proof-dashboards.md. It takes two minutes and needs the back ends.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / part) for part in ("", "src", "instrumentation")]

from glasspool.telemetry.catalog import QUEUE_WAIT, TASK_DURATION  # noqa: E402
from tests.dashboards.support.expectations import LATE_TIMERS  # noqa: E402 - found by the path above
from tests.dashboards.support.expectations import alerts as alert_expectations  # noqa: E402
from tests.dashboards.support.judging import Verdict, exemplars, judge  # noqa: E402
from tests.dashboards.support.proof_run import HOLD_SECONDS, OPTIONS, SHORTENED, STUCK_SECONDS, Run, run  # noqa: E402
from tests.dashboards.support.situation_table import SITUATIONS  # noqa: E402


def values(verdicts: list[Verdict]) -> list[str]:
    """One line for each series: the expected value, then the value on each path."""
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
    """One line for each situation: the panels that show it, and the alerts that fired."""
    fired = {name: set(found) for name, found in finished.firing.items()}
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


CONDITIONS = f"""\
The program (`tests/dashboards/support/situations.py`) records every task itself, and the expected values (column
*account*) are computed from that record alone. `tests/dashboards/support/expectations.py` has the tolerance of each:
rates and ratios within 15 % of the value or 0.02 to 0.06, ages within 3.5 s, quantiles within a fifth or 20 ms, gauges
exactly. The mean of a gauge lies between those of samples that are up to four seconds old. The record does not say for
how long an alert has fired, so half of the run stands for any time in it. Where there are two expected values, the
second is for the OTLP paths: VictoriaMetrics divides a rate by the time its samples cover, Prometheus by the window.
In this run alerts have no holding time, producers count as stuck after {OPTIONS.producer_seconds:g} s and tasks
after {STUCK_SECONDS} s, the objective needs at least {OPTIONS.wait_floor} tasks, and its rules run every
{OPTIONS.long_interval}; windows are divided ({", ".join(f"{name} by {by}" for name, by in SHORTENED.items())}), since
the standstill lasts {HOLD_SECONDS} s; the panels' interval and range are the whole run. promtool tests windows of
hours and days at full length."""


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
    (ROOT / "docs" / "evidence" / "proof-dashboards.md").write_text("\n".join(text), encoding="utf-8")
    for verdict in wrong:
        print(f"{verdict.store}: {verdict.what}: {verdict.wrong}", file=sys.stderr)
    print(f"{len(verdicts)} answers, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
