"""Overdue tasks: compared with earlier runs, and not reported if there are none."""

from __future__ import annotations

import pytest

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.recording.ending import SUCCESS
from glasspool.telemetry.recording.overdue import ENOUGH_RUNS
from glasspool.telemetry.recording.recorder import Recorder, TaskRecord
from glasspool.telemetry.recording.registry import Registry

from .support import FULL, Clock, full_recorder, run_task


class Situation:
    """An executor with a clock, whose tasks end or do not."""

    def __init__(self, type: str = "hybrid", **options: object) -> None:
        self.registry, self.clock = Registry(), Clock()
        if type == "hybrid":
            self.recorder = full_recorder(self.registry, clock=self.clock, **options)
        else:
            self.recorder = Recorder("mail", type, FULL, registry=self.registry, clock=self.clock).open()

    def ended(self, name: str, seconds: float, times: int = ENOUGH_RUNS, outcome: str = "success") -> None:
        for _ in range(times):
            run_task(self.recorder, name, outcome, outcome, clock=self.clock, run=seconds)

    def begun(self, name: str, runner: str = "inline") -> TaskRecord:
        task = self.recorder.task(name, runner)
        self.recorder.accept(task, queued=False)
        self.recorder.begin(task)
        return task

    def overdue(self) -> dict[str, tuple[float, float]]:
        """Shown name to age and the longest before; as the exporters read it."""
        points = self.registry.collect().points
        ages, longest = (
            {point.attributes.get(Key.TASK_NAME, ""): point.value for point in points.get(metric.name, ())}
            for metric in (catalog.TASK_OVERDUE_AGE, catalog.TASK_OVERDUE_LONGEST)
        )
        assert ages.keys() == longest.keys()
        return {name: (age, longest[name]) for name, age in ages.items()}


def test_a_task_that_outlives_the_runs_of_its_name():
    case = Situation()
    case.ended("fetch", 0.08)
    case.begun("fetch")
    case.clock.pass_(59.0)
    assert case.overdue() == {}, "nearly all tasks are over by then"
    case.clock.pass_(2.0)
    assert case.overdue() == {"fetch": (61.0, 0.1)}
    case.clock.pass_(300.0)
    assert case.overdue() == {"fetch": (361.0, 0.1)}


def test_it_is_over_when_the_task_ends_and_its_run_is_history():
    case = Situation()
    case.ended("fetch", 0.08)
    task = case.begun("fetch")
    case.clock.pass_(400.0)
    assert case.overdue()
    case.recorder.settle(task, SUCCESS)
    assert case.overdue() == {}
    case.begun("fetch")
    case.clock.pass_(500.0)
    assert case.overdue() == {}, "one took up to 600 s before"
    case.clock.pass_(200.0)
    assert case.overdue() == {"fetch": (700.0, 600.0)}


def test_a_task_that_was_asked_to_end_has_figures_of_its_own():
    case = Situation()
    case.ended("fetch", 0.08)
    asked, timed = case.begun("fetch"), case.begun("fetch")
    case.recorder.record.ask(asked, case.clock())
    case.recorder.record.ask(timed, case.clock() + 100.0)  # its timeout
    case.clock.pass_(90.0)
    assert case.overdue() == {"fetch": (90.0, 0.1)}
    case.clock.pass_(20.0)
    assert case.overdue() == {}


def test_the_oldest_of_a_name_and_every_name_by_itself():
    case = Situation()
    case.ended("fetch", 0.08)
    case.ended("store", 0.3)
    case.begun("fetch")
    case.clock.pass_(30.0)
    case.begun("store")
    case.begun("fetch")
    case.clock.pass_(100.0)
    assert case.overdue() == {"fetch": (130.0, 0.1), "store": (100.0, 0.5)}


@pytest.mark.parametrize("history", [0, ENOUGH_RUNS - 1])
def test_nothing_is_said_without_a_history(history):
    case = Situation()
    case.ended("fetch", 0.08, history)
    for runner in ("inline", "thread"):
        case.begun("fetch", runner)
    case.clock.pass_(10_000.0)
    assert case.overdue() == {}


def test_runs_that_were_cut_short_are_no_history():
    case = Situation()
    case.ended("fetch", 0.08, 100, "timeout")
    case.ended("fetch", 0.08, 100, "cancelled")
    case.begun("fetch")
    case.clock.pass_(10_000.0)
    assert case.overdue() == {}
    case.ended("fetch", 0.08, outcome="error")
    assert case.overdue() == {"fetch": (pytest.approx(10_000.8), 0.1)}


def test_a_coroutine_of_a_new_name_may_live_as_long_as_it_likes():
    case = Situation()
    case.ended("fetch", 0.08, 1000)
    case.begun("consume")
    for _ in range(20):
        case.clock.pass_(60.0)
        case.ended("fetch", 0.08, 10)
        assert case.overdue() == {}


def test_a_thread_of_a_new_name_is_overdue_when_others_overtake_it():
    case = Situation()
    case.ended("fetch", 0.08, 1000)
    case.begun("wait", "thread")
    case.clock.pass_(90.0)
    assert case.overdue() == {}, "nobody has ended meanwhile: this may be the next, longer step"
    case.ended("fetch", 0.08, ENOUGH_RUNS - 1)
    assert case.overdue() == {}
    case.ended("fetch", 0.08, 1)
    assert case.overdue() == {"wait": (pytest.approx(90.8), 0.1)}


def test_overtaking_begins_with_the_first_look_at_each_task():
    case = Situation()
    first = case.begun("wait", "thread")
    case.ended("fetch", 0.08, 1000)
    case.clock.pass_(70.0)
    assert case.overdue() == {}
    case.ended("fetch", 0.08)
    assert list(case.overdue()) == ["wait"]
    case.recorder.settle(first, SUCCESS)
    case.begun("wait", "thread")
    case.clock.pass_(200.0)
    assert case.overdue() == {}


@pytest.mark.parametrize("type", catalog.LOOP_TYPES)
def test_nothing_is_said_of_event_loops(type):
    case = Situation(type)
    case.ended("serve", 0.08, 100)
    case.begun("serve")
    case.clock.pass_(10_000.0)
    assert case.overdue() == {}


def test_runs_beyond_the_last_bucket_say_no_bound():
    case = Situation()
    case.ended("train", 4000.0)
    case.begun("train")
    case.clock.pass_(100_000.0)
    assert case.overdue() == {}


def test_names_beyond_their_cap_are_one_and_looking_counts_nothing():
    case = Situation(max_task_names=1)
    case.ended("fetch", 0.08)
    case.ended("store", 0.2)
    failures = case.recorder.record.totals.failures["name_cap"]
    case.begun("store")
    case.begun("other")
    case.clock.pass_(100.0)
    assert case.overdue() == {"_OTHER": (100.0, 0.25)}
    # Both tasks' names were folded when they were submitted.
    assert case.recorder.record.totals.failures["name_cap"] == failures + 2


def test_names_that_are_switched_off():
    case = Situation(max_task_names=0)
    case.ended("fetch", 0.08)
    case.begun("store")
    case.clock.pass_(100.0)
    assert case.overdue() == {"": (100.0, 0.1)}


def test_without_room_for_more_series_nothing_is_shown():
    registry, clock = Registry(), Clock()
    mail = full_recorder(registry, clock=clock)
    for _ in range(ENOUGH_RUNS):
        run_task(mail, clock=clock, run=0.08)
    registry.budget.use(20_000)
    task = mail.task("send", "inline")
    mail.accept(task, queued=False)
    mail.begin(task)
    clock.pass_(100.0)
    assert catalog.TASK_OVERDUE_AGE.name not in registry.collect().points


def test_executors_of_one_name_share_their_history():
    case = Situation()
    case.ended("fetch", 0.08)
    other = full_recorder(case.registry, clock=case.clock)
    task = other.task("fetch", "inline")
    other.accept(task, queued=False)
    other.begin(task)
    case.clock.pass_(100.0)
    assert case.overdue() == {"fetch": (100.0, 0.1)}
