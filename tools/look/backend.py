"""The part of Grafana's server that a dashboard needs: the page, the models, and queries against a Prometheus.

Frames have the names and types that the back end of the Prometheus data source gives them; other data is passed on.
"""

from __future__ import annotations

import json
import math
import mimetypes
import re
import statistics
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from .intervals import Query, duration, milliseconds

__all__ = ["BUNDLE", "serving"]

_HERE = Path(__file__).resolve().parent
BUNDLE = _HERE / "build"
_MODULES = _HERE / "node_modules"
_PAGE = b"""<!doctype html><html><head><meta charset="utf-8"><title>Dashboard</title>
<style>html { font-size: 14px } html, body { background: #111217; margin: 0 }</style>
<link rel="stylesheet" href="/bundle.css"></head>
<body class="theme-dark"><div id="root"></div><script type="module" src="/bundle.js"></script></body></html>"""


@contextmanager
def serving(models: dict[str, Any], prometheus: str) -> Iterator[str]:
    """The address of a server on a free local port, for these dashboards (uid to model) over this Prometheus."""
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Handler", (_Handler,), {"models": models, "store": prometheus})
    )
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    models: dict[str, Any]
    store: str

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"] or 0)))

    def _answer(self, sent: bytes) -> None:
        path, _, query = self.path.partition("?")
        resource = re.fullmatch(r"/api/datasources/uid/[^/]+/resources(/.*)", path)
        if path == "/api/ds/query":
            self._json(self._queried(json.loads(sent)))
        elif resource:
            self._passed_on(f"{self.store}{resource[1]}?{query}", sent)
        elif path.startswith("/dashboard/"):
            self._json(self.models[path.removeprefix("/dashboard/")])
        elif path.startswith(("/api/", "/apis/")):
            self._json({})  # user preferences and the like
        elif path in ("/bundle.js", "/bundle.css"):
            self._file(BUNDLE / path[1:])
        elif path.startswith("/public/"):
            self._file(_asset(path))
        else:
            self._send(200, "text/html", b"" if path == "/favicon.ico" else _PAGE)

    def _queried(self, sent: dict[str, Any]) -> dict[str, Any]:
        referer = urllib.parse.urlsplit(self.headers.get("Referer", ""))
        scrape = milliseconds(urllib.parse.parse_qs(referer.query).get("scrape", ["15s"])[0])
        start, end = int(sent["from"]), int(sent["to"])
        results: dict[str, Any] = {}
        for query in sent["queries"]:
            try:
                frames = _frames(self.store, query, start, end, scrape)
                results[query["refId"]] = {"status": 200, "frames": frames}
            except _Refused as refusal:
                results[query["refId"]] = {"status": 400, "error": str(refusal), "frames": []}
        return {"results": results}

    def _passed_on(self, url: str, sent: bytes) -> None:
        request = urllib.request.Request(url, data=sent or None)
        if sent:
            request.add_header("Content-Type", self.headers["Content-Type"])
        try:
            with urllib.request.urlopen(request) as answer:
                self._send(answer.status, "application/json", answer.read())
        except urllib.error.HTTPError as error:
            self._send(error.code, "application/json", error.read())

    def _json(self, value: Any) -> None:
        self._send(200, "application/json", json.dumps(value).encode())

    def _file(self, path: Path | None) -> None:
        if path is None or not path.exists():
            self._send(404, "text/plain", b"")
        else:
            self._send(200, mimetypes.guess_type(path.name)[0] or "application/octet-stream", path.read_bytes())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _asset(path: str) -> Path | None:
    """Fonts and icons, which the front end requests by address, from the packages that contain them."""
    name = path.rsplit("/", 1)[1]
    font = re.match(r"(Inter|RobotoMono)-(Regular|Medium)", name)
    if font:
        family = {"Inter": "inter", "RobotoMono": "roboto-mono"}[font[1]]
        weight = {"Regular": 400, "Medium": 500}[font[2]]
        return _MODULES / f"@fontsource/{family}/files/{family}-latin-{weight}-normal.woff2"
    places = (_MODULES / "@grafana/ui/dist" / path.replace("/public/build/", "/public/")[1:],
              _MODULES / "@iconscout/unicons/svg/line" / name)  # fmt: skip
    return next((place for place in places if place.exists()), None)


class _Refused(Exception):
    """The store refused a query."""


def _ask(store: str, path: str, **parameters: Any) -> Any:
    data = urllib.parse.urlencode(parameters).encode()
    try:
        with urllib.request.urlopen(f"{store}/api/v1/{path}", data=data) as answer:
            return json.loads(answer.read())["data"]
    except urllib.error.HTTPError as error:
        raise _Refused(json.loads(error.read()).get("error", str(error))) from error


def _frames(store: str, sent: dict[str, Any], start: int, end: int, scrape: int) -> list[dict[str, Any]]:
    query = Query.of(sent, start, end, scrape)
    ref = sent["refId"]
    frames = []
    if sent.get("instant"):
        data = _ask(store, "query", query=query.expr, time=end / 1000)
        found = [{"metric": {}, "value": data["result"]}] if data["resultType"] == "scalar" else data["result"]
        frames += [_frame(sent, query, data["resultType"], each["metric"], [each["value"]]) for each in found]
    if sent.get("range") or not sent.get("instant"):
        since, until = query.aligned(start) / 1000, query.aligned(end) / 1000
        data = _ask(store, "query_range", query=query.expr, start=since, end=until, step=query.step / 1000)
        for each in data["result"]:
            frames.append(_frame(sent, query, "matrix", each["metric"], each["values"]))
        if not data["result"]:
            frames.append(
                {"schema": {"refId": ref, "meta": _meta(query, "matrix"), "fields": []}, "data": {"values": []}}
            )
    if sent.get("exemplar"):
        found = _exemplars(store, query, start, end)
        if found:
            frames.append(_exemplar_frame(ref, found))
    return frames


def _meta(query: Query, kind: str) -> dict[str, Any]:
    said = f"Expr: {query.expr}\nStep: {duration(query.step)}"
    return {
        "type": "timeseries-multi",
        "typeVersion": [0, 1],
        "custom": {"resultType": kind},
        "executedQueryString": said,
    }


def _frame(
    sent: dict[str, Any], query: Query, kind: str, labels: dict[str, str], points: list[tuple[float, str]]
) -> dict[str, Any]:
    """One series. JSON has no NaN, so the positions of such values are listed beside the values."""
    name = _legend(sent, labels)
    values = [float(text) for _, text in points]
    odd = {
        "NaN": [at for at, value in enumerate(values) if math.isnan(value)],
        "Inf": [at for at, value in enumerate(values) if value == math.inf],
        "NegInf": [at for at, value in enumerate(values) if value == -math.inf],
    }
    fields = [
        {"name": "Time", "type": "time", "typeInfo": {"frame": "time.Time"}, "config": {"interval": query.step}},
        {"name": labels.get("__name__", "Value"), "type": "number", "typeInfo": {"frame": "float64"}, "labels": labels,
         "config": {"displayNameFromDS": name} if name else {}},
    ]  # fmt: skip
    columns = [[round(t * 1000) for t, _ in points], [value if math.isfinite(value) else None for value in values]]
    return {
        "schema": {"refId": sent["refId"], "name": name, "meta": _meta(query, kind), "fields": fields},
        "data": {"values": columns, "entities": [None, odd if any(odd.values()) else None]},
    }


def _legend(sent: dict[str, Any], labels: dict[str, str]) -> str:
    pattern = sent.get("legendFormat") or ""
    if pattern == "__auto":
        return ""
    if pattern:
        return re.sub(r"\{\{\s*(.+?)\s*\}\}", lambda found: labels.get(found[1], ""), pattern)
    inner = ", ".join(f'{key}="{value}"' for key, value in labels.items() if key != "__name__")
    return labels.get("__name__", "") + (f"{{{inner}}}" if inner else "") or sent["expr"]


def _exemplars(store: str, query: Query, start: int, end: int) -> list[dict[str, Any]]:
    """The samples that the back end keeps: the greatest of each step, and those well below the last one kept."""
    series = _ask(store, "query_exemplars", query=query.expr, start=start / 1000, end=end / 1000)
    found = [
        {**each["seriesLabels"], **exemplar["labels"], "Time": exemplar["timestamp"], "Value": float(exemplar["value"])}
        for each in series
        for exemplar in each["exemplars"]
    ]
    apart = 2 * statistics.stdev(each["Value"] for each in found) if len(found) > 1 else 0.0
    kept: list[dict[str, Any]] = []
    steps: dict[int, list[dict[str, Any]]] = {}
    for each in found:
        steps.setdefault(round(each["Time"] * 1000) // query.step, []).append(each)
    for group in steps.values():
        last = math.inf
        for each in sorted(group, key=lambda each: -each["Value"]):
            if last - each["Value"] > apart:
                kept.append(each)
                last = each["Value"]
    return sorted(kept, key=lambda each: each["Time"])


def _exemplar_frame(ref: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    labels = sorted({key for each in found for key in each} - {"Time", "Value", "__name__"})
    fields = [{"name": "Time", "type": "time"}, {"name": "Value", "type": "number"}]
    fields += [{"name": label, "type": "string"} for label in labels]
    columns: list[list[Any]] = [[round(each["Time"] * 1000) for each in found], [each["Value"] for each in found]]
    columns += [[each.get(label, "") for each in found] for label in labels]
    meta = {"custom": {"resultType": "exemplar"}}
    return {"schema": {"refId": ref, "name": "exemplar", "meta": meta, "fields": fields}, "data": {"values": columns}}
