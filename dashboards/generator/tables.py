"""The tables: a row per executor with a column per query, or a row per alert. All columns are visible."""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.models import common, dashboard

from dashboards.generator.parts import NEUTRAL, REFS, thresholds
from glasspool._monitoring.expressions import EXECUTOR_LABELS, any_of, firing, label
from glasspool.telemetry.catalog import Key

__all__ = ["NAMES", "Column", "alert_table", "executor_table", "firing_alerts"]

NAMES = ("Executor", "Type")
"""The titles of the columns of an executor's labels."""

_NAME_WIDTHS = (190, 110)
_MOST_ALERTS = 20
_LONG = 10**9
"""Seconds; longer than any alert lasts."""
_LEAST_WIDTH = 80
"""In pixels. Grafana gives a column without a width the remaining space, but at least 150 unless configured; then ten
columns need a scroll bar that hides the last ones."""


_ABOUT = tuple(label(key) for key in (Key.TASK_NAME, Key.LIMIT_NAME, Key.SERVICE_NAME, Key.LOSS_KIND, Key.FAILURE_KIND))
"""Labels that identify what an alert is about, besides the executor; an alert has at most one of them."""

_ALERT_COLUMNS = {
    "alertstate": ("State", 70),
    "Value": ("For", 80),
    "alertname": ("Alert", 250),
    "severity": ("Severity", 90),
    EXECUTOR_LABELS[0]: (NAMES[0], 150),
    EXECUTOR_LABELS[1]: (NAMES[1], 100),
    label(Key.EVENTLOOP_NAME): ("Event loop", 90),
    "about": ("About", 150),
    "job": ("Job", 100),
    "instance": ("Instance", 0),
}
"""The labels of an alert that are shown, with the title and the width of each column in pixels; 0 is the remaining
space."""


def firing_alerts(*filters: str) -> str:
    """The time for which the conditions of the alerts have held, with the labels that the table shows.

    If there are too many alerts, pages come before tickets, and older alerts before newer ones: for the choice the age
    of pages is increased by more than any alert lasts, and a remainder subtracts that again. Refusals for several
    reasons are one row: the executor's dashboard separates them.
    """
    page, others = f'label_replace(vector({_LONG}), "severity", "page", "", "")', firing(("severity",), *filters)
    older = f"({any_of(page, f'0 * {others}')})"
    shown = f"topk({_MOST_ALERTS}, {_lasting(*filters)} + on (severity) group_left () {older}) % {_LONG}"
    return f"""label_join({shown}, "about", "", {", ".join(f'"{name}"' for name in _ABOUT)})"""


def _lasting(*filters: str) -> str:
    labels = (*(name for name in _ALERT_COLUMNS if name not in ("alertstate", "Value", "about")), *_ABOUT)
    age = f"clamp_min(time() - {firing(labels, *filters, name='ALERTS_FOR_STATE', how='min')}, 0)"
    state = firing(("alertstate", *labels), *filters)
    lasting = f"{age} * on ({', '.join(labels)}) group_right () {state}"
    # Not every evaluator of rules reports since when an alert without a holding time has fired.
    return f"({any_of(lasting, f'0 * {state}')})"


@dataclass(frozen=True)
class Column:
    """One value column, in the order of the panel's queries."""

    title: str
    unit: str
    warn: float | None = None
    alarm: float | None = None


def executor_table(columns: tuple[Column, ...], link: dict[str, object] | None) -> table.Panel:
    """The rows are joined by their labels, as Grafana's merge does it; ``link`` is that of an executor's name."""
    values = {f"Value #{ref}": column for ref, column in zip(REFS, columns, strict=False)}
    organize = {
        "excludeByName": {"Time": True},
        "indexByName": {name: index for index, name in enumerate((*EXECUTOR_LABELS, *values))},
        "renameByName": dict(zip(EXECUTOR_LABELS, NAMES, strict=True))
        | {name: column.title for name, column in values.items()},
    }
    builder = table.Panel().show_header(True).cell_height(common.TableCellHeight.SM)
    builder.with_transformation(dashboard.DataTransformerConfig(id_val="merge", options={}))
    builder.with_transformation(dashboard.DataTransformerConfig(id_val="organize", options=organize))
    builder.sort_by(
        [common_builders.TableSortByFieldState().display_name(column.title).desc(True) for column in columns[:2]]
    )
    for name, width in zip(NAMES, _NAME_WIDTHS, strict=True):
        own: dict[str, object] = {"custom.width": width}
        if link is not None and name == NAMES[0]:  # a table's fields have no labels: the link reads the row's columns
            own["links"] = [link]
        builder.override_by_name(name, _properties(own))
    for column in columns:
        builder.override_by_name(column.title, _properties(_look(column)))
    return builder


def alert_table(executor: dict[str, object], loop: dict[str, object], runbooks: dict[str, object]) -> table.Panel:
    """Firing alerts come before pending ones, and pages before tickets.

    The links open the runbooks, and the executor or the event loops of the row.
    """
    organize = {
        "excludeByName": dict.fromkeys(("Time", *_ABOUT), True),
        "indexByName": {name: index for index, name in enumerate(_ALERT_COLUMNS)},
        "renameByName": {name: title for name, (title, _) in _ALERT_COLUMNS.items()},
    }
    builder = table.Panel().show_header(True).cell_height(common.TableCellHeight.SM)
    builder.with_transformation(dashboard.DataTransformerConfig(id_val="organize", options=organize))
    builder.sort_by(
        [common_builders.TableSortByFieldState().display_name(title).desc(False) for title in ("State", "Severity")]
    )
    state = {
        word: dashboard.ValueMappingResult(text=word, color=colour, index=index)
        for index, (word, colour) in enumerate((("firing", "red"), ("pending", "orange")))
    }
    own: dict[str, dict[str, object]] = {
        "State": {
            "mappings": [dashboard.ValueMap(options=state)],
            "custom.cellOptions": {"type": "color-background"},
        },
        "For": {"unit": "s", "decimals": 0},
        "Alert": {"links": [runbooks]},
        NAMES[0]: {"links": [executor]},
        "Event loop": {"links": [loop]},
    }
    for title, width in _ALERT_COLUMNS.values():
        given: dict[str, object] = {"custom.width": width} if width else {}
        # An empty cell would otherwise have the panel's text for no alerts.
        builder.override_by_name(title, _properties({"noValue": " "} | given | own.get(title, {})))
    return builder


def _look(column: Column) -> dict[str, object]:
    look: dict[str, object] = {
        "unit": column.unit,
        "custom.minWidth": _LEAST_WIDTH,
        "custom.wrapHeaderText": True,
        "noValue": "–",  # of an executor without a bound or tasks; the panel's own text is about all executors
    }
    if column.unit == "percentunit":
        look["decimals"] = 0
    if column.warn is not None or column.alarm is not None:
        # Only cells that show a problem are coloured.
        look["thresholds"] = thresholds(column.warn, column.alarm, NEUTRAL).build()
        look["custom.cellOptions"] = {"type": "color-background"}
    return look


def _properties(values: dict[str, object]) -> list[dashboard.DynamicConfigValue]:
    return [dashboard.DynamicConfigValue(id_val=name, value=value) for name, value in values.items()]
