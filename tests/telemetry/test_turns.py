"""Updates of figures stay consistent under re-entrance on their own thread: trace functions, signals, finalizers."""

from __future__ import annotations

import gc
import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.eventloop import EventLoopMonitor
from glasspool.telemetry.loop_series import EventLoops
from glasspool.telemetry.recording.ages import oldest_ages
from glasspool.telemetry.recording.ending import Ending
from glasspool.telemetry.recording.recorder import Recorder
from glasspool.telemetry.recording.registry import Registry
from glasspool.telemetry.recording.series_budget import Budget
from glasspool.telemetry.recording.snapshot import Snapshot
from glasspool.telemetry.recording.snapshot_queries import total
from glasspool.telemetry.recording.turns import Turns

from .nesting import in_the_middle
from .support import FULL, LIMIT, Clock, full_recorder, histogram_total, run_task, sampled_span


def test_what_re_enters_an_update_comes_after_it_in_order():
    turns, done = Turns(), []

    def outer():
        done.append("outer begins")
        turns.take(done.append, "first")
        turns.take(nested)
        turns.take(done.append, "last")
        done.append("outer ends")

    def nested():
        done.append("nested begins")
        turns.take(done.append, "within nested")
        done.append("nested ends")

    turns.take(outer)
    assert done == ["outer begins", "outer ends", "first", "nested begins", "nested ends", "last", "within nested"]


def test_a_reading_within_an_update_does_not_wait_and_one_outside_keeps_updates_away():
    turns, seen = Turns(), []

    def reading():
        turns.take(seen.append, "update")
        seen.append("read")

    turns.take(turns.look, reading)
    assert seen == ["read", "update"]
    seen.clear()
    turns.look(reading)
    assert seen == ["read", "update"]


def test_an_update_that_fails_leaves_the_next_ones_their_turn():
    turns, done = Turns(), []
    with pytest.raises(ZeroDivisionError):
        turns.take(lambda: (turns.take(done.append, 1), 1 / 0))
    turns.take(done.append, 2)
    assert done == [1, 2]
    with pytest.raises(ZeroDivisionError):
        turns.take(lambda: (turns.take(lambda: 1 / 0), turns.take(done.append, 3)))
    turns.take(done.append, 4)
    assert done == [1, 2, 3, 4]


class Ticking(Clock):
    """Every reading is a second later, so that no two instants are the same."""

    def __call__(self) -> float:
        self.now += 1
        return self.now


class Account:
    """What was done to one executor, counted on its own, and whether the figures say the same."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.recorder = full_recorder(self.registry, clock=Ticking(), limit=3, capacity=None)
        self.ran = self.left_queue = self.rejected = self.blocked = self.lost = self.failed = self.opened = 0
        self.names = 0

    def nested(self) -> None:
        """A bit of everything, each whole."""
        recorder = self.recorder
        self.names += 1
        task = recorder.task(f"nested-{self.names % 20}", "inline")
        recorder.accept(task, queued=False)
        recorder.begin(task)
        recorder.succeed(task)
        failing = recorder.task("nested", "thread")
        recorder.accept(failing, queued=True)
        recorder.assign(failing)
        recorder.begin(failing)
        recorder.settle(failing, Ending("error", f"Error{self.names % 15}"))
        self.ran += 2
        queued = recorder.task("nested", "inline")
        recorder.accept(queued, queued=True, blocked=0.25)
        recorder.settle(queued, Ending.cancelled("explicit", requested=0.0), assigned=False)
        self.left_queue += 1
        recorder.record.reject("queue_full", blocked=0.5)
        self.rejected += 1
        self.blocked += 2
        recorder.record.set_limit(4 if recorder.record.slots.limit == 3 else 3)
        recorder.record.context_lost("stale")
        self.lost += 1
        self.registry.telemetry_failed("export")
        self.failed += 1
        another = full_recorder(self.registry, clock=recorder.record.clock)
        another.record.close()
        self.opened += 1
        recorder.record.counts()
        oldest_ages(recorder.record)
        self.registry.collect()

    def check(self) -> None:
        found, recorder = self.registry.collect(), self.recorder
        submitted, completed = total(found, catalog.TASK_SUBMITTED, {}), total(found, catalog.TASK_COMPLETED, {})
        counts = recorder.record.counts()
        queued, active = total(found, catalog.QUEUE_SIZE, {}), total(found, catalog.TASK_ACTIVE, {})
        assert (queued, active) == (counts.queued, counts.in_flight)
        assert submitted == completed + queued + active
        assert completed == sum(counts[2:6]) == self.ran + self.left_queue
        assert total(found, catalog.TASK_REJECTED, {}) == counts.rejected == self.rejected
        assert total(found, catalog.TASK_CANCELLATIONS, {}) == self.left_queue
        assert total(found, catalog.CONTEXT_LOSSES, {}) == self.lost
        assert total(found, catalog.TELEMETRY_FAILURES, {Key.FAILURE_KIND: "export"}) == self.failed
        assert total(found, catalog.EXECUTOR_OPENED, {}) == 1 + self.opened
        assert total(found, catalog.EXECUTOR_CLOSED, {}) == self.opened + (not recorder.record.is_open)
        assert histogram_total(found, catalog.TASK_DURATION)[0] == self.ran
        assert histogram_total(found, catalog.SUBMIT_WAIT)[0] == self.blocked
        assert histogram_total(found, catalog.CANCEL_DURATION)[0] == self.left_queue
        assert recorder.record.slots.saturated is (counts.in_flight + counts.abandoned >= recorder.record.slots.full_at)
        assert 0 <= total(found, catalog.SLOT_SATURATED_TIME, {}) <= total(found, catalog.EXECUTOR_TIME, {})
        assert 0 <= total(found, catalog.SLOT_TIME, {}) <= total(found, catalog.SLOT_LIMIT_TIME, {})
        if not counts.in_flight + counts.abandoned + counts.queued:
            assert recorder.record.figures.used_time(0.0) == recorder.record.figures.used_time(1e9), (
                "nothing is held, so nothing grows"
            )
        assert not recorder.record.totals.later
        assert not recorder.record.totals.busy


def started(account: Account, *, queued: bool = False, begun: bool = True, runner: str = "inline", span: Any = None):
    task = account.recorder.task("outer", runner)
    task.span = span
    account.recorder.accept(task, queued=queued)
    if not queued and begun:
        account.recorder.begin(task)
    return task


def accepting(queued: bool) -> Callable[[Account], Callable[[], object]]:
    def prepare(account: Account) -> Callable[[], object]:
        task = account.recorder.task("outer", "inline")
        return lambda: account.recorder.accept(task, queued=queued)

    return prepare


def assigning(account: Account) -> Callable[[], object]:
    task = started(account, queued=True)
    return lambda: account.recorder.assign(task)


def beginning(account: Account) -> Callable[[], object]:
    task = started(account, begun=False)
    return lambda: account.recorder.begin(task)


def succeeding(account: Account) -> Callable[[], object]:
    task = started(account, span=sampled_span())
    account.ran += 1
    return lambda: account.recorder.succeed(task)


def failing(account: Account) -> Callable[[], object]:
    task = started(account, span=sampled_span())
    account.ran += 1
    return lambda: account.recorder.settle(task, Ending("error", "ValueError"))


def leaving_the_queue(account: Account) -> Callable[[], object]:
    task = started(account, queued=True)
    account.left_queue += 1
    return lambda: account.recorder.settle(task, Ending.cancelled("shutdown", requested=0.0), assigned=False)


def abandoning(account: Account) -> Callable[[], object]:
    task = started(account, runner="thread")
    account.ran += 1

    def outer() -> None:
        account.recorder.settle(task, Ending.timed_out(abandoned=True))
        account.recorder.record.thread_freed("thread")

    return outer


def rejecting(account: Account) -> Callable[[], object]:
    account.rejected += 1
    account.blocked += 1
    return lambda: account.recorder.record.reject("submit_timeout", blocked=1.0)


def resizing(account: Account) -> Callable[[], object]:
    return lambda: account.recorder.record.set_limit(1)


def losing(account: Account) -> Callable[[], object]:
    account.lost += 1
    return lambda: account.recorder.record.context_lost("missing")


def erring(account: Account) -> Callable[[], object]:
    account.failed += 1
    return lambda: account.registry.telemetry_failed("export")


def opening(account: Account) -> Callable[[], object]:
    """Another executor of the same name."""
    account.opened += 1

    def outer() -> None:
        Recorder(
            "mail", "hybrid", FULL, limit=1, clock=account.recorder.record.clock, registry=account.registry
        ).record.open().close()

    return outer


def closing(account: Account) -> Callable[[], object]:
    return account.recorder.record.close


def naming(account: Account) -> Callable[[], object]:
    return lambda: account.recorder.record.label("a new name")


def reading(account: Account) -> Callable[[], object]:
    started(account)
    return lambda: (account.registry.collect(), oldest_ages(account.recorder.record))


OUTER = {
    "accept with a slot": accepting(False),
    "accept into the queue": accepting(True),
    "assign": assigning,
    "begin": beginning,
    "succeed": succeeding,
    "fail": failing,
    "leave the queue": leaving_the_queue,
    "abandon a thread": abandoning,
    "reject": rejecting,
    "resize": resizing,
    "lose a context": losing,
    "fail as telemetry": erring,
    "open another": opening,
    "close": closing,
    "name": naming,
    "read": reading,
}


@pytest.mark.parametrize("name", OUTER)
def test_a_trace_function_that_does_everything_in_the_middle_of_an_update(name):
    def make():
        account = Account()
        return OUTER[name](account), account.nested, account.check

    assert in_the_middle(make, opcodes=name not in ("read", "open another")) > 60


def test_an_executor_that_is_opened_within_the_opening_of_another_one_of_its_name():
    """The first of the name: the identity does not exist yet."""

    def make():
        registry = Registry()

        def opened() -> None:
            recorder = full_recorder(registry)
            run_task(recorder)
            recorder.record.close()

        count = 0

        def nested() -> None:
            nonlocal count
            count += 1
            opened()

        def check() -> None:
            found = registry.collect()
            for metric in (catalog.EXECUTOR_OPENED, catalog.EXECUTOR_CLOSED, catalog.TASK_COMPLETED):
                assert total(found, metric, {}) == 1 + count
            assert histogram_total(found, catalog.QUEUE_WAIT)[0] == 1 + count
            assert registry.budget.used == reference

        return opened, nested, check

    registry = Registry()
    recorder = full_recorder(registry)
    run_task(recorder)
    reference = registry.budget.used
    assert in_the_middle(make, opcodes=False) > 100


def test_the_room_for_series_is_exact_whatever_re_enters():
    def make():
        budget, outcomes = Budget(series=100, names=2, per_name=10, kept_back=0), []

        def outer() -> None:
            outcomes.append(10 * budget.take(10))
            outcomes.append(7 * budget.enter(7))
            budget.fold("hybrid", catalog.TASK_DURATION)
            outcomes.append(budget.first("names"))

        def nested() -> None:
            outcomes.append(9 * budget.take(9))
            outcomes.append(8 * budget.enter(8))
            budget.fold("hybrid", catalog.TASK_DURATION)

        def check() -> None:
            assert outcomes.count(True) == 1
            folded = len(catalog.TASK_DURATION.buckets) + 3
            assert budget.used == sum(outcomes) - 1 + folded
            assert budget.used <= 100 + folded

        return outer, nested, check

    in_the_middle(make)


def test_an_event_loops_ticks_and_monitors():
    def make():
        registry = Registry()
        loops = EventLoops.of(registry)
        series = loops.join(EventLoopMonitor("first", registry=registry))
        delays = 0

        def tick() -> None:
            nonlocal delays
            delays += 1
            loops.take(series.observe, 0.5)

        def outer() -> None:
            tick()
            monitor = EventLoopMonitor("second", registry=registry)
            loops.join(monitor)
            registry.collect()
            loops.leave(monitor)

        def nested() -> None:
            tick()
            monitor = EventLoopMonitor("second", registry=registry)
            loops.join(monitor)
            loops.leave(monitor)
            registry.collect()

        def check() -> None:
            found = registry.collect().histograms[catalog.EVENTLOOP_DELAY.name]
            assert sum(point.count for point in found) == delays
            assert sum(point.sum for point in found) == delays * 0.5
            assert [point.attributes[Key.EVENTLOOP_NAME] for point in found] == ["first", "second"]

        return outer, nested, check

    in_the_middle(make, opcodes=False)


# -- signals and finalizers, whenever they come ------------------------------------------------------------------------


class Live:
    """One executor under fire: handlers and finalizers run whole tasks on it and look at it."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.recorder = full_recorder(self.registry, limit=3, capacity=None)
        self.ran = self.shots = 0
        self.problems: list[str] = []
        self.looks = 0

    def task(self) -> None:
        self.ran += 1
        recorder, number = self.recorder, self.ran
        task = recorder.task("unit", "inline")
        recorder.accept(task, queued=number % 2 == 0)
        if number % 2 == 0:
            recorder.assign(task)
        recorder.begin(task)
        if number % 3:
            recorder.succeed(task)
        elif number % 5:
            recorder.settle(task, Ending("error", f"Error{number % 7}"))
        else:
            recorder.settle(task, Ending.cancelled("explicit", requested=0.0))

    def shot(self) -> None:
        """Whole tasks of its own, and a look that must add up."""
        self.shots += 1
        self.task()
        self.look()

    def look(self) -> None:
        self.looks += 1
        counts = self.recorder.record.counts()
        found: Snapshot = self.registry.collect()
        submitted, completed = total(found, catalog.TASK_SUBMITTED, {}), total(found, catalog.TASK_COMPLETED, {})
        queued, active = total(found, catalog.QUEUE_SIZE, {}), total(found, catalog.TASK_ACTIVE, {})
        if submitted != completed + queued + active:
            self.problems.append(f"{submitted} submitted, {completed} completed, {queued} queued, {active} active")
        if sum(counts[:6]) > submitted:
            self.problems.append(f"{counts} before, {submitted} submitted after")

    def check(self) -> None:
        self.look()
        assert self.problems == []
        found, counts = self.registry.collect(), self.recorder.record.counts()
        assert (counts.queued, counts.in_flight) == (0, 0)
        assert total(found, catalog.TASK_SUBMITTED, {}) == total(found, catalog.TASK_COMPLETED, {}) == self.ran
        assert histogram_total(found, catalog.TASK_DURATION)[0] == self.ran
        assert histogram_total(found, catalog.QUEUE_WAIT)[0] == self.ran
        assert self.recorder.record.figures.used_time(0.0) == pytest.approx(self.recorder.record.figures.used_time(1.0))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signal.setitimer")
@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals are handled by the main thread"
)
def test_a_signal_handler_that_counts_and_looks():
    live, chance = Live(), random.Random(15)
    before = signal.signal(signal.SIGALRM, lambda *_: live.shot())
    limit = time.monotonic() + LIMIT
    try:
        for number in range(2000):
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 2e-4))
            while live.shots == number and time.monotonic() < limit:
                live.task()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert live.shots == 2000
    live.check()


def test_a_finalizer_that_counts_and_looks():
    live = Live()

    class Lost:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            live.shot()

    thresholds = gc.get_threshold()
    try:
        for number in range(1500):
            gc.set_threshold(1 + number % 50, 1, 1)  # sooner or later one begins at any allocation there is
            Lost()
            live.task()
            if number % 10 == 0:
                live.look()
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    assert live.shots >= 1500
    live.check()
