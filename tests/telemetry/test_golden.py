"""Golden scrape: the whole text of one recorded run is compared. GLASSPOOL_UPDATE_GOLDEN=1 rewrites the files."""

from __future__ import annotations

import os
import re
from pathlib import Path

import prometheus_client
from prometheus_client.openmetrics import exposition as openmetrics

from glasspool.telemetry import prometheus
from glasspool.telemetry.recording.ending import Ending
from glasspool.telemetry.recording.registry import Registry

from .support import Clock, full_recorder, retried_task, run_task, sampled_span

GOLDEN = Path(__file__).parents[1] / "golden"


def recorded_run() -> Registry:
    """Every way a task, a call and a closing can go, at known times."""
    registry, clock = Registry(), Clock()
    mail = full_recorder(registry, clock=clock)
    registry.listening = lambda: False  # another test of this process may have set providers
    run_task(mail, wait=0.03125, run=0.375, clock=clock, span=sampled_span())
    run_task(mail, "render", "error", "ValueError", run=1.5, clock=clock, runner="thread")
    run_task(mail, "render", "timeout", "timeout", run=2.0, clock=clock)
    run_task(
        mail, "send", "cancelled", "cancelled", run=0.5, clock=clock, reason="explicit", requested=clock.now + 0.25
    )
    queued = mail.task("send", "inline")
    mail.accept(queued, queued=True, blocked=0.75)
    clock.pass_(4.0)
    mail.settle(queued, Ending.cancelled("shutdown", requested=clock.now - 1.0), assigned=False)
    retried_task(mail, clock)
    mail.record.reject("queue_full")
    mail.record.reject("submit_timeout", blocked=3.0)
    mail.record.producer_blocked("producer")
    abandoned = mail.task("slow", "thread")
    mail.accept(abandoned, queued=False)
    mail.begin(abandoned)
    clock.pass_(8.0)
    mail.settle(abandoned, Ending.timed_out(abandoned=True))
    running = mail.task("send", "inline")
    mail.accept(running, queued=False)
    mail.begin(running)
    waiting = mail.task("send", "inline")
    mail.accept(waiting, queued=True)
    mail.record.context_lost("stale")
    mail.record.telemetry_failed("observer")
    mail.record.shutdown_took(1.25, cut=True)
    clock.pass_(16.0)
    mail.record.lend(1)
    return registry


def compare(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("GLASSPOOL_UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_the_whole_text_scrape():
    client = prometheus_client.CollectorRegistry()
    prometheus.register(client, source=recorded_run())
    compare("recorder.txt", prometheus_client.generate_latest(client).decode())


def test_the_whole_openmetrics_scrape_with_exemplars():
    client = prometheus_client.CollectorRegistry()
    prometheus.register(client, source=recorded_run())
    text = openmetrics.generate_latest(client).decode()
    # An exemplar carries the wall-clock time at which it was taken: the one figure no injected clock decides.
    compare("recorder.openmetrics.txt", re.sub(r"(# \{[^}]*\} [0-9.e-]+) [0-9.]+$", r"\1 <time>", text, flags=re.M))
