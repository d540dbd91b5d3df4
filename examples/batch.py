"""Checksums of all files below a directory. Ctrl-C, or SIGTERM, ends it early; nothing that was done is lost.

python examples/batch.py [DIRECTORY]
"""

import sys
import zlib
from pathlib import Path
from signal import SIGINT, SIGTERM

import anyio

from glasspool import HybridExecutor
from glasspool.signals import shutdown_on_signals


def checksum(path: Path) -> int:
    return zlib.crc32(path.read_bytes())


async def main(files: list[Path]) -> None:
    async with (
        HybridExecutor("checksums", max_in_flight=8) as executor,
        shutdown_on_signals(executor, grace=30, signals=(SIGINT, SIGTERM)),
    ):
        results = executor.as_completed(checksum, files)
        async for completed in results:  # after a signal: what was accepted, and then it ends
            print(f"{completed.unwrap():08x}  {completed.item.arguments[0]}")
    if results.stopped is not None:
        sys.exit(f"{results.stopped.signal.name}: {results.stopped.not_taken} of {len(files)} files are left")


directory = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
anyio.run(main, [path for path in directory.rglob("*") if path.is_file()])
