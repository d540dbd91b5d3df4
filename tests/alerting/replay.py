"""Evaluates the shipped rules over recorded series with Prometheus' own rule tester."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from glasspool._monitoring import RuleOptions, rule_files
from glasspool.telemetry.catalog import ALL_METRICS
from tests.dashboards.support.backend_tools import need

from .recording import Recording, Samples

__all__ = ["KNOWN", "Expectation", "metrics_read", "replay"]

KNOWN = {
    metric.prometheus_name + suffix
    for metric in ALL_METRICS
    for suffix in (("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",))
}
"""Every name that a series of ours can have."""


@dataclass(frozen=True)
class Expectation:
    """At ``at`` seconds ``expr`` gives exactly these label sets (values are not looked at)."""

    expr: str
    at: float
    labels: tuple[Mapping[str, str], ...]


def replay(
    directory: Path,
    recordings: Iterable[Recording],
    expected: Iterable[Expectation],
    options: RuleOptions | None = None,
) -> None:
    """Evaluate every rule (none without options) at every scrape of these recordings, all of one interval, and compare.

    Each program is a job of its own. Raises AssertionError with what promtool says.
    """
    recordings, expected = list(recordings), list(expected)
    (interval,) = {each.seconds for each in recordings}
    rules = {} if options is None else rule_files(options)
    for name, text in rules.items():
        (directory / name).write_text(text, encoding="utf-8")
    wanted = metrics_read([*rules.values(), *(each.expr for each in expected)])
    test = {
        "interval": f"{interval}s",
        "input_series": [entry for each in recordings for entry in _input(each, wanted)],
        "promql_expr_test": [_check(each) for each in expected],
    }
    plan = {"rule_files": list(rules), "evaluation_interval": f"{interval}s", "tests": [test]}
    file = directory / "replay.yml"
    file.write_text(yaml.dump(plan, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), width=10**9))
    done = subprocess.run([need("promtool"), "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]


def metrics_read(texts: Iterable[str]) -> set[str]:
    """The metrics that these rules and expressions read."""
    return KNOWN & {name for text in texts for name in re.findall(r"\bglasspool_\w+", text)}


def _input(recording: Recording, wanted: set[str]) -> Iterator[dict[str, str]]:
    where = f'job="{recording.name}",instance="{recording.name}:1"'
    for series, samples in recording.series.items():
        name, labels = series.split("{", 1)
        if (name in wanted and any(samples)) or name in wanted:
            yield {"series": f"{name}{{{where},{labels}", "values": " ".join(_notation(samples))}


def _notation(samples: Samples) -> Iterator[str]:
    born = False
    for value, run in groupby(samples):
        count = len(list(run))
        if value is None:
            yield from ["stale" if born else "_"] * count  # a scrape marks what it does not find any more
        else:
            born = True
            yield f"{value:.10g}" if count == 1 else f"{value:.10g}x{count - 1}"


def _check(expectation: Expectation) -> dict[str, Any]:
    found = [
        {"labels": "{" + ", ".join(f'{key}="{value}"' for key, value in labels.items()) + "}", "value": 1}
        for labels in expectation.labels
    ]
    return {"expr": expectation.expr, "eval_time": f"{round(expectation.at)}s", "exp_samples": found}
