"""An ASGI app whose every request is one task, exported by OTLP."""

import os

from glasspool import HybridExecutor
from glasspool.telemetry import configure

configure()
executor = HybridExecutor("web", max_in_flight=2)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        async with executor:
            while True:
                kind = (await receive())["type"]
                await send({"type": f"{kind}.complete"})
                if kind == "lifespan.shutdown":
                    return
    await executor.run(int)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
