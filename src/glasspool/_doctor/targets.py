"""Where spans and metrics are sent by OTLP, as OpenTelemetry's exporters read it from the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

__all__ = ["SIGNALS", "Target", "from_environment"]

SIGNALS = ("traces", "metrics")
_PATHS = {"traces": "v1/traces", "metrics": "v1/metrics"}


@dataclass(frozen=True)
class Target:
    """Where one signal goes. The headers are secret: they do not appear in the ``repr``."""

    signal: str
    protocol: str
    url: str
    """Over HTTP the whole address; over gRPC host and port."""
    secure: bool
    variable: str | None
    """The variable that names the endpoint; None for the default, and where the program names it."""
    wanted: bool
    """Whether somebody asked for this export: a failure is a problem."""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    certificate: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    by_program: bool = False

    @property
    def place(self) -> tuple[str | None, int]:
        """Host and port; no host if the address cannot be read."""
        standard = 443 if self.secure or self.protocol == "grpc" else 80
        try:
            parts = urlsplit(self.url if "://" in self.url else f"//{self.url}")
            return parts.hostname, parts.port or standard
        except ValueError:
            return None, standard


def from_environment() -> Iterator[Target]:
    """The target of each signal that may be exported by OTLP. Signals with an unknown protocol are left out."""
    for signal in SIGNALS:
        exporters = [each.strip().lower() for each in os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").split(",")]
        exporters = [each for each in exporters if each]
        protocol = _of(signal, "PROTOCOL")[1] or "grpc"
        if (exporters and "otlp" not in exporters) or protocol not in ("grpc", "http/protobuf"):
            continue
        name, endpoint = _of(signal, "ENDPOINT")
        url, secure = (_grpc if protocol == "grpc" else _http)(signal, name, endpoint)
        yield Target(
            signal, protocol, url, secure, name, "otlp" in exporters or name is not None,
            tuple(_headers(_of(signal, "HEADERS")[1], lower=protocol == "grpc")),
            _of(signal, "CERTIFICATE")[1] or None,
            _of(signal, "CLIENT_CERTIFICATE")[1] or None,
            _of(signal, "CLIENT_KEY")[1] or None,
        )  # fmt: skip


def _of(signal: str, word: str) -> tuple[str | None, str]:
    """The variable that decides, with its value."""
    for name in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_{word}", f"OTEL_EXPORTER_OTLP_{word}"):
        value = os.environ.get(name, "").strip()
        if value:
            return name, value
    return None, ""


def _http(signal: str, name: str | None, endpoint: str) -> tuple[str, bool]:
    if name is None or name == "OTEL_EXPORTER_OTLP_ENDPOINT":  # only the variable of one signal is a whole address
        endpoint = f"{(endpoint or 'http://localhost:4318').rstrip('/')}/{_PATHS[signal]}"
    return endpoint, endpoint.lower().startswith("https:")


def _grpc(signal: str, name: str | None, endpoint: str) -> tuple[str, bool]:
    endpoint = endpoint or "http://localhost:4317"
    try:
        scheme, netloc = urlsplit(endpoint)[:2]
    except ValueError:
        return endpoint, False
    insecure = _of(signal, "INSECURE")[1].lower()
    # As the exporter reads it: https means TLS; then the variable decides; without either only http:// means none.
    secure = scheme == "https" or (insecure != "true" if insecure else scheme != "http")
    return netloc or endpoint, secure


def _headers(text: str, *, lower: bool) -> Iterator[tuple[str, str]]:
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if equals and name.strip():
            found = unquote(name).strip()
            yield (found.lower() if lower else found), unquote(value).strip()
