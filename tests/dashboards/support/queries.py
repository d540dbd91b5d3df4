"""Expressions as Grafana would send them, and the series that they read."""

from __future__ import annotations

import re
from typing import Any

import promql_parser

DEFAULTS = {"__rate_interval": "1m", "__rate_interval_ms": "60000", "__range": "1h"}


def filled_in(expr: str, **variables: str) -> str:
    """The expression with its dashboard variables filled in; filters at All unless given."""
    chosen = {**DEFAULTS, **variables}
    return re.sub(r"\$(?:\{(\w+):\w+\}|(\w+))", lambda found: chosen.get(found[1] or found[2], ".*"), expr)


def metric_names(node: Any) -> set[str]:
    """Every series name that a parsed expression reads."""
    if isinstance(node, promql_parser.VectorSelector):
        return {str(node.name)}
    if isinstance(node, promql_parser.MatrixSelector):
        return metric_names(node.vector_selector)
    names: set[str] = set()
    for attribute in ("expr", "lhs", "rhs", "args", "param"):
        child = getattr(node, attribute, None)
        for each in child if isinstance(child, list) else [child]:
            if each is not None and not isinstance(each, (str, int, float)):
                names |= metric_names(each)
    return names
