"""A WSGI server with a thread for each request, as prometheus_client's own is."""

from __future__ import annotations

import socket
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

__all__ = ["threading_server"]


class _Silent(WSGIRequestHandler):
    """Logs no request."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a request that hangs does not keep the program from its end


def threading_server(host: str, port: int) -> WSGIServer:
    """A server that listens, and serves nothing yet.

    :param host: the address, of either family.
    :param port: the port; 0 is any free one.
    :raises OSError: the port is not available, or there is no such address.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]

    class OfFamily(_Server):
        address_family = family

    return OfFamily((str(address[0]), port), _Silent)
