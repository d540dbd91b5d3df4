"""The cap on series: a scrape shows what was counted against it; series beyond it are folded, logged once, never
lost."""

from __future__ import annotations

import logging
import random
from collections import Counter
from itertools import product

import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families

from glasspool.telemetry import catalog, prometheus
from glasspool.telemetry.catalog import OTHER, PROCESS, Key, prometheus_label
from glasspool.telemetry.recording.ending import Ending
from glasspool.telemetry.recording.recorder import Recorder
from glasspool.telemetry.recording.registry import Registry
from glasspool.telemetry.recording.series_budget import Budget, series_of
from glasspool.telemetry.recording.shape import Shape

from .support import FULL, histogram_total, run_task, value

SHAPES = {
    "everything": FULL,
    "hybrid": Shape(
        runners=("inline", "thread"),
        workers=("thread",),
        queue=True,
        submit=True,
        slots=True,
        timeouts=True,
        cancels=tuple(product(("explicit", "shutdown"), catalog.RUN_PHASES)),
        rejects=catalog.REJECT_REASONS,
    ),
    "process_pool": Shape(
        runners=("process",),
        workers=("process",),
        queue=True,
        slots=True,
        cancels=(("explicit", "queued"), ("shutdown", "queued")),
        rejects=("already_shutdown",),
        losses=catalog.CONTEXT_LOSS_KINDS,
    ),
    "asyncio": Shape(unretrieved=True, cancels=(("explicit", "running"),)),
    "function": Shape(),
}


def shown(registry: Registry) -> Counter[tuple[str, frozenset[tuple[str, str]]]]:
    """The series of a scrape but for those of the process itself; none may be there twice."""
    client = prometheus_client.CollectorRegistry()
    prometheus.register(client, source=registry)
    name = prometheus_label(Key.EXECUTOR_NAME)
    found = Counter(
        (sample.name, frozenset(sample.labels.items()))
        for family in text_string_to_metric_families(prometheus_client.generate_latest(client).decode())
        for sample in family.samples
        if sample.labels.get(name) != PROCESS
    )
    assert not found or max(found.values()) == 1
    return found


def everything(recorder: Recorder) -> None:
    """All that can happen to an executor of this shape, once."""
    shape = recorder.record.shape
    for runner in shape.runners:
        for name in ("first", "second"):
            run_task(recorder, name, runner=runner)
        for error in ("ValueError", "KeyError"):
            run_task(recorder, "first", "error", error, runner=runner)
        if shape.timeouts:
            task = recorder.task("first", runner)
            recorder.accept(task, queued=False)
            recorder.begin(task)
            recorder.settle(task, Ending.timed_out(abandoned=True))
            recorder.record.thread_freed(runner)
            queued = recorder.task("first", runner)
            recorder.accept(queued, queued=True)
            recorder.settle(queued, Ending.timed_out(), assigned=False)
    for reason, phase in shape.cancels:
        if phase == "running":
            run_task(recorder, "first", "cancelled", "cancelled", reason=reason, requested=recorder.record.clock())
        else:
            queued = recorder.task("first", shape.runners[0])
            recorder.accept(queued, queued=True)
            recorder.settle(queued, Ending.cancelled(reason), assigned=False)
    for reason in shape.rejects:
        recorder.record.reject(reason)
    if shape.submit:
        recorder.record.producer_blocked("producer")
        recorder.record.reject("submit_cancelled", blocked=recorder.record.producer_released("producer"))
    for kind in shape.losses:
        recorder.record.context_lost(kind)
    for cut in (True, False):
        recorder.record.shutdown_took(1.0, cut=cut)


@pytest.mark.parametrize("name", SHAPES)
def test_what_was_taken_is_what_is_shown(name):
    registry, shape = Registry(), SHAPES[name]
    limit = 2 if shape.slots else None
    recorder = Recorder("mail", name, shape, limit=limit, capacity=5, registry=registry).open()
    at_open = shown(registry)
    assert len(at_open) - series_of(catalog.QUEUE_WAIT) * shape.queue <= shape.series(25)
    everything(recorder)
    if not shape.timeouts:  # then no thread can be left behind either, whose gauge is counted with the runner
        recorder.record.totals.abandoned = dict.fromkeys(shape.runners, 0)
    assert len(shown(registry)) == registry.budget.used
    before = registry.budget.used
    for _ in range(3):
        everything(recorder)
    recorder.record.close()
    Recorder("mail", name, shape, limit=limit, capacity=5, registry=registry).open()
    assert registry.budget.used == before, "what there is takes no more room"


def test_another_executor_of_a_name_may_bring_what_the_first_could_not():
    registry = Registry()
    Recorder("mail", "hybrid", SHAPES["function"], registry=registry).open()
    before = len(shown(registry))
    Recorder("mail", "hybrid", SHAPES["process_pool"], registry=registry).open()
    new = shown(registry)
    added = [catalog.TASK_CANCELLATIONS, catalog.TASK_REJECTED, catalog.CONTEXT_LOSSES]
    assert sum(name in {m.prometheus_name for m in added} for name, _ in new) == 2 + 1 + 3
    assert len(new) - before == registry.budget.used - SHAPES["function"].series(25)


def test_what_was_not_expected_is_counted_all_the_same():
    registry = Registry()
    recorder = Recorder("mail", "function", SHAPES["function"], registry=registry).open()
    run_task(recorder, "a", "cancelled", "cancelled", reason="unknown", runner="elsewhere")
    recorder.record.reject("queue_full")
    recorder.record.context_lost("stale")
    found = registry.collect()
    assert value(found, catalog.TASK_COMPLETED, glasspool_runner="elsewhere") == 1
    for metric in (catalog.TASK_CANCELLATIONS, catalog.TASK_REJECTED, catalog.CONTEXT_LOSSES):
        assert value(found, metric) == 1
    assert len(shown(registry)) <= registry.budget.used


PER_NAME, KEPT_BACK = 60, 800


def small(room: int, names: int = 4, per_name: int = PER_NAME) -> Registry:
    """A registry with so much room for histograms, error types and the like."""
    registry = Registry()
    registry.budget = Budget(room + names * per_name + KEPT_BACK, names, per_name, KEPT_BACK)
    return registry


def test_names_have_their_room_whatever_the_histograms_take(caplog):
    registry = small(series_of(catalog.TASK_DURATION), per_name=SHAPES["function"].series(25))
    greedy = Recorder("greedy", "function", SHAPES["function"], registry=registry).open()
    with caplog.at_level(logging.WARNING, "glasspool"):
        for index in range(10):
            run_task(greedy, f"task-{index}")
        others = [Recorder(f"late-{n}", "function", SHAPES["function"], registry=registry).open() for n in range(3)]
        for recorder in others:
            for _ in range(2):
                run_task(recorder, "t")
    found = registry.collect()
    names = {point.attributes[Key.EXECUTOR_NAME] for point in found.points[catalog.TASK_SUBMITTED.name]}
    assert names == {"greedy", "late-0", "late-1", "late-2"}
    durations: Counter[str] = Counter()
    for point in found.histograms[catalog.TASK_DURATION.name]:
        durations[point.attributes[Key.EXECUTOR_NAME]] += point.count
    assert durations.total() == 16, "nothing that was measured is lost"
    assert durations[OTHER] == 15, "in one histogram for all that found no room"
    (said,) = [record.getMessage() for record in caplog.records]
    assert "'greedy'" in said
    assert "series" in said
    assert value(found, catalog.TELEMETRY_FAILURES) == durations[OTHER]


def test_first_the_name_of_a_task_goes_then_its_executors():
    shape = SHAPES["function"]
    registry = small(2 * series_of(catalog.TASK_DURATION), names=1, per_name=shape.series(1))
    recorder = Recorder("mail", "function", shape, max_task_names=1, registry=registry).open()
    for name in ("first", "beyond the cap"):
        run_task(recorder, name)
    recorder.record.totals.task_names["third"] = "third"  # as if the cap were higher
    run_task(recorder, "third")
    run_task(recorder, "third", "error", "ValueError")
    found = registry.collect().histograms[catalog.TASK_DURATION.name]
    own = {p.attributes[Key.TASK_NAME]: p.count for p in found if p.attributes[Key.EXECUTOR_NAME] == "mail"}
    assert own == {"first": 1, OTHER: 2}
    (other,) = [point for point in found if point.attributes[Key.EXECUTOR_NAME] == OTHER]
    assert other.attributes == {
        Key.EXECUTOR_NAME: OTHER,
        Key.EXECUTOR_TYPE: "function",
        **dict.fromkeys(catalog.TASK_DURATION.attributes, OTHER),
    }
    assert other.count == 1


def test_the_newest_exemplar_of_folded_histograms_is_kept():
    registry = small(0, per_name=SHAPES["function"].series(25))
    for number in range(3):
        recorder = Recorder(f"mail-{number}", "function", SHAPES["function"], registry=registry).open()
        series = recorder.record.totals.duration_of("success", "t", "inline")
        series.observe(0.0, (0.0, number, number, 100.0 - number))
    (point,) = registry.collect().histograms[catalog.TASK_DURATION.name]
    assert point.count == 3
    assert point.exemplars[0] == (0.0, 0, 0, 100.0)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_the_series_stay_within_the_room_and_the_sums_stay_whole(seed, caplog):
    chance, room = random.Random(seed), 900
    registry = small(room, names=5)
    recorders: list[Recorder] = []
    ran = rejected = 0
    with caplog.at_level(logging.WARNING, "glasspool"):
        for _ in range(400):
            if not recorders or chance.random() < 0.1:
                kind = chance.choice(list(SHAPES))
                recorder = Recorder(
                    f"executor-{chance.randrange(9)}", kind, SHAPES[kind], capacity=5, registry=registry
                )
                recorders.append(recorder.open())
            recorder = chance.choice(recorders)
            runner, name = chance.choice(recorder.record.shape.runners), f"task-{chance.randrange(40)}"
            if chance.random() < 0.1:
                recorder.record.reject("already_shutdown", blocked=chance.choice([None, 0.5]))
                rejected += 1
                continue
            outcome, error = chance.choice([("success", ""), ("error", f"Error{chance.randrange(30)}")])
            run_task(recorder, name, outcome, error, runner=runner)
            ran += 1
    found = registry.collect()
    assert len(shown(registry)) <= room + 5 * PER_NAME + KEPT_BACK
    assert value(found, catalog.TASK_SUBMITTED) == value(found, catalog.TASK_COMPLETED) == ran
    assert value(found, catalog.TASK_REJECTED) == rejected
    assert histogram_total(found, catalog.TASK_DURATION)[0] == ran
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(set(said))
    assert len([text for text in said if "finds no room" in text]) == 1
    assert len([text for text in said if "5 names" in text]) == 1
