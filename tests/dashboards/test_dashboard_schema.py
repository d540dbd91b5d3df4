"""The schema of dashboards knows every key that Grafana reads at a place, and no other."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from tests.dashboards.support.dashboard_schema import DASHBOARD, PANELS
from tests.dashboards.support.shipped import SHIPPED


def refused(model: dict[str, Any]) -> list[str]:
    """What the schema says against a dashboard; panels one by one, for the message of a failed oneOf names nothing."""
    validator = jsonschema.Draft202012Validator
    found = [error.message for error in validator(DASHBOARD).iter_errors({**model, "panels": model["panels"][:1]})]
    for panel in model["panels"]:
        found += [error.message for error in validator(PANELS[panel["type"]]).iter_errors(panel)]
    return found


@pytest.mark.parametrize("uid", SHIPPED)
def test_nothing_shipped_is_refused(uid: str) -> None:
    assert refused(SHIPPED[uid]) == []


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
    assert [message for message in refused(model) if f"'{key}'" in message]


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


@pytest.mark.parametrize(
    ("kind", "name"),
    [("timeseries", "custom.width"), ("table", "width"), ("heatmap", "unit"), ("stat", "custom.lineWidth")],
)
def test_an_override_of_what_a_field_has_not_is_noticed(kind: str, name: str) -> None:
    """Beside one that is allowed, which says that the name alone is at fault."""
    panel: dict[str, Any] = next(
        copy.deepcopy(panel) for model in SHIPPED.values() for panel in model["panels"] if panel["type"] == kind
    )
    validator = jsonschema.Draft202012Validator(PANELS[kind])
    override: dict[str, Any] = {"matcher": {"id": "byName", "options": "any"}, "properties": []}
    panel["fieldConfig"]["overrides"].append(override)
    override["properties"] = [{"id": "noValue", "value": "none"}]
    assert validator.is_valid(panel)
    for value in (1, "s"):
        override["properties"] = [{"id": name, "value": value}]
        assert not validator.is_valid(panel)
