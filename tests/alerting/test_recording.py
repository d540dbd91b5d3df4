"""Tests of recordings: written and read without loss, and continued as a steady program continues."""

from __future__ import annotations

from pathlib import Path

import pytest

from .recording import Recording, Samples


def made(**series: Samples) -> Recording:
    (length,) = {len(samples) for samples in series.values()}
    return Recording("made", 15, length, {f"{name}{{}}": samples for name, samples in series.items()})


def continued(samples: Samples, scrapes: int, steps: int) -> Samples:
    return list(made(a=samples).extended((scrapes - 1) * 15, steps * 15).series["a{}"])


def test_what_is_written_is_read(tmp_path: Path) -> None:
    series: dict[str, Samples] = {
        'a{x="a b",y="c"}': [None, 0.0, 0.0, 0.0, 1.0],
        "b{}": [12345.678, 12345.678, None, 1e9, 0.001],
    }
    path = tmp_path / "made.series.gz"
    Recording("made", 15, 5, series, {"python": "3.11"}).write(path)
    found = Recording.read(path)
    assert (found.name, found.seconds, found.scrapes, found.facts) == ("made", 15, 5, {"python": "3.11"})
    assert found.series == series


def test_the_same_series_are_the_same_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / "one.series.gz", tmp_path / "two.series.gz"]
    for path in paths:
        made(a=[1.0, 2.0]).write(path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([0, 5, 6, 8], [0, 5, 6, 8, 9, 11, 12, 14, 15]),  # a counter goes on by what its period added
        ([0, 5, 5, 5], [0, 5, 5, 5, 5, 5, 5, 5, 5]),
        ([0, 3, 9, 4], [0, 3, 9, 4, 9, 4, 9, 4, 9]),  # a gauge does the same again
        ([0, 15, 30, 45], [0, 15, 30, 45, 60, 75, 90, 105, 120]),  # the age of what lives on
        ([None, 1, None, 2], [None, 1, None, 2, None, 2, None, 2, None]),  # what is there at times
    ],
)
def test_it_goes_on_as_it_was(samples: Samples, expected: Samples) -> None:
    assert continued(samples, 9, 2) == expected


def test_a_counter_that_restarted_before_its_steady_part_goes_on() -> None:
    assert continued([100, 0, 4, 8], 6, 2) == [100, 0, 4, 8, 12, 16]


def test_a_period_longer_than_the_recording_is_refused() -> None:
    with pytest.raises(AssertionError, match="shorter than its period"):
        continued([1, 2], 9, 2)


def test_thinned_is_scraped_less_often() -> None:
    thin = made(a=[0.0, 1.0, 2.0, 3.0, 4.0]).thinned(2)
    assert (thin.seconds, thin.scrapes, thin.series["a{}"], thin.length) == (30, 3, [0, 2, 4], 60)
