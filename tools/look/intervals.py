"""Step and window of a query, computed as in the back end of Grafana's Prometheus data source.

It follows ``pkg/promlib/models/query.go`` and ``gtime`` of Grafana 13. All times are in milliseconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

__all__ = ["Query", "duration", "milliseconds"]

_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_ROUNDED = (
    (10, 1), (15, 10), (35, 20), (75, 50), (150, 100), (350, 200), (750, 500), (1500, 1000), (3500, 2000),
    (7500, 5000), (12_500, 10_000), (17_500, 15_000), (25_000, 20_000), (45_000, 30_000), (90_000, 60_000),
    (210_000, 120_000), (450_000, 300_000), (750_000, 600_000), (1_050_000, 900_000), (1_500_000, 1_200_000),
    (2_700_000, 1_800_000), (5_400_000, 3_600_000), (9_000_000, 7_200_000),
)  # fmt: skip
"""An interval below the first number becomes the second."""
_MOST_POINTS = 11_000
_RATE, _INTERVAL = ("$__rate_interval", "${__rate_interval}"), ("$__interval", "${__interval}")


def milliseconds(text: str) -> int:
    """A duration such as ``15s``. Raises ValueError for anything else."""
    found = re.fullmatch(r"(\d+)(ms|s|m|h|d)", text)
    if not found:
        raise ValueError(f"{text!r} is no duration")
    return int(found[1]) * _UNITS[found[2]]


def duration(value: int) -> str:
    """The shortest text of a duration."""
    return next(f"{value // size}{unit}" for unit, size in reversed(_UNITS.items()) if value % size == 0)


def _rounded(interval: int) -> int:
    return next((to for limit, to in _ROUNDED if interval < limit), 10_800_000)


def _rate_window(interval: int, least_step: int) -> int:
    return max(interval + least_step, 4 * least_step)


@dataclass(frozen=True)
class Query:
    """One query of the front end, with its variables filled in. ``step``: milliseconds between two points."""

    expr: str
    step: int

    @classmethod
    def of(cls, sent: dict[str, Any], start: int, end: int, scrape: int) -> Query:
        """The query with its variables replaced, for a range of time and a data source with this scrape interval."""
        wanted = sent.get("interval") or ""
        given = sent.get("intervalMs")
        least = milliseconds(wanted) if wanted and "$" not in wanted else given or scrape
        asked = (end - start) // (sent.get("maxDataPoints") or 100)
        calculated = least if asked < least else _rounded(asked)
        step = max(calculated, _rounded((end - start) // _MOST_POINTS))
        if wanted in _RATE:
            step = window = _rate_window(step, scrape)
        else:
            step *= sent.get("intervalFactor") or 1
            least_step = step if wanted in _INTERVAL else milliseconds(wanted or duration(scrape))
            window = _rate_window(given or step, least_step)
        seconds = round((end - start) / 1000)
        values = {
            "__interval_ms": step, "__interval": duration(step), "__range_ms": end - start, "__range_s": seconds,
            "__range": f"{seconds}s", "__rate_interval_ms": window, "__rate_interval": duration(window),
        }  # fmt: skip
        expr = re.sub(r"\$(?:\{(__\w+)\}|(__\w+))", lambda found: str(values[found[1] or found[2]]), sent["expr"])
        return cls(expr, step)

    def aligned(self, instant: int) -> int:
        """The instant, rounded down to a multiple of the step."""
        return instant // self.step * self.step
