"""The page in an application."""

from __future__ import annotations

import json
from typing import Any

import pytest

from glasspool.telemetry.live import asgi_app

starlette = pytest.importorskip("starlette.applications")
routing = pytest.importorskip("starlette.routing")
testclient = pytest.importorskip("starlette.testclient")


@pytest.fixture
def client() -> Any:
    app = starlette.Starlette(routes=[routing.Mount("/inside/live", app=asgi_app())])
    return testclient.TestClient(app, base_url="http://app.example")


def test_it_is_served_where_it_is_mounted(client: Any) -> None:
    page = client.get("/inside/live/")
    assert page.status_code == 200
    assert "<title>glasspool</title>" in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert client.get("/inside/live/page.js").status_code == 200
    assert json.loads(client.get("/inside/live/live.json").content)["version"] == 1
    assert client.get("/inside/live/tasks.json", params={"name": "nobody"}).json()["tasks"] == []


def test_the_address_without_a_slash_leads_to_it(client: Any) -> None:
    assert client.get("/inside/live").url.path == "/inside/live/"


def test_other_paths_and_methods_are_refused(client: Any) -> None:
    assert client.get("/inside/live/metrics").status_code == 404
    assert client.post("/inside/live/live.json").status_code == 405
    head = client.head("/inside/live/")
    assert (head.status_code, head.content) == (200, b"")
