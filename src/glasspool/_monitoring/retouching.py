"""Applies the options to the shipped dashboards. Their generator needs more packages than the wheel, so they are
shipped as JSON, together with the places of their thresholds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from glasspool.telemetry.catalog import Key

from .options import OptionError

__all__ = ["TRACES", "retouched", "traces_url"]

TRACES = ("tempo", "jaeger")
"""Kinds of trace data source that the dashboards can lead to; the shipped ones lead to the first."""

Places = Mapping[str, Sequence[Sequence[str | int]]]
"""Maps the name of a threshold to its places in one dashboard's JSON."""


def retouched(text: str, places: Places, lines: Mapping[str, float], traces: str = TRACES[0]) -> str:
    """The dashboard with these thresholds, and leading to this kind of trace data source.

    Raises OptionError for an unknown kind.
    """
    text = text.replace(json.dumps(traces_url(TRACES[0]))[1:-1], json.dumps(traces_url(traces))[1:-1])
    model = json.loads(text)
    for variable in model["templating"]["list"]:
        if variable["name"] == "traces":
            variable["query"] = traces
    for name, found in places.items():
        for place in found:
            _put(model, place, lines[name])
    return json.dumps(model, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _put(model: Any, place: Sequence[str | int], value: float) -> None:
    """Set one step of a panel's thresholds; the others are adapted, since Grafana needs them in order."""
    *way, number, key = place
    for step in way:
        model = model[step]
    assert isinstance(number, int)  # noqa: S101  # the places are generated
    for index, step in enumerate(model):
        if step[key] is not None:  # the base, which has no value
            step[key] = value if index == number else (min if index < number else max)(step[key], value)


def traces_url(traces: str) -> str:
    """Grafana's Explore on the executor's spans. Raises OptionError for an unknown kind of trace data source."""
    found = {
        "tempo": {"queryType": "traceql", "query": f'{{ span.{Key.EXECUTOR_NAME} = "${{executor}}" }}'},
        "jaeger": {"queryType": "search", "tags": f'{{"{Key.EXECUTOR_NAME}":"${{executor}}"}}'},
    }
    if traces not in found:
        raise OptionError("traces", f"must be one of {', '.join(TRACES)}; got {traces!r}")
    query = {"refId": "A", "datasource": {"type": traces, "uid": "${traces}"}, **found[traces]}
    pane = {"datasource": "${traces}", "queries": [query], "range": {"from": "${__from}", "to": "${__to}"}}
    # Grafana fills in its variables only where it can still read them, so they alone stay unquoted.
    text = quote(json.dumps({"glasspool": pane}, separators=(",", ":")), safe="")
    text = re.sub(r"%24%7B(\w+)%7D", r"${\1}", text)
    return f"/explore?schemaVersion=1&orgId=${{__org.id}}&panes={text}"
