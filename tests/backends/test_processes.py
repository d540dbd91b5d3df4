"""Forked workers export over their own connections: a channel that was opened before the fork does not work."""

from __future__ import annotations

from pathlib import Path

import pytest

from glasspool.telemetry import catalog
from tests.telemetry.support import run_python
from tests.telemetry.test_configure import SETUP

from .collectors import Received, collector
from .support import total, wait_for

FORKS = """
import os
handle = configure()
work(5)
assert handle.force_flush(60), "the connection is open before the fork"
children = []
for count in (1, 2):
    pid = os.fork()
    if pid == 0:
        work(count, name=f"child-{count}")
        assert handle.force_flush(60)
        sys.exit(0)
    children.append(pid)
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
work(2)
"""


HYBRID = ("glasspool_executor_type", "hybrid")


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_parent_and_children_are_told_apart_and_add_up(tmp_path: Path, protocol: str):
    with collector(tmp_path) as receiver:
        endpoint = receiver.grpc if protocol == "grpc" else receiver.http
        run_python(SETUP + FORKS, OTEL_EXPORTER_OTLP_PROTOCOL=protocol, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
        last = (catalog.TASK_SUBMITTED.prometheus_name, frozenset({("glasspool_executor_name", "mail"), HYBRID}))

        def arrived() -> Received | None:
            found = receiver.received()
            return found if len(found.spans) >= 10 and found.series().get(last) == 7 else None

        received = wait_for(arrived, "last export")
    series = received.series()
    by_name = {
        name: total(series, catalog.TASK_SUBMITTED, glasspool_executor_name=name)
        for name in ("mail", "child-1", "child-2")
    }
    assert by_name == {"mail": 7, "child-1": 1, "child-2": 2}
    runs = {name: total(series, catalog.TASK_DURATION, "_count", glasspool_executor_name=name) for name in by_name}
    assert runs == by_name
    assert len(received.spans) == 10
