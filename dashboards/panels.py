"""One panel: the question it answers, the expressions that answer it, and its form in Grafana's dashboard model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as board_builders
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from glasspool._monitoring.alerts import DRILLDOWN_UID
from glasspool._monitoring.expressions import EXECUTOR_LABELS
from glasspool._monitoring.retouching import traces_url

__all__ = ["DATASOURCE", "NONE_SEEN", "NO_DATA", "Column", "Link", "Panel", "Target", "build_panel"]

DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")

_GREEN, _ORANGE, _RED, _NEUTRAL, _GREY = "green", "orange", "red", "transparent", "#6e7680"
NO_DATA = "no data"
"""What a panel says that has nothing to show: that nothing is known, which is not that nothing is wrong."""

NONE_SEEN = "none seen, or no data"
"""The same where lines come with the first event only: a store without any looks like one that is not fed."""
_REFS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Target:
    """One expression. ``exemplar`` asks for the traces behind it as well; ``legend`` names its lines."""

    expr: str
    legend: str
    exemplar: bool = False


@dataclass(frozen=True)
class Column:
    """One value column of a table, in the order of the panel's targets."""

    title: str
    unit: str
    warn: float | None = None
    alarm: float | None = None


@dataclass(frozen=True, kw_only=True)
class Panel:
    """What a panel shows. ``warn`` and ``alarm`` colour values from there on; ``link`` is where a click leads.

    ``says`` puts words, with a colour, in place of single values of a stat; ``empty`` is what an empty panel says.
    """

    title: str
    question: str
    action: str
    targets: tuple[Target, ...]
    unit: str
    kind: Literal["timeseries", "stat", "table", "heatmap"] = "timeseries"
    warn: float | None = None
    alarm: float | None = None
    maximum: float | None = None
    width: int = 12
    height: int = 8
    stacked: bool = False
    decimals: int | None = None
    link: Literal["none", "executor", "traces"] = "none"
    columns: tuple[Column, ...] = field(default=())
    says: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    empty: str = NO_DATA

    @property
    def description(self) -> str:
        """The question first, then what to do about the answer."""
        return f"{self.question}\n\n{self.action}"


_Builder = timeseries.Panel | stat.Panel | table.Panel | heatmap.Panel


def build_panel(panel: Panel, number: int, position: dashboard.GridPos, traces: str) -> dashboard.Panel:
    """The panel in Grafana's model. ``traces`` is the kind of trace data source: tempo or jaeger."""
    builder = {"timeseries": _timeseries, "stat": _stat, "table": _table, "heatmap": _heatmap}[panel.kind](panel)
    builder.id(number).title(panel.title).description(panel.description).datasource(DATASOURCE)
    builder.grid_pos(position).unit(panel.unit).no_value(panel.empty)
    builder.thresholds(_thresholds(panel.warn, panel.alarm))
    if panel.decimals is not None:
        builder.decimals(panel.decimals)
    if panel.maximum is not None:
        builder.max(panel.maximum)
    if panel.link == "traces":
        builder.data_links([_traces_link(traces)])
    elif panel.link == "executor" and panel.kind != "table":  # a table's fields have no labels: see _table
        builder.data_links([_executor_link(*(f"__field.labels.{name}" for name in EXECUTOR_LABELS))])
    for ref, target in zip(_REFS, panel.targets, strict=False):
        builder.with_target(_query(panel, ref, target))
    return builder.build()


def _query(panel: Panel, ref: str, target: Target) -> prometheus.Dataquery:
    query = prometheus.Dataquery().ref_id(ref).expr(target.expr).legend_format(target.legend).datasource(DATASOURCE)
    if panel.kind == "table":
        return query.instant().format(PromQueryFormat.TABLE)
    if panel.kind == "stat":
        return query.instant()
    query.range().exemplar(target.exemplar)
    return query.format(PromQueryFormat.HEATMAP) if panel.kind == "heatmap" else query


def _thresholds(warn: float | None, alarm: float | None) -> board_builders.ThresholdsConfig:
    steps = [dashboard.Threshold(value=None, color=_GREEN)]
    if warn is not None:
        steps.append(dashboard.Threshold(value=warn, color=_ORANGE))
    if alarm is not None:
        steps.append(dashboard.Threshold(value=alarm, color=_RED))
    return board_builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def _timeseries(panel: Panel) -> _Builder:
    many = len(panel.targets) == 1
    legend = common_builders.VizLegendOptions().show_legend(True).calcs(["lastNotNull", "max"])
    legend.display_mode(common.LegendDisplayMode.TABLE)
    legend.placement(common.LegendPlacement.RIGHT if many and panel.width > 12 else common.LegendPlacement.BOTTOM)
    builder = timeseries.Panel().legend(legend.sort_by("Last *").sort_desc(True)).min(0).line_width(1)
    tooltip = (
        common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
    )
    builder.tooltip(tooltip).fill_opacity(40 if panel.stacked else 8).show_points(common.VisibilityMode.NEVER)
    if panel.stacked:
        builder.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    if panel.warn is not None or panel.alarm is not None:
        builder.thresholds_style(
            common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        )
    return builder


def _stat(panel: Panel) -> _Builder:
    reduce = common_builders.ReduceDataOptions().calcs(["lastNotNull"])
    builder = stat.Panel().reduce_options(reduce).graph_mode(common.BigValueGraphMode.NONE).mappings(_words(panel))
    if panel.says:  # a sentence: Grafana would shrink it until it fits the height of a figure
        builder.text(common_builders.VizTextDisplayOptions().value_size(18))
    return builder.color_mode(common.BigValueColorMode.BACKGROUND).text_mode(common.BigValueTextMode.VALUE)


def _words(panel: Panel) -> list[dashboard.ValueMapping]:
    """Without a value Grafana takes the colour of the lowest threshold, which says that all is well."""
    unknown = dashboard.SpecialValueMap(
        options=dashboard.DashboardSpecialValueMapOptions(
            match=dashboard.SpecialValueMatch.NULL_AND_NAN,
            result=dashboard.ValueMappingResult(text=panel.empty, color=_GREY, index=0),
        )
    )
    words = {
        value: dashboard.ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, (text, colour)) in enumerate(panel.says.items(), 1)
    }
    return [unknown, dashboard.ValueMap(options=words)] if words else [unknown]


def _heatmap(panel: Panel) -> _Builder:
    colours = _HeatmapColours().scheme("Oranges").steps(64)
    axis = heatmap.YAxisConfig().unit(panel.unit).axis_placement(common.AxisPlacement.LEFT)
    builder = heatmap.Panel().calculate(False).color(colours).y_axis(axis).cell_gap(1).show_legend()
    builder.tooltip(heatmap.HeatmapTooltip().mode(common.TooltipDisplayMode.SINGLE).y_histogram(True))
    return builder.exemplars_color("rgba(31, 120, 193, 0.9)").filter_values(heatmap.FilterValueRange().le(1e-9))


class _HeatmapColours(heatmap.HeatmapColorOptions):
    def __init__(self) -> None:
        super().__init__()
        self.mode(heatmap_models.HeatmapColorMode.SCHEME)
        self.scale(heatmap_models.HeatmapColorScale.EXPONENTIAL).exponent(0.5).reverse(False).fill("dark-orange")


def _table(panel: Panel) -> _Builder:
    """One row an executor, one column a target: Grafana's merge joins the rows by their labels."""
    values = {f"Value #{ref}": column for ref, column in zip(_REFS, panel.columns, strict=False)}
    order = (*EXECUTOR_LABELS, *values)
    organize = {
        "excludeByName": {"Time": True},
        "indexByName": {name: index for index, name in enumerate(order)},
        "renameByName": dict(zip(EXECUTOR_LABELS, ("Executor", "Type"), strict=True))
        | {name: column.title for name, column in values.items()},
    }
    builder = table.Panel().show_header(True).cell_height(common.TableCellHeight.SM)
    builder.with_transformation(dashboard.DataTransformerConfig(id_val="merge", options={}))
    builder.with_transformation(dashboard.DataTransformerConfig(id_val="organize", options=organize))
    builder.sort_by([common_builders.TableSortByFieldState().display_name(panel.columns[0].title).desc(True)])
    if panel.link == "executor":
        link = _executor_link("__data.fields.Executor", "__data.fields.Type").build()
        builder.override_by_name("Executor", [dashboard.DynamicConfigValue(id_val="links", value=[link])])
    for column in panel.columns:
        builder.override_by_name(column.title, _column_properties(column))
    return builder


def _column_properties(column: Column) -> list[dashboard.DynamicConfigValue]:
    properties = [dashboard.DynamicConfigValue(id_val="unit", value=column.unit)]
    if column.warn is not None or column.alarm is not None:
        properties += [
            dashboard.DynamicConfigValue(id_val="thresholds", value=_thresholds(column.warn, column.alarm).build()),
            dashboard.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-background"}),
        ]
    return properties


def _executor_link(name: str, type: str) -> board_builders.DashboardLink:
    """To the executor whose name and type these built-in variables give; a name may have any character."""
    kept = "&".join(f"${{{variable}:queryparam}}" for variable in ("datasource", "traces", "job", "instance"))
    executor = f"var-executor=${{{name}:percentencode}}&var-type=${{{type}:percentencode}}"
    return _link("Open the executor", f"/d/{DRILLDOWN_UID}?${{__url_time_range}}&{kept}&{executor}")


def _traces_link(traces: str) -> board_builders.DashboardLink:
    return _link("Traces of this executor", traces_url(traces))


class Link(board_builders.DashboardLink):
    """A link where it belongs: the SDK's default hides it in the dashboard's controls menu."""

    def build(self) -> dashboard.DashboardLink:
        link = super().build()
        link.placement = None
        return link


def _link(title: str, url: str) -> board_builders.DashboardLink:
    return Link(title).type(dashboard.DashboardLinkType.LINK).url(url).target_blank(False)
