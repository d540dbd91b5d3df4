"""The Python blocks of the pages run as they are, and the command-line options that the pages name exist."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest
import typer.main

from glasspool.cli.app import app
from tests.telemetry.support import LIMIT, ROOT, clean_environment

PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "dashboards" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
)

AROUND = """
import ast, inspect, sys
import anyio
from concurrent.futures import ThreadPoolExecutor
from glasspool import HybridExecutor, progress
from glasspool.signals import shutdown_on_signals
from glasspool_instrumentation import FuturesInstrumentor, wrap_executor

async def fetch(url):
    await anyio.sleep(0)
    return url

url, urls = "https://example.org", ["https://example.org"] * 3

async def main():
    names = {**globals(), "connection": anyio.create_memory_object_stream(1)[0]}
    coroutine = eval(compile(sys.argv[2], "block", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    if coroutine is not None:
        await coroutine
    print("it ran")

anyio.run(main, backend=sys.argv[1])
"""
"""What the reader of a block knows already: the imports, a function to call, something to close."""


def blocks() -> Iterator[tuple[str, str]]:
    """Every Python block but the programs and their parts, which are files in examples/ with tests of their own."""
    programs = [path.read_text(encoding="utf-8") for path in (ROOT / "examples").glob("*.py")]
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in re.finditer(r"^ *```python\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
            block = textwrap.dedent(found[1]).strip()
            if not any(block in program for program in programs):
                line = text.count("\n", 0, found.start()) + 1
                yield f"{page.relative_to(ROOT)}:{line}", block


BLOCKS = dict(blocks())


def test_there_are_blocks() -> None:
    assert {name.split(":")[0] for name in BLOCKS} >= {"README.md", "docs/semantics.md", "docs/instrumentation.md"}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_runs(block: str, backend: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", AROUND, backend, BLOCKS[block]],
        capture_output=True, text=True, timeout=LIMIT, env=clean_environment(),
    )  # fmt: skip
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["it ran"]), done.stderr


COMMANDS = ("demo", "rules export", "dashboards export", "dashboards push", "dashboards list")


def options_of(command: str) -> set[str]:
    """The options that a command of ``glasspool`` takes."""
    found = typer.main.get_command(app)
    for word in command.split():
        found = found.commands[word]  # type: ignore[attr-defined]
    return {name for parameter in found.params for name in parameter.opts} | {"--help"}


def test_commands_have_the_options_that_the_pages_give_them() -> None:
    given: dict[str, set[str]] = {command: set() for command in COMMANDS}
    for page in PAGES:
        for command, rest in re.findall(rf"glasspool ({'|'.join(COMMANDS)})\b([^`\n]*)", page.read_text("utf-8")):
            given[command] |= set(re.findall(r"(?<!\S)--[a-z-]+", rest))
    assert all(given[command] for command in ("demo", "rules export", "dashboards export", "dashboards push"))
    unknown = {command: options - options_of(command) for command, options in given.items()}
    assert not any(unknown.values()), unknown
