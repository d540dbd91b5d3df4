"""shutdown_on_signals, in a separate process that gets real signals."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import anyio
import pytest

from glasspool import ExecutorClosed, HybridExecutor
from glasspool.signals import TWICE, shutdown_on_signals
from tests.core.support import cancelled_once_blocked
from tests.programs import BACKENDS, RUN, Program
from tests.telemetry.support import LIMIT

PROGRAM = (
    RUN
    + """
import signal
from glasspool import ExecutorClosed, HybridExecutor
from glasspool.signals import shutdown_on_signals

body, grace = sys.argv[2], float(sys.argv[3])

async def main():
    async with HybridExecutor("mail", max_in_flight=2) as executor:
        async with shutdown_on_signals(executor, grace=grace) as stop:
            refused = anyio.Event()
            # What is to be drained ends when submissions have been refused; else only being cut ends it.
            long = await executor.submit(refused.wait if body == "drains" else anyio.sleep_forever, name="long")
            print("ready")
            if body == "waits":
                report = await stop.wait()
            elif body == "fails":
                while stop.received is None:
                    await anyio.sleep(0.01)
                raise KeyError("the body's own")
            else:
                try:
                    while True:  # one at a time: when the executor closes, nothing but "long" is left
                        await executor.run(anyio.sleep, 0.001, name="short")
                except ExecutorClosed:
                    print("closed")
                    refused.set()
    # The block is left only when the shutdown is over.
    print((await long.outcome()).error, stop.received.name, [cut.name for cut in stop.report.cut])
    print("default again", signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)

try:
    run(main)
except KeyError as error:
    print("left by", repr(error))
"""
)


def running(backend: str, body: str, grace: float) -> Program:
    """The program above, which has got so far that it may be sent a signal."""
    program = Program("-W", "error", "-c", PROGRAM, backend, body, str(grace))
    program.until_said("ready")
    return program


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """All event loops; the program is a process of its own."""
    name: str = request.param
    pytest.importorskip(name)
    return name


def test_after_the_grace_what_is_left_is_cut(backend: str) -> None:
    with running(backend, "waits", 0.1) as program:
        program.send(signal.SIGTERM)
        said = program.end()
    assert "task 'long' was cancelled (shutdown) SIGTERM ['long']" in said
    assert "default again True" in said


def test_submissions_end_and_the_block_is_left_when_the_shutdown_is_over(backend: str) -> None:
    with running(backend, "drains", 3600.0) as program:
        program.send(signal.SIGTERM)
        said = program.end()
    assert said.splitlines() == ["ready", "closed", "None SIGTERM []", "default again True"]


def test_a_second_signal_ends_the_grace(backend: str) -> None:
    with running(backend, "submits", 3600.0) as program:
        program.send(signal.SIGTERM)
        program.until_said("closed")  # the first one has been seen
        later = time.monotonic() + TWICE
        program.until(lambda: time.monotonic() > later, "so much later that it is another request")
        program.send(signal.SIGTERM)
        said = program.end()
    assert "SIGTERM ['long']" in said


def test_a_signal_that_is_sent_twice_is_one_request(backend: str) -> None:
    with running(backend, "drains", 3600.0) as program:
        for _ in range(3):
            program.send(signal.SIGTERM)
        said = program.end()
    assert said.splitlines() == ["ready", "closed", "None SIGTERM []", "default again True"]


def test_the_bodys_own_exception_leaves_as_itself(backend: str) -> None:
    with running(backend, "fails", 0.1) as program:
        program.send(signal.SIGTERM)
        said = program.end()
    assert said.splitlines()[1:] == ["""left by KeyError("the body's own")"""]


LEFT = (
    RUN
    + """
import signal
from glasspool import HybridExecutor
from glasspool.signals import shutdown_on_signals

ending, grace = sys.argv[2], float(sys.argv[3])

async def main():
    told = anyio.Event()

    async def leaves():
        print("ready")
        while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL or " open " in repr(executor):
            await anyio.sleep(0.001)
        print("draining")
        await anyio.to_thread.run_sync(sys.stdin.readline)
        told.set()

    async with HybridExecutor("mail", max_in_flight=2) as executor:
        async with shutdown_on_signals(executor, grace=grace) as stop:
            long = await executor.submit(anyio.sleep_forever if ending == "cut" else told.wait, name="long")
        print("in between", signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
        await executor.submit(leaves)
    print((await long.outcome()).outcome.value, stop.received)
    print("default again", signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)

run(main)
"""
)


@pytest.mark.parametrize(("ending", "grace", "outcome"), [("told", 3600, "success"), ("cut", 0.05, "cancelled")])
def test_a_signal_that_comes_while_the_executor_is_left_does_not_kill_its_tasks(
    backend: str, ending: str, grace: float, outcome: str
) -> None:
    with Program("-c", LEFT, backend, ending, str(grace)) as program:
        program.until_said("draining")
        program.send(signal.SIGTERM)
        program.tell("go")
        assert program.end() == (f"in between True\nready\ndraining\n{outcome} None\ndefault again True\n")


@pytest.mark.anyio
async def test_without_a_signal_nothing_happens(anyio_backend: Any) -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with HybridExecutor("mail", max_in_flight=1) as executor:
        async with shutdown_on_signals(executor) as stop:
            assert await executor.run(anyio.sleep, 0) is None
        assert stop.received is None
        assert stop.report is None
        assert await executor.run(anyio.sleep, 0) is None
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.anyio
async def test_a_cancelled_body_passes_the_cancellation_on(anyio_backend: Any) -> None:
    async with HybridExecutor("mail", max_in_flight=1) as executor:
        async with cancelled_once_blocked() as scope:
            async with shutdown_on_signals(executor):
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert await executor.run(anyio.sleep, 0) is None


@pytest.mark.anyio
async def test_an_exception_of_the_body_is_not_wrapped(anyio_backend: Any) -> None:
    async with HybridExecutor("mail", max_in_flight=1) as executor:
        with pytest.raises(KeyError):
            async with shutdown_on_signals(executor):
                raise KeyError("as itself")
        assert executor.stats().in_flight == 0


@pytest.mark.anyio
async def test_a_failure_of_the_body_is_not_lost_to_a_cancellation(anyio_backend: Any) -> None:
    async with HybridExecutor("mail", max_in_flight=1) as executor:
        with pytest.raises(KeyError, match="of the cleanup"):
            with anyio.CancelScope() as scope:
                async with shutdown_on_signals(executor):
                    scope.cancel()
                    try:
                        await anyio.sleep_forever()
                    finally:
                        raise KeyError("of the cleanup")
        assert await executor.run(anyio.sleep, 0) is None


def test_outside_the_main_thread_the_error_says_so(backend: str) -> None:
    errors: list[BaseException] = []

    async def enter() -> None:
        async with HybridExecutor("mail", max_in_flight=1) as executor, shutdown_on_signals(executor):
            pass

    def run() -> None:
        try:
            anyio.run(enter, **BACKENDS[backend])
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(LIMIT)
    (error,) = errors
    assert isinstance(error, RuntimeError)
    assert "main thread" in str(error)


@pytest.mark.anyio
async def test_an_executor_that_is_not_open_is_named(anyio_backend: Any) -> None:
    with pytest.raises(ExecutorClosed, match="executor 'mail', which is not open"):
        async with shutdown_on_signals(HybridExecutor("mail", max_in_flight=1)):
            pass
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.anyio
async def test_a_signal_that_cannot_be_caught_is_an_error_that_leaves_nothing_behind(anyio_backend: Any) -> None:
    async with HybridExecutor("mail", max_in_flight=1) as executor:
        with pytest.raises(OSError, match="Invalid argument"):
            async with shutdown_on_signals(executor, signals=(signal.SIGTERM, signal.SIGKILL)):
                pass
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert await executor.run(anyio.sleep, 0) is None


@pytest.mark.parametrize(
    ("executor", "options", "error"),
    [
        ("mail", {}, "executor must be a HybridExecutor, not 'mail'"),
        (None, {"signals": ()}, "signals must be one or more"),
        (None, {"signals": (15,)}, "signals must be one or more"),
        (None, {"grace": -1}, "grace must not be negative"),
        (None, {"grace": "soon"}, "grace must be a number"),
    ],
)
def test_bad_arguments_are_named(executor: Any, options: dict[str, Any], error: str) -> None:
    target = HybridExecutor("mail", max_in_flight=1) if executor is None else executor
    with pytest.raises((TypeError, ValueError), match=error):
        shutdown_on_signals(target, **options)
