"""A program in a real pseudo-terminal, and what a person sees there (pyte is the terminal)."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import struct
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import pytest

from tests.telemetry.support import LIMIT, clean_environment


class Terminal:
    """Python with these arguments in a terminal of its own: ``with Terminal("-c", text) as terminal:``."""

    def __init__(self, *arguments: str, columns: int = 100, rows: int = 40, **env: str) -> None:
        if sys.platform == "win32":
            pytest.skip("no pseudo-terminals")
        import fcntl
        import pty
        import termios

        pyte: Any = pytest.importorskip("pyte")
        self.screen: Any = pyte.Screen(columns, rows)
        self._stream: Any = pyte.ByteStream(self.screen)
        self.raw = b""
        environment = clean_environment(**{"TERM": "xterm-256color", "PYTHONUNBUFFERED": "1", **env})
        for name in ("NO_COLOR", "COLUMNS", "FORCE_COLOR"):
            if name not in env:
                environment.pop(name, None)
        self._child, self._file = pty.fork()
        if self._child == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # what started the tests may ignore it
            # The size is there before the program asks for it.
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execve(sys.executable, [sys.executable, *arguments], environment)
        self.status: int | None = None

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.status is None:
            os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
        os.close(self._file)

    @property
    def lines(self) -> list[str]:
        """What is to be seen, without empty lines."""
        return [line.rstrip() for line in self.screen.display if line.strip()]

    def read(self, seconds: float = 0.05) -> bool:
        """Take in what the program writes; False if it has ended."""
        if not select.select([self._file], [], [], seconds)[0]:
            return True
        data = b""
        with contextlib.suppress(OSError):  # EIO: the other side is closed
            data = os.read(self._file, 65536)
        self.raw += data
        self._stream.feed(data)
        return bool(data)

    def until(self, condition: Callable[[list[str]], Any]) -> list[str]:
        """Wait until this is to be seen."""
        limit = time.monotonic() + LIMIT
        while not condition(self.lines):
            alive = self.read()
            assert alive or condition(self.lines), "\n".join(self.lines)
            assert time.monotonic() < limit, "\n".join(self.lines)
        return self.lines

    def press(self, keys: bytes) -> None:
        """As on a keyboard."""
        os.write(self._file, keys)

    def end(self) -> list[str]:
        """Wait for the program's end; what is to be seen then."""
        limit = time.monotonic() + LIMIT
        while self.read():
            assert time.monotonic() < limit, "\n".join(self.lines)
        self.status = os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])
        return self.lines
