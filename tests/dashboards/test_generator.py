"""The generator: one bound helper, refusals that teach, and files that can be checked for staleness."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from glasspool._monitoring.alerts import alerts
from glasspool._monitoring.expressions import bound, bucket, events, match, series
from glasspool._monitoring.options import OptionError, RuleOptions, seconds
from glasspool._monitoring.recording import recording_groups
from glasspool._monitoring.rulefiles import rule_files
from glasspool.telemetry.catalog import EVENTLOOP_DELAY, QUEUE_WAIT, TASK_COMPLETED, TASK_SUBMITTED, Key


def rules(options: RuleOptions, name: str) -> list[str]:
    return [
        str(rule["expr"])
        for text in rule_files(options).values()
        for group in yaml.safe_load(text)["groups"]
        for rule in group["rules"]
        if name in (rule.get("alert"), rule.get("record"))
    ]


def alert(options: RuleOptions, name: str) -> str:
    (found,) = rules(options, name)
    return found


@pytest.mark.parametrize(
    ("limit", "matcher"),
    [(1.0, 'le=~"1|1[.]0"'), (0.5, 'le=~"0[.]5"'), (0.0005, 'le=~"0[.]0005"'), (1800.0, 'le=~"1800|1800[.]0"')],
)
def test_bounds_match_both_spellings(limit: float, matcher: str) -> None:
    assert bound(QUEUE_WAIT, limit) == matcher


def test_a_bound_that_is_none_names_the_bounds() -> None:
    with pytest.raises(ValueError, match=r"0\.3 s is no bucket bound of glasspool\.queue\.wait\.duration.*0\.25, 0\.5"):
        bound(QUEUE_WAIT, 0.3)


def test_labels_that_a_metric_has_not_are_refused() -> None:
    with pytest.raises(ValueError, match="has no label 'glasspool_runner'"):
        series(TASK_SUBMITTED, match(Key.RUNNER, "inline"))
    assert "glasspool_runner" in series(TASK_COMPLETED, match(Key.RUNNER, "inline"))


def test_histograms_are_asked_by_part() -> None:
    with pytest.raises(ValueError, match="is a histogram"):
        series(QUEUE_WAIT)
    with pytest.raises(ValueError, match="is a counter"):
        bucket(TASK_SUBMITTED)


def test_values_are_escaped() -> None:
    assert match(Key.TASK_NAME, 'a"b\\c') == 'glasspool_task_name="a\\"b\\\\c"'
    assert match(Key.TASK_NAME, "a.b", "c") == 'glasspool_task_name=~"a\\\\.b|c"'


def test_events_see_the_first_one() -> None:
    assert events("x", "5m") == "((x unless last_over_time(x[5m] offset 5m)) or increase(x[5m]))"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"wait_objectives": (("web", 0.3),)}, "wait_objectives: 0.3 s is no bucket bound"),
        ({"wait_objectives": (("", 0.5),)}, "wait_objectives: a name is missing"),
        ({"wait_objectives": (("web(", 0.5),)}, "wait_objectives: 'web(' is no regular expression"),
        ({"wait_objectives": (("(?!web).*", 0.5),)}, "'(?!web).*': Prometheus has neither look-around"),
        ({"wait_objectives": ((r"(a)\1", 0.5),)}, "Prometheus has neither look-around nor back references"),
        ({"long_lived": "["}, "long_lived: '[' is no regular expression"),
        ({"tick_seconds": 0.2}, "tick_seconds: 0.2 s is no bucket bound of glasspool.eventloop.delay"),
        ({"in_time_share": 1.0}, "in_time_share: must lie between 0 and 1, both excluded; got 1.0"),
        ({"in_time_share": float("nan")}, "in_time_share: must lie between 0 and 1"),
        ({"in_time_share": 0.9}, "could never page: 14.4 times its budget is more than every task; choose more than"),
        ({"queue_fill": 80}, "queue_fill: must lie between 0 and 1, both excluded; got 80"),
        ({"stall_seconds": 0}, "stall_seconds: must be above 0 and finite; got 0"),
        ({"stall_seconds": float("inf")}, "stall_seconds: must be above 0 and finite; got inf"),
        ({"wait_floor": 0}, "wait_floor: must be at least 1; got 0"),
        ({"task_seconds": 30}, "task_seconds: must be at least 60: no younger task is looked at; got 30"),
        ({"task_factor": 0.5}, "task_factor: must be at least 1; got 0.5"),
        ({"event_window": "quarter"}, "event_window: 'quarter' is no duration"),
        ({"saturated_window": "0m"}, "saturated_window: must be above 0; got '0m'"),
        ({"reject_reasons": ("full",)}, "reject_reasons: must be among queue_full, "),
        ({"reject_reasons": ()}, "reject_reasons: must be among queue_full, "),
        ({"grafana_url": "grafana:3000"}, "grafana_url: must be an address such as https://grafana.example.org"),
        ({"runbook_url": "docs"}, "runbook_url: must be an address such as"),
    ],
)
def test_options_that_cannot_work(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        RuleOptions(**wrong)  # type: ignore[arg-type]  # wrong on purpose
    assert message in str(caught.value)
    assert caught.value.option in wrong


def test_options_reach_the_rules() -> None:
    options = RuleOptions(
        wait_objectives=(("web-.*", 1.0), ("api", 0.25)),
        in_time_share=0.98,
        wait_floor=7,
        queue_fill=0.7,
        long_interval="30s",
        saturated_window="10m",
        pause_window="12m",
        starved_window="25m",
        task_seconds=600,
        task_factor=3,
        long_lived="ws",
        tick_seconds=0.25,
        late_ticks=0.05,
    )
    slow = alert(options, "glasspool:queue_wait_slow:ratio_rate1h")
    for name, limit in options.wait_objectives:
        assert f'glasspool_executor_name=~"{name}"' in slow
        assert bound(QUEUE_WAIT, limit) in slow
    burning = alert(options, "GlasspoolWaitObjectiveBurning")
    assert "> 0.288 " in burning
    assert ">= 7" in burning
    assert "> 0.7 unless" in alert(options, "GlasspoolQueueFilling")
    assert "* 30 / 259200" in alert(options, "glasspool:queue_wait:rate3d")
    assert alert(options, "GlasspoolSaturated").count("[10m]") == 4  # at the limit, waiting, held
    assert alert(options, "GlasspoolPauseLasts").count("[12m]") == 1
    assert "offset 12m" in alert(options, "GlasspoolPauseLasts")
    assert alert(options, "GlasspoolLimitStarved").count("[25m]") == 5  # in use, held, released, started, tried again
    assert 'glasspool_executor_name!~"ws"' in alert(options, "GlasspoolLimitStarved")
    stuck = alert(options, "GlasspoolTaskStuck")
    assert 'glasspool_executor_name!~"ws"' in stuck
    assert "> 600 " in stuck
    assert "> 3 * " in stuck
    late = rules(options, "GlasspoolEventLoopBlocked")[1]
    assert bound(EVENTLOOP_DELAY, 0.25) in late
    assert late.endswith("> 0.05")


def test_alerts_link_to_a_dashboard_only_where_there_is_one() -> None:
    def links(options: RuleOptions) -> list[str | None]:
        groups = yaml.safe_load(rule_files(options)["glasspool.alerts.yaml"])["groups"]
        return [rule["annotations"].get("dashboard") for group in groups for rule in group["rules"]]

    assert set(links(RuleOptions())) == {None}
    found = links(RuleOptions(grafana_url="https://grafana.example.org/sub/"))
    assert all(link is not None and link.startswith("https://grafana.example.org/sub/d/glasspool-") for link in found)


def test_what_is_written_is_the_yaml_that_is_meant() -> None:
    """The rules are written without a YAML library; one reads them back."""
    options = RuleOptions(wait_objectives=((r"it's: \d+ #1", 0.5),), grafana_url="https://g.example.org")
    found = yaml.safe_load(rule_files(options)["glasspool.alerts.yaml"])["groups"]
    by_name = {(rule["alert"], rule["labels"]["severity"]): rule for group in found for rule in group["rules"]}
    assert len(by_name) == len(alerts(options))
    for each in alerts(options):
        rule = by_name[each.name, each.severity]
        assert (rule["expr"], rule["for"], rule["annotations"]["summary"]) == (each.expr, each.hold, each.summary)
        assert rule["annotations"]["dashboard"] == each.link(options)
    recorded = yaml.safe_load(rule_files(options)["glasspool.rules.yaml"])["groups"]
    for group, made in zip(recorded, recording_groups(options), strict=True):
        assert group.get("interval") == made.interval
        assert [(rule["record"], rule["expr"]) for rule in group["rules"]] == [(r.record, r.expr) for r in made.rules]


def test_durations() -> None:
    assert [seconds(text) for text in ("90s", "5m", "6h", "3d")] == [90, 300, 21600, 259200]


@pytest.mark.filterwarnings("ignore:Prefer using dashboardv2:DeprecationWarning")
class TestCommand:
    """``python -m dashboards.generator``; the model builders need Python 3.11."""

    @pytest.fixture(autouse=True)
    def _needs_the_sdk(self) -> None:
        pytest.importorskip("grafana_foundation_sdk", reason="grafana-foundation-sdk needs Python 3.11 or later")

    def test_writes_then_finds_nothing_stale(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        from dashboards.generator.__main__ import main

        assert main(["--check", "--out", str(tmp_path)]) == 1
        assert "python -m dashboards.generator" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []
        assert main(["--out", str(tmp_path)]) == 0
        assert main(["--check", "--out", str(tmp_path)]) == 0

    @pytest.mark.parametrize(
        "path", ["dashboards/glasspool-runtime.json", "src/glasspool/assets/dashboards/glasspool-runtime.json"]
    )
    def test_notices_an_edited_file(self, tmp_path: Path, path: str, capsys: pytest.CaptureFixture[str]) -> None:
        from dashboards.generator.__main__ import main

        main(["--out", str(tmp_path)])
        edited = tmp_path / path
        edited.write_text(edited.read_text(encoding="utf-8").replace("Runtime", "Run time"), encoding="utf-8")
        capsys.readouterr()
        assert main(["--check", "--out", str(tmp_path)]) == 1
        assert capsys.readouterr().out.split() == ["stale:", str(Path(path))]
