"""An ASGI app whose every request is one task, exported by OTLP."""

import os

from lifespan import live

from glasspool import HybridExecutor
from glasspool.telemetry import configure

configure()
executor = HybridExecutor("web", max_in_flight=2)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await live(executor, receive, send)
    await executor.run(int)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
