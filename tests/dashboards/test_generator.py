"""The generator: one bound helper, refusals that teach, and files that can be checked for staleness."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from dashboards.expressions import bound, bucket, events, match, series
from dashboards.options import RuleOptions, seconds
from dashboards.rulefiles import rule_files
from glasspool.telemetry.catalog import QUEUE_WAIT, TASK_COMPLETED, TASK_SUBMITTED, Key


def alert(options: RuleOptions, name: str) -> str:
    rules = [
        rule
        for text in rule_files(options).values()
        for group in yaml.safe_load(text)["groups"]
        for rule in group["rules"]
        if name in (rule.get("alert"), rule.get("record"))
    ]
    assert len(rules) == 1
    return str(rules[0]["expr"])


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
    assert events("x", "5m") == "((x unless x offset 5m) or increase(x[5m]))"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"wait_seconds": 0.3}, "wait_seconds: 0.3 s is no bucket bound"),
        ({"objective": 1.0}, "objective=1.0: must lie between 0 and 1"),
        ({"objective": 0.9}, "could never fire; choose an objective above 0.931"),
        ({"queue_fill": 80}, "queue_fill=80: must lie between 0 and 1"),
        ({"stall_seconds": 0}, "stall_seconds=0: must be above 0"),
        ({"wait_floor": 0}, "wait_floor=0: must be at least 1"),
        ({"event_window": "quarter"}, "'quarter' is no duration"),
        ({"reject_reasons": ("full",)}, "reject_reasons=('full',): must be among"),
    ],
)
def test_options_that_cannot_work(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        RuleOptions(**wrong)  # type: ignore[arg-type]  # wrong on purpose
    assert message in str(caught.value)


def test_options_reach_the_rules() -> None:
    options = RuleOptions(wait_seconds=1.0, objective=0.98, wait_floor=7, queue_fill=0.7, long_interval="30s")
    slow = alert(options, "glasspool:queue_wait_slow:ratio_rate1h")
    assert bound(QUEUE_WAIT, 1.0) in slow
    burning = alert(options, "GlasspoolWaitObjectiveBurning")
    assert "> 0.288 " in burning
    assert ">= 7" in burning
    assert alert(options, "GlasspoolQueueFilling").endswith("> 0.7")
    assert "* 30 / 259200" in alert(options, "glasspool:queue_wait:rate3d")


def test_durations() -> None:
    assert [seconds(text) for text in ("90s", "5m", "6h", "3d")] == [90, 300, 21600, 259200]


@pytest.mark.filterwarnings("ignore:Prefer using dashboardv2:DeprecationWarning")
class TestCommand:
    """``python -m dashboards``; the model builders need Python 3.11."""

    @pytest.fixture(autouse=True)
    def _needs_the_sdk(self) -> None:
        pytest.importorskip("grafana_foundation_sdk", reason="grafana-foundation-sdk needs Python 3.11 or later")

    def test_writes_then_finds_nothing_stale(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        from dashboards.__main__ import main

        assert main(["--check", "--out", str(tmp_path)]) == 1
        assert "python -m dashboards" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []
        assert main(["--out", str(tmp_path)]) == 0
        assert main(["--check", "--out", str(tmp_path)]) == 0

    def test_notices_an_edited_file(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        from dashboards.__main__ import ASSETS, main

        main(["--out", str(tmp_path)])
        edited = tmp_path / ASSETS / "dashboards" / "glasspool-runtime.json"
        edited.write_text(edited.read_text(encoding="utf-8").replace("Runtime", "Run time"), encoding="utf-8")
        capsys.readouterr()
        assert main(["--check", "--out", str(tmp_path)]) == 1
        assert capsys.readouterr().out.split() == ["stale:", str(ASSETS / "dashboards" / "glasspool-runtime.json")]

    def test_refuses_an_objective_that_is_no_bound(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        from dashboards.__main__ import main

        assert main(["--wait-seconds", "0.3", "--out", str(tmp_path)]) == 2
        assert "choose one of" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []

    def test_traces_in_jaeger(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        from dashboards.__main__ import ASSETS, main

        assert main(["--traces", "jaeger", "--out", str(tmp_path)]) == 0
        text = (tmp_path / ASSETS / "dashboards" / "glasspool-executor.json").read_text(encoding="utf-8")
        sources = {v["name"]: v["query"] for v in json.loads(text)["templating"]["list"] if v["type"] == "datasource"}
        assert sources == {"datasource": "prometheus", "traces": "jaeger"}
        assert "tempo" not in text
        assert main(["--traces", "zipkin", "--out", str(tmp_path)]) == 2
        assert "'zipkin'" in capsys.readouterr().err
