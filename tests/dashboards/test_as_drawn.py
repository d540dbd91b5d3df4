"""The effect of the dashboards' settings in Grafana: one test for each kind of fault that drawn pictures have shown."""

from __future__ import annotations

import re
from typing import Any

import pytest

from glasspool.telemetry.catalog import HOLD_REASONS, OUTCOMES, RETRY_STOPS, SERVICE_STATES, SUBMIT_WAIT
from tests.dashboards.support.shipped import PANELS, SHIPPED

TABLES = [panel for panel in PANELS.values() if panel["type"] == "table"]
(TABLE,) = (panel for panel in TABLES if panel["title"] == "Executors in trouble or under pressure")

GRID_ROW, GAP, CHROME = 30, 8, 40
"""Pixels: a row of Grafana's grid, what lies between two, and a panel's title with its padding."""
DEFAULT_COLUMN, TABLE_ROW, HEADER_LINE, HEADER_PADDING = 150, 36, 22, 12
"""Pixels: a column without a least width of its own, a small row, and a header's lines and padding."""
BESIDE = 50
"""Pixels of a window's width that are not the grid's: the margins and the scroll bar."""


def overrides(panel: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings of single fields, by what they are matched with."""
    return {
        override["matcher"]["options"]: {entry["id"]: entry["value"] for entry in override["properties"]}
        for override in panel["fieldConfig"]["overrides"]
    }


@pytest.mark.parametrize("window", [1280, 1600, 1920])
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table["title"])
def test_every_column_of_a_table_is_within_sight(table: dict[str, Any], window: int) -> None:
    """A column has its width, or an equal part of what is left, but never less than its least width."""
    room = (window - BESIDE) * table["gridPos"]["w"] / 24
    titles = table["transformations"][-1]["options"]["renameByName"].values()
    settings = [overrides(table).get(title, {}) for title in titles]
    given = [each.get("custom.width", 0) for each in settings]
    part = (room - sum(given)) / given.count(0)
    widths = [
        width or max(each.get("custom.minWidth", DEFAULT_COLUMN), part)
        for width, each in zip(given, settings, strict=True)
    ]
    assert sum(widths) <= room + 1e-6


def test_the_table_has_the_height_of_its_rows() -> None:
    (most,) = {int(found) for t in TABLE["targets"] for found in re.findall(r"topk\((\d+),", t["expr"])}
    inside = TABLE["gridPos"]["h"] * (GRID_ROW + GAP) - GAP - CHROME
    assert most * TABLE_ROW + 2 * HEADER_LINE + HEADER_PADDING <= inside


def test_the_table_colours_only_what_is_wrong_and_has_one_link() -> None:
    for title, settings in overrides(TABLE).items():
        if "thresholds" in settings:
            assert settings["thresholds"]["steps"][0]["color"] == "transparent", title
        if settings.get("unit") == "percentunit":
            assert settings["decimals"] == 0, title
        assert ("links" in settings) == (title == "Executor")


def test_the_table_is_on_the_first_screen() -> None:
    """The answer to "which executor, and what of it" at 1,600 by 900, below Grafana's own bars."""
    bars = 2 * 40 + 2 * GAP
    bottom = (TABLE["gridPos"]["y"] + TABLE["gridPos"]["h"]) * (GRID_ROW + GAP)
    assert bars + bottom - TABLE_ROW <= 900, "at most the last row is cut off"


def fields(panel: dict[str, Any]) -> list[str]:
    """Names that a panel's fields may have: each legend with its labels filled in, or a table's columns."""
    if panel["type"] == "table":
        return list(panel["transformations"][-1]["options"]["renameByName"].values())
    legends = [target["legendFormat"] for target in panel["targets"]]
    if "{{glasspool_task_outcome}}" in legends:
        return list(OUTCOMES)
    if "{{glasspool_service_state}}" in legends:
        return list(SERVICE_STATES)
    for label, values in (("hold_reason", HOLD_REASONS), ("retry_stop_reason", RETRY_STOPS)):
        legends = [legend.replace(f"{{{{glasspool_{label}}}}}", value) for legend in legends for value in values]
    return [re.sub(r"\{\{\w+\}\}", "x", legend) for legend in legends]


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_every_override_matches_a_field(panel: dict[str, Any]) -> None:
    names = fields(panel)
    for override in panel["fieldConfig"]["overrides"]:
        kind, wanted = override["matcher"]["id"], override["matcher"]["options"]
        if kind == "byRegexp":
            pattern = wanted.removeprefix("/").removesuffix("/").replace("\\ ", " ")
            assert any(re.search(pattern, name) for name in names), wanted
        else:
            assert wanted in names


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_an_outcome_has_one_colour(panel: dict[str, Any]) -> None:
    if any("task_outcome}}" in target["legendFormat"] for target in panel["targets"]):
        colours = {name: each["color"]["fixedColor"] for name, each in overrides(panel).items()}
        assert colours == {"success": "green", "error": "red", "timeout": "orange", "cancelled": "blue"}
        assert set(colours) == set(OUTCOMES)


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_a_limit_is_dashed_and_not_filled(panel: dict[str, Any]) -> None:
    if panel["type"] != "timeseries":
        return
    legends = [target["legendFormat"] for target in panel["targets"]]
    limits = [each for each in legends if re.search(r"(?<!at the )limit$|capacity$|objective$", each)]
    drawn = [settings for settings in overrides(panel).values() if "custom.lineStyle" in settings]
    assert len(drawn) == len(limits)
    assert all(settings["custom.fillOpacity"] == 0 for settings in drawn)


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_thresholds_rise(panel: dict[str, Any]) -> None:
    """Of two colours at one value only the last is ever seen."""
    each = [panel["fieldConfig"]["defaults"].get("thresholds", {"steps": [{"value": None}]})]
    each += [settings["thresholds"] for settings in overrides(panel).values() if "thresholds" in settings]
    for thresholds in each:
        values = [step["value"] for step in thresholds["steps"][1:]]
        assert values == sorted(set(values))


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_a_heatmap_counts_each_task_once_and_its_cells_can_be_seen(panel: dict[str, Any]) -> None:
    if panel["type"] != "heatmap":
        return
    assert panel["maxDataPoints"] <= 60
    for target in panel["targets"]:
        assert target["interval"] == "$__rate_interval", "the step, which then is the window of the same name as well"
        windows = re.findall(r"\[([^\]]+)\]", re.sub(r"last_over_time\([^)]*\)", "", target["expr"]))
        assert set(windows) == {"$__rate_interval"}


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_a_flat_zero_lies_on_a_small_axis(panel: dict[str, Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    if panel["type"] == "timeseries":
        assert "max" in defaults or defaults["custom"]["axisSoftMax"] <= 2


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_thresholds_do_not_lie_on_the_floor(panel: dict[str, Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    steps = [step["value"] for step in defaults.get("thresholds", {"steps": []})["steps"] if step["value"] is not None]
    if panel["type"] == "timeseries" and "max" in defaults and steps:
        assert min(steps) >= defaults["max"] / 4


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_a_legend_shows_more_than_two_lines(panel: dict[str, Any]) -> None:
    if panel["type"] == "timeseries":
        wide = panel["gridPos"]["w"] >= 12
        assert panel["options"]["legend"]["placement"] == ("right" if wide else "bottom")
        assert wide or panel["gridPos"]["h"] >= 10


@pytest.mark.parametrize("uid", SHIPPED)
def test_no_row_ends_half_empty(uid: str) -> None:
    widths: dict[int, int] = {}
    for panel in SHIPPED[uid]["panels"]:
        y = panel["gridPos"]["y"]
        widths[y] = widths.get(y, 0) + panel["gridPos"]["w"]
    assert set(widths.values()) == {24}


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_counts_are_whole_figures(panel: dict[str, Any]) -> None:
    """ "5 K" is no count."""
    if panel["type"] == "stat":
        assert panel["fieldConfig"]["defaults"]["unit"] != "short"


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_what_is_not_judged_has_no_colour(panel: dict[str, Any]) -> None:
    thresholds = panel["fieldConfig"]["defaults"].get("thresholds")
    if thresholds and len(thresholds["steps"]) == 1:
        assert thresholds["steps"][0]["color"] == "transparent"


def test_nobody_is_shown_to_wait_who_did_not() -> None:
    """Of waits that are all in the first bucket a quantile says half of its bound."""
    (panel,) = (p for p in PANELS.values() if p["title"] == "Submit wait")
    assert all(target["expr"].endswith(f" > {SUBMIT_WAIT.buckets[0]:g}") for target in panel["targets"])


def test_a_trace_store_that_is_not_there_is_no_error() -> None:
    """A variable without a value shows a red triangle, unless it is in the controls menu."""
    for model in SHIPPED.values():
        (traces,) = (variable for variable in model["templating"]["list"] if variable["name"] == "traces")
        assert traces["hide"] == 3
