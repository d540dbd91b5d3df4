"""The process exits when the program has ended, and names the calls that still run in threads and pools."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.programs import BACKENDS, RUN, Program


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    pytest.importorskip(name)
    return name


COMMON = (
    RUN
    + """
import asyncio, os, threading
from glasspool import HybridExecutor

begun, never = threading.Semaphore(0), threading.Event()

def recv():
    begun.release()
    never.wait()

async def at_recv():
    while not begun.acquire(blocking=False):
        await anyio.sleep(0.001)

async def leaves_a_thread(name="net"):
    async with HybridExecutor(name, max_in_flight=4) as executor:
        handle = await executor.submit(recv)
        await at_recv()
        handle.cancel()

async def stays(executor):
    await executor.submit(recv)
    await at_recv()
    print("busy", flush=True)
    await anyio.sleep_forever()
"""
)

LEFT = r"task 'recv' of executor '%s', for \d+\.\d s, in recv \(<string>:\d+\), in wait \(.*threading\.py:\d+\)"

OVER = {
    "it returns": ("run(leaves_a_thread)", 0, ["net"]),
    "an exception": ("run(leaves_a_thread); raise ValueError", 1, ["net"]),
    "sys.exit": ("run(leaves_a_thread); sys.exit(7)", 7, ["net"]),
    "another run follows": ("run(leaves_a_thread); run(leaves_a_thread, 'next')", 0, ["net", "next"]),
    "in another thread": (
        "thread = threading.Thread(target=run, args=(leaves_a_thread,)); thread.start(); thread.join()", 0, ["net"]
    ),
    "in another thread, which goes on": (
        """
def late():
    never.wait(0.1)  # the main thread most probably waits for this one
    run(leaves_a_thread)
threading.Thread(target=late).start()
""",
        0,
        ["net"],
    ),
    "several executors": (
        """
async def main():
    async with HybridExecutor("outer", max_in_flight=1) as outer:
        await leaves_a_thread("inner")
        outer.submit_nowait(recv)
        await at_recv()
        await outer.shutdown(grace=0)
run(main)
""",
        0,
        ["inner", "outer"],
    ),
    "a run within a thread": (
        """
async def main():
    async with HybridExecutor("outer", max_in_flight=1) as outer:
        await outer.run(run, leaves_a_thread)
run(main)
""",
        0,
        ["net"],
    ),
    "a loop that was stopped": (
        """
async def main():
    async with HybridExecutor("net", max_in_flight=1) as executor:
        await executor.submit(recv)
        await at_recv()
        asyncio.get_running_loop().stop()
        await anyio.sleep_forever()
if sys.argv[1] == "trio":
    run(leaves_a_thread)
else:
    import uvloop
    loop = uvloop.new_event_loop() if sys.argv[1] == "uvloop" else asyncio.new_event_loop()
    task = loop.create_task(main())
    loop.run_forever()
    loop.close()
""",
        0,
        ["net"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", OVER)
def test_a_thread_that_never_returns_does_not_hold_up_the_end(backend: str, how: str) -> None:
    if how == "in another thread, which goes on" and (3, 12, 0) <= sys.version_info < (3, 12, 2):
        pytest.skip(
            "once the main thread has ended, no thread starts (https://github.com/python/cpython/issues/113964)"
        )
    code, status, executors = OVER[how]
    with Program("-c", COMMON + code, backend) as program:
        program.end(status)
        for executor in executors:
            assert len(re.findall(LEFT % executor, program.err)) == 1, program.err
        assert program.err.count("task 'recv'") == len(executors)


CTRL_C = """
async def main():
    async with HybridExecutor("net", max_in_flight=4) as executor:
        await stays(executor)
try:
    run(main)
except (KeyboardInterrupt, asyncio.CancelledError):  # the latter by anyio on Python 3.10
    print("interrupted", flush=True)
"""


def test_ctrl_c_ends_it_while_a_function_blocks(backend: str) -> None:
    with Program("-c", COMMON + CTRL_C, backend) as program:
        program.until_said("busy")
        program.send(signal.SIGINT)
        assert program.end() == "busy\ninterrupted\n"
        assert re.search(LEFT % "net", program.err), program.err


TWICE = """
async def main():
    async with HybridExecutor("net", max_in_flight=4) as executor:
        await executor.submit(recv, abandon=False)
        await at_recv()
        print("busy", flush=True)
        try:
            await anyio.sleep_forever()
        finally:
            print("asked", flush=True)
try:
    run(main)
except (KeyboardInterrupt, asyncio.CancelledError):  # the latter by anyio on Python 3.10
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
def test_a_second_ctrl_c_ends_what_asked_not_to_be_abandoned(backend: str) -> None:
    with Program("-c", COMMON + TWICE, backend) as program:
        program.until_said("busy")
        program.send(signal.SIGINT)
        program.until_said("asked")
        program.send(signal.SIGINT)
        program.end()
        assert re.search(LEFT % "net", program.err), program.err


NOTHING = """
async def main():
    async with HybridExecutor("net", max_in_flight=4) as executor:
        print(await executor.run(sum, [1, 2]))
        never.set()
        await (await executor.submit(recv)).outcome()
run(main)
"""


def test_a_program_without_such_threads_says_nothing(backend: str) -> None:
    with Program("-W", "error", "-c", COMMON + NOTHING, backend) as program:
        assert program.end() == "3\n"
        assert program.err == ""


BUSY = """
async def main():
    async with HybridExecutor("net", max_in_flight=4) as executor:
        for work in works:
            await executor.submit(work)
        for _ in works:
            await at_recv()
        await executor.shutdown(grace=0)

def spin():
    begun.release()
    while True:
        sum(range(100))

def prints():
    begun.release()
    while True:
        print("still here", flush=True)

def calls_back():
    begun.release()
    while True:
        try:
            anyio.from_thread.run_sync(len, "abc")
        except BaseException:
            pass

works = [spin, prints, calls_back]
run(main)
"""


def test_busy_threads_do_not_crash_the_interpreter_as_it_ends(backend: str) -> None:
    with Program("-c", COMMON + BUSY, backend) as program:
        program.end(0)
        for name in ("spin", "prints", "calls_back"):
            assert f"task '{name}' of executor 'net'" in program.err
        assert "Fatal" not in program.err


FORKED = """
run(leaves_a_thread)
pid = os.fork()
if pid == 0:
    sys.exit(3)
print("child", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is POSIX's")
def test_a_forked_child_has_none_of_its_parents_threads(backend: str) -> None:
    with Program("-W", "ignore::DeprecationWarning", "-c", COMMON + FORKED, backend) as program:
        assert program.end() == "child 3\n"
        assert program.err.count("task 'recv'") == 1


POOLS = (
    RUN
    + """
import os
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from glasspool import HybridExecutor
from glasspool_instrumentation import wrap_executor

def reads(path):
    open(path + ".begun", "w").close()
    with open(path) as pipe:
        print(pipe.readline().strip(), flush=True)

async def begun(path):
    while not os.path.exists(path + ".begun"):
        await anyio.sleep(0.01)

async def main(pool, path):
    async with HybridExecutor("net", max_in_flight=4) as executor:
        handle = await executor.submit(reads, path, runner=pool)
        await begun(path)
        handle.cancel()

def make(kind, workers):
    if kind == "thread":
        return ThreadPoolExecutor(workers)
    if kind == "wrapped":
        return wrap_executor(ThreadPoolExecutor(workers), "wrapped")
    if kind == "loky":
        from loky import ProcessPoolExecutor as loky
        return loky(workers)
    return ProcessPoolExecutor(workers, get_context(kind))

if __name__ == "__main__":
    left, other = sys.argv[4:]
    pool = make(sys.argv[2], int(sys.argv[3]))
    if other:
        pool.submit(reads, other) if sys.argv[3] == "2" else None
    run(main, pool, left)
    if other and sys.argv[3] == "1":
        pool.submit(reads, other)
    print("over", flush=True)
"""
)


@pytest.fixture
def pools(tmp_path: Path) -> Path:
    """The program above as a file, beside two pipes that keep its calls busy."""
    os.mkfifo(tmp_path / "left")
    os.mkfifo(tmp_path / "other")
    (tmp_path / "pools.py").write_text(POOLS)
    return tmp_path


PROCESSES = ["fork", "spawn", "loky"]


@pytest.mark.parametrize(
    ("backend", "kind"),
    [*((name, kind) for name in BACKENDS for kind in ("thread", "fork")),
     *(("asyncio", kind) for kind in ("wrapped", "spawn", "loky"))],
    indirect=["backend"],
)  # fmt: skip
def test_a_pool_that_was_left_busy_does_not_hold_up_the_end(backend: str, kind: str, pools: Path) -> None:
    if kind == "loky":
        pytest.importorskip("loky")
    with Program(str(pools / "pools.py"), backend, kind, "2", str(pools / "left"), "") as program:
        assert program.end() == "over\n"
        where = "" if kind in PROCESSES else r", in reads \(.*pools\.py:\d+\)"
        assert re.search(r"task 'reads' of executor 'net', for \d+\.\d s" + where, program.err), program.err


@pytest.mark.parametrize("kind", ["thread", *PROCESSES])
def test_other_work_of_such_a_pool_is_done_first(kind: str, pools: Path) -> None:
    if kind == "loky":
        pytest.importorskip("loky")
    arguments = ("asyncio", kind, "2", str(pools / "left"), str(pools / "other"))
    with Program(str(pools / "pools.py"), *arguments) as program:
        program.until_said("task 'reads' of executor 'net'")
        (pools / "other").write_text("done\n")  # blocks until it is read
        assert program.end() == "over\ndone\n"


def test_what_only_the_thread_that_was_left_busy_could_do_is_waited_for(pools: Path) -> None:
    arguments = ("asyncio", "thread", "1", str(pools / "left"), str(pools / "other"))
    with Program(str(pools / "pools.py"), *arguments) as program:
        program.until_said("the process waits for it")
        (pools / "left").write_text("first\n")
        (pools / "other").write_text("second\n")
        assert program.end() == "over\nfirst\nsecond\n"
