"""The scrape of a shared port: this process's registry, together with glasspool's series of the other processes.

Series of process 0 have no additional label; those of the others carry their number. So no series changes its labels
when a second process starts or the serving one ends.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key, prometheus_label
from glasspool.telemetry.recording.snapshot import Point, Snapshot

from .sibling_requests import ask
from .snapshot_json import from_line

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as Family

    from glasspool.telemetry.prometheus import Collector

    from .siblings import Siblings

__all__ = ["Joined", "Restricted"]

logger = logging.getLogger("glasspool")

_SECONDS = 1.0  # for all answers together: scrapes time out after 10 s by default, and a part is better than none


_ours = {metric.prometheus_name.removesuffix("_total") for metric in catalog.ALL_METRICS}


class Joined:
    """Collected like a prometheus_client registry. ``siblings`` is None where processes cannot know of each other."""

    def __init__(self, registry: CollectorRegistry, collector: Collector, siblings: Siblings | None) -> None:
        self._registry = registry
        self._collector = collector
        self._siblings = siblings
        self._warned = False

    def collect(self) -> Iterator[Family]:
        """All families, each once."""
        joins = not self._collector.stands_aside()
        extra = {family.name: family for family in self._collector.families(self._others(joins))}
        for family in self._registry.collect():
            if joins and family.name in _ours:
                self._number(family)
                if family.name in extra:
                    family.samples += extra.pop(family.name).samples
            yield family
        yield from extra.values()

    def restricted_registry(self, names: Iterable[str]) -> Restricted:
        """Only the samples of these names, which a scrape may ask for by ``name[]``."""
        return Restricted(self, frozenset(names))

    def _others(self, joins: bool) -> Snapshot:
        """The series of the other processes, and their number. This process counts those that did not answer."""
        whole = Snapshot({}, {})
        answered = 1
        if self._siblings is not None:
            answers = ask(self._siblings.others(), _SECONDS)
            silent = len(answers.silent)
            for number, line in sorted(answers.lines.items()) if joins else ():
                try:
                    _add(whole, from_line(line, number))
                    answered += 1
                except ValueError as error:
                    silent += 1
                    self._warn(number, error)
            if silent:
                self._collector.source.telemetry_failed("process_silent", silent)
            known = 1 + len(answers.lines) + len(answers.silent)
            whole.points[catalog.PROCESSES_KNOWN.name] = [Point({}, known)]
        whole.points[catalog.PROCESSES_ANSWERED.name] = [Point({}, answered)]
        return whole

    def _warn(self, number: int, error: ValueError) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("process %d behind this Prometheus port is not shown: its answer is %s", number, error)

    def _number(self, family: Family) -> None:
        if self._siblings is not None and self._siblings.number:
            shown = {prometheus_label(Key.PROCESS_NUMBER): str(self._siblings.number)}
            family.samples = [sample._replace(labels={**sample.labels, **shown}) for sample in family.samples]


class Restricted:
    """Some samples of what is collected."""

    def __init__(self, whole: Joined, names: frozenset[str]) -> None:
        self._whole = whole
        self._names = names

    def collect(self) -> Iterator[Family]:
        """The families that have such samples."""
        for family in self._whole.collect():
            samples = [sample for sample in family.samples if sample.name in self._names]
            if samples:
                part = copy.copy(family)
                part.samples = samples
                yield part


def _add(whole: Snapshot, part: Snapshot) -> None:
    for name, points in part.points.items():
        whole.points.setdefault(name, []).extend(points)
    for name, histograms in part.histograms.items():
        whole.histograms.setdefault(name, []).extend(histograms)
