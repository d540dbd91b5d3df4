"""A dashboard: variables, annotations, links, and panels laid out in rows, numbered and lettered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from dashboards.generator.panels import DATASOURCE, Panel, build_panel
from dashboards.generator.pruning import pruned
from glasspool._monitoring.expressions import EXECUTOR_LABELS, by, count, events, label, series
from glasspool.telemetry.catalog import EXECUTOR_CLOSED, EXECUTOR_OPENED, TASK_DURATION, Key, Metric

__all__ = ["Board", "Lines", "Row", "build_board", "executor_variable", "task_variable", "type_variable"]

Lines = Mapping[str, float]
"""The thresholds that panels draw and that the options of the rules set, by name."""

_COLUMNS = 24
_TAG = "glasspool"


@dataclass(frozen=True)
class Row:
    """A titled row. Its panels are side by side and wrap at the grid's width."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Board:
    """One dashboard. ``filters`` are the matchers its annotations use, ``variables`` those after job and instance.

    ``marks`` says whether the annotations are shown by default: with hundreds of executors they would hide the lines.
    """

    uid: str
    title: str
    description: str
    filters: tuple[str, ...]
    variables: tuple[builders.QueryVariable, ...]
    rows: tuple[Row, ...]
    marks: bool = True

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All panels in reading order."""
        return tuple(panel for row in self.rows for panel in row.panels)


def build_board(board: Board, traces: str = "tempo") -> str:
    """The dashboard as JSON text, the same for the same catalog."""
    builder = builders.Dashboard(board.title).uid(board.uid).description(board.description).tags([_TAG])
    builder.time("now-1h", "now").refresh("30s").timezone("browser").tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    builder.editable().version(1)
    builder.link(
        _Link("Glasspool").type(dashboard.DashboardLinkType.DASHBOARDS).tags([_TAG])
        .as_dropdown(False).keep_time(True).include_vars(True)
    )  # fmt: skip
    for variable in (*_sources(traces), *_processes(), *board.variables):
        builder.with_variable(variable)
    for name, metric, colour in (("opened", EXECUTOR_OPENED, "green"), ("closed", EXECUTOR_CLOSED, "orange")):
        builder.annotation(_annotation(name, metric, colour, board))
    built = builder.build()
    built.panels = list(_placed(board, traces))
    model = pruned(json.loads(JSONEncoder().encode(built)))
    return json.dumps(model, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _placed(board: Board, traces: str) -> Iterable[dashboard.Panel | dashboard.RowPanel]:
    number, y = 1, 0
    for row in board.rows:
        position = dashboard.GridPos(x=0, y=y, w=_COLUMNS, h=1)
        yield builders.Row(row.title).id(number).grid_pos(position).build()
        number, y, x, tallest = number + 1, y + 1, 0, 0
        for panel in row.panels:
            if x + panel.width > _COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            position = dashboard.GridPos(x=x, y=y, w=panel.width, h=panel.rows)
            yield build_panel(panel, number, position, traces)
            number, x, tallest = number + 1, x + panel.width, max(tallest, panel.rows)
        y += tallest


class _Link(builders.DashboardLink):
    """A link below the dashboard's title; the SDK's default hides it in the controls menu."""

    def build(self) -> dashboard.DashboardLink:
        link = super().build()
        link.placement = None  # type: ignore[assignment]  # the encoder leaves out what is None
        return link


class _Annotation(builders.AnnotationQuery):
    """An annotation with its switch at the top; the SDK's default hides it in the controls menu."""

    def build(self) -> dashboard.AnnotationQuery:
        annotation = super().build()
        annotation.placement = None  # type: ignore[assignment]  # the encoder leaves out what is None
        return annotation


def _annotation(name: str, metric: Metric, colour: str, board: Board) -> builders.AnnotationQuery:
    selector = series(metric, *board.filters)
    expr = by(EXECUTOR_LABELS, f"{events(selector, '1m')} > 0")
    query = prometheus.Dataquery().ref_id("Anno").expr(expr).range().datasource(DATASOURCE)
    title, text = f"{{{{{EXECUTOR_LABELS[0]}}}}} {name}", f"{{{{{EXECUTOR_LABELS[1]}}}}}"
    return (
        _Annotation().name(f"Executors {name}").datasource(DATASOURCE).enable(board.marks)
        .icon_color(colour).expr(expr).step("60s").title_format(title).text_format(text).target(query)
    )  # fmt: skip


def _sources(traces: str) -> tuple[builders.DatasourceVariable, ...]:
    return (
        builders.DatasourceVariable("datasource").label("Metrics").type("prometheus"),
        # In the menu (at the top in older versions of Grafana): without a trace store it would be shown as an error.
        builders.DatasourceVariable("traces")
        .label("Traces")
        .type(traces)
        .hide(dashboard.VariableHide.IN_CONTROLS_MENU),
    )


def _query(name: str, title: str, selector: str, of: str) -> builders.QueryVariable:
    text = f"label_values({selector}, {of})"
    query: dict[str, object] = {"qryType": 1, "query": text, "refId": "PrometheusVariableQueryEditor-VariableQuery"}
    variable = builders.QueryVariable(name).label(title).datasource(DATASOURCE).query(query).definition(text)
    return variable.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(
        dashboard.VariableSort.ALPHABETICAL_ASC
    )


def _all(variable: builders.QueryVariable) -> builders.QueryVariable:
    """Several values or All, which is ``.*`` and so matches series without the label as well."""
    chosen = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
    return variable.multi(True).include_all(True).all_value(".*").current(chosen)


def _processes() -> tuple[builders.QueryVariable, ...]:
    opened = EXECUTOR_OPENED
    return (
        _all(_query("job", "Job", series(opened), "job")),
        _all(_query("instance", "Instance", series(opened, 'job=~"$job"'), "instance")),
    )


def executor_variable(matchers: tuple[str, ...], *, every: bool) -> builders.QueryVariable:
    """The executor's name; ``every`` allows several and All."""
    variable = _query("executor", "Executor", series(EXECUTOR_OPENED, *matchers), label(Key.EXECUTOR_NAME))
    return _all(variable) if every else variable


def type_variable(matchers: tuple[str, ...], *, every: bool) -> builders.QueryVariable:
    """The executor's type: executors of one name and two types are two executors."""
    variable = _query("type", "Type", series(EXECUTOR_OPENED, *matchers), label(Key.EXECUTOR_TYPE))
    return _all(variable) if every else variable


def task_variable(matchers: tuple[str, ...]) -> builders.QueryVariable:
    """The task's name, All at first."""
    return _all(_query("task", "Task", count(TASK_DURATION, *matchers), label(Key.TASK_NAME)))
