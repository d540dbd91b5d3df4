"""``import glasspool`` imports next to nothing, the first executor what it needs; the rest comes with its use."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import glasspool
from glasspool import telemetry

PROGRAM = """
import json, sys
import anyio, asyncio, opentelemetry.trace
before = set(sys.modules)
from glasspool import HybridExecutor
print(json.dumps(sorted(set(sys.modules) - before)))
"""

ALLOWED = {"_bisect", "_queue", "anyio", "bisect", "concurrent", "dataclasses", "opentelemetry", "queue", "sniffio"}
"""Top-level packages, beside glasspool, that may come on top of anyio, asyncio and the API of tracing."""

if sys.version_info < (3, 11):
    ALLOWED |= {"exceptiongroup", "textwrap"}

LATER = (
    "concurrent.futures.process",
    "glasspool.telemetry.configuration",
    "glasspool.telemetry.export",
    "glasspool.telemetry.prometheus",
    "opentelemetry.propagate",
    "opentelemetry.sdk",
)


@pytest.fixture(scope="module")
def imported() -> list[str]:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    names: list[str] = json.loads(done.stdout)
    return names


def test_little_else_is_imported(imported):
    assert "glasspool.executor" in imported
    foreign = {name for name in imported if name.partition(".")[0] not in {*ALLOWED, "glasspool"}}
    assert foreign == set()


@pytest.mark.parametrize("package", ["glasspool", "glasspool_instrumentation"])
def test_a_package_alone_imports_hardly_more_than_what_it_builds_on(package):
    counted = "import sys; print(len(sys.modules))"
    before, base, imported = (
        int(subprocess.run([sys.executable, "-c", code + counted], capture_output=True, text=True, check=True).stdout)
        for code in ("", "import anyio, asyncio, opentelemetry.trace; ", f"import {package}; ")
    )
    assert imported - before <= (base - before) * 1.3


def test_modules_are_attributes_of_the_package_before_anybody_has_imported_them():
    code = "import glasspool; print(glasspool.errors.QueueFull.__name__, glasspool.telemetry.configure.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["QueueFull", "configure"]


def test_every_name_of_the_package_is_there():
    for name in glasspool.__all__:
        assert getattr(glasspool, name) is not None
    assert set(glasspool.__all__) <= set(dir(glasspool))
    with pytest.raises(AttributeError, match="has no attribute 'Executor'"):
        _ = glasspool.Executor  # type: ignore[attr-defined]  # that is the point


def test_what_is_used_later_is_imported_later(imported):
    assert [name for name in imported if name.startswith(LATER)] == []


def test_the_names_of_telemetry_come_with_their_first_use():
    assert set(telemetry.__all__) <= set(dir(telemetry))
    for name in telemetry.__all__:
        assert getattr(telemetry, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'configured'"):
        _ = telemetry.configured  # type: ignore[attr-defined]  # that is the point
