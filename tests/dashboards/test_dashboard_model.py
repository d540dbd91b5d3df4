"""The shipped dashboards are valid, complete and readable, and repeat no literal of the catalog."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import promql_parser
import pytest
import yaml

from glasspool._monitoring import provisioning
from glasspool._monitoring.alerts import alerts
from glasspool._monitoring.options import RuleOptions
from glasspool._monitoring.recording import recording_groups
from glasspool._monitoring.rulefiles import rule_files
from glasspool.telemetry.catalog import ALL_METRICS, SUBMIT_WAIT
from tests.dashboards.support.dashboard_schema import DASHBOARD
from tests.dashboards.support.dashboard_schema import PANELS as PANEL_SCHEMAS
from tests.dashboards.support.queries import filled_in, metric_names
from tests.dashboards.support.shipped import SHIPPED

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ROOT / "src" / "glasspool" / "assets"
PANELS = [
    pytest.param(uid, panel, id=f"{uid}: {panel['title']}")
    for uid, model in SHIPPED.items()
    for panel in model["panels"]
    if panel["type"] != "row"
]
EXPRESSIONS = [
    pytest.param(target["expr"], id=f"{uid}: {panel['title']} {target['refId']}")
    for uid, panel in (param.values for param in PANELS)
    for target in panel["targets"]
] + [
    pytest.param(rule["expr"], id=rule.get("record") or rule.get("alert"))
    for text in provisioning.rules().values()
    for group in yaml.safe_load(text)["groups"]
    for rule in group["rules"]
]
NAMES = {metric.prometheus_name + suffix for metric in ALL_METRICS
         for suffix in (("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",))}  # fmt: skip
ALERTING = {"ALERTS", "ALERTS_FOR_STATE"}
"""What Prometheus writes of the rules."""
RECORDED = {rule.record for group in recording_groups(RuleOptions()) for rule in group.rules}


@pytest.mark.parametrize("uid", SHIPPED)
def test_model_is_valid(uid: str) -> None:
    for panel in SHIPPED[uid]["panels"]:  # one by one: the message of a failed oneOf names nothing
        jsonschema.validate(panel, PANEL_SCHEMAS[panel["type"]])
    jsonschema.validate(SHIPPED[uid], DASHBOARD)


@pytest.mark.parametrize(
    ("path", "value"),
    [(("panels", 1, "type"), "timeserie"), (("panels", 1, "fieldConfig", "defaults", "unit"), "secs"),
     (("schemaVersion",), 41), (("panles",), []), (("templating", "list", 0, "type"), "data")],
)  # fmt: skip
def test_validation_notices_mistakes(path: tuple[Any, ...], value: object) -> None:
    broken: Any = copy.deepcopy(SHIPPED["glasspool-overview"])
    place = broken
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, DASHBOARD)


def test_uids_never_change() -> None:
    assert sorted(SHIPPED) == ["glasspool-executor", "glasspool-overview", "glasspool-runtime"]
    assert all(model["uid"] == uid for uid, model in SHIPPED.items())


@pytest.mark.parametrize("uid", SHIPPED)
def test_ids_and_letters_are_unique(uid: str) -> None:
    ids = [panel["id"] for panel in SHIPPED[uid]["panels"]]
    assert len(ids) == len(set(ids))
    for panel in SHIPPED[uid]["panels"]:
        letters = [target["refId"] for target in panel.get("targets", ())]
        assert len(letters) == len(set(letters)), panel["title"]


@pytest.mark.parametrize("uid", SHIPPED)
def test_nothing_overlaps_and_nothing_leaves_the_grid(uid: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in SHIPPED[uid]["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]


@pytest.mark.parametrize("uid", SHIPPED)
def test_titles_are_unique_and_alerts_name_them(uid: str) -> None:
    titles = [panel["title"] for panel in SHIPPED[uid]["panels"]]
    assert len(titles) == len(set(titles))
    for alert in alerts(RuleOptions()):
        if alert.dashboard == uid:
            assert alert.panel in titles, alert.name


@pytest.mark.parametrize(("uid", "panel"), PANELS)
def test_panel_says_what_it_is(uid: str, panel: dict[str, Any]) -> None:
    question, action = panel["description"].split("\n\n", 1)
    assert "?" in question
    assert len(action) > 30
    assert panel["options"]["yAxis"]["unit"] if panel["type"] == "heatmap" else panel["fieldConfig"]["defaults"]["unit"]
    assert all(target["legendFormat"] for target in panel["targets"])
    if panel["type"] in ("timeseries", "heatmap"):
        legend = panel["options"]["legend"]
        assert legend.get("showLegend") or legend.get("show")
    if panel["type"] == "table":
        overrides = panel["fieldConfig"]["overrides"]
        titles = {o["matcher"]["options"] for o in overrides if any(entry["id"] == "unit" for entry in o["properties"])}
        assert len(titles) == len(panel["targets"])
        units = [p["id"] for override in panel["fieldConfig"]["overrides"] for p in override["properties"]]
        assert units.count("unit") == len(titles)


@pytest.mark.parametrize("uid", SHIPPED)
def test_every_variable_used_is_defined(uid: str) -> None:
    model = SHIPPED[uid]
    defined = {variable["name"] for variable in model["templating"]["list"]}
    assert {"datasource", "traces", "job", "instance"} <= defined
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(model)))
    builtin = {name for name in used if name.startswith("__")}
    known = "rate_interval rate_interval_ms range url_time_range field data from to org all"
    assert builtin <= {f"__{name}" for name in known.split()}
    assert used - builtin <= defined
    assert defined <= used


@pytest.mark.parametrize("uid", SHIPPED)
def test_job_and_instance_at_all_match_series_without_them(uid: str) -> None:
    for variable in SHIPPED[uid]["templating"]["list"]:
        if variable["name"] in ("job", "instance"):
            assert variable["allValue"] == ".*"
            assert variable["current"]["value"] == ["$__all"]


@pytest.mark.parametrize("uid", SHIPPED)
def test_values_of_variables_are_escaped_for_where_they_stand(uid: str) -> None:
    """Grafana escapes a variable that allows several values for regular expressions, and no other unless told."""
    for variable in SHIPPED[uid]["templating"]["list"]:
        if variable["type"] == "query":
            name = variable["name"]
            compared = set(re.findall(rf'(=~?)\\?(["`])\$\{{?{name}(:\w+)?', json.dumps(SHIPPED[uid])))
            if variable.get("multi", False):
                assert compared == {("=~", '"', "")}, name
            else:  # anybody's words, or one of a fixed list
                assert compared == {("=~", "`", ":regex") if name == "executor" else ("=", '"', "")}, name


def test_links_to_an_executor_name_it_where_grafana_has_its_name() -> None:
    """A line's field has the labels of its series; a table's fields have none, but each row has its other columns."""
    for model in SHIPPED.values():
        for panel in model["panels"]:
            field = panel.get("fieldConfig", {"defaults": {}, "overrides": []})
            links = [link["url"] for link in field["defaults"].get("links", ()) if "var-executor" in link["url"]]
            if panel["type"] == "table":
                assert not links, panel["title"]
                override, (link,) = next(
                    (o, entry["value"])
                    for o in field["overrides"]
                    for entry in o["properties"]
                    if entry["id"] == "links" and "var-executor" in entry["value"][0]["url"]
                )
                organize = panel["transformations"][-1]["options"]["renameByName"].values()
                named = re.findall(r"\$\{__data\.fields\.(\w+):percentencode\}", link["url"])
                assert named == ["Executor", "Type"]
                assert {override["matcher"]["options"], *named} <= set(organize)
                links = [link["url"]]
            for url in links:
                assert "${instance:queryparam}" in url, panel["title"]
                assert panel["type"] == "table" or url.count("${__field.labels.glasspool_executor_") == 2


def test_many_executors_are_not_marked_at_first() -> None:
    """Of hundreds of executors the annotations tint every panel; and a mark's text does not repeat its title."""
    for uid, model in SHIPPED.items():
        for annotation in model["annotations"]["list"]:
            if annotation["name"].startswith("Executors "):
                assert annotation["enable"] == (uid == "glasspool-executor")
                assert annotation["titleFormat"] != annotation["textFormat"]


@pytest.mark.parametrize(("uid", "panel"), PANELS)
def test_counts_of_events_do_not_change_with_the_zoom(uid: str, panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        if "increase(" in target["expr"] and panel["type"] != "heatmap" and "histogram_quantile" not in target["expr"]:
            assert "/ $__rate_interval_ms * 1000" in target["expr"], panel["title"]


@pytest.mark.parametrize(("uid", "panel"), PANELS)
def test_each_exemplar_is_asked_for_once(uid: str, panel: dict[str, Any]) -> None:
    sources = [
        tuple(re.findall(r"glasspool_\w+_bucket", t["expr"])) for t in panel["targets"] if t.get("exemplar")
    ]  # fmt: skip
    assert len(sources) == len(set(sources)), panel["title"]


def test_traces_open_from_exemplars_and_lines() -> None:
    panels = [panel for panel in SHIPPED["glasspool-executor"]["panels"] if panel["type"] != "row"]
    with_exemplars = {panel["title"] for panel in panels if any(t.get("exemplar") for t in panel["targets"])}
    assert {"Waits against runs", "Queue waits", "Run times", "Run time by task, p95"} <= with_exemplars
    linked = {panel["title"] for panel in panels if panel["fieldConfig"]["defaults"].get("links")}
    assert with_exemplars <= linked


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_expression_is_promql_over_the_catalog(expr: str) -> None:
    parsed = promql_parser.parse(filled_in(expr))
    names = metric_names(parsed)
    assert names
    assert names <= NAMES | RECORDED | ALERTING
    assert not re.search(r'\ble="', expr), "a bound must be matched in both spellings"


def test_every_metric_has_a_panel() -> None:
    shown: set[str] = set()
    for param in EXPRESSIONS:
        shown |= metric_names(promql_parser.parse(filled_in(str(param.values[0]))))
    missing = [m.name for m in ALL_METRICS if not any(name.startswith(m.prometheus_name) for name in shown)]
    assert missing == []
    assert SUBMIT_WAIT.prometheus_name + "_bucket" in shown


def test_every_recorded_name_that_is_read_is_recorded() -> None:
    read = {name for param in EXPRESSIONS for name in re.findall(r"glasspool:[\w:]+", str(param.values[0]))}
    assert read <= RECORDED


# The SDK recommends a newer model, which needs a newer Grafana than people run.
@pytest.mark.filterwarnings("ignore:Prefer using dashboardv2:DeprecationWarning")
def test_generated_files_are_fresh() -> None:
    pytest.importorskip("grafana_foundation_sdk", reason="grafana-foundation-sdk needs Python 3.11 or later")
    from dashboards.generator.__main__ import generated

    for path, text in generated().items():
        assert (ROOT / path).read_bytes() == text.encode(), f"{path} is stale: run `python -m dashboards.generator`"


@pytest.mark.parametrize(("kind", "suffix"), [("dashboards", ".json"), ("rules", ".yaml")])
def test_the_wheel_ships_what_lies_in_the_folder_of_dashboards(kind: str, suffix: str) -> None:
    def files(directory: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in directory.glob(f"*{suffix}")}

    lying = files(ROOT / "dashboards" if kind == "dashboards" else ROOT / "dashboards" / kind)
    assert lying
    assert lying == files(ASSETS / kind)


def test_the_page_beside_them_names_every_file() -> None:
    directory = ROOT / "dashboards"
    text = (directory / "README.md").read_text(encoding="utf-8")
    there = {path.relative_to(directory).as_posix() for path in (*directory.glob("*.json"), *directory.glob("rules/*"))}
    assert {target for target in re.findall(r"\]\(([^)]+)\)", text) if not target.startswith("..")} == there


def test_shipped_rules_are_those_of_the_generator() -> None:
    shipped = {path.name: path.read_text(encoding="utf-8") for path in (ASSETS / "rules").iterdir()}
    assert provisioning.rules() == rule_files(RuleOptions()) == shipped


def test_every_alert_has_a_runbook() -> None:
    directory = ROOT / "docs" / "runbooks"
    for alert in alerts(RuleOptions()):
        text = (directory / f"{alert.runbook}.md").read_text(encoding="utf-8")
        assert text.startswith(f"# {alert.name}\n")
        for section in (
            "## What it means",
            "## What you see",
            "## Tell the causes apart",
            "## What to do",
            "## What it cannot see",
        ):
            assert section in text, f"{alert.runbook}: {section}"
        pictures = re.findall(r"!\[.+?\]\((.+?)\)", text)
        assert f"../images/alerts/{alert.runbook}.png" in pictures
        assert all((directory / picture).is_file() for picture in pictures)
    known = {alert.runbook for alert in alerts(RuleOptions())}
    assert {path.stem for path in directory.glob("*.md")} == known | {"README"}


def test_runbooks_name_panels_that_exist() -> None:
    titles = {panel["title"] for model in SHIPPED.values() for panel in model["panels"]}
    for path in (ROOT / "docs" / "runbooks").glob("*.md"):
        for named in re.findall(r"\*([A-Z][^*\n]+)\*", path.read_text(encoding="utf-8")):
            assert named in titles, f"{path.name} names the panel {named!r}, which there is not"
