"""The page as an ASGI application, to be mounted in another one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .answers import Answer, Live, refusal

__all__ = ["asgi_app"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def asgi_app() -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The live page of this process as an ASGI application, to be mounted where the application wants it.

    It has no authentication and looks at no ``Host``: what it is mounted in decides who may see it. It is answered on
    the event loop, in a few milliseconds, so that it cannot be seen while that loop is blocked; the page of
    ``configure(prometheus_port=...)`` can. ::

        app.mount("/live", glasspool.telemetry.live.asgi_app())

    :returns: the application.
    """
    live = Live()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        root = scope.get("root_path", "")
        if root and path.startswith(root):  # servers differ in whether the path has it
            path = path[len(root) :]
        if path:
            found = live.answer(scope["method"], path, scope.get("query_string", b"").decode("latin-1"))
        else:  # the page's parts are found from its address, which must end with a slash
            found = _redirected(f"{scope['path']}/")
        await _send(send, found, body=scope["method"] != "HEAD")

    return application


def _redirected(location: str) -> Answer:
    return refusal("307 Temporary Redirect", "The page's address ends with a slash.", ("Location", location))


async def _send(send: Send, found: Answer, *, body: bool) -> None:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in found.headers]
    await send({"type": "http.response.start", "status": int(found.status[:3]), "headers": headers})
    await send({"type": "http.response.body", "body": found.body if body else b""})
