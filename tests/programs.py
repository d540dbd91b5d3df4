"""Controls programs in separate processes by lines and signals, and waits for their end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.telemetry.support import LIMIT, clean_environment

BACKENDS: dict[str, dict[str, Any]] = {
    "asyncio": {"backend": "asyncio"},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}
"""Arguments of ``anyio.run``, by the name that tests give them."""

RUN = f"""
import sys
import anyio

def run(main, *args):
    return anyio.run(main, *args, **{BACKENDS!r}[sys.argv[1]])
"""
"""How a program begins that takes the backend's name as its first argument: with ``run(main)``."""


class Program:
    """Python with these arguments, running: ``Program("-c", text)``, ``Program("-m", "uvicorn", "app:app")``."""

    def __init__(self, *arguments: str, cwd: Path | None = None, **env: str) -> None:
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self.process = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=self._out, stderr=self._err, cwd=cwd,
            env=clean_environment(PYTHONUNBUFFERED="1", **env), start_new_session=True,
        )  # fmt: skip

    @property
    def out(self) -> str:
        """What it has written to stdout so far."""
        return _text(self._out)

    @property
    def err(self) -> str:
        """What it has written to stderr so far."""
        return _text(self._err)

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until it is so; fail when the program ends first."""
        limit = time.monotonic() + LIMIT
        while not condition():
            ended = self.process.poll() is not None
            if (ended and not condition()) or time.monotonic() > limit:
                raise AssertionError(f"{'ended' if ended else 'goes on'} without {what}\n{self.out}\n{self.err}")
            time.sleep(0.01)

    def until_said(self, text: str) -> None:
        """Wait until it has written a line with this to stdout or stderr, end and all."""
        line = re.compile(re.escape(text) + ".*\n")
        self.until(lambda: line.search(self.out) or line.search(self.err), repr(text))

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, and only it."""
        self.process.send_signal(number)

    def send_all(self, number: signal.Signals) -> None:
        """Send a signal to it and all its processes, as a terminal and systemd do."""
        os.killpg(self.process.pid, number)

    def tell(self, line: str) -> None:
        """Write a line to its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def end(self, code: int | None = 0) -> str:
        """Wait until it has ended, with this exit code (None: whichever), and give what it wrote to stdout."""
        try:
            found = self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running\n{self.out}\n{self.err}") from None
        assert code is None or found == code, f"exit code {found}\n{self.out}\n{self.err}"
        return self.out

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self.send_all(signal.SIGKILL)  # its processes may have outlived it
        except ProcessLookupError:
            pass
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._out.close()
        self._err.close()


def _text(file: Any) -> str:
    # Not by seeking: the position is the program's, too.
    return os.pread(file.fileno(), 1 << 24, 0).decode()
