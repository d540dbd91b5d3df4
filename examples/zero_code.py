"""Zero code: an application that imports neither glasspool nor OpenTelemetry.

    pip install 'glasspool[zero-code]' fastapi httpx
    opentelemetry-instrument --traces_exporter none --metrics_exporter console python examples/zero_code.py

The metrics that are printed at its end include ``glasspool.slot.usage``, ``glasspool.slot.saturated.time`` and
``glasspool.queue.wait.duration`` of ``anyio.to_thread``, the limiter of its sync endpoints. Disable single
instrumentors with OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=glasspool_asyncio,glasspool_dask,…
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI
from fastapi.testclient import TestClient

app = FastAPI()


@app.get("/slow", response_model=None)
def slow() -> dict[str, bool]:
    time.sleep(0.1)
    return {"ok": True}


def main() -> None:
    with TestClient(app) as client, ThreadPoolExecutor(60, "clients") as clients:
        answers = list(clients.map(client.get, ["/slow"] * 60))
    print(f"{sum(answer.status_code == 200 for answer in answers)} answers")


if __name__ == "__main__":
    main()
