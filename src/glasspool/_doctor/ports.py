"""Whether the Prometheus port is free, and what answers there if it is not."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from glasspool._foreign.prometheus_registry import collectors_of

from .asked_port import AskedPort
from .finding import Finding, ok, problem, warning
from .living import instances
from .scraping import fetch
from .variables import given, listed
from .words import error_text, plain

__all__ = ["check_port"]

_CHECK = "port"
_DEFAULT = 9464
_TAKEN = (errno.EADDRINUSE, errno.EACCES)
_NOT_SERVED = "No /metrics of this program is served."
_COLLECTORS = {"glasspool.telemetry.prometheus", "opentelemetry.exporter.prometheus"}


def check_port(asked: AskedPort | None, timeout: float | None) -> Iterator[Finding]:
    """One finding about the port that ``configure()`` serves or could not serve, or that it would use.

    :param asked: what has become of the port, if ``configure()`` was asked for one.
    :param timeout: seconds for the answer of what has the port; None: nothing is to be asked.
    """
    if asked is not None and asked.shown is not None:
        yield ok(_CHECK, f"This process's series are served on {_host()}:{asked.shown}/metrics.")
    elif asked is not None and asked.later:
        yield ok(_CHECK, "This process was forked, and shares the port of its parent as soon as it has figures.")
    elif asked is not None:
        yield _refused(asked, timeout)
    elif timeout is not None:
        yield from _unasked(timeout)


def _host() -> str:
    return given("OTEL_EXPORTER_PROMETHEUS_HOST") or "127.0.0.1"


def _is_wanted() -> bool:
    """Whether the variables ask for the port."""
    return "prometheus" in listed("OTEL_METRICS_EXPORTER")


def _refused(asked: AskedPort, timeout: float | None) -> Finding:
    place = asked.place
    error = _refusal(*place) if place is not None else None
    if place is None:
        what, _, fix = asked.refusal.partition(": ")
        return problem(_CHECK, f"configure() serves no port: {plain(what, 300)}.", _NOT_SERVED, fix or "See the log.")
    host, port = place
    if error is None:
        return warning(
            _CHECK, f"Port {port} of {host} was taken when configure() was to serve it, and is free now.",
            "Until configure() tries again, within 10 seconds, there is no /metrics of this program.",
            "Start what had the port on another one.",
        )  # fmt: skip
    if error.errno not in _TAKEN:
        return _no_address(host, port, error)
    found = _taken_by(host, port, error, timeout)
    return problem(_CHECK, f"{found}: configure() could not serve it.", _NOT_SERVED, _free_it())


def _unasked(timeout: float) -> Iterator[Finding]:
    host, text = _host(), given("OTEL_EXPORTER_PROMETHEUS_PORT")
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
    elif error.errno not in _TAKEN:
        yield _no_address(host, port, error)
    elif _is_served_here(port):
        yield _own(host, port, timeout)
    else:
        yield _taken(host, port, error, timeout)


def _no_address(host: str, port: int, error: OSError) -> Finding:
    return problem(
        _CHECK, f"Nothing can listen on {host}:{port}: {error_text(error)}.", "No /metrics is served.",
        "Correct OTEL_EXPORTER_PROMETHEUS_HOST: an address of this machine.",
    )  # fmt: skip


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


def _taken(host: str, port: int, error: OSError, timeout: float) -> Finding:
    text = "" if error.errno == errno.EACCES else fetch(_page(host, port), timeout).text or ""
    if _is_wanted() and "otel_scope_name=" in text:
        return problem(
            _CHECK, f"Port {port} of {host} is taken by OpenTelemetry's Prometheus exporter of another process.",
            "Processes do not share its port: opentelemetry-instrument sets up nothing where it is taken.",
            "Set OTEL_METRICS_EXPORTER=none and call configure(prometheus_port=…) in the program: its processes share "
            "that port. Or export by OTLP.",
        )  # fmt: skip
    if "glasspool_" in text:
        return ok(
            _CHECK, f"Port {port} of {host} serves glasspool's series of another process; configure() shares it within "
            "one service.",
        )  # fmt: skip
    found = f"{_taken_by(host, port, error, timeout)}."
    if _is_wanted():
        return problem(_CHECK, found, _NOT_SERVED, _free_it())
    return warning(_CHECK, found, "configure(prometheus_port=…) with this port would serve nothing.", _free_it())


def _taken_by(host: str, port: int, error: OSError, timeout: float | None) -> str:
    if error.errno == errno.EACCES:
        return f"This user may not listen on port {port} of {host}"
    what = "another program"
    if timeout is not None:
        page = fetch(_page(host, port), timeout)
        if "glasspool_" in (page.text or ""):
            what = "glasspool's series of another service"
        else:
            what = f"{what}'s metrics" if page.is_metrics else f"{what} ({page.trouble or 'it has a page'})"
    holder = _holder(port)
    return f"Port {port} of {host} is taken by {what}{f', {holder}' if holder else ''}"


def _free_it() -> str:
    variable = "OTEL_EXPORTER_PROMETHEUS_PORT, or " if _is_wanted() else ""
    return f"Free the port, or choose another: {variable}configure(prometheus_port=…)."


def _is_served_here(port: int) -> bool:
    """Whether this process has a server of prometheus_client's on the port: OpenTelemetry's exporter uses it, too."""
    servers = instances("wsgiref.simple_server", "WSGIServer")
    return any(getattr(each, "server_port", None) == port and each.fileno() != -1 for each in servers)


def _own(host: str, port: int, timeout: float) -> Finding:
    where = f"Port {port} of {host} is this program's own Prometheus endpoint"
    client = sys.modules.get("prometheus_client")
    kinds = {type(each).__module__ for each in collectors_of(client.REGISTRY)} if client is not None else set[str]()
    if kinds & _COLLECTORS or "glasspool_" in (fetch(_page(host, port), timeout).text or ""):
        return ok(_CHECK, f"{where}, and shows glasspool's series.")
    return warning(
        _CHECK, f"{where}, and shows no series of glasspool's.", "Nothing of glasspool's is scraped there.",
        "Call glasspool.telemetry.prometheus.register(), or configure(prometheus_port=…) with another port.",
    )  # fmt: skip


def _page(host: str, port: int) -> str:
    return f"http://{_reachable(host)}:{port}/metrics"


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
