"""The demo as a subprocess, as a user runs it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.telemetry.support import LIMIT, clean_environment

COMMAND = [sys.executable, "-c", "from glasspool.cli import main; main()"]


def glasspool(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env=clean_environment(COLUMNS="200", **extra),
    )


class Demo:
    """A demo that runs now. ``said`` is what it has printed so far."""

    def __init__(self, directory: Path, *arguments: str, **extra: str) -> None:
        self.path = directory / "summary.json"
        self.said = ""
        self.process = subprocess.Popen(
            [*COMMAND, "demo", "--port", "0", "--summary-json", str(self.path), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean_environment(**extra),
        )  # fmt: skip

    def read_until(self, pattern: str) -> re.Match[str]:
        """Read lines until one matches."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            found = re.search(pattern, line)
            if found:
                return found
        raise AssertionError(f"no line matches {pattern!r} in:\n{self.said}")

    def read_until_delivered(self) -> None:
        """Until the lines say that something has gone all the way, however long that takes here."""
        self.read_until(r"deliver .* [1-9]\d* succeeded")

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def interrupt_twice(self) -> None:
        """Both together, so that the first one's work cannot be over before the second one comes.

        They are unlike because two equal ones would become one; which of them is seen first is the system's choice.
        """
        for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
            self.process.send_signal(number)

    def finish(self) -> tuple[int, dict[str, Any]]:
        """Wait for its end; exit status and summary."""
        out, _ = self.process.communicate(timeout=LIMIT)
        self.said += out
        assert self.path.exists(), self.said
        return self.process.returncode, json.loads(self.path.read_text())

    def __enter__(self) -> Demo:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def scrape(url: str) -> str:
    """The text that a scrape gets."""
    with urllib.request.urlopen(url, timeout=LIMIT) as response:
        text: str = response.read().decode()
        return text


def scrape_until(url: str, pattern: str) -> str:
    """Scrape until a line of the answer matches."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        text = scrape(url)
        if re.search(pattern, text, re.MULTILINE):
            return text
        time.sleep(0.1)
    raise AssertionError(f"no line matches {pattern!r} in:\n{text}")
