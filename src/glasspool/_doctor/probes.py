"""Sends an empty export to an OTLP endpoint and says what came back.

The request has no span and no metric: zero bytes in protobuf. It carries the headers of the real exports, since a
collector that asks for a password must be asked with it.
"""

from __future__ import annotations

import importlib
import os
import ssl
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from importlib.util import find_spec
from typing import Any

from opentelemetry import context as otel_context

from glasspool._foreign.otel_exporters import without_instrumentation

from .addresses import separated, shown_url
from .listeners import what_listens
from .targets import Target
from .words import error_text, plain

__all__ = ["Answer", "send_empty"]

_METHODS = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}


@dataclass(frozen=True)
class Answer:
    """What became of an export: ``"taken"``, a status, or why there was no answer.

    ``kind`` is taken, status (``code`` is HTTP's or gRPC's), page, moved, scheme (none of HTTP's), refused,
    unresolved, silent, no_tls, tls, certificate, grpc_port, http_port, missing (``detail`` is the package) or failed.
    """

    kind: str
    code: int | str = 0
    detail: str = ""


def send_empty(target: Target, timeout: float) -> Answer:
    """Send it, without making spans of it."""
    token = otel_context.attach(without_instrumentation())
    try:
        return _over_grpc(target, timeout) if target.protocol == "grpc" else _over_http(target, timeout)
    finally:
        otel_context.detach(token)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any) -> None:
        """Followed, the export would become a GET of another page."""


def _over_http(target: Target, timeout: float) -> Answer:
    if "://" not in target.url and target.place[0] is not None:
        return Answer("scheme")
    url, user = separated(target.url)
    headers = {
        **user,
        **dict(target.headers),
        "Content-Type": "application/x-protobuf",
        "User-Agent": "glasspool-doctor",
    }
    try:
        request = urllib.request.Request(url, b"", headers, method="POST")  # noqa: S310 - the exporter's address
        if request.type not in ("http", "https"):
            return Answer("scheme")
        opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=_trust(target)))
        with opener.open(request, timeout=timeout) as answer:
            kind = answer.headers.get_content_type()
            return Answer("page", answer.status, kind) if kind.startswith("text/") else Answer("taken", answer.status)
    except urllib.error.HTTPError as error:
        with error:
            if 300 <= error.code < 400:
                return Answer("moved", error.code, shown_url(error.headers.get("Location", "")))
            if error.code == 400 and what_listens(*target.place, timeout).kind == "tls" and not target.secure:
                return Answer("tls")
            return Answer("status", error.code)
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        return _no_answer(target, reason if isinstance(reason, BaseException) else error, timeout)


def _trust(target: Target) -> ssl.SSLContext:
    """The certificates that the exporter trusts: those of the variable, of requests' variables, of certifi."""
    files = [target.certificate, os.environ.get("REQUESTS_CA_BUNDLE"), os.environ.get("CURL_CA_BUNDLE")]
    bundle = next(filter(None, files), None)
    if bundle is None and find_spec("certifi") is not None:
        import certifi

        bundle = certifi.where()
    if bundle is not None and os.path.isdir(bundle):
        context = ssl.create_default_context(capath=bundle)
    else:
        context = ssl.create_default_context(cafile=bundle)
    if target.client_certificate:
        context.load_cert_chain(target.client_certificate, target.client_key)
    return context


def _no_answer(target: Target, error: BaseException, timeout: float) -> Answer:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Answer("certificate", detail=plain(error.verify_message))
    if target.place[0] is None or (isinstance(error, ValueError) and not isinstance(error, OSError)):
        return Answer("failed", detail="the address cannot be read")
    found = what_listens(*target.place, timeout)
    if found.kind in ("refused", "unresolved", "silent"):
        return Answer(found.kind, detail=found.detail)
    if target.secure and found.kind in ("http", "http2"):
        return Answer("no_tls", detail=found.kind)
    if not target.secure and found.kind == "tls":
        return Answer("tls")
    if target.protocol == "grpc" and found.kind == "http":
        return Answer("http_port")
    if target.protocol != "grpc" and found.kind == "http2":
        return Answer("grpc_port")
    return Answer("failed", detail=error_text(error))


def _over_grpc(target: Target, timeout: float) -> Answer:
    try:
        grpc: Any = importlib.import_module("grpc")
    except ImportError:
        return Answer("missing", detail="grpcio")
    if target.place[0] is None:
        return Answer("failed", detail="the address cannot be read")
    found: list[Answer] = []
    # In a thread of its own: where a process was forked, gRPC may wait for ever in spite of its time limit.
    thread = threading.Thread(target=lambda: found.append(_call(grpc, target, timeout)), daemon=True)
    thread.start()
    thread.join(2 * timeout + 2)
    return found[0] if found else Answer("silent", detail=f"{timeout:g} s")


def _call(grpc: Any, target: Target, timeout: float) -> Answer:
    try:
        with _channel(grpc, target) as channel:
            export = channel.unary_unary(_METHODS[target.signal], _unchanged, _unchanged)
            export(b"", timeout=timeout, metadata=target.headers)
            return Answer("taken")
    except grpc.RpcError as error:
        code, details = error.code().name, (error.details() or "").lower()
        if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
            if "certificate" in details and what_listens(*target.place, timeout).kind == "tls" and target.secure:
                return Answer("certificate", detail="certificate verify failed")
            return _no_answer(target, error, timeout)
        if "http" in details and what_listens(*target.place, timeout).kind == "http":
            return Answer("http_port")
        return Answer("status", code)
    except (OSError, ValueError, TypeError) as error:  # a file that is not there, a header that gRPC does not take
        return Answer("failed", detail=error_text(error))


def _channel(grpc: Any, target: Target) -> Any:
    if not target.secure:
        return grpc.insecure_channel(target.url)
    files = (target.certificate, target.client_key, target.client_certificate)
    return grpc.secure_channel(target.url, grpc.ssl_channel_credentials(*map(_bytes_of, files)))


def _bytes_of(path: str | None) -> bytes | None:
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()


def _unchanged(data: bytes) -> bytes:
    return data
