"""A Prometheus with the recorded series of real programs, as if it had scraped them until now.

The recordings are those of the tests of the alerts (tests/alerting/recorded); vmalert evaluates the shipped rules and
alerts over them, from the first sample to the last. Each program is a separate job.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import yaml

from glasspool._monitoring import provisioning
from tests.alerting.recording import Recording
from tests.alerting.situations import SICK, WELL
from tests.dashboards.support.backend_tools import need
from tests.dashboards.support.stores import prometheus

__all__ = ["MINUTES", "ODD_JOB", "ODD_NAMES", "replayed"]

MINUTES = 25
"""Duration of the healthy programs; those in trouble were recorded for a quarter of an hour."""

ODD_JOB = "odd-names"
ODD_NAMES = (
    "reports (nightly)", "c++ build", "a.b|c", 'say "hi"', "back\\slash", "{curly} [square]", "$dollar ${brace}",
    "it's", "Überweisung 支払い",
)  # fmt: skip
"""Names of additional executors: one healthy program is shown under each of them."""

_RECORDED = Path(__file__).resolve().parents[2] / "tests" / "alerting" / "recorded"


@contextmanager
def replayed(directory: Path) -> Iterator[tuple[str, float]]:
    """Address of the Prometheus, and the instant of its last samples in seconds."""
    directory.mkdir(parents=True, exist_ok=True)
    end = float(int(time.time()) // 15 * 15)
    text = directory / "recorded.txt"
    with text.open("w", encoding="utf-8") as file:
        for recording in _recordings():
            file.writelines(_exposition(recording, end))
        file.write("# EOF\n")
    _run("promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(directory / "data"))
    late = f"{MINUTES + 10}m"
    with prometheus(directory, [], [], writable_for=late) as store:
        _replay(directory, store.url, end)
        yield store.url, end


def _recordings() -> Iterator[Recording]:
    for sick in SICK:
        yield Recording.read(_RECORDED / f"{sick.name}.series.gz")
    for well in WELL:
        if well.steady is not None:
            yield Recording.read(_RECORDED / f"{well.name}.series.gz").extended(MINUTES * 60, well.steady)
    yield _oddly_named()


def _oddly_named() -> Recording:
    known = Recording.read(_RECORDED / "sick-blocked-loop.series.gz")  # its executor is healthy
    own = 'glasspool_executor_name="handlers"'
    names = [name.replace("\\", "\\\\").replace('"', '\\"') for name in ODD_NAMES]
    series = {
        key.replace(own, f'glasspool_executor_name="{name}"'): samples
        for key, samples in known.series.items()
        if own in key
        for name in names
    }
    return Recording(ODD_JOB, known.seconds, known.scrapes, series)


def _exposition(recording: Recording, end: float) -> Iterator[str]:
    where = f'job="{recording.name}",instance="{recording.name}:1"'
    begin = end - recording.length
    for series, samples in recording.series.items():
        name, labels = series.split("{", 1)
        for number, value in enumerate(samples):
            if value is not None:
                yield f"{name}{{{where},{labels} {value!r} {begin + number * recording.seconds:.3f}\n"


def _replay(directory: Path, url: str, end: float) -> None:
    """A rule is evaluated over the whole time before the next one, so chains of rules need an order."""
    since, until = (
        datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ") for at in (end - MINUTES * 60, end)
    )
    for name, rules in provisioning.rules().items():
        path = directory / name
        path.write_text(yaml.safe_dump(yaml.safe_load(rules)), encoding="utf-8")
        _run(
            "vmalert", f"-rule={path}", f"-datasource.url={url}", f"-remoteWrite.url={url}", "-replay.rulesDelay=150ms",
            "-remoteWrite.flushInterval=100ms", f"-replay.timeFrom={since}", f"-replay.timeTo={until}",
            "-replay.disableProgressBar", "-evaluationInterval=15s", "-httpListenAddr=127.0.0.1:0",
        )  # fmt: skip


def _run(program: str, *arguments: str) -> None:
    done = subprocess.run([need(program), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{program} {' '.join(arguments[:3])}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
