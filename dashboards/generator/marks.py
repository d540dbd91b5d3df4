"""The style of single lines of a panel: a meaning has the same colour on every dashboard, and limits are dashed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from grafana_foundation_sdk.models import dashboard

from glasspool.telemetry.catalog import HOLD_REASONS, SERVICE_STATES

__all__ = ["OUTCOMES", "Mark", "holds", "limit", "quantiles", "service_states"]


@dataclass(frozen=True)
class Mark:
    """The lines with this legend, or with one that ends so where ``ending`` is set."""

    legend: str
    colour: str | None = None
    width: int | None = None
    dashed: bool = False
    ending: bool = False

    @property
    def matcher(self) -> dashboard.MatcherConfig:
        """The fields that the override applies to."""
        if self.ending:
            return dashboard.MatcherConfig(id_val="byRegexp", options=f"/{re.escape(self.legend)}$/")
        return dashboard.MatcherConfig(id_val="byName", options=self.legend)

    @property
    def properties(self) -> list[dashboard.DynamicConfigValue]:
        """The properties that are overridden. The area below a limit is not filled."""
        found: dict[str, object] = {}
        if self.colour is not None:
            found["color"] = {"mode": "fixed", "fixedColor": self.colour}
        if self.width is not None:
            found["custom.lineWidth"] = self.width
        if self.dashed:
            found["custom.lineStyle"] = {"fill": "dash", "dash": [8, 6]}
            found["custom.fillOpacity"] = 0
        return [dashboard.DynamicConfigValue(id_val=name, value=value) for name, value in found.items()]


OUTCOMES = (
    Mark("success", "green"),
    Mark("error", "red"),
    Mark("timeout", "orange"),
    Mark("cancelled", "blue"),
)
"""The lines of task outcomes, on every dashboard."""


def holds(prefix: str) -> tuple[Mark, ...]:
    """The lines of what holds tasks, by their legends without the reason."""
    colours = {
        "rate": "light-orange", "limit": "dark-orange", "pause": "purple", "retry": "light-red",
        "dependency": "light-green",
    }  # fmt: skip
    return tuple(Mark(f"{prefix}{reason}", colours[reason]) for reason in HOLD_REASONS)


def service_states() -> tuple[Mark, ...]:
    """The bands of the states of services."""
    colours = {"starting": "blue", "running": "green", "backoff": "orange", "stopped": "light-blue", "failed": "red"}
    return tuple(Mark(state, colours[state]) for state in SERVICE_STATES)


def quantiles(name: str, colour: str) -> tuple[Mark, ...]:
    """Three shades of one colour; the middle one is what objectives are about, and so the thickest."""
    return (
        Mark(f"{name} p50", f"light-{colour}"),
        Mark(f"{name} p95", colour, width=3),
        Mark(f"{name} p99", f"dark-{colour}"),
    )


def limit(legend: str, colour: str | None = None, *, ending: bool = False) -> Mark:
    """A line that the other lines are compared with."""
    return Mark(legend, colour, dashed=True, ending=ending)
