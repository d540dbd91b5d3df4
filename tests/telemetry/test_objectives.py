"""Wait objectives: late tasks are counted exactly, whatever the buckets, and only where an objective is declared."""

from __future__ import annotations

import math

import pytest

from glasspool import _checks as checks
from glasspool.telemetry import catalog
from glasspool.telemetry.recording.ending import Ending
from glasspool.telemetry.recording.recorder import Recorder
from glasspool.telemetry.recording.registry import Registry
from glasspool.telemetry.recording.shape import Shape
from glasspool.telemetry.recording.snapshot import Snapshot

from .support import Clock, full_recorder, run_task, value


def late(snapshot: Snapshot) -> float:
    return value(snapshot, catalog.QUEUE_WAIT_LATE)


def test_a_task_is_late_when_it_waits_longer_than_the_objective():
    registry, clock = Registry(), Clock()
    mail = full_recorder(registry, clock=clock, wait_objective=0.375)  # between two bucket bounds
    assert late(registry.collect()) == 0, "there from open, so that increase() sees the first late task"
    for wait in (0.0, 0.25, 0.375, 0.5, 2.0):
        run_task(mail, clock=clock, wait=wait)
    assert late(registry.collect()) == 2
    assert value(registry.collect(), catalog.QUEUE_WAIT_OBJECTIVE) == 0.375


def test_a_deadline_that_passes_in_the_queue_is_late_and_a_cancelled_task_is_not():
    registry, clock = Registry(), Clock()
    mail = full_recorder(registry, clock=clock, wait_objective=10.0)
    for outcome in ("timeout", "cancelled"):
        task = mail.task("send", "inline")
        mail.accept(task, queued=True)
        mail.settle(task, Ending(outcome, outcome, reason="explicit"), assigned=False)
    assert late(registry.collect()) == 1
    run_task(mail, "send", "timeout", "timeout", clock=clock, run=60.0)  # it was started in time
    assert late(registry.collect()) == 1


def test_without_an_objective_there_is_no_series():
    registry, clock = Registry(), Clock()
    mail = full_recorder(registry, clock=clock, wait_objective=None)
    run_task(mail, clock=clock, wait=1000.0)
    task = mail.task("send", "inline")
    mail.accept(task, queued=True)
    mail.settle(task, Ending.timed_out(), assigned=False)
    found = registry.collect().points
    assert catalog.QUEUE_WAIT_LATE.name not in found
    assert catalog.QUEUE_WAIT_OBJECTIVE.name not in found


def test_executors_of_one_name_each_count_by_their_own_objective():
    registry, clock = Registry(), Clock()
    strict = full_recorder(registry, clock=clock, wait_objective=0.1)
    patient = full_recorder(registry, clock=clock, wait_objective=5.0)
    careless = full_recorder(registry, clock=clock, wait_objective=None)
    for recorder in (strict, patient, careless):
        run_task(recorder, clock=clock, wait=1.0)
    assert late(registry.collect()) == 1
    assert value(registry.collect(), catalog.QUEUE_WAIT_OBJECTIVE) == 0.1
    strict.record.close()
    assert value(registry.collect(), catalog.QUEUE_WAIT_OBJECTIVE) == 5.0
    patient.record.close()
    found = registry.collect()
    assert catalog.QUEUE_WAIT_OBJECTIVE.name not in found.points
    assert late(found) == 1, "counters live on after close"


def test_a_forked_child_counts_its_own():
    registry, clock = Registry(), Clock()
    mail = full_recorder(registry, clock=clock, wait_objective=0.1)
    run_task(mail, clock=clock, wait=1.0)
    registry.reset()  # what the child does
    mail.record.open()
    assert late(registry.collect()) == 0
    run_task(mail, clock=clock, wait=1.0)
    assert late(registry.collect()) == 1


def test_what_is_without_a_queue_has_nothing_to_be_late_for():
    registry = Registry()
    Recorder("loop", "asyncio", Shape(), registry=registry).open()
    assert catalog.QUEUE_WAIT_LATE.name not in registry.collect().points


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (0, ValueError),
        (-0.5, ValueError),
        (math.nan, ValueError),
        (math.inf, ValueError),
        (True, TypeError),
        ("0.5", TypeError),
    ],
)
def test_what_cannot_be_one_is_refused_by_name_and_value(wrong, error):
    with pytest.raises(error) as caught:
        checks.wait_objective(wrong, "wait_objectives['web']")
    assert "wait_objectives['web']" in str(caught.value)
    assert repr(wrong) in str(caught.value)


def test_numbers_and_none():
    assert [checks.wait_objective(given) for given in (None, 1, 0.25)] == [None, 1.0, 0.25]
