"""A signal has a program say what it is doing, whatever it is doing."""

from __future__ import annotations

import signal
import threading

import pytest

from glasspool.signals import dump_on_signal
from tests.programs import BACKENDS, RUN, Program

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this platform has no SIGUSR1")

PROGRAM = (
    RUN
    + """
import os, signal, threading, time
from glasspool import HybridExecutor
from glasspool.signals import dump_on_signal

signal.signal(signal.SIGUSR1, lambda *_: print("earlier handler", flush=True))
remove = dump_on_signal(signal.SIGUSR1)

async def patient():
    secret = "nobody may see this"
    await anyio.sleep_forever()

async def blocks():
    print("blocked", flush=True)
    while not os.path.exists(sys.argv[2]):
        time.sleep(0.05)

def waits(released):
    released.wait()

async def main():
    released = threading.Event()
    async with HybridExecutor("mail", max_in_flight=3, max_queued=5) as executor:
        await executor.submit(patient)
        await executor.submit(waits, released)
        await anyio.sleep(0.2)  # trio begins the tasks of a turn in any order
        handle = await executor.submit(blocks)
        await executor.submit(patient, name="queued one")
        await handle
        released.set()
        await executor.shutdown(grace=0)
    remove()
    os.kill(os.getpid(), signal.SIGUSR1)
    print("removed", flush=True)

run(main)
"""
)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_report_says_where_the_tasks_are_while_the_loop_is_blocked(backend: str, tmp_path: object) -> None:
    release = f"{tmp_path}/release"
    with Program("-c", PROGRAM, backend, release) as program:
        program.until_said("blocked")
        program.send(signal.SIGUSR1)
        program.until_said("earlier handler")
        program.until(lambda: "queued one" in program.err, "the report's last line")
        report = program.err
        open(release, "w").close()
        program.until_said("removed")
        assert program.out.count("earlier handler") == 2  # the last signal was its own
        assert program.err.count("(hybrid)") == 1
    assert "executor 'mail' (hybrid): 3 of 3 slots in use; 1 of 5 queued, the oldest for " in report
    assert "'blocks' of executor 'mail': active for " in report
    assert " in blocks\n" in report
    assert " in patient\n" in report
    assert " in waits\n" in report
    assert "in thread " in report
    assert "nobody may see this" not in report


def test_what_is_no_signal_is_refused() -> None:
    with pytest.raises(TypeError, match=r"signal\.SIGUSR1, not 10"):
        dump_on_signal(10)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="SIGKILL cannot be handled"):
        dump_on_signal(signal.SIGKILL)


def test_it_is_for_the_main_thread() -> None:
    raised: list[Exception] = []

    def elsewhere() -> None:
        try:
            dump_on_signal(signal.SIGUSR1)
        except ValueError as error:
            raised.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "main thread" in str(raised[0])
