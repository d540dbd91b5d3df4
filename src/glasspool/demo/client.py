"""The HTTP client: makes each delivery as one request over its own connection, and counts the results."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict

import anyio
from opentelemetry import propagate

from .service import Service
from .source import Parsed

__all__ = ["Client", "ServiceFailed"]


class ServiceFailed(Exception):
    """The service answered with another status than 200."""


class Client:
    """Posts to the service. Every request that was ``sent`` ends in ``answers`` (read, by status) or ``gave_up``."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.sent = 0
        self.answers: Counter[int] = Counter()
        self.gave_up = 0

    async def post(self, parsed: Parsed) -> str:
        """Deliver one result.

        :raises ServiceFailed: the answer was not 200.
        """
        port = self._service.port
        body = json.dumps(asdict(parsed)).encode()
        headers = {"host": f"127.0.0.1:{port}", "content-length": str(len(body)), "connection": "close"}
        propagate.inject(headers)  # the service's span joins the trace
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        sent = False
        try:
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                # Small enough for the socket's buffer, so this never takes long; half-sent requests would make it
                # impossible to say how many there were.
                with anyio.CancelScope(shield=True):
                    await stream.send(f"POST /sources HTTP/1.1\r\n{head}\r\n".encode() + body)
                    self.sent += 1
                    sent = True
                status = int((await stream.receive()).split(maxsplit=2)[1])
        except BaseException:
            self.gave_up += sent
            raise
        self.answers[status] += 1
        if status != 200:
            raise ServiceFailed(f"{parsed.path}: the service answered {status}")
        return parsed.path
