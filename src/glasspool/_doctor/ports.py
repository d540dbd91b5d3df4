"""Whether the Prometheus port is free, and what answers there if it is not."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from .finding import Finding, ok, problem, warning
from .scraping import fetch
from .variables import given, listed
from .words import error_text, plain

__all__ = ["check_port"]

_CHECK = "port"
_DEFAULT = 9464


def check_port(own: int | None, timeout: float) -> Iterator[Finding]:
    """One finding about the port that ``configure()`` or OpenTelemetry's exporter would use.

    :param own: the port that shows this process's series already, if there is one.
    :param timeout: seconds for the answer of what has the port.
    """
    host = given("OTEL_EXPORTER_PROMETHEUS_HOST") or "127.0.0.1"
    if own is not None:
        yield ok(_CHECK, f"This process's series are served on {host}:{own}/metrics.")
        return
    wanted = "prometheus" in listed("OTEL_METRICS_EXPORTER")
    text = given("OTEL_EXPORTER_PROMETHEUS_PORT")
    if text and not (text.isdecimal() and int(text) <= 65535):
        yield problem(
            _CHECK, f"OTEL_EXPORTER_PROMETHEUS_PORT={text[:60]!r} is no port.",
            f"configure() uses {_DEFAULT} instead; OpenTelemetry's exporter does not start.",
            "Write a number from 0 to 65535.",
        )  # fmt: skip
        return
    port = int(text) if text else _DEFAULT
    error = _refusal(host, port)
    if error is None:
        yield ok(_CHECK, f"Port {port} of {host} is free for /metrics.")
    elif error.errno not in (errno.EADDRINUSE, errno.EACCES):
        yield problem(
            _CHECK, f"Nothing can listen on {host}:{port}: {error_text(error)}.", "No /metrics is served.",
            "Correct OTEL_EXPORTER_PROMETHEUS_HOST: an address of this machine.",
        )  # fmt: skip
    else:
        yield _taken(host, port, wanted, error, timeout)


def _refusal(host: str, port: int) -> OSError | None:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            probe.bind((host, port))
            probe.listen(1)
    except OSError as error:
        return error
    return None


def _taken(host: str, port: int, wanted: bool, error: OSError, timeout: float) -> Finding:
    if error.errno == errno.EACCES:
        found = f"This user may not listen on port {port}"
    else:
        page = fetch(f"http://{_reachable(host)}:{port}/metrics", timeout)
        if page.text is not None and "glasspool_" in page.text:
            return ok(
                _CHECK, f"Port {port} of {host} serves glasspool's series of another process; configure() shares it."
            )
        what = (
            "another program's metrics" if page.is_metrics else f"another program ({page.trouble or 'it has a page'})"
        )
        holder = _holder(port)
        found = f"Port {port} of {host} is taken by {what}{f', {holder}' if holder else ''}"
    fix = "Free it, or choose another: configure(prometheus_port=…), OTEL_EXPORTER_PROMETHEUS_PORT."
    if wanted:
        return problem(_CHECK, f"{found}.", "No /metrics of this program is served.", fix)
    return warning(_CHECK, f"{found}.", "configure(prometheus_port=…) with this port would serve nothing.", fix)


def _reachable(host: str) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not listened on
    return f"[{host}]" if ":" in host else host


def _holder(port: int) -> str | None:
    """Name and id of the process that listens there, where Linux lets this user see it."""
    try:
        inodes = {f"socket:[{line.split()[9]}]" for line in _listening(port)}
        for link in Path("/proc").glob("[0-9]*/fd/*"):
            try:
                if os.readlink(link) in inodes:
                    process = link.parents[1]
                    return f"{plain((process / 'comm').read_text())}, process {process.name}"
            except OSError:  # another user's, or it has ended
                continue
    except (OSError, IndexError, ValueError):
        pass
    return None


def _listening(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if os.path.exists(table):
            for line in Path(table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == "0A" and int(columns[1].rpartition(":")[2], 16) == port:
                    yield line
