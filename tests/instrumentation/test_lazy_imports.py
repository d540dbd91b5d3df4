"""``import glasspool_instrumentation`` imports none of the libraries that it patches."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys

import pytest

import glasspool_instrumentation as gi

PROGRAM = """
import json, sys
before = set(sys.modules)
import glasspool_instrumentation
print(json.dumps(sorted(set(sys.modules) - before)))
"""

FOREIGN = {
    "anyio",
    "trio",
    "asyncio",
    "concurrent",
    "multiprocessing",
    "opentelemetry",
    "glasspool",
    "pytest",
    "pluggy",
}


def test_the_package_alone_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    names = json.loads(done.stdout)
    assert [name for name in names if name.startswith("glasspool")] == ["glasspool_instrumentation"]
    assert FOREIGN.isdisjoint(name.partition(".")[0] for name in names)


def test_every_public_name_is_found() -> None:
    assert set(gi.__all__) <= set(dir(gi))
    for name in gi.__all__:
        assert getattr(gi, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'wrap_pool'"):
        _ = gi.wrap_pool  # type: ignore[attr-defined]  # that is the point


def test_entry_points_load_what_the_package_shows() -> None:
    found = [
        entry
        for entry in importlib.metadata.entry_points(group="opentelemetry_instrumentor")
        if entry.name.startswith("glasspool_")
    ]
    assert len(found) == 6
    for entry in found:
        assert entry.load() is getattr(gi, entry.attr)


def test_a_program_that_is_instrumented_from_its_start_imports_the_async_libraries_itself() -> None:
    """pytest warns of plugins that were imported before it, and anyio has one: where warnings are errors it ends."""
    program = """
import json, sys
import glasspool_instrumentation
glasspool_instrumentation.instrument()
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {"anyio", "trio", "outcome", "sniffio", "attr", "pytest", "distributed"}.isdisjoint(json.loads(done.stdout))
