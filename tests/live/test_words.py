"""What is said to be wrong, when, and which runbook it leads to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from glasspool._monitoring.options import RuleOptions
from glasspool.telemetry.live import words

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"

COUNTS = (
    "submitted",
    "started",
    "finished",
    "succeeded",
    "errors",
    "timeouts",
    "cancellations",
    "rejected",
    "late",
    "given_up",
)


def shown(**changes: Any) -> dict[str, Any]:
    """An executor with nothing wrong; ``counts`` are those of the last minute."""
    counts = {**dict.fromkeys(COUNTS, 0), "started": 1, "context_losses": 0, **changes.pop("counts", {})}
    found: dict[str, Any] = {
        "slots": {"used": 1, "limit": 4, "full_for": None, "full_at_least": None},
        "queue": {"size": 0, "capacity": 10, "oldest_age": 0.0, "idle_for": None, "idle_at_least": None},
        "services": {"failed": [], "restarted": {}},
        "producers": {"blocked": 0, "oldest_age": 0.0},
        "abandoned": 0, "cancelling": {"tasks": 0, "oldest_age": 0.0}, "overdue": [], "held": {},
        "recent": {"window": 60.0, "counts": counts},
    }  # fmt: skip
    return {**found, **changes}


FULL = {"used": 4, "limit": 4, "full_for": 40.0, "full_at_least": False}
QUEUED = {"size": 2, "capacity": 10, "oldest_age": 3.0, "idle_for": 0.0, "idle_at_least": False}
STUCK = {**QUEUED, "oldest_age": 45.0, "idle_for": 30.0}


def test_nothing_is_said_of_a_healthy_executor() -> None:
    assert words.of_executor(shown()) == []
    assert words.of_executor(shown(slots=FULL)) == []  # full of its own work
    assert words.of_executor(shown(slots={**FULL, "full_for": 1.0}, queue=QUEUED)) == []  # a burst
    assert words.of_executor(shown(queue={**STUCK, "idle_for": 9.0})) == []  # its tasks take their time
    assert words.of_executor(shown(queue={**STUCK, "oldest_age": 9.0})) == []  # one has come lately


@pytest.mark.parametrize(
    ("changes", "text", "runbook"),
    [
        ({"slots": FULL, "queue": QUEUED}, "full for 40 s", "saturated"),
        ({"slots": {**FULL, "full_at_least": True}, "queue": QUEUED}, "full for at least 40 s", "saturated"),
        ({"queue": STUCK}, "nothing has started for 30 s", "not-starting"),
        ({"queue": {**STUCK, "idle_at_least": True}}, "nothing has started for at least 30 s", "not-starting"),
        ({"services": {"failed": ["consumer"], "restarted": {}}}, "service consumer has failed, and is gone",
         "service-gone"),
        ({"services": {"failed": [], "restarted": {"consumer": 1}}}, "service consumer was restarted in the last 60 s",
         "service-restarting"),
        ({"services": {"failed": [], "restarted": {"consumer": 3}}},
         "service consumer was restarted 3 times in the last 60 s", "service-restarting"),
        ({"counts": {"given_up": 2}}, "2 tasks not retried in the last 60 s: the retry budget was spent",
         "retry-budget-spent"),
        ({"producers": {"blocked": 2, "oldest_age": 3.14}}, "2 producers blocked for 3.1 s", "producers-stuck"),
        ({"queue": {**QUEUED, "size": 9}}, "queue 9 of 10 full", "queue-filling"),
        ({"abandoned": 3}, "3 threads abandoned", "abandoned-threads"),
        ({"cancelling": {"tasks": 1, "oldest_age": 7.0}}, "1 task asked to end 7.0 s ago, and not ended",
         "cancel-not-obeyed"),
        ({"overdue": [{"name": "poll", "age": 240.0}]}, "poll has run for 4 min, longer than any before", "task-stuck"),
        ({"counts": {"finished": 100, "errors": 12}}, "12% of tasks failed in the last 60 s", "error-ratio"),
        ({"counts": {"finished": 100, "cancellations": 80}}, "80% of tasks cancelled in the last 60 s", "cancel-storm"),
        ({"counts": {"rejected": 1}}, "1 submission rejected in the last 60 s", "rejecting"),
        ({"counts": {"late": 4}}, "4 tasks waited too long in the last 60 s", "wait-objective-burning"),
        ({"counts": {"context_losses": 2}}, "2 trace contexts lost in the last 60 s", "context-losses"),
        ({"held": {"pause": 2}, "queue": {**QUEUED, "oldest_age": 30.0}}, "2 tasks held by a pause", "pause-lasts"),
        ({"held": {"limit": 1}, "queue": {**QUEUED, "oldest_age": 30.0}}, "1 task held by a limit", "limit-starved"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_and_leads_to_its_runbook(changes: dict[str, Any], text: str, runbook: str) -> None:
    (said,) = words.of_executor(shown(**changes))
    assert said["text"] == text
    assert said["runbook"] == runbook
    assert said["runbook_url"] == f"{words.RUNBOOKS}/{runbook}.md"
    assert (RUNBOOKS / f"{runbook}.md").exists()


def test_a_blocked_loop_is_said_to_be_so_now_and_for_a_minute() -> None:
    (said,) = words.of_loop(2.1, (None, None), None)
    assert (said["level"], said["text"]) == ("warning", "loop blocked for 2.1 s")
    (said,) = words.of_loop(0.0, (1.0, 2.5), 60.0)
    assert (said["level"], said["text"]) == ("note", "loop was blocked for 1.0 s to 2.5 s in the last 60 s")
    (said,) = words.of_loop(0.0, (5.0, None), 60.0)
    assert said["text"] == "loop was blocked for more than 5.0 s in the last 60 s"
    assert words.of_loop(0.05, (0.05, 0.1), 60.0) == []
    assert words.of_loop(0.05, (None, None), 60.0) == []


def test_an_executor_without_slots_queue_or_history_can_be_judged() -> None:
    assert words.of_executor(shown(slots=None, queue=None, producers=None)) == []
    blank = shown()
    blank["recent"]["window"] = None
    assert words.of_executor(blank) == []


def test_the_runbooks_are_those_of_the_alerts() -> None:
    assert RuleOptions().runbook_url == words.RUNBOOKS


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "0.0 s"), (2.14, "2.1 s"), (9.96, "10 s"), (40.4, "40 s"), (300, "5 min"), (7200, "2.0 h")],
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said
