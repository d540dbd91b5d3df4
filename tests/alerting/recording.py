"""Recordings of a program's /metrics every fifteen seconds: compressed text, which can be continued where it is
steady."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from pathlib import Path

__all__ = ["Recording", "Samples"]

Samples = list[float | None]
"""One value a scrape; None where the series was not there."""


@dataclass(frozen=True)
class Recording:
    """The series of one program, by name and labels. ``facts`` says how it came about."""

    name: str
    seconds: int
    scrapes: int
    series: Mapping[str, Samples]
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Seconds from the first scrape to the last."""
        return (self.scrapes - 1) * self.seconds

    def extended(self, until: float, period: float) -> Recording:
        """The recording continued to ``until`` seconds by repeating its last ``period`` seconds.

        A steady program does in the next minutes what it did in the last. Counters go on from where they are: each
        repetition adds what the period added. So does a gauge that only rose all the while: it is the age of something
        that lives on. Every other gauge, and what is there only at times, takes the values of the period again.
        """
        steps = round(period / self.seconds)
        assert 0 < steps < self.scrapes, "the recording is shorter than its period"
        more = round(until / self.seconds) + 1 - self.scrapes
        last = self.scrapes - 1
        series = {}
        for name, samples in self.series.items():
            tail = samples[last - steps :]
            grows = _only_grows(tail)
            added: Samples = []
            for number in range(more):
                value = tail[1 + number % steps]
                if grows and value is not None:
                    value += (1 + number // steps) * grows
                added.append(value)
            series[name] = samples + added
        return Recording(self.name, self.seconds, self.scrapes + more, series, self.facts)

    def thinned(self, factor: int) -> Recording:
        """Every so many-th scrape only, as a store sees it that scrapes less often."""
        series = {name: samples[::factor] for name, samples in self.series.items()}
        return Recording(self.name, self.seconds * factor, len(range(0, self.scrapes, factor)), series, self.facts)

    def write(self, path: Path) -> None:
        """As compressed text: a line of facts, then a line a series, equal values in a row counted."""
        head = {"seconds": self.seconds, "scrapes": self.scrapes, **self.facts}
        lines = [json.dumps(head, sort_keys=True)]
        lines += [f"{name} {' '.join(_packed(samples))}" for name, samples in sorted(self.series.items())]
        path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0))

    @classmethod
    def read(cls, path: Path) -> Recording:
        """What ``write`` has written."""
        head, *lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        facts = json.loads(head)
        seconds, scrapes = facts.pop("seconds"), facts.pop("scrapes")
        series = {}
        for line in lines:
            name, packed = re.fullmatch(r"(\S+\{.*\}) (.*)", line).groups()  # type: ignore[union-attr]  # written so
            series[name] = _unpacked(packed.split())
        return cls(path.name.removesuffix(".series.gz"), seconds, scrapes, series, facts)


def _only_grows(tail: Sequence[float | None]) -> float:
    """By how much a series that is always there and never falls grew over the tail; 0 for any other."""
    known = [value for value in tail if value is not None]
    if len(known) < len(tail) or any(later < earlier for earlier, later in pairwise(known)):
        return 0.0
    return known[-1] - known[0]


def _packed(samples: Samples) -> Iterator[str]:
    # To the millisecond: what is finer differs from scrape to scrape and says nothing.
    texts = ["_" if value is None else f"{round(value, 3):.12g}" for value in samples]
    for text, run in groupby(texts):
        count = len(list(run))
        yield text if count == 1 else f"{text}*{count}"


def _unpacked(packed: list[str]) -> Samples:
    samples: Samples = []
    for each in packed:
        text, _, count = each.partition("*")
        samples += [None if text == "_" else float(text)] * int(count or 1)
    return samples
