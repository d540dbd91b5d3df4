"""A Prometheus that holds what real programs once said, as if it had scraped them until now.

The recordings are those that the alerts are tried on (tests/alerting/recorded); the shipped recording rules are
evaluated over them. Each program is a job of its own.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glasspool import provisioning
from tests.alerting.recording import Recording
from tests.alerting.situations import SICK, WELL
from tests.dashboards.backend_tools import need
from tests.dashboards.stores import prometheus

__all__ = ["MINUTES", "replayed"]

MINUTES = 25
"""The well programs go on for so long; the sick ones were recorded for a quarter of an hour."""

RECORDED = Path(__file__).resolve().parents[2] / "tests" / "alerting" / "recorded"


def _recordings() -> Iterator[Recording]:
    for sick in SICK:
        yield Recording.read(RECORDED / f"{sick.name}.series.gz")
    for well in WELL:
        if well.steady is not None:
            yield Recording.read(RECORDED / f"{well.name}.series.gz").extended(MINUTES * 60, well.steady)


def _exposition(recording: Recording, end: float) -> Iterator[str]:
    where = f'job="{recording.name}",instance="{recording.name}:1"'
    begin = end - recording.length
    for series, samples in recording.series.items():
        name, labels = series.split("{", 1)
        for number, value in enumerate(samples):
            if value is not None:
                yield f"{name}{{{where},{labels} {value!r} {begin + number * recording.seconds:.3f}\n"


@contextmanager
def replayed(directory: Path) -> Iterator[tuple[str, float]]:
    """Address of the Prometheus, and the instant of its last samples in seconds."""
    end = float(int(time.time()) // 15 * 15)
    text, rules = directory / "recorded.txt", directory / "glasspool.rules.yaml"
    directory.mkdir(parents=True, exist_ok=True)
    with text.open("w") as file:
        for recording in _recordings():
            file.writelines(_exposition(recording, end))
        file.write("# EOF\n")
    rules.write_text(provisioning.rules()[rules.name], encoding="utf-8")
    data = directory / "store" / "data"
    _promtool("create-blocks-from", "openmetrics", str(text), str(data))
    with prometheus(directory / "store", [], []) as raw:
        begin = end - MINUTES * 60
        options = [f"--start={begin:.0f}", f"--end={end:.0f}", f"--url={raw.url}", f"--output-dir={data}"]
        _promtool("create-blocks-from", "rules", "--eval-interval=15s", *options, str(rules))
    with prometheus(directory / "store", [], []) as store:
        yield store.url, end


def _promtool(*arguments: str) -> None:
    done = subprocess.run([need("promtool"), "tsdb", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"promtool tsdb {' '.join(arguments[:2])}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
