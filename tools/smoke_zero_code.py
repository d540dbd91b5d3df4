"""A program for the README's zero-code commands: run by ``opentelemetry-instrument``, with nothing else installed.

``.ci/run`` sets up such an environment from the wheel and its extra ``zero-code``. The program does not use glasspool;
it reads the metrics that are served about it.
"""

from __future__ import annotations

import os
import urllib.request
from concurrent.futures import ThreadPoolExecutor


def main() -> None:
    with ThreadPoolExecutor(2, thread_name_prefix="smoke") as pool:
        assert sum(pool.map(abs, range(-5, 0))) == 15
    port = os.environ.get("OTEL_EXPORTER_PROMETHEUS_PORT", "9464")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as page:
        text = page.read().decode()
    submitted = [line for line in text.splitlines() if line.startswith("glasspool_task_submitted_total{")]
    (own,) = [line for line in submitted if 'glasspool_executor_name="smoke"' in line]
    assert own.endswith(" 5.0"), own
    print(own)


if __name__ == "__main__":
    main()
