"""The keys that Grafana's own types have at each place of a dashboard, where the dashboards have something.

From the type declarations of ``@grafana/schema``, ``@grafana/data`` (links) and ``@grafana/prometheus`` (queries),
version 13.2.3, as the TypeScript compiler resolves them. What several places share is written once. The builders' SDK
is made from an older model: it writes keys that nobody reads any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["property_known", "unknown_keys"]


def _keys(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SOURCE = _keys("type uid")
_GRAPH = _keys(
    "axisBorderShow axisCenteredZero axisColorMode axisGridShow axisLabel axisPlacement axisSoftMax axisSoftMin"
    " axisWidth barAlignment barMaxWidth barWidthFactor drawStyle fillBelowTo fillColor fillOpacity gradientMode"
    " hideFrom insertNulls lineColor lineInterpolation lineStyle lineWidth pointColor pointSize pointSymbol"
    " scaleDistribution showPoints showValues spanNulls stacking thresholdsStyle transform"
)
_CELLS = _keys(
    "align cellOptions displayMode filterable footer hideFrom hideHeader inspect minWidth sortable styleField tooltip"
    " width wrapHeaderText wrapText"
)
_FIELD = _keys(
    "actions color custom decimals description displayName displayNameFromDS filterable links mappings max min noValue"
    " path thresholds unit writeable"
)
_QUERY = _keys(
    "adhocFilters datasource editorMode exemplar expr format groupByKeys hide instant interval intervalFactor"
    " legendFormat queryType range refId scopes"
)
_THRESHOLDS = {"": _keys("mode steps"), ".steps[]": _keys("color value")}
_DATA_LINK = _keys("internal oneClick origin targetBlank title url")
_MAPPING = _keys("options type")
_PANEL = _keys(
    "autoMigrateFrom cacheTimeout datasource description fieldConfig gridPos hideTimeOverride id interval libraryPanel"
    " links maxDataPoints options pluginVersion queryCachingTTL targets timeCompare timeFrom timeShift title"
    " transformations transparent type"
)
"""Without ``maxPerRow`` and ``repeatDirection``, which are read beside ``repeat`` only, and nothing is repeated."""

_MODEL = {
    "": _keys(
        "annotations description editable fiscalYearStartMonth gnetId graphTooltip id links liveNow panels preload"
        " refresh revision schemaVersion snapshot tags templating time timepicker timezone title uid version weekStart"
    ),
    ".annotations": _keys("list"),
    # The Prometheus data source reads the last four of the annotation itself; the types leave them out.
    ".annotations.list[]": _keys(
        "builtIn datasource enable filter hide iconColor name placement snapshotData target type"
        " expr step textFormat titleFormat"
    ),
    ".annotations.list[].target": _QUERY,
    ".links[]": _keys(
        "asDropdown icon includeVars keepTime origin placement tags targetBlank title tooltip type url"
    ),
    ".templating": _keys("list"),
    # ``definition`` is what Grafana shows of a query in its list of variables; the types leave it out.
    ".templating.list[]": _keys(
        "allValue allowCustomValue current datasource definition description enableGroupBy hide includeAll label multi"
        " name options query refresh regex regexApplyTo skipUrlSync sort staticOptions staticOptionsOrder type"
        " valuesFormat"
    ),
    ".templating.list[].current": _keys("properties selected text value"),
    ".templating.list[].query": _keys("qryType query refId"),
    ".time": _keys("from to"),
}  # fmt: skip

_OF_EVERY_PANEL = {
    "": _PANEL,
    ".gridPos": _keys("h static w x y"),
    ".fieldConfig": _keys("defaults overrides"),
    ".fieldConfig.defaults": _FIELD,
    ".fieldConfig.defaults.links[]": _DATA_LINK,
    ".fieldConfig.defaults.mappings[]": _MAPPING,
    ".fieldConfig.overrides[]": _keys("matcher properties"),
    ".fieldConfig.overrides[].matcher": _keys("id options scope"),
    ".fieldConfig.overrides[].properties[]": _keys("id value"),
    # Of what an override sets only links and mappings are lists.
    ".fieldConfig.overrides[].properties[].value[]": _DATA_LINK | _MAPPING,
    ".targets[]": _QUERY,
    ".transformations[]": _keys("disabled filter id options topic"),
    **{f".fieldConfig.defaults.thresholds{place}": keys for place, keys in _THRESHOLDS.items()},
}

_OF_KIND: dict[str, dict[str, frozenset[str]]] = {
    "row": {"": _keys("collapsed datasource gridPos id panels repeat title type")},
    "timeseries": {
        ".fieldConfig.defaults.custom": _GRAPH,
        ".fieldConfig.defaults.custom.lineStyle": _keys("dash fill"),
        ".fieldConfig.defaults.custom.scaleDistribution": _keys("linearThreshold log type"),
        ".fieldConfig.defaults.custom.stacking": _keys("group mode"),
        ".fieldConfig.defaults.custom.thresholdsStyle": _keys("mode"),
        ".options": _keys("annotations disableKeyboardEvents legend orientation timeCompare timezone tooltip"),
        ".options.legend": _keys(
            "asTable calcs displayMode enableFacetedFilter facetedFilterPinned isVisible limit overflow placement"
            " showLegend sortBy sortDesc width"
        ),
        ".options.tooltip": _keys("hideZeros maxHeight maxWidth mode sort"),
    },
    "stat": {
        ".options": _keys(
            "colorMode graphMode justifyMode orientation percentChangeColorMode reduceOptions showPercentChange text"
            " textMode wideLayout"
        ),
        ".options.reduceOptions": _keys("calcs fields limit values"),
        ".options.text": _keys("percentSize titleSize valueSize"),
    },
    "table": {
        ".fieldConfig.defaults.custom": _CELLS,
        ".options": _keys(
            "cellHeight disableKeyboardEvents enablePagination frameIndex frozenColumns maxRowHeight pageSize"
            " showHeader showTypeIcons sortBy"
        ),
        ".options.sortBy[]": _keys("desc displayName"),
    },
    "heatmap": {
        # The axis has the unit and the scheme the colours: a heatmap reads neither of them from its fields.
        ".fieldConfig.defaults": _FIELD - {"thresholds", "unit"},
        ".fieldConfig.defaults.custom": _keys("hideFrom scaleDistribution"),
        ".options": _keys(
            "annotations calculate calculation cellGap cellRadius cellValues color exemplars filterValues legend"
            " rowsFrame selectionMode showValue tooltip yAxis"
        ),
        ".options.color": _keys("exponent fill max min mode reverse scale scheme steps"),
        ".options.exemplars": _keys("color"),
        ".options.filterValues": _keys("ge le"),
        ".options.legend": _keys("placement show width"),
        ".options.tooltip": _keys("maxHeight maxWidth mode showColorScale yHistogram"),
        ".options.yAxis": _keys(
            "axisBorderShow axisCenteredZero axisColorMode axisGridShow axisLabel axisPlacement axisSoftMax axisSoftMin"
            " axisWidth decimals max min reverse scaleDistribution unit"
        ),
    },
}

_FREE = ("mappings[].options", "properties[].value", "properties[].value[].options", "transformations[].options")
"""What is under these depends on a name beside them, or has names of fields and values for keys."""


def unknown_keys(model: dict[str, Any]) -> list[str]:
    """Where the dashboard has a key that Grafana does not read there."""
    found = list(_unknown({**model, "panels": []}, _MODEL, ""))
    for panel in model["panels"]:
        known = {**_OF_EVERY_PANEL, **_OF_KIND[panel["type"]]}
        found += [f"{panel['title']}: {place}" for place in _unknown(panel, known, "")]
    return found


def property_known(kind: str, name: str) -> bool:
    """Whether an override can set this of a field in a panel of this kind."""
    known = {**_OF_EVERY_PANEL, **_OF_KIND[kind]}
    own, custom, rest = name.partition("custom.")
    if custom and not own:
        return rest in known.get(".fieldConfig.defaults.custom", frozenset())
    return name in known[".fieldConfig.defaults"]


def _unknown(value: object, known: dict[str, frozenset[str]], place: str) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _unknown(each, known, f"{place}[]")
    elif isinstance(value, dict) and not place.endswith(_FREE):
        here = _SOURCE if place.endswith(".datasource") else known.get(place, frozenset())
        for key, below in value.items():
            if key in here:
                yield from _unknown(below, known, f"{place}.{key}")
            else:
                yield f"{place}.{key}"
