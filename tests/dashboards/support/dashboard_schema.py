"""A strict JSON schema of the part of Grafana's dashboard model (schemaVersion 42) that the dashboards use.

Strict: a key that is not listed is an error, and so is one at a panel whose kind does not read it. The builders' SDK
checks nothing: it is made from an older model and writes keys that nobody reads any more; Grafana drops what it does
not know without a word. Every key here has been compared with the types of @grafana/schema and @grafana/data 13.2.3
(npm, Apache-2.0), as the TypeScript compiler resolves them: `Dashboard`, `Panel`, `RowPanel`, `VariableModel`,
`AnnotationQuery`, `FieldConfig`, `GraphFieldConfig`, `TableFieldOptions`, the `Options` of the four kinds of panel,
`DataLink`, and `PromQuery` of @grafana/prometheus. Some keys are not in the types and yet Grafana's: `definition` of a
query variable, and of an annotation `expr`, `step`, `titleFormat` and `textFormat`, which the Prometheus data source
reads.
"""

from __future__ import annotations

from typing import Any

__all__ = ["DASHBOARD", "PANELS"]

JSON = dict[str, Any]


def _object(required: JSON, optional: JSON | None = None) -> JSON:
    properties = {**required, **(optional or {})}
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


def _array(items: JSON) -> JSON:
    return {"type": "array", "items": items}


TEXT: JSON = {"type": "string", "minLength": 1}
ANY_TEXT: JSON = {"type": "string"}
NUMBER: JSON = {"type": "number"}
COUNT: JSON = {"type": "integer", "minimum": 0}
FLAG: JSON = {"type": "boolean"}
STRINGS = _array(TEXT)

SOURCE = _object({"type": {"const": "prometheus"}, "uid": {"const": "${datasource}"}})
LINK = _object(
    {"title": TEXT, "type": {"const": "dashboards"}, "icon": ANY_TEXT, "tooltip": ANY_TEXT, "tags": STRINGS,
     "asDropdown": FLAG, "targetBlank": FLAG, "includeVars": FLAG, "keepTime": FLAG},
)  # fmt: skip
DATA_LINK = _object({"title": TEXT, "url": TEXT, "targetBlank": FLAG})
POSITION = _object({
    "x": {"type": "integer", "minimum": 0, "maximum": 23}, "y": COUNT,
    "w": {"type": "integer", "minimum": 1, "maximum": 24}, "h": {"type": "integer", "minimum": 1},
})  # fmt: skip
THRESHOLDS = _object({
    "mode": {"const": "absolute"},
    "steps": {"type": "array", "minItems": 1, "items": _object({
        "value": {"type": ["number", "null"]}, "color": {"enum": ["green", "orange", "red", "transparent"]},
    })},
})  # fmt: skip
TARGET = _object(
    {"expr": TEXT, "refId": {"type": "string", "pattern": "^[A-Z]$"}, "legendFormat": TEXT, "datasource": SOURCE},
    {
        "instant": FLAG,
        "range": FLAG,
        "exemplar": FLAG,
        "format": {"enum": ["time_series", "table", "heatmap"]},
        "interval": {"const": "$__rate_interval"},
    },
)
COLOUR = {"type": "string", "pattern": "^(light-|dark-)?(green|red|orange|blue|purple)$"}
_WORDS = _object({"text": TEXT, "color": {"enum": ["red", "orange", "transparent", "#6e7680"]}, "index": COUNT})
MAPPING: JSON = {"oneOf": [
    _object({"type": {"const": "special"},
             "options": _object({"match": {"const": "null+nan"}, "result": _WORDS})}),
    _object({"type": {"const": "value"}, "options": {"type": "object", "additionalProperties": _WORDS}}),
]}  # fmt: skip
UNITS: JSON = {"enum": ["s", "none", "locale", "short", "percentunit", "ops"]}
FIELD: JSON = {
    "noValue": TEXT, "min": NUMBER, "max": NUMBER, "decimals": COUNT, "links": _array(DATA_LINK),
    "mappings": _array(MAPPING), "color": _object({"mode": {"const": "fixed"}, "fixedColor": COLOUR}),
}  # fmt: skip
"""What a field of every kind of panel has, set for all fields or for one."""
COLOURED: JSON = {**FIELD, "unit": UNITS, "thresholds": THRESHOLDS}
"""In a heatmap the axis has the unit and the scheme the colours: it reads neither of them from its fields."""
FIELD_OF: dict[str, JSON] = {"timeseries": COLOURED, "stat": COLOURED, "table": COLOURED, "heatmap": FIELD}
CUSTOM_OF: dict[str, JSON] = {
    "timeseries": {
        "lineWidth": COUNT, "fillOpacity": COUNT, "showPoints": {"enum": ["never", "auto", "always"]},
        "lineStyle": _object({"fill": {"const": "dash"}, "dash": _array(NUMBER)}),
        "drawStyle": {"enum": ["line", "bars"]}, "axisSoftMax": NUMBER,
        "scaleDistribution": _object({"type": {"const": "symlog"}, "log": NUMBER, "linearThreshold": NUMBER}),
        "stacking": _object({"mode": {"enum": ["none", "normal", "percent"]}}),
        "thresholdsStyle": _object({"mode": {"enum": ["off", "line", "dashed", "area"]}}),
    },
    "stat": {},
    "table": {
        "align": {"const": "auto"}, "inspect": FLAG, "width": COUNT, "minWidth": COUNT, "wrapHeaderText": FLAG,
        "cellOptions": _object({"type": {"const": "color-background"}}),
    },
    "heatmap": {},
}  # fmt: skip
"""What only the fields of one kind of panel have."""


def _properties(kind: str) -> JSON:
    """What an override can set of a field in a panel of this kind."""
    known = {**FIELD_OF[kind], **{f"custom.{name}": value for name, value in CUSTOM_OF[kind].items()}}
    return {"oneOf": [_object({"id": {"const": name}, "value": value}) for name, value in known.items()]}


def _fields(kind: str) -> JSON:
    own = {**FIELD_OF[kind], "custom": _object({}, CUSTOM_OF[kind])}
    matcher = _object({"id": {"enum": ["byName", "byRegexp"]}, "options": TEXT})
    properties = {**_array(_properties(kind)), "minItems": 1}
    return _object({
        "defaults": _object({"noValue": own.pop("noValue")}, own),
        "overrides": _array(_object({"matcher": matcher, "properties": properties})),
    })  # fmt: skip


CALCS = _array({"enum": ["lastNotNull", "max"]})
OPTIONS: dict[str, JSON] = {
    "timeseries": _object({
        "legend": _object(
            {"displayMode": {"enum": ["list", "table"]}, "placement": {"enum": ["bottom", "right"]},
             "showLegend": {"const": True}, "calcs": CALCS},
            {"sortBy": {"const": "Last *"}, "sortDesc": FLAG},
        ),
        "tooltip": _object({"mode": {"enum": ["single", "multi"]}, "sort": {"enum": ["asc", "desc", "none"]}}),
    }),
    "stat": _object({
        "graphMode": {"const": "none"}, "colorMode": {"const": "background"}, "justifyMode": {"const": "auto"},
        "textMode": {"const": "value"}, "wideLayout": FLAG, "showPercentChange": FLAG, "orientation": {"const": "auto"},
        "percentChangeColorMode": {"const": "standard"}, "reduceOptions": _object({"calcs": CALCS}),
    }, {"text": _object({"valueSize": COUNT})}),
    "table": _object({
        "frameIndex": COUNT, "showHeader": {"const": True}, "showTypeIcons": FLAG, "cellHeight": {"const": "sm"},
        "sortBy": _array(_object({"displayName": TEXT, "desc": FLAG})),
    }),
    "heatmap": _object({
        "calculate": {"const": False}, "cellGap": COUNT,
        "color": _object({
            "mode": {"const": "scheme"}, "scheme": {"const": "Oranges"}, "fill": TEXT,
            "scale": {"const": "exponential"}, "exponent": NUMBER, "steps": COUNT, "reverse": FLAG,
        }),
        "exemplars": _object({"color": TEXT}), "filterValues": _object({"le": NUMBER}),
        "legend": _object({"show": {"const": True}}), "showValue": {"const": "auto"},
        "tooltip": _object({"mode": {"const": "single"}}, {"yHistogram": FLAG, "showColorScale": FLAG}),
        "yAxis": _object({"unit": {"const": "s"}, "axisPlacement": {"const": "left"}}, {"reverse": FLAG}),
    }, {"selectionMode": {"const": "x"}}),
}  # fmt: skip
TRANSFORMATION = _object({"id": {"enum": ["merge", "organize"]}, "options": {"type": "object"}})


def _panel(kind: str) -> JSON:
    return _object(
        {"id": {"type": "integer", "minimum": 1}, "type": {"const": kind}, "title": TEXT, "description": TEXT,
         "datasource": SOURCE, "gridPos": POSITION, "targets": {**_array(TARGET), "minItems": 1},
         "fieldConfig": _fields(kind), "options": OPTIONS[kind]},
        {"transparent": FLAG, "maxDataPoints": COUNT, "transformations": _array(TRANSFORMATION)},
    )  # fmt: skip


ROW = _object({
    "id": {"type": "integer", "minimum": 1}, "type": {"const": "row"}, "title": TEXT, "gridPos": POSITION,
    "collapsed": {"const": False}, "panels": {"type": "array", "maxItems": 0},
})  # fmt: skip
PANELS: dict[str, JSON] = {"row": ROW, **{kind: _panel(kind) for kind in OPTIONS}}
"""The schema of each kind of panel."""
OPTION = _object({"text": {}, "value": {}}, {"selected": FLAG})
VARIABLE: JSON = {
    "oneOf": [
        _object(
            {"type": {"const": "datasource"}, "name": TEXT, "label": TEXT,
             "query": {"enum": ["prometheus", "tempo", "jaeger"]}, "multi": {"const": False}},
            {"hide": {"const": 3}, "skipUrlSync": FLAG, "allowCustomValue": FLAG, "includeAll": FLAG,
             "regex": ANY_TEXT},
        ),
        _object(
            {"type": {"const": "query"}, "name": TEXT, "label": TEXT, "datasource": SOURCE, "definition": TEXT,
             "query": _object({"qryType": {"const": 1}, "query": TEXT, "refId": TEXT}),
             "refresh": {"const": 2}, "sort": {"const": 1}},
            {"multi": FLAG, "includeAll": FLAG, "allValue": {"const": ".*"}, "current": OPTION, "skipUrlSync": FLAG,
             "allowCustomValue": FLAG, "regex": ANY_TEXT},
        ),
    ]
}  # fmt: skip
ANNOTATION = _object(
    {"name": TEXT, "datasource": SOURCE, "enable": FLAG, "iconColor": TEXT, "expr": TEXT, "step": TEXT,
     "titleFormat": TEXT, "textFormat": TEXT,
     "target": _object(
         {"expr": TEXT, "refId": {"const": "Anno"}, "datasource": SOURCE, "instant": FLAG, "range": FLAG}
     )},
    {"builtIn": NUMBER, "hide": FLAG},
)  # fmt: skip

DASHBOARD = _object({
    "uid": {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,40}$"}, "title": TEXT, "description": TEXT,
    "tags": STRINGS, "schemaVersion": {"const": 42}, "version": {"const": 1}, "editable": FLAG,
    "timezone": {"const": "browser"}, "refresh": TEXT, "graphTooltip": {"enum": [0, 1, 2]},
    "time": _object({"from": TEXT, "to": TEXT}), "fiscalYearStartMonth": COUNT, "links": _array(LINK),
    "templating": _object({"list": _array(VARIABLE)}), "annotations": _object({"list": _array(ANNOTATION)}),
    "panels": {"type": "array", "minItems": 1, "items": {"oneOf": list(PANELS.values())}},
})  # fmt: skip
