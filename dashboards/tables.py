"""The table of executors: one row an executor, one column a query, and every column within sight."""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.models import common, dashboard

from dashboards.parts import NEUTRAL, REFS, thresholds
from glasspool._monitoring.expressions import EXECUTOR_LABELS

__all__ = ["NAMES", "Column", "executor_table"]

NAMES = ("Executor", "Type")
"""What the columns of an executor's labels are called."""

_NAME_WIDTHS = (190, 110)
_LEAST_WIDTH = 80
"""In pixels. Grafana gives a column without a width what is left, but never less than 150 unless told, and then ten
columns need a scroll bar that hides the last ones."""


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
    builder.sort_by([common_builders.TableSortByFieldState().display_name(columns[0].title).desc(True)])
    for name, width in zip(NAMES, _NAME_WIDTHS, strict=True):
        own: dict[str, object] = {"custom.width": width}
        if link is not None and name == NAMES[0]:  # a table's fields have no labels: the link reads the row's columns
            own["links"] = [link]
        builder.override_by_name(name, _properties(own))
    for column in columns:
        builder.override_by_name(column.title, _properties(_look(column)))
    return builder


def _look(column: Column) -> dict[str, object]:
    look: dict[str, object] = {
        "unit": column.unit,
        "custom.minWidth": _LEAST_WIDTH,
        "custom.wrapHeaderText": True,
        "noValue": "–",  # of an executor without a bound or tasks; the panel's own words are about all of them
    }
    if column.unit == "percentunit":
        look["decimals"] = 0
    if column.warn is not None or column.alarm is not None:
        # What is well stays without colour, so that what is not stands out.
        look["thresholds"] = thresholds(column.warn, column.alarm, NEUTRAL).build()
        look["custom.cellOptions"] = {"type": "color-background"}
    return look


def _properties(values: dict[str, object]) -> list[dashboard.DynamicConfigValue]:
    return [dashboard.DynamicConfigValue(id_val=name, value=value) for name, value in values.items()]
