"""Who is answered what: hosts, methods, headers, and /metrics as before."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from glasspool.telemetry import prometheus
from glasspool.telemetry.live.answers import FILES, Live
from glasspool.telemetry.live.hosts import Hosts, is_loopback
from glasspool.telemetry.live.wsgi import beside

from .support import request

PAGE = [*FILES, "/live.json", "/tasks.json"]


@pytest.fixture
def port() -> Iterator[int]:
    yield from _served("127.0.0.1")


def _served(host: str, *, live: bool = True, anywhere: bool = False) -> Iterator[int]:
    registry = CollectorRegistry()
    Counter("seen", "What another library counts.", registry=registry).inc(3)
    page = Live() if live else None

    def around(scrapes: Any, port: int) -> Any:
        return beside(scrapes, page, host, port, anywhere=anywhere)

    endpoint = prometheus.listen(0, "127.0.0.1", registry, around)
    yield endpoint.port
    endpoint.close()
    if page is not None:
        page.close()


@pytest.mark.parametrize("path", PAGE)
def test_each_part_of_the_page_is_answered_and_kept_to_itself(port: int, path: str) -> None:
    answer = request(port, path)
    assert answer.status == 200
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
    assert "unsafe" not in policy
    assert {"frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} <= set(policy.split("; "))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", PAGE)
def test_head_has_the_headers_alone(port: int, path: str) -> None:
    answer = request(port, path, "HEAD")
    assert answer.status == 200
    assert answer.body == b""
    assert int(answer.headers["content-length"]) > 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_are_refused(port: int, method: str) -> None:
    answer = request(port, "/live.json", method)
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", PAGE)
def test_a_request_that_names_another_host_is_refused(port: int, path: str) -> None:
    for host in (
        "attacker.example",
        f"attacker.example:{port}",
        f"localhost.attacker.example:{port}",
        "localhost:1",
        "",
    ):
        answer = request(port, path, headers={"Host": host})
        assert answer.status == 403, host
        assert f"http://localhost:{port}/" in answer.text
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}"):
        assert request(port, path, headers={"Host": host}).status == 200, host


def test_scrapes_may_name_any_host(port: int) -> None:
    answer = request(port, "/metrics", headers={"Host": "app.example:9464"})
    assert answer.status == 200
    assert "seen_total 3.0" in answer.text
    assert "content-security-policy" not in answer.headers


def test_scrapes_are_answered_as_before(port: int) -> None:
    packed = request(port, "/metrics", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert b"seen_total 3.0" in gzip.decompress(packed.body)
    part = request(port, "/metrics?name[]=seen_total")
    assert "seen_total 3.0" in part.text
    assert "seen_created" not in part.text
    assert "seen_total 3.0" in request(port, "/elsewhere").text  # prometheus_client looks at no path
    openmetrics = request(port, "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert openmetrics.text.endswith("# EOF\n")
    assert request(port, "/metrics", "POST").status == 405


def test_the_page_is_refused_where_others_can_reach_it_unless_asked_for() -> None:
    for port in _served("0.0.0.0"):
        answer = request(port, "/")
        assert answer.status == 403
        assert "configure(live_page=True)" in answer.text
        assert request(port, "/metrics").status == 200
    for port in _served("0.0.0.0", anywhere=True):
        assert request(port, "/").status == 200
        assert request(port, "/", headers={"Host": f"192.0.2.7:{port}"}).status == 200  # no name that could be rebound
        assert request(port, "/", headers={"Host": f"attacker.example:{port}"}).status == 403


def test_the_page_can_be_switched_off() -> None:
    for port in _served("127.0.0.1", live=False):
        assert request(port, "/").status == 403
        assert "live_page=False" in request(port, "/live.json").text
        assert request(port, "/metrics").status == 200


def test_what_is_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "", "192.0.2.1", "example.org")))


@pytest.mark.parametrize(
    "given", ["[::1", "localhost:", "localhost:x", "localhost:９４６４", ":9464", "a b:9464", "[]:9464"]
)
def test_a_host_that_makes_no_sense_is_no_host(given: str) -> None:
    assert not Hosts("127.0.0.1", 9464).allow(given)


def test_port_80_need_not_be_named() -> None:
    assert Hosts("127.0.0.1", 80).allow("localhost")
    assert not Hosts("127.0.0.1", 9464).allow("localhost")


def test_the_page_loads_nothing_from_elsewhere_and_has_no_inline_code(port: int) -> None:
    html = request(port, "/").text
    assert "//" not in html.replace("<!doctype", "")
    assert "style=" not in html
    assert "<script>" not in html
    script = request(port, "/page.js").text + request(port, "/chart.js").text
    for risky in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert risky not in script
