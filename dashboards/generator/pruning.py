"""Removes keys that the builders write by default and that Grafana does not use there."""

from __future__ import annotations

from typing import Any

__all__ = ["pruned"]

_OF_VARIABLES = ("auto", "auto_count", "auto_min")
"""Of intervals only."""


def pruned(model: dict[str, Any]) -> dict[str, Any]:
    """The dashboard without such keys, since a reader would assume that they have an effect."""
    for variable in model["templating"]["list"]:
        for key in _OF_VARIABLES:
            variable.pop(key, None)
    for panel in model["panels"]:
        panel.pop("repeatDirection", None)  # nothing is repeated
        if panel["type"] == "table":
            panel["options"].pop("footer", None)  # since 12.2 each column has its own
        if panel["type"] == "heatmap":
            for key in ("unit", "thresholds"):  # the axis has the unit, and the colours a scheme
                panel["fieldConfig"]["defaults"].pop(key, None)
    return model
