"""Helpers of the telemetry tests: a recorder with all metrics, a clock, tasks, subprocesses, scrapes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from glasspool.telemetry import catalog
from glasspool.telemetry import providers as _providers  # noqa: F401 - as in every program with an executor
from glasspool.telemetry.recording import retry_figures
from glasspool.telemetry.recording.ending import Ending
from glasspool.telemetry.recording.recorder import Recorder, TaskRecord
from glasspool.telemetry.recording.registry import Registry
from glasspool.telemetry.recording.shape import Shape
from glasspool.telemetry.recording.snapshot import Snapshot

ROOT = Path(__file__).parents[2]

FULL = Shape(
    runners=("inline", "thread"),
    workers=("thread",),
    queue=True,
    submit=True,
    slots=True,
    requests=True,
    timeouts=True,
    cancels=tuple(product(catalog.CANCEL_REASONS, catalog.RUN_PHASES)),
    rejects=catalog.REJECT_REASONS,
    losses=catalog.CONTEXT_LOSS_KINDS,
    failures=("observer",),
)
"""Everything that can happen to any executor."""


LIMIT = 300.0
"""Seconds after which something that must happen is taken for lost, on a slow and busy machine too."""


class Clock:
    """Seconds that pass when told to."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


def full_recorder(registry: Registry, name: str = "mail", **options: Any) -> Recorder:
    """An open recorder of a hybrid executor with 2 slots, 10 queue places and half a second to start in."""
    chosen: dict[str, Any] = {
        "limit": 2, "capacity": 10, "worker_limits": {"thread": 2}, "wait_objective": 0.5, **options
    }  # fmt: skip
    recorder = Recorder(name, "hybrid", FULL, registry=registry, **chosen)
    recorder.record.open()
    return recorder


def run_task(
    recorder: Recorder,
    name: str = "send",
    outcome: str = "success",
    error_type: str = "",
    *,
    clock: Clock | None = None,
    wait: float = 0.0,
    run: float = 0.0,
    runner: str = "inline",
    span: Any = None,
    blocked: float | None = None,
    **settled: Any,
) -> TaskRecord:
    """One task from acceptance to its outcome; with a wait it goes through the queue."""
    task = recorder.task(name, runner)
    task.span = span
    recorder.accept(task, queued=wait > 0, blocked=blocked)
    if wait:
        if clock is not None:
            clock.pass_(wait)
        recorder.assign(task)
    recorder.begin(task)
    if clock is not None:
        clock.pass_(run)
    recorder.settle(task, Ending(outcome, error_type, **settled))
    return task


class HoldsNothing:
    """What would hold tasks, now that none is held."""

    names = ()

    def held(self) -> dict[str, int]:
        return {}

    def limits(self) -> list[tuple[int, str, int, int | None, float]]:
        return []


def retried_task(recorder: Recorder, clock: Clock) -> TaskRecord:
    """A task that fails after 0.25 s, is held for 1 s, fails again after 0.5 s, and is out of attempts."""
    record, task = recorder.record, recorder.task("call", "inline")
    if record.holds is None:
        record.gated(HoldsNothing())
    retry_figures.expect_retries(record, lambda: 7)
    recorder.accept(task, queued=False)
    recorder.begin(task)
    clock.pass_(0.25)
    retry_figures.attempt_ended(record, task, "error", 0.25)
    retry_figures.sent_back(record, task, "OSError")
    clock.pass_(1.0)
    record.was_held(task, "retry", 1.0)
    recorder.assign(task)
    retry_figures.attempt_resumed(record, task)
    clock.pass_(0.5)
    retry_figures.attempt_ended(record, task, "error", 0.5)
    retry_figures.retry_stopped(record, "attempts")
    recorder.settle(task, Ending("error", "OSError").timed(None, 0.75))
    return task


def sampled_span(trace_id: int = 0xABCDEF, span_id: int = 0x123456, *, sampled: bool = True) -> NonRecordingSpan:
    """A span whose context is all that matters."""
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return NonRecordingSpan(SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags))


def value(snapshot: Snapshot, metric: Any, **attributes: str) -> float:
    """The sum of a metric's points that carry these attributes (keys with underscores for dots)."""
    found = [
        point.value
        for point in snapshot.points.get(metric.name, ())
        if attributes.items() <= {key.replace(".", "_"): text for key, text in point.attributes.items()}.items()
    ]
    assert found, f"no series of {metric.name} with {attributes}"
    return sum(found)


def histogram_total(snapshot: Snapshot, metric: Any) -> tuple[int, float]:
    """Count and sum over all series of a histogram."""
    points = snapshot.histograms.get(metric.name, ())
    return sum(point.count for point in points), sum(point.sum for point in points)


@dataclass
class Finished:
    """A subprocess that has ended."""

    code: int
    out: str
    err: str = field(repr=False)

    def lines(self, prefix: str) -> Iterator[str]:
        """What follows ``prefix`` on every line of the output that begins with it."""
        return (line[len(prefix) :].strip() for line in self.out.splitlines() if line.startswith(prefix))


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment without OpenTelemetry's and prometheus_client's variables, our packages on the path."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "PROMETHEUS_", "PYTEST_"))}
    kept["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(ROOT / "instrumentation"), str(ROOT)])
    return {**kept, **extra}


def run_python(code: str, *arguments: str, launcher: tuple[str, ...] = (), check: bool = True, **env: str) -> Finished:
    """Run ``code`` in a fresh interpreter; providers can be set only once in a process."""
    command = [*launcher, sys.executable, "-W", "error::RuntimeWarning", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, env=clean_environment(**env))
    finished = Finished(done.returncode, done.stdout, done.stderr)
    assert not check or finished.code == 0, f"exit code {finished.code}\n{finished.out}\n{finished.err}"
    return finished
