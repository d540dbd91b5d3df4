"""A real HTTP server that answers the folder and dashboard calls as Grafana's HTTP API documents them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

EDITOR, VIEWER = "editor-token", "viewer-token"


class FakeGrafana(ThreadingHTTPServer):
    """Keeps what was pushed. ``reserved`` uids are refused with 412, as those of plugins are."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folders: dict[str, str] = {}
        self.saved: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, int] = {}
        self.requests: list[str] = []
        self.reserved: set[str] = set()
        self.hung = threading.Event()
        self.hung.set()  # cleared: requests are left waiting
        self.moved_to = ""
        self.login_page = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeGrafana

    def do_GET(self) -> None:
        self._handle("GET", None)

    def do_POST(self) -> None:
        self._handle("POST", json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _handle(self, method: str, body: dict[str, Any] | None) -> None:
        grafana = self.server
        grafana.requests.append(f"{method} {self.path}")
        grafana.hung.wait(60)
        if grafana.moved_to:
            return self._answer(301, {"message": "moved"}, location=grafana.moved_to + self.path)
        if grafana.login_page:
            return self._raw(200, b"<html>please log in</html>")
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token not in (EDITOR, VIEWER):
            return self._answer(401, {"message": "Invalid API key"})
        if method == "GET" and self.path.startswith("/api/folders/"):
            uid = self.path.rsplit("/", 1)[1]
            if uid not in grafana.folders:
                return self._answer(404, {"message": "folder not found"})
            return self._answer(200, {"uid": uid, "title": grafana.folders[uid]})
        if token == VIEWER:
            return self._answer(403, {"message": "You'll need additional permissions to perform this action."})
        assert body is not None
        if self.path == "/api/folders":
            if body["uid"] in grafana.folders:
                return self._answer(412, {"message": "The folder has been changed by someone else"})
            grafana.folders[body["uid"]] = body["title"]
            return self._answer(200, {"uid": body["uid"], "title": body["title"]})
        return self._save(body)

    def _save(self, body: dict[str, Any]) -> None:
        grafana, model = self.server, body["dashboard"]
        uid = model["uid"]
        if body["folderUid"] not in grafana.folders:
            return self._answer(400, {"message": "folder not found"})
        if uid in grafana.reserved:
            message = "The dashboard belongs to plugin an-app. You cannot overwrite plugin dashboards"
            return self._answer(412, {"message": message, "status": "plugin-dashboard"})
        if model["id"] is not None:
            return self._answer(404, {"message": "Dashboard not found", "status": "not-found"})
        if uid in grafana.saved and not body.get("overwrite"):
            message = "The dashboard has been changed by someone else"
            return self._answer(412, {"message": message, "status": "version-mismatch"})
        grafana.saved[uid] = {"folder": body["folderUid"], "model": model}
        grafana.versions[uid] = grafana.versions.get(uid, 0) + 1
        self._answer(200, {"uid": uid, "url": f"/d/{uid}/slug", "status": "success", "version": grafana.versions[uid]})

    def _answer(self, status: int, body: dict[str, Any], location: str = "") -> None:
        self._raw(status, json.dumps(body).encode(), location)

    def _raw(self, status: int, payload: bytes, location: str = "") -> None:
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[FakeGrafana]:
    """A running server; what hangs is let go at the end."""
    grafana = FakeGrafana()
    thread = threading.Thread(target=grafana.serve_forever)
    thread.start()
    try:
        yield grafana
    finally:
        grafana.hung.set()
        grafana.shutdown()
        thread.join()
        grafana.server_close()
