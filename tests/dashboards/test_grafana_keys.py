"""Every key in the shipped dashboards is one that Grafana reads there."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from grafana_keys import property_known, unknown_keys
from shipped import PANELS, SHIPPED


@pytest.mark.parametrize("uid", SHIPPED)
def test_every_key_is_known_to_grafana(uid: str) -> None:
    assert unknown_keys(SHIPPED[uid]) == []


@pytest.mark.parametrize(
    ("place", "key"),
    [
        ((), "refreshs"),
        (("templating", "list", 0), "auto"),
        (("annotations", "list", 0), "colour"),
        (("panels", "table", "options"), "footer"),
        (("panels", "table"), "repeatDirection"),
        (("panels", "heatmap", "fieldConfig", "defaults"), "unit"),
        (("panels", "timeseries", "fieldConfig", "defaults", "custom"), "wrapHeaderText"),
        (("panels", "timeseries", "fieldConfig", "defaults"), "maximum"),
        (("panels", "timeseries", "fieldConfig", "defaults", "links", 0), "keepTime"),
        (("panels", "stat", "targets", 0), "legend"),
    ],
)
def test_a_key_that_nobody_reads_is_noticed(place: tuple[str | int, ...], key: str) -> None:
    """Put where it was not, or found where it is already."""
    model, spot = next(_places(place))
    spot[key] = 1
    assert [found for found in unknown_keys(model) if found.endswith(f".{key}")]


def _places(place: tuple[str | int, ...]) -> Iterator[tuple[dict[str, Any], Any]]:
    """The place in a copy of each dashboard that has it; panels go by their kind."""
    for shipped in SHIPPED.values():
        model = copy.deepcopy(shipped)
        # Those with links last, which are taken: every place is in them.
        ordered = sorted(model["panels"], key=lambda panel: "links" in json.dumps(panel))
        of_kind = {panel["type"]: panel for panel in ordered}
        if place[:1] != ("panels",):
            spot: Any = model
            steps = place
        elif place[1] in of_kind:
            spot = of_kind[str(place[1])]
            steps = place[2:]
        else:
            continue
        for step in steps:
            spot = spot[step]
        yield model, spot


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_an_override_sets_what_a_field_has(panel: dict[str, Any]) -> None:
    for override in panel["fieldConfig"]["overrides"]:
        assert override["properties"]
        assert [own["id"] for own in override["properties"] if not property_known(panel["type"], own["id"])] == []


def test_what_a_field_has_not_is_noticed() -> None:
    assert property_known("table", "custom.width")
    assert not property_known("timeseries", "custom.width")
    assert not property_known("table", "width")
    assert not property_known("heatmap", "unit")
