"""Tests that the comparison used by the round trips can fail."""

from __future__ import annotations

from glasspool.telemetry import catalog

from .support import Series, differences, histogram_series

LABELS = frozenset({("glasspool_executor_name", "mail")})
SUBMITTED = catalog.TASK_SUBMITTED.prometheus_name
KNOWN: Series = {
    (SUBMITTED, LABELS): 3,
    **histogram_series(catalog.SHUTDOWN_DURATION, LABELS, [0] * (len(catalog.WAIT_BUCKETS) + 1), 0.0),
}


def test_what_agrees_differs_in_nothing():
    assert differences(KNOWN, dict(KNOWN), KNOWN, by_scrape=True) == []


def test_a_wrong_value_a_missing_and_an_unknown_series_are_named():
    found = {**KNOWN, (SUBMITTED, LABELS): 4.0, ("glasspool_new_total", LABELS): 1.0}
    del found[catalog.SHUTDOWN_DURATION.prometheus_name + "_count", LABELS]
    problems = differences(KNOWN, found, KNOWN, by_scrape=True)
    assert len(problems) == 3
    assert any("4.0, not between 3 and 3" in problem for problem in problems)
    assert any(problem.startswith("missing: glasspool_shutdown_duration_seconds_count") for problem in problems)
    assert any(problem.startswith("unknown: glasspool_new_total") for problem in problems)


def test_by_otlp_only_an_empty_histogram_may_be_missing():
    empty = {key: value for key, value in KNOWN.items() if key[0] == SUBMITTED}
    assert differences(KNOWN, empty, KNOWN, by_scrape=False) == []
    assert differences(KNOWN, {}, KNOWN, by_scrape=False) == [f"missing: {SUBMITTED} {dict(LABELS)}"]
    filled = {**KNOWN, (catalog.SHUTDOWN_DURATION.prometheus_name + "_count", LABELS): 1.0}
    assert differences(filled, empty, filled, by_scrape=False)
