"""Whether the OTLP endpoints take an export."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from .addresses import shown_url
from .finding import Finding, Level, ok
from .probes import Answer, send_empty
from .targets import Target

__all__ = ["check_otlp"]

_CHECK = "otlp"
_BUSY = (408, 429, 502, 503, 504, "RESOURCE_EXHAUSTED", "UNAVAILABLE")
_START = "Start the collector there, or correct the address"


def check_otlp(targets: Iterable[Target], timeout: float) -> Iterator[Finding]:
    """A finding for each target, after an empty export to it.

    :param timeout: seconds for each attempt.
    """
    for target in targets:
        yield _finding(target, send_empty(target, timeout))


def _finding(target: Target, answer: Answer) -> Finding:
    where = f"{shown_url(target.url)} ({target.protocol}, {_whose(target)})"
    if answer.kind == "taken":
        return ok(_CHECK, f"{target.signal}: {where} takes exports.")
    words = _of_status(target, answer) if answer.kind == "status" else _of_failure(target, answer)
    found, why, fix = words
    level: Level = "problem" if target.wanted and answer.code not in _BUSY else "warning"
    if not target.wanted:
        why = f"If {target.signal} are to be exported by OTLP, they are lost; nothing asks for that yet."
        fix = f"{fix} Without a collector: OTEL_{target.signal.upper()}_EXPORTER=none, or configure(otlp=False)."
    return Finding(_CHECK, level, f"{target.signal}: {where} {found}.", why, fix)


def _whose(target: Target) -> str:
    if target.by_program:
        return "named by the program"
    return target.variable or "the default"


def _variable(target: Target) -> str:
    if target.by_program:
        return "the exporter's endpoint"
    return target.variable or "OTEL_EXPORTER_OTLP_ENDPOINT"


def _protocol(target: Target) -> str:
    return "the exporter" if target.by_program else "OTEL_EXPORTER_OTLP_PROTOCOL"


def _of_failure(target: Target, answer: Answer) -> tuple[str, str, str]:
    variable, lost = _variable(target), f"No {target.signal} arrive."
    other = "http/protobuf" if target.protocol == "grpc" else "grpc"
    fixes: dict[str, tuple[str, str]] = {
        "scheme": _scheme(target),
        "refused": (f"cannot be reached: {answer.detail}", f"{_START} in {variable}."),
        "unresolved": ("has a host name that cannot be resolved", f"Correct the host in {variable}."),
        "silent": (f"does not answer within {answer.detail}", f"Check firewalls and proxies, or correct {variable}."),
        "no_tls": ("is to be spoken to with TLS, but there is none", _without_tls(target)),
        "tls": ("speaks TLS, but the export does not", f"Write https:// in {variable}."),
        "certificate": (
            f"has a certificate that is not trusted: {answer.detail}",
            "Set OTEL_EXPORTER_OTLP_CERTIFICATE to the file of the authority that signed it.",
        ),
        "grpc_port": ("is a gRPC port, but the export is HTTP", _other_port(target, other, 4318)),
        "http_port": ("is an HTTP port, but the export is gRPC", _other_port(target, other, 4317)),
        "missing": (f"cannot be tried: {answer.detail} is not installed", "pip install 'glasspool[otlp]'"),
        "page": (f"answers with a page ({answer.detail}): another program", f"{_START} in {variable}."),
        "moved": (
            f"answers {answer.code} and names another address, {answer.detail}",
            f"Write that address in {variable}; an export does not follow it.",
        ),
    }
    found, fix = fixes.get(answer.kind, (f"failed: {answer.detail}", f"Check {variable}, and what listens there."))
    return found, lost, fix


def _scheme(target: Target) -> tuple[str, str]:
    if "://" in target.url:
        return "begins neither with http:// nor with https://", f"Write http:// or https:// in {_variable(target)}."
    # As the variable has it: the path is appended by the exporter.
    own = target.url.removesuffix(f"/v1/{target.signal}") if _is_for_all(target) else target.url
    return "has no scheme, and over HTTP must have one", f"Write http://{shown_url(own)} in {_variable(target)}."


def _is_for_all(target: Target) -> bool:
    """Whether its address is that of all signals, to which the exporter appends a path."""
    return target.variable in (None, "OTEL_EXPORTER_OTLP_ENDPOINT") and not target.by_program


def _without_tls(target: Target) -> str:
    variable = _variable(target)
    if target.protocol == "grpc" and target.by_program:
        return "Pass insecure=True to the exporter, or have the collector use TLS."
    return f"Write http:// in {variable}{' (without a scheme gRPC uses TLS)' if target.protocol == 'grpc' else ''}, " \
        "or have the collector use TLS."  # fmt: skip


def _other_port(target: Target, other: str, usual: int) -> str:
    if target.by_program:
        return f"Use the exporter for {other}, or the port for {target.protocol}, usually {usual}."
    return f"Set {_protocol(target)}={other}, or name the port for {target.protocol}, usually {usual}."


_STATUSES: dict[Any, tuple[str, str]] = {
    **dict.fromkeys((401, "UNAUTHENTICATED"), ("wants to know who asks", "credentials")),
    **dict.fromkeys((403, "PERMISSION_DENIED"), ("does not allow this", "credentials")),
    **dict.fromkeys((404, 405), ("has nothing at this path", "path")),
    "UNIMPLEMENTED": ("has no such service", "service"),
    **dict.fromkeys((400, 415, "INVALID_ARGUMENT"), ("does not take protobuf", "protobuf")),
    **dict.fromkeys(_BUSY, ("is overloaded or not ready", "busy")),
}  # fmt: skip


def _of_status(target: Target, answer: Answer) -> tuple[str, str, str]:
    meaning, topic = _STATUSES.get(answer.code, ("has failed", "server"))
    names = ", ".join(name for name, _ in target.headers) or "none"
    headers = "the exporter's headers" if target.by_program else "OTEL_EXPORTER_OTLP_HEADERS"
    fixes = {
        "credentials": f"Set {headers}, such as Authorization=Bearer%20…; headers sent: {names}.",
        "path": _path_fix(target),
        "service": f"Have the collector receive {target.signal}: a pipeline with its otlp receiver.",
        "protobuf": f"Check that {_variable(target)} names an OTLP endpoint that takes protobuf.",
        "busy": "Try again; if it stays so, see the collector's log.",
        "server": "See the collector's log.",
    }
    why = "Exports are tried again and may be lost." if topic == "busy" else f"No {target.signal} arrive."
    return f"answers {answer.code}: it {meaning}", why, fixes[topic]


def _path_fix(target: Target) -> str:
    path = f"/v1/{target.signal}"
    variable = _variable(target)
    if not urlsplit(target.url).path.rstrip("/").endswith(path):
        return f"{variable} is used as it is: append {path}."
    if _is_for_all(target) and urlsplit(target.url).path == path:
        return f"Name the collector in {variable}: what listens there takes no OTLP over HTTP."
    if target.variable == "OTEL_EXPORTER_OTLP_ENDPOINT":
        return f"{path} is appended to {variable}: name the address before it, without a path of your own."
    return (
        f"Check {variable}; if this back end takes no {target.signal}, set OTEL_{target.signal.upper()}_EXPORTER=none."
    )
