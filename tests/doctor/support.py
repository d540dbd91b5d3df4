"""Helpers of the doctor's tests: findings of a program, of the command, and of one check."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from glasspool import Finding
from tests.backends.support import serving
from tests.telemetry.support import LIMIT, clean_environment, run_python

COMMAND = (sys.executable, "-c", "import glasspool.cli; glasspool.cli.main()", "doctor")
QUIET = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}
"""Nothing is exported by OTLP."""

_SHOW = "import dataclasses, glasspool, json; print('FOUND' + json.dumps([dataclasses.asdict(f) for f in {}]))"


def one(findings: Iterable[Finding], check: str, text: str) -> Finding:
    """The only finding of this check that contains the text."""
    found = [each for each in findings if each.check == check and text in each.found]
    assert len(found) == 1, "\n".join(map(str, findings))
    assert found[0].level == "ok" or (found[0].why and found[0].fix), found[0]
    return found[0]


def none(findings: Iterable[Finding], check: str, *, but: str = "ok") -> None:
    """No finding of this check is worse than ok."""
    assert [each for each in findings if each.check == check and each.level != but] == []


def in_program(code: str, *, send: bool = False, launcher: tuple[str, ...] = (), **env: str) -> list[Finding]:
    """What ``glasspool.doctor()`` finds at the end of a program."""
    done = run_python(f"{code}\n{_SHOW.format(f'glasspool.doctor(send={send}, timeout=1)')}", launcher=launcher, **env)
    return [Finding(**each) for each in json.loads(next(done.lines("FOUND")))]


def command(*arguments: str, status: int | None = None, **env: str) -> list[Finding]:
    """What the command finds, from its JSON."""
    done = run(*arguments[:0], "--json", *arguments, **env)
    assert "Traceback (most recent call last)" not in done.stderr or "--" in arguments, done.stderr
    findings = [Finding(**each) for each in json.loads(done.stdout)]
    expected = int(any(each.level == "problem" for each in findings)) if status is None else status
    assert done.returncode == expected, done.stderr
    return findings


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The command, to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=LIMIT, env=clean_environment(**env)
    )


@contextmanager
def http_server(
    status: int = 200, body: bytes = b"", tls: Any = None, length: int | None = None, **headers: str
) -> Iterator[int]:
    """A server that gives each request this answer; its port. Headers have underscores for hyphens."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            for name, text in headers.items():
                self.send_header(name.replace("_", "-"), text)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:  # clients that speak something else
            pass

    server = Quiet(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    with serving(server) as port:
        yield port
