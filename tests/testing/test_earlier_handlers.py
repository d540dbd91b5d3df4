"""Other handlers of a signal beside shutdown_on_signals: earlier and later ones."""

from __future__ import annotations

import signal

import pytest

from tests.programs import BACKENDS, RUN, Program

COMMON = (
    RUN
    + """
import asyncio, os, signal
from contextlib import AsyncExitStack
from types import FrameType
from glasspool import ExecutorClosed, HybridExecutor
from glasspool.signals import shutdown_on_signals

closing = []
opened = {}

def refuses(name="mail"):
    try:
        opened[name].submit_nowait(anyio.sleep, 0)
    except ExecutorClosed:
        return True
    return False

def earlier(*given):
    print("earlier", *(type(value).__name__ if isinstance(value, FrameType) else int(value) for value in given),
          "refuses" if refuses() else "still open")

async def serve(name="mail", signals=(signal.SIGTERM,), late=lambda: None):
    async with HybridExecutor(name, max_in_flight=2) as executor:
        opened[name] = executor
        async with shutdown_on_signals(executor, grace=3600, signals=signals) as stop:
            late()
            # Ends a little after the signal has come: it is drained, not cut.
            async def job():
                while stop.received is None:
                    await anyio.sleep(0.005)
                for _ in range(20):
                    await anyio.sleep(0)
                return "drained"
            handle = await executor.submit(job)
            print("ready")
            await stop.wait()
        print(name, await handle, stop.received.name, executor.stats().cancelled)
"""
)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    pytest.importorskip(name)
    return name


def said(
    backend: str, code: str, number: signal.Signals = signal.SIGTERM, status: int | None = 0, ready: int = 1
) -> list[str]:
    """What the program prints after the signal."""
    with Program("-W", "error", "-c", COMMON + code, backend) as program:
        program.until(lambda: program.out.count("ready\n") == ready, "being ready")
        program.send(number)
        return program.end(status).splitlines()[ready:]


DRAINED = "mail drained SIGTERM 0"


def test_a_python_handler_is_called_once_submissions_are_refused(backend: str) -> None:
    code = """
signal.signal(signal.SIGTERM, earlier)
run(serve)
print(signal.getsignal(signal.SIGTERM) is earlier)
"""
    assert said(backend, code) == ["earlier 15 frame refuses", DRAINED, "True"]


@pytest.mark.parametrize("before", ["SIG_DFL", "SIG_IGN"])
def test_the_default_neither_kills_nor_is_an_ignored_signal_lost(backend: str, before: str) -> None:
    code = f"""
signal.signal(signal.SIGTERM, signal.{before})
run(serve)
print(signal.getsignal(signal.SIGTERM).name)
"""
    assert said(backend, code) == [DRAINED, before]


def test_a_handler_of_the_loop_is_called(backend: str) -> None:
    code = """
async def main():
    if sys.argv[1] != "trio":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, earlier, 1)
        await serve()
    else:
        import trio
        async with anyio.create_task_group() as group:
            async def receive():
                with trio.open_signal_receiver(signal.SIGTERM) as received:
                    group.start_soon(serve)
                    async for number in received:
                        earlier(1)
                        break
            group.start_soon(receive)
run(main)
"""
    found = said(backend, code)
    assert sorted(found) == sorted(["earlier 1 refuses", DRAINED])


def test_blocks_within_each_other_all_drain(backend: str) -> None:
    code = """
async def main():
    async with anyio.create_task_group() as group:
        group.start_soon(serve, "mail")
        await anyio.wait_all_tasks_blocked()
        group.start_soon(serve, "post")
signal.signal(signal.SIGTERM, earlier)
run(main)
print(signal.getsignal(signal.SIGTERM) is earlier)
"""
    first, *others, last = said(backend, code, ready=2)
    assert first == "earlier 15 frame refuses"
    assert sorted(others) == [DRAINED, "post drained SIGTERM 0"]
    assert last == "True"


def test_blocks_that_are_left_in_the_order_in_which_they_were_entered(backend: str) -> None:
    code = """
async def main():
    async with HybridExecutor("mail", max_in_flight=1) as mail, HybridExecutor("post", max_in_flight=1) as post:
        opened.update(mail=mail, post=post)
        left = anyio.Event()
        async def first():
            async with shutdown_on_signals(mail):
                entered.set()
                await second_in.wait()
            left.set()
        entered, second_in = anyio.Event(), anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(first)
            await entered.wait()
            async with shutdown_on_signals(post) as stop:
                second_in.set()
                await left.wait()
                print("ready")
                await stop.wait()
                while not called:
                    await anyio.sleep(0.005)
                print(refuses("mail"), refuses("post"), *called)
called = []
signal.signal(signal.SIGTERM, lambda number, frame: called.append(number))
run(main)
"""
    assert said(backend, code) == ["False True 15"]


@pytest.mark.parametrize(
    ("raised", "status", "left_by"),
    [("sys.exit(3)", 3, ""), ("raise ValueError('of the handler')", 1, "ValueError: of the handler")],
)
def test_what_an_earlier_handler_raises_leaves_the_block(backend: str, raised: str, status: int, left_by: str) -> None:
    code = f"""
def handler(number, frame):
    {raised}
signal.signal(signal.SIGTERM, handler)
run(serve)
"""
    with Program("-c", COMMON + code, backend) as program:
        program.until_said("ready")
        program.send(signal.SIGTERM)
        program.end(status)
        assert program.err.strip().endswith(left_by)
        assert "ExceptionGroup" not in program.err


def test_ctrl_c_drains_and_does_not_interrupt_as_well(backend: str) -> None:
    code = """
run(serve, "mail", (signal.SIGINT, signal.SIGTERM))
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
    assert said(backend, code, signal.SIGINT) == ["mail drained SIGINT 0", "True"]


def test_one_signal_of_each_kind_is_one_request(backend: str) -> None:
    """Ctrl-C under uvicorn --workers: SIGINT by the terminal, SIGTERM by the server."""
    code = """
async def serve_both():
    async with HybridExecutor("mail", max_in_flight=2) as executor:
        opened["mail"] = executor
        async with shutdown_on_signals(executor, grace=3600, signals=(signal.SIGINT, signal.SIGTERM)) as stop:
            signal.signal(signal.SIGUSR1, lambda *_: done.append(1))
            async def job():
                while not done:
                    await anyio.sleep(0.005)
                return "drained"
            handle = await executor.submit(job)
            print("ready")
            while stop.received is None:
                await anyio.sleep(0.005)
            print("first")
            await stop.wait()
        print(await handle, stop.report.drained)
done = []
signal.signal(signal.SIGTERM, lambda number, frame: print("second"))
run(serve_both)
"""
    with Program("-W", "error", "-c", COMMON + code, backend) as program:
        for said, number in (("ready", signal.SIGINT), ("first", signal.SIGTERM), ("second", signal.SIGUSR1)):
            program.until_said(said)
            program.send(number)
        assert program.end().splitlines() == ["ready", "first", "second", "drained True"]


def test_a_handler_of_ones_own_for_ctrl_c_is_called(backend: str) -> None:
    code = """
signal.signal(signal.SIGINT, earlier)
run(serve, "mail", (signal.SIGINT, signal.SIGTERM))
"""
    assert said(backend, code, signal.SIGINT) == ["earlier 2 frame refuses", "mail drained SIGINT 0"]


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
def test_ctrl_c_with_a_loop_that_is_run_by_hand(backend: str) -> None:
    code = """
import uvloop
loop = uvloop.new_event_loop() if sys.argv[1] == "uvloop" else asyncio.new_event_loop()
loop.run_until_complete(serve("mail", (signal.SIGINT,)))
loop.close()
"""
    assert said(backend, code, signal.SIGINT) == ["mail drained SIGINT 0"]


def test_a_server_within_the_block_stops_first_and_then_hands_the_signal_on(backend: str) -> None:
    """As uvicorn does: its handler takes the place of ours, and what it has caught is raised again at its end."""
    code = """
async def main():
    async with HybridExecutor("mail", max_in_flight=2) as executor:
        opened["mail"] = executor
        async with shutdown_on_signals(executor, grace=3600) as stop:
            caught = []
            def handle_exit(number, frame):
                print("server", "refuses" if refuses() else "still open")
                caught.append(number)
            before = signal.signal(signal.SIGTERM, handle_exit)
            print("ready")
            while not caught:
                await anyio.sleep(0.005)
            signal.signal(signal.SIGTERM, before)
            signal.raise_signal(caught[0])
            print((await stop.wait()).drained, stop.received.name)
run(main)
"""
    assert said(backend, code) == ["server still open", "True SIGTERM"]


@pytest.mark.parametrize("before", ["below_all", "signal.SIG_IGN", "signal.SIG_DFL"])
def test_a_handler_that_was_put_on_top_and_calls_ours_after_its_block(backend: str, before: str) -> None:
    code = f"""
def below_all(*given):
    print("below all", *map(int, given[:1]))

def late():
    below = signal.getsignal(signal.SIGTERM)
    def on_top(number, frame):
        print("on top")
        below(number, frame)
    signal.signal(signal.SIGTERM, on_top)

async def main():
    async with HybridExecutor("mail", max_in_flight=2) as executor:
        opened["mail"] = executor
        async with shutdown_on_signals(executor):
            late()
    print("ready")
signal.signal(signal.SIGTERM, {before})
run(main)
signal.raise_signal(signal.SIGTERM)
print("goes on")
"""
    with Program("-c", COMMON + code, backend) as program:
        program.end(-signal.SIGTERM if before == "signal.SIG_DFL" else 0)
        lines = program.out.splitlines()[1:]
    assert lines[0] == "on top"
    assert (
        lines[1:]
        == {
            "below_all": ["below all 15", "goes on"],
            "signal.SIG_IGN": ["goes on"],
            "signal.SIG_DFL": [],
        }[before]
    )
