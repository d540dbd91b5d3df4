"""Common parts of panels of every kind in Grafana's model."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import dashboard

__all__ = ["GREY", "NEUTRAL", "REFS", "data_link", "thresholds"]

NEUTRAL, GREY = "transparent", "#6e7680"
"""The background of a figure that is neither good nor bad, and of an unknown one."""

REFS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""The letters of a panel's queries."""


def thresholds(warn: float | None, alarm: float | None, base: str = "green") -> builders.ThresholdsConfig:
    """Orange and red from these values on; ``base`` below."""
    steps = [dashboard.Threshold(value=None, color=base)]
    if warn is not None:
        steps.append(dashboard.Threshold(value=warn, color="orange"))
    if alarm is not None:
        steps.append(dashboard.Threshold(value=alarm, color="red"))
    return builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def data_link(title: str, url: str) -> dict[str, object]:
    """A link of a value. The SDK's own class writes the keys of a dashboard link, which have no effect here."""
    return {"title": title, "url": url, "targetBlank": False}
