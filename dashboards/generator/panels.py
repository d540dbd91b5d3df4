"""One panel: the question it answers, the expressions that answer it, and its form in Grafana's dashboard model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.generator.marks import Mark
from dashboards.generator.parts import GREY, NEUTRAL, REFS, data_link, thresholds
from dashboards.generator.tables import NAMES, Column, alert_table, executor_table
from glasspool._monitoring.alerts import DRILLDOWN_UID, RUNTIME_UID
from glasspool._monitoring.expressions import EXECUTOR_LABELS
from glasspool._monitoring.options import RuleOptions
from glasspool._monitoring.retouching import traces_url

__all__ = [
    "DATASOURCE",
    "NONE_SEEN",
    "NO_DATA",
    "NO_LIMITS",
    "NO_RETRIES",
    "NO_SERVICES",
    "Panel",
    "Target",
    "build_panel",
]

DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")

NO_DATA = "no data"
"""The text of a panel without data: the value is unknown, which does not mean that all is well."""

NONE_SEEN = "none seen, or no data"
"""The same for series that begin with their first event: a store without any looks like one without data."""

NO_LIMITS = "this executor has no limits, or no data"
"""The same for series of executors that were made with limits."""

NO_RETRIES = "no task of this executor may run again, or no data"
"""The same for series of executors whose tasks have ``retry=``."""

NO_SERVICES = "this executor has had no services, or no data"
"""The same for series of executors that have started services."""

_LEAST_TOP = {"s": 0.01, "ops": 1.0, "short": 2.0, "percentunit": 0.1}
"""The least upper end of an axis: otherwise Grafana draws a flat zero on an axis up to 100."""

_CELLS = 60
"""The most columns of a heatmap, so that each is visible."""

_KEPT = "&".join(f"${{{variable}:queryparam}}" for variable in ("datasource", "traces", "job", "instance"))
"""The variables that a link to another dashboard passes on."""


@dataclass(frozen=True)
class Target:
    """One expression. ``exemplar`` also requests exemplars; ``legend`` names its lines."""

    expr: str
    legend: str
    exemplar: bool = False


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel. Values from ``warn`` and ``alarm`` on are coloured; ``link`` is the target of a click.

    ``marks`` are lines with a style of their own, ``bars`` is for single events, ``log`` for values of very different
    size on one axis. ``says`` replaces single values of a stat by words with a colour; ``empty`` is the text of an
    empty panel.
    """

    title: str
    question: str
    action: str
    targets: tuple[Target, ...]
    unit: str
    kind: Literal["timeseries", "stat", "table", "alerts", "heatmap"] = "timeseries"
    warn: float | None = None
    alarm: float | None = None
    maximum: float | None = None
    width: int = 12
    height: int | None = None
    stacked: bool = False
    bars: bool = False
    log: bool = False
    marks: tuple[Mark, ...] = ()
    decimals: int | None = None
    link: Literal["none", "executor", "traces"] = "none"
    columns: tuple[Column, ...] = field(default=())
    says: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    empty: str = NO_DATA

    @property
    def rows(self) -> int:
        """Its height on the grid: a narrow panel has its legend below, with room for four lines."""
        return self.height or (8 if self.width >= 12 else 10)

    @property
    def description(self) -> str:
        """The description: the question, then what to do about the answer."""
        return f"{self.question}\n\n{self.action}"


_Builder = timeseries.Panel | stat.Panel | table.Panel | heatmap.Panel


def build_panel(panel: Panel, number: int, position: dashboard.GridPos, traces: str) -> dashboard.Panel:
    """The panel in Grafana's model. ``traces`` is the kind of trace data source: tempo or jaeger."""
    build = {"timeseries": _timeseries, "stat": _stat, "table": _table, "alerts": _alerts, "heatmap": _heatmap}
    builder = build[panel.kind](panel)
    builder.id(number).title(panel.title).description(panel.description).datasource(DATASOURCE)
    builder.grid_pos(position).unit(panel.unit).no_value(panel.empty)
    judged = panel.warn is not None or panel.alarm is not None
    builder.thresholds(thresholds(panel.warn, panel.alarm, "green" if judged else NEUTRAL))
    if panel.decimals is not None:
        builder.decimals(panel.decimals)
    if panel.maximum is not None:
        builder.max(panel.maximum)
    for ref, target in zip(REFS, panel.targets, strict=False):
        builder.with_target(_query(panel, ref, target))
    built = builder.build()
    assert built.field_config is not None  # noqa: S101  # the builders above have all set something of it
    link = None
    if panel.link == "traces":
        link = data_link("Traces of this executor", traces_url(traces))
    elif panel.link == "executor" and panel.kind != "table":
        link = _executor_link(*(f"__field.labels.{name}" for name in EXECUTOR_LABELS))
    if link is not None:
        built.field_config.defaults.links = [link]  # type: ignore[list-item]  # the SDK's class has other keys
    built.field_config.overrides += [
        dashboard.DashboardFieldConfigSourceOverrides(matcher=mark.matcher, properties=mark.properties)
        for mark in panel.marks
    ]
    return built


def _query(panel: Panel, ref: str, target: Target) -> prometheus.Dataquery:
    query = prometheus.Dataquery().ref_id(ref).expr(target.expr).legend_format(target.legend).datasource(DATASOURCE)
    if panel.kind in ("table", "alerts"):
        return query.instant().format(PromQueryFormat.TABLE)
    if panel.kind == "stat":
        return query.instant()
    query.range().exemplar(target.exemplar)
    if panel.kind == "heatmap":
        # The step is the window of the expressions: at a shorter one each task would be counted several times.
        return query.format(PromQueryFormat.HEATMAP).interval("$__rate_interval")
    return query


def _timeseries(panel: Panel) -> _Builder:
    legend = common_builders.VizLegendOptions().show_legend(True).calcs(["lastNotNull", "max"])
    legend.display_mode(common.LegendDisplayMode.TABLE)
    # Below the lines a legend gets a third of the height.
    legend.placement(common.LegendPlacement.RIGHT if panel.width >= 12 else common.LegendPlacement.BOTTOM)
    builder = timeseries.Panel().legend(legend.sort_by("Last *").sort_desc(True)).min(0).line_width(1)
    tooltip = (
        common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
    )
    # Filled areas of many executors would cover each other.
    many = any("{{" in target.legend for target in panel.targets)
    builder.tooltip(tooltip).fill_opacity(70 if panel.stacked else 0 if many else 8).show_points(
        common.VisibilityMode.NEVER
    )
    if panel.maximum is None:
        builder.axis_soft_max(_LEAST_TOP[panel.unit])
    if panel.stacked:
        builder.line_width(0)  # the uppermost line would cover the others, even where its share is zero
        builder.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    if panel.bars:
        builder.draw_style(common.GraphDrawStyle.BARS).fill_opacity(70)
    if panel.log:
        scale = common_builders.ScaleDistributionConfig().type(common.ScaleDistribution.SYMLOG)
        builder.scale_distribution(scale.log(10).linear_threshold(1))
    if panel.warn is not None or panel.alarm is not None:
        builder.thresholds_style(
            common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        )
    return builder


def _stat(panel: Panel) -> _Builder:
    reduce = common_builders.ReduceDataOptions().calcs(["lastNotNull"])
    builder = stat.Panel().reduce_options(reduce).graph_mode(common.BigValueGraphMode.NONE).mappings(_words(panel))
    if panel.says:  # a sentence: Grafana would shrink it until it fits the height of a figure
        builder.text(common_builders.VizTextDisplayOptions().value_size(14))
    return builder.color_mode(common.BigValueColorMode.BACKGROUND).text_mode(common.BigValueTextMode.VALUE)


def _words(panel: Panel) -> list[dashboard.ValueMapping]:
    """Without a value Grafana uses the colour of the lowest threshold, which would mean that all is well."""
    unknown = dashboard.SpecialValueMap(
        options=dashboard.DashboardSpecialValueMapOptions(
            match=dashboard.SpecialValueMatch.NULL_AND_NAN,
            result=dashboard.ValueMappingResult(text=panel.empty, color=GREY, index=0),
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
    builder = (
        heatmap.Panel().max_data_points(_CELLS).calculate(False).color(colours).y_axis(axis).cell_gap(1).show_legend()
    )
    builder.tooltip(heatmap.HeatmapTooltip().mode(common.TooltipDisplayMode.SINGLE).y_histogram(True))
    return builder.exemplars_color("rgba(31, 120, 193, 0.9)").filter_values(heatmap.FilterValueRange().le(1e-9))


class _HeatmapColours(heatmap.HeatmapColorOptions):
    def __init__(self) -> None:
        super().__init__()
        self.mode(heatmap_models.HeatmapColorMode.SCHEME)
        self.scale(heatmap_models.HeatmapColorScale.EXPONENTIAL).exponent(0.5).reverse(False).fill("dark-orange")


def _table(panel: Panel) -> _Builder:
    link = _executor_link(*(f"__data.fields.{name}" for name in NAMES)) if panel.link == "executor" else None
    return executor_table(panel.columns, link)


def _alerts(panel: Panel) -> _Builder:
    executor = _executor_link(*(f"__data.fields.{name}" for name in NAMES))
    loop = data_link("Open the event loops", f"/d/{RUNTIME_UID}?${{__url_time_range}}&{_KEPT}")
    return alert_table(executor, loop, data_link("Runbooks", f"{RuleOptions().runbook_url}/README.md"))


def _executor_link(name: str, type: str) -> dict[str, object]:
    """A link to the executor whose name and type these built-in variables give; a name may have any character."""
    executor = f"var-executor=${{{name}:percentencode}}&var-type=${{{type}:percentencode}}"
    return data_link("Open the executor", f"/d/{DRILLDOWN_UID}?${{__url_time_range}}&{_KEPT}&{executor}")
