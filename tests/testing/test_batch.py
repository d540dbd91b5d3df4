"""Ctrl-C during a batch of files: the results of processed files are delivered, and the rest is counted."""

from __future__ import annotations

import re
import signal
import zlib
from pathlib import Path

import pytest

from tests.programs import BACKENDS, RUN, Program
from tests.telemetry.support import ROOT

FILES = 2_500

PROGRAM = (
    RUN
    + """
import zlib
from pathlib import Path
from signal import SIGINT, SIGTERM
from glasspool import HybridExecutor
from glasspool.signals import shutdown_on_signals

processed = []

def checksum(path):
    found = zlib.crc32(path.read_bytes())
    processed.append(path)  # whatever the executor makes of it
    return path, found

async def later(files):
    for path in files:
        await anyio.sleep(0)
        yield path

async def main(directory):
    files = sorted(directory.iterdir())
    delivered = []
    async with HybridExecutor("batch", max_in_flight=8) as executor:
        async with shutdown_on_signals(executor, signals=(SIGINT, SIGTERM)) as stop:
            results = getattr(executor, sys.argv[3])(checksum, later(files) if sys.argv[4] == "async" else files)
            async for found in results:
                delivered.append(found[0] if sys.argv[3] == "map" else found.unwrap()[0])
                if len(delivered) == len(files) // 5:
                    print("in the middle", flush=True)
                    while stop.received is None:
                        await anyio.sleep(0.001)
    stats, stopped = executor.stats(), results.stopped
    assert sorted(delivered) == sorted(processed), (len(delivered), len(processed))
    assert stats.submitted == stats.succeeded == len(delivered)
    if sys.argv[4] == "sync":
        assert len(delivered) + stopped.not_taken == len(files)
    print(len(files), len(processed), len(delivered), stopped.signal.name)

run(main, Path(sys.argv[2]))
"""
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("files")
    for number in range(FILES):
        (directory / f"{number:05}").write_bytes(b"%d" % number * (number % 50))
    return directory


@pytest.mark.parametrize("source", ["sync", "async"])
@pytest.mark.parametrize("how", ["as_completed", "map"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_ctrl_c_loses_nothing_that_was_done(backend: str, how: str, source: str, files: Path) -> None:
    pytest.importorskip(backend)
    with Program("-W", "error", "-c", PROGRAM, backend, str(files), how, source) as program:
        program.until_said("in the middle")
        program.send(signal.SIGINT)
        total, processed, delivered, name = program.end().split()[3:]
    assert int(total) == FILES
    assert FILES // 5 <= int(processed) == int(delivered) < FILES
    assert name == "SIGINT"


def test_the_readmes_example(files: Path) -> None:
    with Program(str(ROOT / "examples" / "batch.py"), str(files)) as program:
        program.until(lambda: program.out.count("\n") > FILES // 50, "results")
        program.send(signal.SIGINT)
        out = program.end(None)
        lines = out.splitlines()
        for line in lines:
            checksum, path = line.split("  ")
            assert int(checksum, 16) == zlib.crc32(Path(path).read_bytes())
        # On a machine that is busy elsewhere it may have come to its end before the signal came.
        left = re.fullmatch(rf"SIGINT: (\d+) of {FILES} files are left\n", program.err)
        assert len(lines) + (int(left[1]) if left else 0) == FILES
        assert program.process.returncode == (1 if left else 0)
