import zlib
from pathlib import Path

import anyio

from glasspool import HybridExecutor
from glasspool.telemetry import configure


def checksum(path: Path) -> int:  # a plain function runs in a thread, a coroutine function on the loop
    return zlib.crc32(path.read_bytes())


async def main() -> None:
    files = Path(anyio.__file__).parent.rglob("*.py")
    async with HybridExecutor("checksums", max_in_flight=8, max_queued=100) as executor:
        async for completed in executor.as_completed(checksum, files, timeout=5.0):
            print(f"{completed.unwrap():08x}  {completed.item.arguments[0].name}")
        print(executor.stats())


configure(prometheus_port=9464)  # http://127.0.0.1:9464/metrics; OTLP too if OTEL_EXPORTER_OTLP_ENDPOINT is set
anyio.run(main)  # or backend="trio"
