"""Which ``Host`` a request may name. A page of another site can have its own name resolved to this machine (DNS
rebinding); its requests still name that site."""

from __future__ import annotations

import ipaddress
import socket

__all__ = ["Hosts", "is_loopback"]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on this address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Hosts:
    """The hosts of an endpoint that listens on ``host`` and ``port``."""

    def __init__(self, host: str, port: int) -> None:
        self._port = port
        self._any = host in ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound
        self._names = {"localhost", "127.0.0.1", "::1", host.strip("[]").lower()}
        if not is_loopback(host):
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def allow(self, given: str) -> bool:
        """Whether this value of the header ``Host`` is one of the endpoint's."""
        name, port = _parts(given.strip().lower())
        if port != self._port:
            return False
        return name in self._names or (self._any and _is_address(name))


def _parts(given: str) -> tuple[str, int | None]:
    name, colon, port = given.rpartition(":")
    if given.startswith("["):
        name, closed, rest = given[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        if not closed:
            return "", None
    elif not colon:
        name, port = given, ""
    if colon and not (port.isascii() and port.isdecimal()):
        return "", None
    return name, int(port) if colon else 80


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
