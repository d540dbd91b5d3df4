"""The sums of the registry: identities, closed executors, caps, and consistent snapshots."""

from __future__ import annotations

import itertools
import logging
import random
import sys
import threading
from collections import deque

import prometheus_client
import pytest

from glasspool.telemetry import catalog, prometheus
from glasspool.telemetry.catalog import OTHER
from glasspool.telemetry.recording.ages import unobeyed
from glasspool.telemetry.recording.ending import SUCCESS, Ending
from glasspool.telemetry.recording.recorder import Recorder
from glasspool.telemetry.recording.registry import Registry
from glasspool.telemetry.recording.shape import Shape

from .support import LIMIT, Clock, full_recorder, histogram_total, run_task, value


def test_executors_of_one_name_are_summed_and_the_oldest_age_is_the_greatest():
    registry, clock = Registry(), Clock()
    first = full_recorder(registry, clock=clock)
    second = full_recorder(registry, clock=clock)
    other = full_recorder(registry, "other", clock=clock)
    for recorder, age in ((first, 5.0), (second, 2.0), (other, 1.0)):
        task = recorder.task("t", "inline")
        recorder.accept(task, queued=False)
        clock.pass_(age)
    found = registry.collect()
    mail = {"glasspool_executor_name": "mail"}
    assert value(found, catalog.TASK_SUBMITTED, **mail) == 2
    assert value(found, catalog.TASK_ACTIVE, **mail) == 2
    assert value(found, catalog.SLOT_LIMIT, **mail) == 4
    assert value(found, catalog.QUEUE_CAPACITY, **mail) == 20
    assert value(found, catalog.TASK_OLDEST_AGE, **mail) == 8.0
    assert value(found, catalog.EXECUTOR_OPENED, **mail) == 2
    assert value(found, catalog.TASK_SUBMITTED, glasspool_executor_name="other") == 1


def test_one_unbounded_queue_makes_the_names_capacity_absent():
    registry = Registry()
    full_recorder(registry)
    full_recorder(registry, capacity=None)
    assert catalog.QUEUE_CAPACITY.name not in registry.collect().points


def test_an_executor_opened_and_closed_a_hundred_times_between_two_scrapes_loses_nothing():
    registry, clock = Registry(), Clock()
    for _ in range(100):
        mail = full_recorder(registry, clock=clock)
        run_task(mail, clock=clock, run=0.5)
        run_task(mail, "bad", "error", "ValueError", clock=clock, run=0.25)
        mail.record.reject("queue_full")
        mail.record.close()
        mail.record.close()
    found = registry.collect()
    assert value(found, catalog.TASK_SUBMITTED) == 200
    assert value(found, catalog.TASK_COMPLETED, glasspool_task_outcome="error", error_type="ValueError") == 100
    assert value(found, catalog.TASK_REJECTED, error_type="queue_full") == 100
    assert value(found, catalog.EXECUTOR_OPENED) == value(found, catalog.EXECUTOR_CLOSED) == 100
    assert value(found, catalog.EXECUTOR_TIME) == 75.0
    assert value(found, catalog.SLOT_TIME) == 75.0
    assert value(found, catalog.SLOT_LIMIT_TIME) == 150.0
    assert histogram_total(found, catalog.TASK_DURATION) == (200, 75.0)
    for gauge in (catalog.TASK_ACTIVE, catalog.SLOT_LIMIT, catalog.SLOT_USAGE, catalog.QUEUE_SIZE):
        assert value(found, gauge) == 0, "gauges of a closed identity read 0"


def test_abandoned_threads_count_until_they_end_even_after_the_executor_closed():
    registry, clock = Registry(), Clock()
    mail = full_recorder(registry, clock=clock)
    task = mail.task("stuck", "thread")
    mail.accept(task, queued=False)
    mail.begin(task)
    mail.settle(task, Ending.timed_out(abandoned=True))
    clock.pass_(3.0)
    mail.record.close()
    found = registry.collect()
    assert value(found, catalog.TASK_ABANDONED, glasspool_runner="thread") == 1
    assert value(found, catalog.WORKER_COUNT, glasspool_worker_state="busy") == 1
    assert value(found, catalog.SLOT_TIME) == 3.0
    mail.record.thread_freed("thread")
    found = registry.collect()
    assert value(found, catalog.TASK_ABANDONED, glasspool_runner="thread") == 0
    assert value(found, catalog.SLOT_TIME) == 3.0, "a counter that was folded in at closing moves no more"


def test_requests_to_end_are_counted_from_their_instant_to_the_end_of_the_task():
    registry, clock = Registry(), Clock()
    mail, other = full_recorder(registry, clock=clock), full_recorder(registry, clock=clock)
    tasks = [recorder.task(f"t{index}", "inline") for index, recorder in enumerate((mail, mail, other))]
    for task, recorder in zip(tasks, (mail, mail, other), strict=True):
        recorder.accept(task, queued=False)
        recorder.begin(task)
    mail.record.ask(tasks[0], clock() + 5)  # its time will be out

    def read() -> tuple[float, float]:
        found = registry.collect()
        return value(found, catalog.TASK_CANCELLING), value(found, catalog.TASK_CANCELLING_OLDEST_AGE)

    assert read() == (0, 0)
    clock.pass_(2.0)
    other.record.ask(tasks[2], clock())
    assert read() == (1, 0)
    clock.pass_(4.0)
    mail.record.ask(tasks[0], clock())  # again: the first one counts
    assert read() == (2, 4)
    assert (unobeyed(mail.record), unobeyed(other.record)) == ((1, 1), (1, 4))
    other.succeed(tasks[2])
    assert read() == (1, 1)
    mail.settle(tasks[0], Ending.timed_out())
    mail.settle(tasks[1], SUCCESS)
    assert read() == (0, 0)
    mail.record.close()
    other.record.close()
    assert read() == (0, 0)


def test_time_counters_grow_while_work_runs():
    registry, clock = Registry(), Clock()
    mail = full_recorder(registry, clock=clock)
    tasks = [mail.task(f"t{i}", "inline") for i in range(2)]
    readings = []
    for task in tasks:
        mail.accept(task, queued=False)
        clock.pass_(1.0)
        found = registry.collect()
        readings.append(
            tuple(
                value(found, metric)
                for metric in (
                    catalog.SLOT_TIME,
                    catalog.SLOT_LIMIT_TIME,
                    catalog.SLOT_SATURATED_TIME,
                    catalog.EXECUTOR_TIME,
                )
            )
        )
    assert readings == [(1.0, 2.0, 0.0, 1.0), (3.0, 4.0, 1.0, 2.0)]


def series_count(registry: Registry) -> int:
    client = prometheus_client.CollectorRegistry()
    prometheus.register(client, source=registry)
    return sum(1 for line in prometheus_client.generate_latest(client).splitlines() if not line.startswith(b"#"))


def test_ten_thousand_task_names_times_a_thousand_errors_stay_under_the_caps(caplog):
    registry = Registry()
    mail = full_recorder(registry)
    with caplog.at_level(logging.WARNING, "glasspool"):
        for index in range(10_000):
            run_task(mail, f"task-{index}", "error", f"Error{index % 1000}")
    found = registry.collect()
    names = {point.attributes[catalog.Key.TASK_NAME] for point in found.histograms[catalog.TASK_DURATION.name]}
    errors = {
        point.attributes[catalog.Key.ERROR_TYPE]
        for point in found.points[catalog.TASK_COMPLETED.name]
        if point.attributes[catalog.Key.TASK_OUTCOME] == "error"
    }
    assert len(names) == 26
    assert OTHER in names
    assert len(errors) == 21
    assert OTHER in errors
    assert value(found, catalog.TASK_COMPLETED, glasspool_task_outcome="error") == 10_000
    assert histogram_total(found, catalog.TASK_DURATION)[0] == 10_000
    assert value(found, catalog.TELEMETRY_FAILURES, glasspool_telemetry_failure_kind="name_cap") > 0
    assert value(found, catalog.TELEMETRY_FAILURES, glasspool_telemetry_failure_kind="label_cap") > 0
    assert series_count(registry) < 20_000
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(set(said)) == 2, "each cap is spoken of once"


def test_three_hundred_executors_with_many_names_and_errors_stay_under_20000_series():
    registry = Registry()
    for number in range(300):
        recorder = full_recorder(registry, f"executor-{number}")
        for index in range(60):
            run_task(recorder, f"task-{index}", "error", f"Error{index}")
        recorder.record.close()
    found = registry.collect()
    assert value(found, catalog.TASK_SUBMITTED) == 300 * 60, "what is folded into _OTHER is still counted"
    assert histogram_total(found, catalog.TASK_DURATION)[0] == 300 * 60
    shown = {point.attributes[catalog.Key.EXECUTOR_NAME] for point in found.points[catalog.TASK_SUBMITTED.name]}
    assert OTHER in shown
    assert len(shown) <= 201
    assert series_count(registry) < 20_000
    gauges = {point.attributes[catalog.Key.EXECUTOR_NAME] for point in found.points[catalog.TASK_ACTIVE.name]}
    assert OTHER not in gauges


def test_task_names_can_be_switched_off():
    registry = Registry()
    run_task(full_recorder(registry, max_task_names=0), "secret")
    (point,) = registry.collect().histograms[catalog.TASK_DURATION.name]
    assert catalog.Key.TASK_NAME not in point.attributes


def test_series_with_bounded_labels_exist_at_zero_from_open():
    registry = Registry()
    full_recorder(registry)
    registry.listening = lambda: False  # another test of this process may have set providers
    found = registry.collect()
    reasons = {
        (point.attributes[catalog.Key.CANCEL_REASON], point.attributes[catalog.Key.TASK_PHASE])
        for point in found.points[catalog.TASK_CANCELLATIONS.name]
    }
    assert len(reasons) == len(catalog.CANCEL_REASONS) * len(catalog.RUN_PHASES)
    for metric, key, expected in (
        (catalog.TASK_REJECTED, catalog.Key.ERROR_TYPE, catalog.REJECT_REASONS),
        (catalog.CONTEXT_LOSSES, catalog.Key.LOSS_KIND, catalog.CONTEXT_LOSS_KINDS),
        (catalog.TELEMETRY_FAILURES, catalog.Key.FAILURE_KIND, ("observer", "name_cap", "label_cap")),
    ):
        assert {point.attributes[key] for point in found.points[metric.name]} == set(expected)
        assert value(found, metric) == 0
    (waits,) = found.histograms.pop(catalog.QUEUE_WAIT.name)
    assert (waits.attributes[catalog.Key.QUEUE_OUTCOME], waits.count) == ("started", 0)
    assert found.histograms == {}, "of what is rare, and of what has not run yet"


@pytest.mark.parametrize("workers", [1, 4])
def test_no_snapshot_tears_while_threads_run_tasks(workers):
    """Read in a tight loop from another thread: sums are conserved in every single snapshot."""
    registry = Registry()
    mail = Recorder(
        "mail",
        "thread_pool",
        Shape(runners=("thread",), queue=True, slots=True, cancels=(("explicit", "queued"),)),
        limit=8,
        registry=registry,
    ).open()
    problems: list[str] = []
    done = threading.Event()
    snapshots = ran = 0

    def work() -> None:
        nonlocal ran
        for index in itertools.count():
            if index >= 1500 and (snapshots > 10 or not reader.is_alive()):  # a busy machine may let the reader wait
                break
            task = mail.task("t", "thread")
            mail.accept(task, queued=True)
            if index % 7 == 0:
                mail.settle(task, Ending.cancelled("explicit"), assigned=False)
                continue
            mail.assign(task)
            mail.begin(task)
            mail.settle(task, Ending("error" if index % 3 == 0 else "success", "ValueError" if index % 3 == 0 else ""))
        with counted:
            ran += index

    def check() -> None:
        nonlocal snapshots
        found = registry.collect()
        snapshots += 1
        submitted = value(found, catalog.TASK_SUBMITTED)
        completed = value(found, catalog.TASK_COMPLETED)
        queued = value(found, catalog.QUEUE_SIZE)
        active = value(found, catalog.TASK_ACTIVE)
        cancelled = value(found, catalog.TASK_COMPLETED, glasspool_task_outcome="cancelled")
        measured = histogram_total(found, catalog.TASK_DURATION)[0]
        waits = histogram_total(found, catalog.QUEUE_WAIT)[0]
        if submitted != completed + queued + active:
            problems.append(f"{submitted} submitted, {completed} completed, {queued} queued, {active} active")
        if measured != completed - cancelled:
            problems.append(f"{measured} runs measured of {completed - cancelled}")
        if not completed <= waits <= submitted - queued:
            problems.append(f"{waits} waits: {completed} completed, {submitted} submitted, {queued} queued")

    def read() -> None:
        while not done.is_set():
            check()

    counted = threading.Lock()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        reader = threading.Thread(target=read)
        threads = [threading.Thread(target=work) for _ in range(workers)]
        reader.start()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        done.set()
        reader.join(LIMIT)
    finally:
        done.set()
        sys.setswitchinterval(interval)
    assert snapshots > 10
    check()
    assert problems == []
    assert mail.record.counts().queued == mail.record.counts().in_flight == 0
    assert value(registry.collect(), catalog.TASK_COMPLETED) == ran >= 1500 * workers


def test_counts_are_whole_without_a_lock():
    registry = Registry()
    mail = full_recorder(registry)
    seen: set[int] = set()
    done = threading.Event()

    def read() -> None:
        previous = 0
        while not done.is_set():
            counts = mail.record.counts()
            total = counts.queued + counts.in_flight + counts.succeeded + counts.failed
            if total < previous:
                seen.add(total - previous)
            previous = total

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        reader = threading.Thread(target=read)
        reader.start()
        for index in range(5000):
            run_task(mail, outcome="success" if index % 2 else "error", wait=1e-9)
        done.set()
        reader.join(LIMIT)
    finally:
        done.set()
        sys.setswitchinterval(interval)
    assert not seen, "a task that was counted once vanished in between"
    assert mail.record.counts().succeeded + mail.record.counts().failed == 5000


@pytest.mark.parametrize("seed", range(20))
def test_slots_are_in_use_from_grant_to_release_whoever_reads_meanwhile(seed):
    """Slots that are freed go to tasks that wait, now or a little later; other threads read in between."""
    chance, registry, clock = random.Random(seed), Registry(), Clock()
    mail = full_recorder(registry, clock=clock, limit=3)
    running, waiting, left = [], deque(), 0
    limit, slots, full = 3, 0.0, 0.0

    def pass_(seconds):
        nonlocal slots, full
        used = max(len(running) + left, min(limit, len(running) + left + len(waiting)))
        slots += used * seconds
        full += seconds if used >= limit else 0
        clock.pass_(seconds)
        found = registry.collect()
        assert value(found, catalog.SLOT_USAGE) == used
        assert value(found, catalog.SLOT_LIMIT) == limit
        assert value(found, catalog.SLOT_TIME) == slots
        assert value(found, catalog.SLOT_SATURATED_TIME) == full

    def hand_over():
        while waiting and len(running) + left < limit:
            task = waiting.popleft()
            mail.assign(task)
            mail.begin(task)
            running.append(task)

    for _ in range(300):
        what = chance.random()
        if what < 0.4:
            task = mail.task("send", "thread")
            queued = bool(waiting) or len(running) + left >= limit
            mail.accept(task, queued=queued)
            (waiting if queued else running).append(task)
            if not queued:
                mail.begin(task)
        elif what < 0.7 and running:
            task = running.pop(chance.randrange(len(running)))
            ending = chance.random()
            if ending < 0.4:
                mail.succeed(task)
            elif ending < 0.8:
                mail.settle(task, Ending("error", "ValueError"))
            else:
                mail.settle(task, Ending.cancelled("explicit", abandoned=True))
                left += 1
        elif what < 0.8 and left:
            mail.record.thread_freed("thread")
            left -= 1
        elif what < 0.9 and waiting:
            task = waiting[-1]
            waiting.remove(task)
            mail.settle(task, Ending.cancelled("explicit"), assigned=False)
        elif what > 0.95:
            limit = chance.randrange(1, 6)
            mail.record.set_limit(limit)
        if chance.random() < 0.7:
            pass_(chance.choice((0.125, 0.5, 4.0)))
        if chance.random() < 0.7:
            hand_over()
    mail.record.close()
    found = registry.collect()
    assert value(found, catalog.SLOT_TIME) == slots
