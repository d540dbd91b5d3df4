"""Requests to the endpoint of a program, and a fixture's parts."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from tests.telemetry.support import LIMIT

__all__ = ["Response", "executor_in", "found_json", "request"]


class Response:
    """What was answered: ``status``, ``headers`` (names in small letters) and ``body``."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status = answer.status
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        self.body = answer.read()

    @property
    def text(self) -> str:
        return self.body.decode()


def request(port: int, path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Response:
    """One request to 127.0.0.1."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)) as connection:
        connection.request(method, path, headers=dict(headers or {}))
        return Response(connection.getresponse())


def found_json(port: int, path: str) -> dict[str, Any]:
    """The JSON at a path."""
    answer = request(port, path)
    assert answer.status == 200, answer.text
    found: dict[str, Any] = json.loads(answer.body)
    return found


def executor_in(found: dict[str, Any], name: str) -> dict[str, Any]:
    """The one executor of this name."""
    (shown,) = [each for each in found["executors"] if each["name"] == name]
    return shown
