"""The parts of `make dashboards-look` that replace Grafana's server, and its checks."""

from __future__ import annotations

import re
from typing import Any

import pytest

from glasspool._monitoring import RuleOptions
from glasspool._monitoring.alerts import alerts
from tools.look.checks import Drawn, empty_panels, faults
from tools.look.expected import by_name
from tools.look.intervals import Query, duration, milliseconds

HOUR = 3_600_000


def query(**sent: Any) -> Query:
    return Query.of({"expr": "rate(x[$__rate_interval])", "maxDataPoints": 800, **sent}, 0, HOUR, 15_000)


@pytest.mark.parametrize(
    ("sent", "step", "expr"),
    [
        # The front end sends what it has worked out itself; the window is four scrapes at least.
        ({"intervalMs": 15_000}, 15_000, "rate(x[1m])"),
        ({"intervalMs": 60_000, "maxDataPoints": 60}, 60_000, "rate(x[75s])"),
        # A step that is the window: one column of a heatmap counts what no other counts.
        ({"intervalMs": 60_000, "maxDataPoints": 60, "interval": "$__rate_interval"}, 75_000, "rate(x[75s])"),
        ({"intervalMs": 15_000, "interval": "${__rate_interval}"}, 60_000, "rate(x[1m])"),
        # A least step of the query's own takes the place of the scrape interval.
        ({"intervalMs": 15_000, "interval": "30s"}, 30_000, "rate(x[2m])"),
        ({"expr": "x offset $__range + ${__range_s} * $__interval_ms", "intervalMs": 15_000}, 15_000,
         "x offset 3600s + 3600 * 15000"),
    ],
)  # fmt: skip
def test_step_and_window_are_those_of_grafana(sent: dict[str, Any], step: int, expr: str) -> None:
    assert query(**sent) == Query(expr, step)


def test_instants_are_rounded_down_to_a_multiple_of_the_step() -> None:
    assert query(intervalMs=15_000).aligned(1_000_000_007) == 999_990_000


@pytest.mark.parametrize("text", ["250ms", "15s", "1m", "2h", "3d"])
def test_durations_are_read_and_written(text: str) -> None:
    assert duration(milliseconds(text)) == text


@pytest.mark.parametrize("text", ["", "15", "1.5s", "$__interval"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        milliseconds(text)


def test_every_alert_has_a_picture_of_its_own() -> None:
    shown = by_name()
    assert [alert for alert, _ in shown.values()] == list(alerts(RuleOptions()))
    assert len(shown) == len(alerts(RuleOptions()))


MODEL = {"panels": [{"type": "row", "title": "Row"}, {"type": "table", "title": "Table"}]}


def table(*lines: dict[str, Any], **panel: Any) -> Drawn:
    return Drawn({"Table": {"state": "Done", "errors": [], "lines": list(lines), **panel}}, [])


def column(name: str, *cells: str, links: list[list[str]] | None = None) -> dict[str, Any]:
    return {"name": name, "cells": list(cells), "links": links or [[] for _ in cells], "points": len(cells)}


EXECUTORS = column("Executor", "a b", "c", links=[["/d/x?var-executor=a%20b&var-type=t"]] * 2)


@pytest.mark.parametrize(
    ("drawn", "fault"),
    [
        (Drawn({}, ["panel 3: parse error"]), "parse error"),
        (Drawn({}, []), "not drawn"),
        (table(state="Loading"), "not drawn"),
        (table(errors=["bad_data"]), "bad_data"),
        (table(column("Executor", "a", links=[["/d/x?var-executor=&var-type=t"]])), "not filled in"),
        (table(column("Executor", "a", links=[["/d/x?var-executor=${__field.labels.x}"]])), "not filled in"),
        (table(column("Executor", "a"), column("Type", "t")), "a: no link"),
        (table(EXECUTORS, column("Type", "t", "t")), r"opens \['a b'\] instead of \(\['c'\]"),
    ],
)
def test_faults_are_found(drawn: Drawn, fault: str) -> None:
    found = "\n".join(faults(drawn, MODEL))
    assert re.search(fault, found), found


def test_what_is_well_has_no_fault() -> None:
    links = [["/d/x?var-executor=a%20b&var-type=t"], ["/d/x?var-executor=&var-type="]]
    drawn = table(column("Executor", "a b", "", links=links), column("Type", "t", ""))
    assert not list(faults(drawn, MODEL)), "there is nothing to click in an empty cell"


def test_a_panel_without_a_point_is_empty() -> None:
    assert empty_panels(table()) == {"Table"}
    assert empty_panels(table(column("x"))) == {"Table"}
    assert empty_panels(table(column("x", "1"))) == set()
