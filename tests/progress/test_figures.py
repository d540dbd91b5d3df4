"""The figures of a bar, and how they read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from glasspool._progress.bar import Bar, Figures
from glasspool._progress.pace import FEW, WINDOW, Pace
from glasspool._progress.turn import Turn
from glasspool._progress.words import fitting, sentence, spoken


class Tasks:
    """Stands for a ledger."""

    def __init__(self, *states: str) -> None:
        self.outstanding: dict[Any, None] = {Task(state): None for state in states}
        self.pending = len(states)
        self.retries = 2


class Task:
    def __init__(self, state: str) -> None:
        self.state = state


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


SOME = Figures("crawl", 412, 1000, 35.24, 16.7, 11.7, 20, 40, 3, 1, False, False)


def test_a_bar_counts_from_its_beginning():
    clock, tasks = Clock(), Tasks("active", "active", "queued")
    bar = Bar("crawl", tasks, 10, growing=False, now=clock)
    assert not bar.begun
    bar.begin()
    bar.done, bar.errors, tasks.retries = 4, 1, 5
    clock.now += 2
    assert bar.read() == Figures("crawl", 4, 10, 2.0, 3.0, 2.0, 2, 1, 1, 3, False, False)
    bar.ended = True
    assert bar.read().left == 0
    bar.done = 10
    assert bar.read().complete


def test_a_total_that_is_wrong_is_not_shown():
    bar = Bar("crawl", Tasks(), 3, growing=False)
    bar.begin()
    bar.done = 4
    assert bar.read().total is None
    assert bar.read().left is None


def test_the_total_of_a_pile_grows():
    tasks = Tasks("queued", "queued")
    bar = Bar("pile", tasks, None, growing=True)
    bar.begin()
    bar.done = 1
    assert bar.read().total == 3
    tasks.pending = 7
    assert bar.read().total == 8


def test_tasks_that_change_while_they_are_counted():
    class Changing(dict[Any, None]):
        def __iter__(self) -> Any:
            raise RuntimeError("changed")

    tasks = Tasks("active")
    bar = Bar("x", tasks, None, growing=False)
    assert bar.read().in_flight == 1
    tasks.outstanding = Changing()
    assert bar.read().in_flight == 1


def test_the_rate_is_that_of_the_last_while():
    pace = Pace(0.0)
    assert pace.at(1.0, 0) is None
    for second in range(1, 101):
        assert pace.at(float(second), 10 * second) == pytest.approx(10)
    for second in range(101, 131):
        rate = pace.at(float(second), 1000 + second - 100)
    assert rate == pytest.approx(1, abs=0.5)  # after one window of the new rate nothing of the old is left
    assert len(pace._marks) <= WINDOW + FEW + 2  # private: bounded, however long it goes on


def test_slow_outcomes_are_not_forgotten():
    pace = Pace(0.0)
    rates = [pace.at(60.0 * number, number) for number in range(1, 50)]
    assert rates == pytest.approx([1 / 60] * 49)


def test_a_stall_lowers_the_rate():
    pace = Pace(0.0)
    pace.at(1.0, 20)
    assert pace.at(100.0, 20) == pytest.approx(0.2)


def test_a_sentence_has_everything():
    assert sentence(SOME) == ("crawl: 412 of 1,000, 41%, 35.2/s, 0:17 left, 20 in flight, 40 queued, 3 errors, 1 retry")
    unknown = replace(SOME, description="", total=None, left=None, in_flight=0, queued=0, errors=0, retries=0)
    assert sentence(unknown) == "412 done, 35.2/s, 0:12"
    early = replace(SOME, ended=True, in_flight=0, queued=0, elapsed=3.25)
    assert sentence(early) == "crawl: 412 of 1,000, 41%, 35.2/s, in 3.2 s, 3 errors, 1 retry, ended early"


@pytest.mark.parametrize(
    ("rate", "shown"),
    [(1234.5, "1,234/s"), (1.0, "1.0/s"), (0.5, "30.0/min"), (0.01, "36.0/h"), (0.0001, "0.4/h"), (99.96, "100.0/s")],
)
def test_rates_have_a_unit_that_suits_them(rate, shown):
    assert spoken(replace(SOME, rate=rate))["rate"] == shown


@pytest.mark.parametrize(
    ("left", "shown"),
    [(0.4, "0:00 left"), (59.6, "1:00 left"), (3700, "1:01:40 left"), (90061, "1 d 1:01:01 left"), (1e12, None)],
)
def test_times(left, shown):
    assert spoken(replace(SOME, left=left)).get("time") == shown


def test_what_matters_least_is_dropped_first():
    parts = spoken(SOME)
    kept = [list(fitting(parts, lambda kept, most=most: len(kept) <= most)) for most in (8, 6, 3, 0)]
    assert kept == [
        list(parts),
        [k for k in parts if k not in ("share", "queued")],
        ["count", "time", "errors"],
        ["count"],
    ]


def test_what_is_asked_for_in_the_middle_of_an_act_is_done_after_it():
    turn, said = Turn(), []

    def act() -> None:
        turn.take(lambda: said.append("from within"))
        said.append("act")

    turn.take(act)
    assert said == ["act", "from within"]
    with pytest.raises(ZeroDivisionError):
        turn.take(lambda: 1 / 0)
    turn.take(lambda: said.append("after an error"))
    assert said[-1] == "after an error"
