"""What listens on a port: nothing, HTTP, HTTP/2 without TLS (gRPC), or TLS."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

from .words import error_text

__all__ = ["Listener", "what_listens"]

_MOST = 4096
_SETTINGS, _GOAWAY = 4, 7  # types of the frames with which a server of HTTP/2 begins


@dataclass(frozen=True)
class Listener:
    """``kind`` is refused, unresolved, silent, http, http2, tls or other."""

    kind: str
    detail: str = ""


def what_listens(host: str | None, port: int, timeout: float) -> Listener:
    """Ask for a page without TLS, and then for TLS.

    :param timeout: seconds for each of the two.
    """
    try:
        answer = _asked(host or "localhost", port, timeout)
    except TimeoutError:
        return Listener("silent", f"{timeout:g} s")
    except ConnectionResetError:  # a server of TLS that does not like what it reads
        answer = b""
    except (socket.gaierror, UnicodeError):
        return Listener("unresolved")
    except (OSError, OverflowError) as error:
        return Listener("refused", error_text(error))
    if answer.startswith(b"HTTP/"):
        return Listener("tls" if b"HTTPS" in answer else "http")
    if len(answer) >= 9 and answer[3] in (_SETTINGS, _GOAWAY):
        return Listener("http2")
    return Listener("tls" if answer[:1] == b"\x15" or _speaks_tls(host or "localhost", port, timeout) else "other")


def _asked(host: str, port: int, timeout: float) -> bytes:
    with socket.create_connection((host, port), timeout) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while len(answer) < _MOST:
            try:
                more = connection.recv(_MOST)
            except (TimeoutError, ConnectionResetError):
                if answer:
                    break
                raise
            if not more:
                break
            answer += more
        return answer


def _speaks_tls(host: str, port: int, timeout: float) -> bool:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent: only whether there is TLS is asked
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        with socket.create_connection((host, port), timeout) as connection, context.wrap_socket(connection):
            return True
    except ssl.SSLError as error:
        return error.reason not in ("WRONG_VERSION_NUMBER", None)
    except (OSError, ValueError):
        return False
