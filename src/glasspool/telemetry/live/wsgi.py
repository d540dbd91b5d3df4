"""The page beside /metrics: a WSGI application around prometheus_client's, which answers everything else as before."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .answers import PATHS, Answer, Live, refusal
from .hosts import Hosts, is_loopback

__all__ = ["beside"]

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def beside(metrics: Application, live: Live | None, host: str, port: int, *, anywhere: bool) -> Application:
    """An application that answers the page's paths, and leaves all others to ``metrics``.

    :param live: None: the page is switched off.
    :param host: the address that is listened on.
    :param anywhere: serve the page although others than this machine may reach that address.
    """
    hosts = Hosts(host, port)

    def answer(environ: dict[str, Any]) -> Answer:
        if live is None:
            return refusal("403 Forbidden", "The live page is switched off: configure(live_page=False).")
        if not (anywhere or is_loopback(host)):
            return refusal(
                "403 Forbidden",
                f"The live page is served on loopback only, and this endpoint listens on {host}. It shows the names "
                "and stacks of tasks to whoever reaches it; ask for it with configure(live_page=True).",
            )
        if not hosts.allow(environ.get("HTTP_HOST", "")):
            return refusal(
                "403 Forbidden",
                "This Host is not the one that is served. Open the page by the address that it is served at: "
                f"http://localhost:{port}/",
            )
        return live.answer(environ["REQUEST_METHOD"], environ["PATH_INFO"] or "/", environ.get("QUERY_STRING", ""))

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if (environ["PATH_INFO"] or "/") not in PATHS:
            return metrics(environ, start)
        found = answer(environ)
        start(found.status, found.headers)
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else found.body]

    return application
