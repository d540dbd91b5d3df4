"""PromQL over the catalog: the only place where a series, a matcher or a bucket bound becomes text.

The same series reach a store by scrape, by OTLP and through a collector. Names and attribute labels agree on all paths;
other labels (``job``, ``instance``, ``otel_scope_*``) and the spelling of bucket bounds do not. So labels are
aggregated away with ``without`` and never listed, ratios divide series by series, and only `bound` matches bounds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from glasspool.telemetry.catalog import Key, Metric, prometheus_label

__all__ = [
    "EXECUTOR",
    "EXECUTORS",
    "EXECUTOR_LABELS",
    "INSTANCE_LABELS",
    "PER_INSTANCE",
    "SERVICE",
    "any_of",
    "bound",
    "bucket",
    "by",
    "count",
    "events",
    "firing",
    "grown",
    "label",
    "match",
    "matching",
    "quantile",
    "rate",
    "series",
    "top",
    "total",
    "without",
    "worst_executors",
]

EXECUTOR_LABELS = tuple(prometheus_label(key) for key in (Key.EXECUTOR_NAME, Key.EXECUTOR_TYPE))
"""The identity of an executor. Executors with the same name and type in two processes are one line in an overview."""

INSTANCE_LABELS = ("job", "instance", prometheus_label(Key.PROCESS_NUMBER), "service_name", "service_instance_id")
"""The labels that distinguish processes: by scrape the first two, and the third where several share a port; by OTLP the
last two or all but the third. Absent labels do no harm."""

PER_INSTANCE = f"{{{{instance}}}} {{{{{INSTANCE_LABELS[2]}}}}} {{{{service_instance_id}}}}"
"""Legend of one process, whichever of its labels there are."""

SERVICE = ('job=~"$job"', 'instance=~"$instance"')
"""Dashboard filter by process. Its All is ``.*``, which also matches series without the label."""

EXECUTORS = (*SERVICE, f'{EXECUTOR_LABELS[0]}=~"$executor"')
"""Dashboard filter by process and any number of executors: Grafana escapes each name for a regular expression."""

EXECUTOR = (*SERVICE, f"{EXECUTOR_LABELS[0]}=~`${{executor:regex}}`")
"""Dashboard filter by process and one executor, whose name may have any character but a backtick.

Left to itself Grafana escapes a variable of one value for a string in apostrophes, and so neither for a regular
expression nor for quotation marks; ``:regex`` escapes for a regular expression, and backticks take that as it is.
"""

_ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def label(key: str) -> str:
    """The Prometheus label of an attribute key of the catalog."""
    return prometheus_label(key)


def match(key: str, *values: str, negate: bool = False) -> str:
    """A matcher of one attribute: equal to the value, or to one of several; ``negate`` inverts it."""
    if len(values) == 1:
        return f'{label(key)}{"!=" if negate else "="}"{values[0].translate(_ESCAPED)}"'
    pattern = "|".join(re.escape(value) for value in values).translate(_ESCAPED)
    return f'{label(key)}{"!~" if negate else "=~"}"{pattern}"'


def matching(key: str, *patterns: str, negate: bool = False) -> str:
    """A matcher of one attribute by regular expressions, one of which must match the whole value."""
    pattern = (patterns[0] if len(patterns) == 1 else "|".join(f"(?:{each})" for each in patterns)).translate(_ESCAPED)
    return f'{label(key)}{"!~" if negate else "=~"}"{pattern}"'


def bound(metric: Metric, seconds: float) -> str:
    """The matcher of one bucket bound, for both spellings (``1.0`` by scrape, ``1`` by OTLP).

    Raises ValueError when ``seconds`` is no bound of the metric: between two bounds nothing is known.
    """
    if seconds not in metric.buckets:
        listed = ", ".join(f"{bound:g}" for bound in metric.buckets)
        raise ValueError(f"{seconds!r} s is no bucket bound of {metric.name}; choose one of: {listed}")
    text = f"{seconds:g}"
    if "." in text:
        return f'le=~"{text.replace(".", "[.]")}"'
    return f'le=~"{text}|{text}[.]0"'


def series(metric: Metric, *matchers: str, suffix: str = "") -> str:
    """A selector. Refuses a matcher of a ``glasspool`` or ``error.type`` label that the metric does not carry."""
    known = {label(key) for key in metric.labels}
    for matcher in matchers:
        name = re.split(r"[=!]", matcher, maxsplit=1)[0]
        if name.startswith(("glasspool_", "error_")) and name not in known:
            raise ValueError(f"{metric.name} has no label {name!r}; it has: {', '.join(sorted(known))}")
    if (metric.kind == "histogram") != bool(suffix):
        raise ValueError(f"{metric.name} is a {metric.kind}: use bucket(), count() or total() for histograms only")
    return f"{metric.prometheus_name}{suffix}{{{', '.join(matchers)}}}" if matchers else metric.prometheus_name + suffix


def bucket(metric: Metric, *matchers: str) -> str:
    """The cumulative buckets of a histogram."""
    return series(metric, *matchers, suffix="_bucket")


def count(metric: Metric, *matchers: str) -> str:
    """The number of observations of a histogram."""
    return series(metric, *matchers, suffix="_count")


def total(metric: Metric, *matchers: str) -> str:
    """The sum of the observations of a histogram."""
    return series(metric, *matchers, suffix="_sum")


def rate(selector: str, window: str) -> str:
    """Per-second growth of a counter over a window."""
    return f"rate({selector}[{window}])"


def any_of(*vectors: str) -> str:
    """The series of the first vector, and those of each later vector whose labels no earlier one has."""
    return " or ".join(vectors)  # no operator has a lower precedence


def without(keys: Iterable[str], expression: str, how: str = "sum") -> str:
    """Aggregate attributes away and keep every other label, known or not."""
    return f"{how} without ({', '.join(label(key) for key in keys)}) ({expression})"


def by(labels: Iterable[str], expression: str, how: str = "sum") -> str:
    """Aggregate to the given labels; those that a series lacks are simply left out."""
    return f"{how} by ({', '.join(labels)}) ({expression})"


def worst_executors(expression: str) -> str:
    """One line per executor: its worst process."""
    return by(EXECUTOR_LABELS, expression, "max")


def firing(labels: Iterable[str], *matchers: str, name: str = "ALERTS", how: str = "max") -> str:
    """The shipped alerts that fire or are pending, from the series of the evaluator's store.

    ``ALERTS`` is 1; ``ALERTS_FOR_STATE`` is the Unix time since when the condition has held.
    https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/#inspecting-alerts-during-runtime
    """
    shipped = ", ".join(('alertname=~"Glasspool.+"', *matchers))
    return by(labels, f"{name}{{{shipped}}}", how)


def quantile(q: float, growth: str, *labels: str) -> str:
    """A quantile of what buckets have grown by, one line per combination of ``labels``; none without observations.

    Use `rate` for what is observed all the time, `events` or `grown` where a series' first observation counts.
    """
    return f"histogram_quantile({q:g}, {by(('le', *labels), growth)}) >= 0"


def top(n: int, expression: str, rank: str, labels: Iterable[str] = EXECUTOR_LABELS) -> str:
    """The same ``n`` lines over the whole range shown: those whose ``rank``, a series, was highest in it on average.

    A bare ``topk`` chooses again at every step and so draws far more than ``n`` lines. Maxima would tie: every executor
    that was full for a moment has the same maximum.
    """
    labels = tuple(labels)
    ranked = by(labels, f"avg_over_time({rank}[$__range] @ end())", "max")
    return f"{expression} and on ({', '.join(labels)}) topk({n}, {ranked})"


def events(selector: str, window: str) -> str:
    """Events of a counter in the window, including those in the first sample of a series.

    ``increase`` sees a series only from its second sample on, and events of a process's or an executor's first seconds
    are in the first one; so for a series that did not exist a window ago the whole count is taken. A scrape that failed
    just then hides all series of its target (https://prometheus.io/docs/prometheus/latest/querying/basics/#staleness),
    so the five minutes before are looked at.
    """
    before = f"last_over_time({selector}[5m] offset {window})"
    return f"(({selector} unless {before}) or increase({selector}[{window}]))"


def grown(always: str, rare: str, window: str) -> str:
    """Growth in the window of series that exist from the start, and of others that begin with an event."""
    return f"(increase({always}[{window}]) or {events(rare, window)})"
