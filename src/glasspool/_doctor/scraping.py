"""Fetches a page of metrics, and says what it met if it is none."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from http.client import HTTPException, IncompleteRead
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

from opentelemetry import context as otel_context

from glasspool._foreign.otel_exporters import without_instrumentation

from .addresses import separated, shown_url
from .listeners import what_listens
from .words import error_text, plain

__all__ = ["TRY_AGAIN", "Page", "address", "fetch"]

TRY_AGAIN = "Try again; if it stays so, see the log of the program, or of the proxy before it."
"""What to do about an answer that breaks off."""

_SAID = 300
"""Characters of what a page says that refuses."""

_MOST = 64 * 1024 * 1024
_OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
_LINE = re.compile(
    r"[a-zA-Z_:][\w:]*(\{.*\})?\s+[-+]?(\d[\d.]*(e[-+]?\d+)?|\.\d+|inf|nan)(\s+[-\d.]+)?(\s+#\s.*)?\s*$", re.IGNORECASE
)


@dataclass(frozen=True)
class Page:
    """A page: its text if it came whole, else what is wrong with it.

    ``trouble`` says what was met instead of metrics; ``fix`` what to do.
    """

    url: str
    text: str | None = None
    openmetrics: bool = False
    trouble: str = ""
    fix: str = ""
    answered: bool = True
    """Whether there was an answer, of whatever kind."""
    status: int | None = None
    """HTTP's, of the first answer, if it was refused or led nowhere."""
    target: str = ""
    """The address to which that answer sent."""
    said: str = ""
    """The sentence with which it was refused."""

    @property
    def is_metrics(self) -> bool:
        """Whether it looks like Prometheus' text."""
        return self.text is not None and not self.trouble


def address(given: str) -> str:
    """The address of a page of metrics that somebody typed: without a path it is /metrics."""
    url = given.strip()
    if "://" not in url:
        url = f"http://{'127.0.0.1' if url.startswith(':') else ''}{url}"
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host}/metrics" if not path else f"{scheme}://{host}{slash}{path}"


def fetch(url: str, timeout: float) -> Page:
    """Fetch it. Nothing raises."""
    token = otel_context.attach(without_instrumentation())
    try:
        return _fetched(url, timeout)
    finally:
        otel_context.detach(token)


def _fetched(url: str, timeout: float) -> Page:
    start = "Name the port that configure(prometheus_port=…) or the program's /metrics listens on."
    redirections = _Redirections()
    try:
        bare, user = separated(url)
        headers = {"Accept": _OPENMETRICS, "User-Agent": "glasspool", **user}
        request = urllib.request.Request(bare, headers=headers)  # noqa: S310 - checked below
        if request.type not in ("http", "https"):
            trouble = "the address begins neither with http:// nor with https://"
            return Page(url, trouble=trouble, fix=start, answered=False)
        with urllib.request.build_opener(redirections).open(request, timeout=timeout) as answer:
            kind = answer.headers.get_content_type()
            data = answer.read(_MOST + 1)
            announced = answer.headers.get("Content-Length", "")
        if announced.isdecimal() and len(data) < min(int(announced), _MOST):
            return _cut(url, len(data))
        return _read(url, data, kind, start)
    except urllib.error.HTTPError as error:
        with error:
            target = redirections.target or _target(url, error)
            page = _refused(url, error.code, start)
            return replace(page, status=redirections.status or error.code, target=target, said=_sentence(error))
    except IncompleteRead as error:
        return _cut(url, len(error.partial))
    except TimeoutError:
        fix = "Try again with a larger --timeout."
        return Page(url, trouble=f"no answer within {timeout:g} s", fix=fix, answered=False)
    except (OSError, HTTPException, ValueError) as error:
        return Page(url, trouble=_no_answer(_place(url), error, timeout), fix=start, answered=False)


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Follows them, and keeps the status and the target of the first."""

    status: int | None = None
    target = ""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """See urllib."""
        if self.status is None:
            self.status, self.target = code, newurl
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _target(url: str, error: urllib.error.HTTPError) -> str:
    """The target of a redirection that could not be followed."""
    location = error.headers.get("Location", "") if 300 <= error.code < 400 else ""
    try:
        return urljoin(url, location) if location else ""
    except ValueError:
        return ""


def _sentence(error: urllib.error.HTTPError) -> str:
    if error.headers.get_content_type() != "text/plain":
        return ""
    try:
        return plain(error.read(4 * _SAID).decode(errors="replace"), _SAID)
    except (OSError, HTTPException):
        return ""


def _cut(url: str, length: int) -> Page:
    return Page(url, trouble=f"the answer breaks off after {length} bytes", fix=TRY_AGAIN)


def _place(url: str) -> tuple[str | None, int] | None:
    """Host and port; None for an address that cannot be read."""
    try:
        parts = urlsplit(url)
        return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None


def _no_answer(place: tuple[str | None, int] | None, error: BaseException, timeout: float) -> str:
    reason = getattr(error, "reason", error)
    if place is None:
        return "the address cannot be read"
    found = what_listens(*place, timeout)
    return {
        "refused": f"nothing can be reached there: {found.detail}",
        "unresolved": "the host name cannot be resolved",
        "silent": f"no answer within {found.detail}",
        "http2": "a gRPC port answers, not HTTP/1",
        "tls": "TLS answers: write https://",
        "http": "the answer is no HTTP of this kind: is there no TLS? Write http://",
    }.get(found.kind, f"no HTTP: {error_text(reason if isinstance(reason, BaseException) else error)}")


def _refused(url: str, code: int, start: str) -> Page:
    path = shown_url(url).partition("://")[2].partition("/")[2]
    reasons = {
        401: ("it wants a password", "Write http://user:password@host:port/metrics."),
        403: ("it does not allow this", "Ask from a machine that may."),
        404: (f"there is no /{path}", start),
    }
    why, fix = reasons.get(code, ("it has failed" if code >= 500 else "it does not take this request", start))
    return Page(url, trouble=f"it answers {code}: {why}", fix=fix)


def _read(url: str, data: bytes, kind: str, start: str) -> Page:
    if len(data) > _MOST:
        return Page(url, trouble=f"the page is larger than {_MOST // 2**20} MiB", fix="Ask the program itself.")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return Page(url, trouble=f"the answer is no text ({plain(kind)})", fix=start)
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    if text[:200].lstrip().lower().startswith(("<!doctype", "<html")) or kind == "text/html":
        title = re.search(r"<title[^>]*>(.*?)</title>", text, re.DOTALL | re.IGNORECASE)
        named = f" titled {plain(title[1], 60)!r}" if title else ""
        return Page(url, text, trouble=f"it is a web page{named}, not metrics", fix=start)
    if text.lstrip()[:1] in ("{", "["):
        return Page(url, text, trouble=_json(text), fix=start)
    openmetrics = kind == "application/openmetrics-text"
    cut = "the page breaks off in the middle"
    if openmetrics and not text.rstrip().endswith("# EOF"):
        return Page(url, text, openmetrics, cut, "Try again; if it stays so, see the program's log.")
    if any(_LINE.match(line) is None for line in lines[:-1]) or not (lines or openmetrics or "# HELP" in text):
        return Page(url, text, openmetrics, f"it is no Prometheus text ({plain(kind)})", start)
    if lines and (not text.endswith("\n") or _LINE.match(lines[-1]) is None):
        return Page(url, text, openmetrics, cut, "Try again; if it stays so, see the program's log.")
    return Page(url, text, openmetrics)


def _json(text: str) -> str:
    try:
        json.loads(text)
    except ValueError:
        return "it is JSON that breaks off, not metrics"
    except RecursionError:
        return "it is JSON that is nested too deep, not metrics"
    return "it is JSON, not metrics"
