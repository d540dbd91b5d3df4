"""An ASGI app whose every request is one task; the answer says which worker ran it, its count, whether it serves."""

import json
import os
import threading

from lifespan import live

from glasspool import HybridExecutor
from glasspool.telemetry import configure

configure(prometheus_port=int(os.environ["SHARED_PORT"]))
executor = HybridExecutor("web", max_in_flight=2)
done = 0


async def app(scope, receive, send):
    global done
    if scope["type"] == "lifespan":
        return await live(executor, receive, send)
    await executor.run(int)
    done += 1
    serves = any("serve_forever" in thread.name for thread in threading.enumerate())
    body = json.dumps({"pid": os.getpid(), "done": done, "serves": serves}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
