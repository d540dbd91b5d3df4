"""Reads Prometheus' text: series with their labels and values, and whether there are exemplars."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["Scrape", "read"]

_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*?)\})? ([-+\w.]+)(?: [-\d.]+)?( # \{.*)?$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass
class Scrape:
    """The samples of a page."""

    samples: list[tuple[str, dict[str, str], float]] = field(default_factory=list[tuple[str, dict[str, str], float]])
    exemplars: int = 0
    twice: set[str] = field(default_factory=set[str])
    """Names of series that appear more than once with the same labels."""

    def values(self, name: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each sample with this name."""
        return [(labels, value) for found, labels, value in self.samples if found == name]

    def names(self) -> set[str]:
        """The names of glasspool's samples."""
        return {name for name, _, _ in self.samples if name.startswith("glasspool_")}


def read(text: str) -> Scrape:
    """The samples of a page of Prometheus' text or OpenMetrics; lines that are neither are left out."""
    found = Scrape()
    seen: set[tuple[str, frozenset[tuple[str, str]]]] = set()
    for line in text.splitlines():
        match = None if line.startswith("#") else _SAMPLE.match(line)
        if match is None:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        labels = dict(_LABEL.findall(match[2] or ""))
        key = match[1], frozenset(labels.items())
        if key in seen:
            found.twice.add(match[1])
        seen.add(key)
        found.samples.append((match[1], labels, value))
        found.exemplars += match[4] is not None
    return found
