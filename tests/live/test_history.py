"""What is kept while somebody looks, and that nothing is when nobody does."""

from __future__ import annotations

import threading
import time

from glasspool.telemetry.live.flat import Entity, Flat
from glasspool.telemetry.live.history import History
from tests.telemetry.support import LIMIT, Clock

MAIL = Entity(0, "hybrid", "mail")
DONE = ("done",)


class Source:
    """Numbers that are what they are set to."""

    def __init__(self) -> None:
        self.found: dict[Entity, Flat] = {MAIL: {DONE: 0.0}}
        self.taken = 0

    def __call__(self) -> dict[Entity, Flat]:
        self.taken += 1
        return {entity: dict(flat) for entity, flat in self.found.items()}


def until(condition: object) -> None:
    limit = time.monotonic() + LIMIT
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_samples_are_taken_from_the_first_look_on_and_dropped_when_nobody_looks() -> None:
    source, clock = Source(), Clock()
    history = History(source, clock=clock, every=0.01, idle=60.0)
    time.sleep(0.05)
    assert source.taken == 0
    history.look()
    until(lambda: len(history.times) > 3)
    clock.pass_(59.0)
    history.look()
    clock.pass_(59.0)
    taken = source.taken
    until(lambda: source.taken > taken + 2)  # 59 s since the last look: it goes on
    clock.pass_(2.0)
    until(lambda: not history.times)
    assert not history.columns
    until(lambda: not any(thread.name == "glasspool-live" for thread in threading.enumerate()))
    taken = source.taken
    time.sleep(0.05)
    assert source.taken == taken
    history.look()  # and begins anew
    until(lambda: len(history.times) > 1)
    history.close()
    assert not history.times


def test_a_series_that_appears_late_was_0_before_and_one_that_goes_is_0_after() -> None:
    source, clock = Source(), Clock()
    history = History(source, clock=clock, every=0.01)
    history.look()
    until(lambda: len(history.times) > 1)
    with history.lock:
        assert DONE not in history.columns.get(MAIL, {})  # never anything but 0: nothing is kept
    source.found = {MAIL: {DONE: 5.0}}
    until(lambda: history.at(MAIL, DONE, -1) == 5.0)
    with history.lock:
        assert history.at(MAIL, DONE, 0) == 0.0
        assert len(history.columns[MAIL][DONE]) == len(history.times)
    source.found = {}
    until(lambda: history.at(MAIL, DONE, -1) == 0.0)
    history.close()


def test_no_more_is_kept_than_asked_for() -> None:
    source, clock = Source(), Clock()
    source.found = {MAIL: {DONE: 5.0}}
    history = History(source, clock=clock, every=0.001, kept=0.05)
    history.look()
    until(lambda: source.taken > 200)
    with history.lock:
        assert 50 <= len(history.times) <= 50 + 31
        assert len(history.columns[MAIL][DONE]) == len(history.times)
    history.close()


def test_the_base_of_a_difference_is_the_last_sample_before_it_or_the_first_one() -> None:
    clock = Clock(100.0)
    history = History(Source(), clock=clock, every=60.0)
    assert history.base(50.0) is None
    history.look()
    assert history.base(99.0) == 0
    assert history.base(100.0) == 0
    history.close()


def test_a_source_that_fails_ends_the_history_and_not_the_program() -> None:
    source = Source()
    history = History(source, every=0.01)
    history.look()
    until(lambda: len(history.times) > 1)
    source.found = None  # type: ignore[assignment]
    until(lambda: not history.times)
    source.found = {}
    history.look()
    until(lambda: len(history.times) > 1)
    history.close()
