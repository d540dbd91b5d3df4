"""A running program to look at, the commands that look, and servers that answer anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from glasspool.cli.app import app
from tests.backends.support import serving
from tests.programs import Program
from tests.progress.terminals import Terminal
from tests.telemetry.support import LIMIT, clean_environment

__all__ = ["COMMAND", "OnTerminal", "answers", "busy", "found_json", "invoke", "port_of", "row_of", "run", "told"]

COMMAND = ("-c", "import glasspool.cli; glasspool.cli.main()")
BUSY = Path(__file__).resolve().parent.parent / "live" / "busy_program.py"


@contextmanager
def busy(port: int = 0, **env: str) -> Iterator[Program]:
    """The program of the live page's tests, ready."""
    with Program(str(BUSY), str(port), cwd=None, **env) as program:
        program.until_said("ready")
        yield program


def port_of(program: Program) -> int:
    """Where it serves."""
    return int(next(line for line in program.out.splitlines() if line.startswith("ready")).split()[1])


def told(program: Program, line: str) -> dict[str, Any]:
    """What a program answers to a line."""
    before = len(program.out.splitlines())
    program.tell(line)
    program.until(lambda: len(program.out.splitlines()) > before and program.out.endswith("\n"), "an answer")
    found: dict[str, Any] = json.loads(program.out.splitlines()[-1])
    return found


def run(*arguments: str, status: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """``glasspool`` with these arguments, to its end."""
    done = subprocess.run(
        [sys.executable, *COMMAND, *arguments], capture_output=True, text=True, timeout=LIMIT,
        env=clean_environment(**env), stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == status, done.stdout + done.stderr
    return done


def invoke(*arguments: str, status: int = 0) -> Result:
    """The same in this process, which is quicker."""
    done = CliRunner().invoke(app, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    assert done.exit_code == status, done.output
    return done


def found_json(*arguments: str, status: int = 0) -> dict[str, Any]:
    """What it writes with --json."""
    found: dict[str, Any] = json.loads(invoke(*arguments, "--json", status=status).stdout)
    return found


class OnTerminal(Terminal):
    """``glasspool top`` of these addresses in a terminal."""

    def __init__(self, *arguments: str, columns: int = 120, rows: int = 40, **env: str) -> None:
        super().__init__(*COMMAND, "top", "--interval", "0.3", *arguments, columns=columns, rows=rows, **env)

    def keep(self, name: str, gone: str) -> None:
        """Filter by a name, until the row of another is gone."""
        self.press(b"/")
        self.until(lambda lines: any("part of a name" in line for line in lines))
        self.press(f"{name}\r".encode())
        self.until(lambda lines: not row_of(lines, gone) and bool(row_of(lines, name)))

    def signal(self, number: int) -> None:
        """As ``kill`` sends it."""
        os.kill(self._child, number)

    def hang_up(self) -> int:
        """Close the window; the status with which the program ends."""
        os.close(self._file)
        self._file = os.open(os.devnull, os.O_RDONLY)
        self.status = os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])
        return self.status


def row_of(lines: list[str], name: str) -> str:
    """The row of the executor of this name; empty if there is none."""
    return next((line for line in lines if line.split()[:1] == [name]), "")


@contextmanager
def answers(bodies: Mapping[str, tuple[int, str, str]], **headers: str) -> Iterator[int]:
    """A server that has these paths, each with a status, a content type and a text; its port.

    Headers are of all of them.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, text = bodies.get(self.path.partition("?")[0], (404, "text/plain", "not here"))
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            for name, value in {"Content_Length": str(len(data)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield port
