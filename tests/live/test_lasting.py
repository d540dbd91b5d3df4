"""For how long an executor has been full or idle, with and without somebody who looked before; and what cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Metric
from glasspool.telemetry.live import figures
from glasspool.telemetry.live.flat import LOOP, Entity, Flat
from glasspool.telemetry.live.history import History

MAIL = Entity(0, "hybrid", "mail")


def flat(**changes: Any) -> Flat:
    """A full executor whose oldest task has waited for 90 s; it has been open for 100 s and full for as long."""
    open_for = changes.pop("open_for", 100.0)
    found: dict[Metric, float] = {
        catalog.SLOT_USAGE: 4, catalog.SLOT_LIMIT: 4, catalog.QUEUE_SIZE: 2, catalog.QUEUE_OLDEST_AGE: 90.0,
        catalog.EXECUTOR_TIME: open_for, catalog.SLOT_SATURATED_TIME: changes.pop("saturated", open_for),
    }  # fmt: skip
    started = changes.pop("started", 4)
    extra = changes.pop("extra", {})
    return {
        **{(metric.name,): value for metric, value in found.items()}, (catalog.QUEUE_WAIT.name, "started", 0): started,
        **extra,
    }  # fmt: skip


def history(*samples: tuple[float, Flat]) -> History:
    made = History(dict)
    for at, sample in samples:
        made.add(at, {MAIL: sample})
    return made


def texts(shown: dict[str, Any]) -> list[str]:
    return [said["text"] for said in shown["warnings"]]


def test_who_looks_first_is_told_for_how_long_it_has_been_full_at_least() -> None:
    shown = figures.executor(history(), MAIL, flat(), 0.0)
    assert (shown["slots"]["full_for"], shown["slots"]["full_at_least"]) == (90.0, True)
    assert texts(shown) == ["full for at least 90 s"]


def test_what_is_held_waits_for_something_else() -> None:
    held = {(catalog.QUEUE_HELD.name, "rate"): 2.0}
    shown = figures.executor(history(), MAIL, flat(extra=held), 0.0)
    assert shown["slots"]["full_for"] == 0.0
    assert texts(shown) == []


def test_who_has_seen_it_become_full_knows_for_how_long() -> None:
    samples = [(float(at), flat(open_for=at, saturated=max(0, at - 60))) for at in range(0, 100, 2)]
    shown = figures.executor(history(*samples), MAIL, flat(open_for=100.0, saturated=40.0), 100.0)
    assert shown["slots"]["full_for"] == pytest.approx(40.0, abs=2.0)
    assert shown["slots"]["full_at_least"] is False


def test_nothing_starts_for_longer_than_the_last_minute() -> None:
    samples = [(float(at), flat(started=3 if at < 10 else 4)) for at in range(0, 200, 2)]
    shown = figures.executor(history(*samples), MAIL, flat(), 200.0)
    assert (shown["queue"]["idle_for"], shown["queue"]["idle_at_least"]) == (190.0, False)
    assert "nothing has started for 3 min" in texts(shown)
    shown = figures.executor(history(*samples[10:]), MAIL, flat(), 200.0)
    assert (shown["queue"]["idle_for"], shown["queue"]["idle_at_least"]) == (180.0, True)
    assert "nothing has started for at least 3 min" in texts(shown)


def test_nothing_is_said_of_an_executor_that_has_started_nothing_for_a_moment() -> None:
    samples = [(float(at), flat(saturated=92.0 + at)) for at in range(0, 8, 2)]
    shown = figures.executor(history(*samples), MAIL, flat(), 8.0)
    assert texts(shown) == ["full for at least 90 s"]


def test_no_quantile_is_longer_than_the_executor_has_been_open() -> None:
    last = len(catalog.TASK_DURATION.buckets) - 1  # from half an hour to an hour
    runs = {(catalog.TASK_DURATION.name, "", last): 10.0}
    shown = figures.executor(history(), MAIL, flat(extra=runs, open_for=80.0), 0.0)
    assert shown["recent"]["run"] == {"p50": 80.0, "p95": 80.0, "p99": 80.0, "count": 10}


@pytest.mark.parametrize(
    ("bucket", "bounds", "said"),
    [
        (0, (0.0, 0.001), []),
        (-2, (2.5, 5.0), ["loop was blocked for 2.5 s to 5.0 s in the last 60 s"]),
        (-1, (5.0, None), ["loop was blocked for more than 5.0 s in the last 60 s"]),
    ],
)
def test_the_longest_delay_of_a_loop_lies_between_bounds(
    bucket: int, bounds: tuple[float, float | None], said: list[str]
) -> None:
    entity = Entity(0, LOOP, "main")
    index = range(len(catalog.EVENTLOOP_DELAY.buckets) + 1)[bucket]
    before = history((0.0, {}))
    shown = figures.event_loop(before, entity, {(catalog.EVENTLOOP_DELAY.name, "", index): 1.0}, 60.0)
    assert (shown["delay"]["at_least"], shown["delay"]["at_most"]) == bounds
    assert texts(shown) == said


def test_services_that_fail_and_tasks_that_are_given_up_are_said() -> None:
    def counted(restarts: float, stopped: float) -> dict[Any, float]:
        return {
            (catalog.SERVICE_RESTARTS.name, "consumer", "OSError"): restarts,
            (catalog.SERVICE_STATE.name, "poller", "failed"): 1.0,
            (catalog.SERVICE_STATE.name, "consumer", "running"): 1.0,
            (catalog.RETRY_STOPPED.name, "budget"): stopped,
        }

    before = history((0.0, flat(extra=counted(1.0, 5.0))))
    shown = figures.executor(before, MAIL, flat(extra=counted(3.0, 7.0)), 60.0)
    assert shown["services"] == {"failed": ["poller"], "restarted": {"consumer": 2.0}}
    assert texts(shown)[1:] == [
        "service poller has failed, and is gone",
        "service consumer was restarted 2 times in the last 60 s",
        "2 tasks not retried in the last 60 s: the retry budget was spent",
    ]
