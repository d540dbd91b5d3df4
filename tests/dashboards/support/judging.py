"""Evaluates every shipped expression on every store of a run, and compares the answers with the run's record."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from glasspool._monitoring import provisioning

from .account_view import View
from .expectations import CALLS, CRAWL, LATE_TIMERS, ORDERS, WINDOW, Expected, Lines, alerts, rules
from .panel_expectations import panels
from .proof_run import Run
from .queries import filled_in
from .stores import Sample, Store

VARIABLES = {
    "__rate_interval": f"{WINDOW:g}s", "__rate_interval_ms": f"{WINDOW * 1000:g}", "__range": f"{WINDOW:g}s",
    "type": ".*",
}  # fmt: skip
FOR_ONE_EXECUTOR = {"glasspool-executor": {"executor": ORDERS, "type": "hybrid"}}
OF_CRAWL = {
    ("Why tasks wait", "A"), ("Time held", "A"), ("Limits", "A"), ("Limits", "B"), ("Free under each limit", "A"),
    ("Services by state", "A"), ("Services that do not run", "A"), ("Service restarts", "A"),
    ("Time to readiness, p95", "A"),
}  # fmt: skip
"""Panels and letters that say something only of an executor with limits or services."""
OF_RETRIES = {"Retries against budget", "Retries that the budget allows", "Tasks that are not tried again",
              "Time of an attempt, p95"}  # fmt: skip
"""Panels that say something only of an executor whose tasks may run again."""


@dataclass
class Verdict:
    """One expression on one store: its lines as (label values, account, store), and what is wrong."""

    what: str
    store: str
    expr: str
    lines: list[tuple[str, float | None, float | None]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def expressions(run: Run) -> Iterator[tuple[str, str, Expected]]:
    """Name, expression as sent and expectation of everything: panels from the shipped JSON, rules as loaded."""
    expected_panels = panels()
    for dashboard in provisioning.dashboards():
        variables = {**VARIABLES, **FOR_ONE_EXECUTOR.get(dashboard.uid, {})}
        for panel in json.loads(dashboard.text)["panels"]:
            for target in panel.get("targets", ()):
                key = (dashboard.uid, panel["title"], target["refId"])
                chosen = {**variables, "executor": CRAWL} if key[1:] in OF_CRAWL else variables
                chosen = {**variables, "executor": CALLS} if key[1] in OF_RETRIES else chosen
                assert key in expected_panels, f"nobody says what {key} must return"
                name = f"{dashboard.uid.removeprefix('glasspool-')} / {panel['title']} {target['refId']}"
                yield name, filled_in(target["expr"], **chosen), expected_panels[key]
    expected_rules = rules() | alerts()
    for path in run.rules:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                name = rule.get("record") or rule["alert"]
                if rule["expr"].startswith("1 - "):
                    name = LATE_TIMERS
                yield name, rule["expr"], expected_rules[name]


def judge(run: Run) -> list[Verdict]:
    """Everything on every store."""
    found = []
    for name, expr, expected in expressions(run):
        for store in run.stores:
            view = View(run.account, run.at, store.exact)
            verdict = Verdict(name, store.name, expr)
            _compare(verdict, expected, [expected.lines(each) for each in view.readings], store.query(expr, run.at))
            found.append(verdict)
    return found


def _compare(verdict: Verdict, expected: Expected, readings: list[Lines], samples: list[Sample]) -> None:
    lines = readings[0]
    got: dict[tuple[str, ...], float] = {}
    for sample in samples:
        key = tuple(_value(sample, label) for label in expected.labels)
        if key in got:
            verdict.wrong.append(f"two lines for {key}")
        got[key] = sample.value
    if not got:
        if not expected.absent:
            verdict.wrong.append("no answer")
    elif lines and not any(lines.values()) and not expected.empty:
        verdict.wrong.append("the account expects nothing but zeros: the run proves nothing here")
    crowded = expected.room is not None and len(lines) > expected.room
    if crowded and len(got) != expected.room:
        verdict.wrong.append(f"{len(got)} lines, though there is room for {expected.room}")
    for key in sorted(set().union(*readings, got)):
        should, does = lines.get(key), got.get(key)
        verdict.lines.append((", ".join(key), should, does))
        if crowded and does is None and not expected.always(key):
            continue
        if does is not None and math.isnan(does):
            verdict.wrong.append(f"{key}: NaN")
        elif not _near([each.get(key, 0.0) for each in readings], does or 0.0, expected):
            verdict.wrong.append(f"{key}: account {should}, store {does}")


def _near(readings: list[float], does: float, expected: Expected) -> bool:
    nearest = min(max(does, min(readings)), max(readings))
    return abs(does - nearest) <= max(expected.share * abs(nearest), expected.amount) + 1e-9


def _value(sample: Sample, label: str) -> str:
    text = sample.labels.get(label, "")
    return f"{float(text):g}" if label == "le" else text


def exemplars(store: Store, expr: str, start: float, end: float) -> list[str]:
    """Trace ids that Prometheus' own exemplar query returns for an expression."""
    from .stores import get

    answer = get(f"{store.url}/api/v1/query_exemplars", query=expr, start=start, end=end)
    return [exemplar["labels"]["trace_id"] for series in answer["data"] for exemplar in series["exemplars"]]
