"""Every alert fires when it must and not otherwise, tested by Prometheus' own rule tester."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from glasspool._monitoring.alerts import alerts
from glasspool._monitoring.options import RuleOptions
from glasspool._monitoring.rulefiles import rule_files
from glasspool.telemetry import catalog as c
from glasspool.telemetry.catalog import Key, prometheus_label
from tests.dashboards.support.alert_cases import DECLARED, cases, objective
from tests.dashboards.support.backend_tools import need
from tests.dashboards.support.curves import (
    A,
    B,
    C,
    Case,
    Curve,
    M,
    Series,
    bucketed,
    const,
    held,
    limited,
    overdue,
    queue,
    ramp,
    slots,
)

CASES = cases()
OBJECTIVE = objective()
BUCKETED = [case for case in objective(bucketed) if case.at <= 7200]
"""The arithmetic of days is the same wherever the late ones come from."""
BY_NAME = RuleOptions(wait_objectives=(("mail", 0.5),))


def write_rules(directory: Path, options: RuleOptions, about: str = "") -> list[str]:
    for name, text in rule_files(options).items():
        groups = yaml.safe_load(text)["groups"]
        for group in groups:
            group["rules"] = [rule for rule in group["rules"] if about in rule.get("record", rule["expr"])]
        (directory / name).write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    return [str(path) for path in sorted(directory.glob("*.yaml"))]


def values(series: Series, end: float, interval: int) -> str:
    samples = [series.curve(t) for t in range(0, int(end) + interval, interval)]
    born = next((number for number, sample in enumerate(samples) if sample is not None), len(samples))
    # What a scrape does not find any more it marks as stale.
    absent = ["_"] * born + ["stale"] * (len(samples) - born)
    return " ".join(gone if sample is None else f"{sample:.10g}" for sample, gone in zip(samples, absent, strict=True))


def case_groups(cases: Iterable[Case], interval: int) -> list[dict[str, object]]:
    """The cases as tests of promtool: those of similar length side by side in one, each a job of its own.

    All rules are evaluated for each instant of a test, so a test for each case would take ten times as long. It also
    shows that no job has a part in what is said of another one.
    """
    alike: dict[int, list[Case]] = {}
    for case in cases:
        alike.setdefault(int(case.at).bit_length(), []).append(case)
    return [case_group(each, interval) for each in alike.values()]


def case_group(cases: Sequence[Case], interval: int) -> dict[str, object]:
    series: list[dict[str, str]] = []
    checks: list[dict[str, object]] = []
    for number, case in enumerate(cases):
        job = f"case {number}: {case.title}"
        series += [{"series": each.name(job), "values": values(each, case.at, interval)} for each in case.series]
        firing = [
            {"labels": f'{{alertname="{alert}", instance="{instance}"}}', "value": 1}
            for alert, instances in case.firing.items()
            for instance in instances
        ]
        checks.append(
            check(f'count by (alertname, instance) (ALERTS{{alertstate="firing", job="{job}"}})', case.at, firing)
        )
    checks += [check('ALERTS{job!~"case .*"}', at, []) for at in sorted({case.at for case in cases})]
    return {"name": "alerts", "interval": f"{interval}s", "input_series": series, "promql_expr_test": checks}


def check(expr: str, at: float, samples: list[dict[str, object]]) -> dict[str, object]:
    return {"expr": expr, "eval_time": f"{int(at)}s", "exp_samples": samples}


def promtool_test(
    directory: Path, groups: list[dict[str, object]], interval: int, options: RuleOptions, about: str = ""
) -> None:
    """Days of a minute each take long: ``about`` keeps only the rules that mention it."""
    promtool = need("promtool")
    text = {
        "rule_files": write_rules(directory, options, about),
        "evaluation_interval": f"{interval}s",
        "tests": groups,
    }
    file = directory / "tests.yml"
    file.write_text(yaml.safe_dump(text, sort_keys=False, width=10_000_000), encoding="utf-8")
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]


def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    promtool = need("promtool")
    files = write_rules(tmp_path, RuleOptions())
    done = subprocess.run(
        [promtool, "check", "rules", "--lint=all", "--lint-fatal", *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("interval", [15, 60])
def test_alerts_fire_and_stay_silent(tmp_path: Path, interval: int) -> None:
    chosen = [case for case in CASES if interval in case.intervals]
    promtool_test(tmp_path, case_groups(chosen, interval), interval, RuleOptions())


def test_a_failed_scrape_is_no_event(tmp_path: Path) -> None:
    """What was there before and after a gap is not new after it, also where the gap is just one window ago."""
    assert RuleOptions().event_window == "15m"
    windows = (5 * M, 15 * M)  # of the ratios, and of rare events
    quiet = [case for case in CASES if 60 in case.intervals and not case.firing]
    gaps = [with_gaps(case, {case.at - window for window in windows}) for case in quiet]
    promtool_test(tmp_path, case_groups(gaps, 60), 60, RuleOptions())


def with_gaps(case: Case, gaps: set[float]) -> Case:
    """The case with scrapes of all its processes that failed."""

    def gapped(curve: Curve) -> Curve:
        return lambda t: None if t in gaps else curve(t)

    return replace(case, series=tuple(replace(each, curve=gapped(each.curve)) for each in case.series))


@pytest.mark.parametrize("interval", [15, 60])
def test_the_wait_objective(tmp_path: Path, interval: int) -> None:
    chosen = [case for case in OBJECTIVE if interval in case.intervals]
    promtool_test(tmp_path, case_groups(chosen, interval), interval, RuleOptions(), "queue_wait")


def test_the_wait_objective_by_an_option_of_the_rules(tmp_path: Path) -> None:
    promtool_test(tmp_path, case_groups(BUCKETED, 60), 60, BY_NAME, "queue_wait")


def test_waits_without_an_objective_are_nobodys_business(tmp_path: Path) -> None:
    """Neither declared nor chosen by name: the same series that burn above."""
    late = [replace(case, firing={}) for case in BUCKETED if case.firing]
    other = RuleOptions(wait_objectives=(("mai", 0.5), ("mails", 0.5), ("ail", 0.5)))
    for directory, options in ((tmp_path / "none", RuleOptions()), (tmp_path / "others", other)):
        directory.mkdir()
        promtool_test(directory, case_groups(late, 60), 60, options, "queue_wait")


NUMBER = prometheus_label(Key.PROCESS_NUMBER)
PROCESSES = {
    f'instance="{A}"': 'instance="web:1"',  # the first has no number
    f'instance="{B}"': f'instance="web:1",{NUMBER}="1"',
    f'instance="{C}"': f'instance="web:1",{NUMBER}="2"',
}


def behind_one_port(text: str) -> str:
    """The same with numbered processes of one instance for instances."""
    for own, shared in PROCESSES.items():
        text = text.replace(own, shared)
    return text


@pytest.mark.parametrize("about", ["", "queue_wait"])
def test_processes_behind_one_port_are_judged_like_instances(tmp_path: Path, about: str) -> None:
    chosen = [case for case in OBJECTIVE if case.at <= 7200] if about else CASES
    groups = case_groups([case for case in chosen if 60 in case.intervals], 60)
    text = yaml.safe_dump(groups, width=10_000_000).replace("by (alertname, ", f"by (alertname, {NUMBER}, ")
    promtool_test(tmp_path, yaml.safe_load(behind_one_port(text)), 60, RuleOptions(), about)


def test_what_an_executor_declares_goes_before_an_option(tmp_path: Path) -> None:
    """Its own count says that nothing is late, whatever the buckets say of half a second."""
    every = Series(c.QUEUE_WAIT, lambda t: t, {Key.QUEUE_OUTCOME: "started"}, "_count")
    bucket = Series(c.QUEUE_WAIT, const(0), {Key.QUEUE_OUTCOME: "started", "le": "0.5"}, "_bucket")
    case = Case("declared and chosen", (every, bucket, Series(c.QUEUE_SIZE, const(0)), DECLARED), 4000, {})
    promtool_test(tmp_path, case_groups([case], 60), 60, BY_NAME)


def test_full_executors_chosen_by_name_are_waited_for(tmp_path: Path) -> None:
    at_limit = (Series(c.SLOT_SATURATED_TIME, ramp(1)), Series(c.EXECUTOR_TIME, ramp(1)))
    held = (*queue(const(900), const(7)), *slots(8), *at_limit)
    every = dict.fromkeys(("GlasspoolNotStarting", "GlasspoolQueueFilling", "GlasspoolSaturated"), ("a:1",))
    for title, options, firing in (("chosen", BY_NAME, every), ("not chosen", RuleOptions(), {})):
        (tmp_path / title).mkdir()
        promtool_test(tmp_path / title, case_groups([Case(title, held, 900, firing)], 60), 60, options)


def test_executors_whose_tasks_may_live_for_ever(tmp_path: Path) -> None:
    case = Case("connections", overdue(const(4000), 0.1), 900, {})
    promtool_test(tmp_path, case_groups([case], 60), 60, RuleOptions(long_lived="ws-.*|mail"))


def test_tasks_that_may_keep_a_permit_for_ever(tmp_path: Path) -> None:
    case = replace(next(case for case in CASES if "GlasspoolLimitStarved" in case.firing), firing={})
    promtool_test(tmp_path, case_groups([case], 60), 60, RuleOptions(long_lived="ws-.*|mail"))


@pytest.mark.parametrize(("minutes", "firing"), [(6, ()), (8, (A,))])
def test_how_long_tasks_may_be_held_is_an_option(tmp_path: Path, minutes: int, firing: tuple[str, ...]) -> None:
    paused = (*queue(const(3), ramp(1)), *held("pause", const(3)))
    limit = (*queue(const(3), ramp(1), B), *held("limit", const(3), B), *limited(const(4), instance=B))
    expected = {"GlasspoolPauseLasts": firing, "GlasspoolLimitStarved": (B,) if firing else ()}
    case = Case("held", (*paused, *limit), minutes * M, expected)
    promtool_test(tmp_path, case_groups([case], 60), 60, RuleOptions(pause_window="7m", starved_window="7m"))


def test_every_alert_has_cases_in_which_it_fires() -> None:
    named = {name: {case.title for case in CASES + OBJECTIVE if name in case.firing} for name in _names()}
    assert all(len(titles) >= 3 for titles in named.values()), named
    assert {name for case in CASES + OBJECTIVE for name in case.firing} == set(_names())


def _names() -> list[str]:
    return [alert.name for alert in alerts(RuleOptions())]


def test_bounds_are_found_in_both_spellings(tmp_path: Path) -> None:
    """``1.0`` comes by scrape and ``1`` by OTLP; both belong to the same objective."""
    started = {Key.QUEUE_OUTCOME: "started"}
    series = []
    for instance, spelling in (("scraped", "1.0"), ("otlp", "1")):
        series += [
            Series(c.QUEUE_SIZE, const(0), instance=instance),
            Series(c.QUEUE_WAIT, lambda t: t, started, "_count", instance),
            Series(c.QUEUE_WAIT, lambda t: 0.5 * t, {**started, "le": spelling}, "_bucket", instance),
        ]
    options = RuleOptions(wait_objectives=(("m.*l", 1.0),))
    both = ("scraped", "otlp")
    firing = {"GlasspoolWaitObjectiveBurning": both, "GlasspoolWaitObjectiveBurningSlowly": both}
    case = Case("both spellings", tuple(series), 4000, firing)
    promtool_test(tmp_path, case_groups([case], 60), 60, options)


def test_a_wrong_expectation_is_noticed(tmp_path: Path) -> None:
    case = OBJECTIVE[2]
    broken = Case(case.title, case.series, case.at, {"GlasspoolTaskStuck": ("a:1",)})
    need("promtool")
    with pytest.raises(AssertionError, match="GlasspoolWaitObjectiveBurning"):
        promtool_test(tmp_path, case_groups([broken], 60), 60, RuleOptions())
