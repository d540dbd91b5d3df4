"""What a person sees in a terminal: the bar below, everything else above it, and a clean terminal at every end."""

from __future__ import annotations

import re
import signal

import pytest

from tests.programs import BACKENDS, RUN

from .terminals import Terminal

BEGIN = (
    RUN
    + """
import logging, os, subprocess, time
logging.basicConfig(level="INFO", format="log: %(message)s")  # its handler holds the stream that is there now
from glasspool import HybridExecutor, Retry, progress

async def work(number):
    await anyio.sleep(0.05)
    if number % 10 == 3:
        raise ValueError(number)
    return number
"""
)

WHOLE = (
    BEGIN
    + """
async def main():
    async with HybridExecutor("e", max_in_flight=4) as executor:
        once = Retry(ValueError, attempts=2, base=0.01)
        async for completed in progress(executor.as_completed(work, range(40), retry=once), "crawl"):
            number = completed.item.arguments[0]
            if number == 20:
                print("[/b] printed :smile:", "\\x1b[31mred\\x1b[0m", "x" * 150)
                logging.info("logged")
    print("after")
run(main)
"""
)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    pytest.importorskip(name)
    return name


def bars(lines: list[str], name: str = "crawl") -> list[str]:
    return [line for line in lines if line.startswith(name)]


def test_the_bar_is_below_and_what_others_write_above(backend):
    with Terminal("-c", WHOLE, backend) as terminal:
        lines = terminal.until(lambda lines: any("log: logged" in line for line in lines) and bars(lines))
        assert bars(lines) == [lines[-1]]
        assert re.search(r"crawl  [━╸╺ ]+  \d+ of 40  [\d.]+/s  0:0\d left  4 in flight", lines[-1])
        lines = terminal.end()
        assert terminal.status == 0
    assert lines[0] == "[/b] printed :smile: red " + "x" * 75
    assert lines[1] == "x" * 75
    assert lines[2] == "log: logged"
    assert re.search(r"^crawl  ━{40}  40 of 40  [\d.]+/s  in \d\.\d s  4 errors  4 retries$", lines[3])
    assert lines[4:] == ["after"]
    assert b"\x1b[?25l" not in terminal.raw  # the cursor was never hidden
    assert terminal.screen.cursor.x == 0


@pytest.mark.parametrize("columns", [1, 2, 10, 20, 40, 60, 80])
def test_nothing_wraps_in_a_narrow_terminal(columns):
    with Terminal(
        "-c",
        WHOLE.replace("print(", "unused = (").replace("logging.info(", "str("),
        "asyncio",
        columns=columns,
        rows=60,
    ) as terminal:
        seen = 0
        while terminal.read():
            seen = max(seen, len(terminal.lines))
        lines = terminal.end()
        assert terminal.status == 0
        assert seen <= 1
    if columns >= 20:
        assert "40 of 40" in bars(lines)[0]
    if columns >= 40:
        assert "4 errors" in bars(lines)[0]


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"PYTHONIOENCODING": "ascii"}, {"COLUMNS": "x"}])
def test_poor_terminals(env):
    with Terminal("-c", WHOLE.replace('"crawl"', '"crawl ü"'), "asyncio", **env) as terminal:
        lines = terminal.end()
        assert terminal.status == 0, lines
    assert any(line.startswith("crawl ") and "40 of 40" in line for line in lines)
    assert "Traceback" not in "\n".join(lines)
    if "NO_COLOR" in env:
        assert not re.search(rb"\x1b\[[0-9;]*3[2-7]", terminal.raw)  # red is the program's own
    if "TERM" in env:
        assert terminal.raw.count(b"\x1b") == 2


LEAVING = (
    BEGIN
    + """
async def slow(number):
    await anyio.sleep(0.01 if number < 5 else 60)
    return number

def source():  # of unknown length
    yield from range(100)

async def main():
    async with HybridExecutor("e", max_in_flight=3) as executor:
        try:
            async for completed in progress(executor.as_completed(slow, source()), "crawl"):
                if completed.value == 4 and {leaves!r} != "interrupt":
                    {leaves}
        finally:
            print("left", sys.stdout is sys.__stdout__)
        print("goes on")
    print("end")

{interrupt}
run(main)
"""
)


def leaving(leaves: str, interrupt: str = "") -> str:
    program = LEAVING.replace("{leaves!r}", repr(leaves)).replace("{interrupt}", interrupt)
    return program.replace("{leaves}", "pass" if leaves == "interrupt" else leaves)


def test_leaving_early(backend):
    with Terminal("-c", leaving("break"), backend) as terminal:
        lines = terminal.end()
        assert terminal.status == 0
    assert re.search(r"^crawl  [45] done  [\d.,]+/s  in \d\.\d s .*ended early$", lines[0])
    assert lines[1:] == ["left True", "goes on", "end"]


def test_an_error_of_the_consumer(backend):
    with Terminal("-c", leaving("raise LookupError(4)"), backend, columns=200) as terminal:
        lines = terminal.end()
        assert terminal.status == 1
    assert re.search(r"^crawl  [45] done .*ended early$", lines[0])
    assert lines[1] == "left True"
    assert lines[2].startswith("Traceback")
    assert lines[-1] == "LookupError: 4"


def test_ctrl_c(backend):
    with Terminal("-c", leaving("interrupt"), backend, columns=200, rows=120) as terminal:
        terminal.until(lambda lines: bars(lines) and "5 done" in bars(lines)[0])
        terminal.press(b"\x03")
        lines = terminal.end()
        assert terminal.status in (1, 130, -signal.SIGINT)
    text = "\n".join(lines)
    assert "left True" in text
    assert lines[-1].strip("| +-") == "KeyboardInterrupt" or "KeyboardInterrupt" in text
    assert len(bars(lines)) <= 1
    assert not terminal.screen.cursor.hidden
    assert terminal.screen.cursor.x == 0


def test_a_killed_process_leaves_a_cursor():
    kill = leaving("os.kill(os.getpid(), 9)")
    with Terminal("-c", kill, "asyncio") as terminal:
        terminal.end()
        assert terminal.status == -signal.SIGKILL
    assert not terminal.screen.cursor.hidden


MORE = (
    BEGIN
    + """
async def one(executor, name, number):
    async for _ in progress(executor.as_completed(work, [1] * number), name):
        pass

async def main():
    async with HybridExecutor("e", max_in_flight=4) as executor:
        print("unfinished", end="", flush=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one, executor, "first", 8)
            tasks.start_soon(one, executor, "second", 40)
            await anyio.sleep(0.1)
            print(" line")
run(main)
"""
)


def test_several_at_once_have_a_line_each(backend):
    with Terminal("-c", MORE, backend) as terminal:
        terminal.until(lambda lines: bars(lines, "first") and bars(lines, "second"))
        lines = terminal.end()
        assert terminal.status == 0
    (first,), (second,) = bars(lines, "first"), bars(lines, "second")
    assert "8 of 8" in first
    assert "40 of 40" in second
    assert [line.strip() for line in lines[:2]] == ["unfinished", "line"]


STREAMS = (
    BEGIN
    + """
async def main():
    async with HybridExecutor("e", max_in_flight=4) as executor:
        async for number in progress(executor.map(work, [1] * 8), "crawl"):
            print("to a file" if not sys.stdout.isatty() else "to the terminal")
            assert sys.stdout.encoding and sys.stdout.fileno() == 1
sys.stdout = open(sys.argv[2], "w") if len(sys.argv) > 2 else sys.stdout
run(main)
"""
)


def test_a_file_for_stdout_gets_what_is_printed(tmp_path):
    program = STREAMS.replace("sys.stdout.fileno() == 1", "True")
    with Terminal("-c", program, "asyncio", str(tmp_path / "out")) as terminal:
        lines = terminal.end()
        assert terminal.status == 0, lines
    assert (tmp_path / "out").read_text() == "to a file\n" * 8
    assert len(lines) == 1


def test_stdout_keeps_its_ways():
    with Terminal("-c", STREAMS, "asyncio") as terminal:
        lines = terminal.end()
        assert terminal.status == 0, lines
    assert lines[:8] == ["to the terminal"] * 8
    assert "8 of 8" in lines[8]


FORKING = (
    BEGIN
    + """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

def in_child(number):
    sys.stdout.write(f"child {number} {type(sys.stdout).__name__}\\n")  # in one piece: two children write
    logging.info("logged by a child")
    return number

async def main():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        async with HybridExecutor("e", max_in_flight=2) as executor:
            async for _ in progress(executor.map(in_child, range(6), runner=pool), "crawl"):
                pass
run(main)
"""
)


def test_forked_children_write_to_the_terminal_themselves():
    with Terminal("-W", "ignore", "-c", FORKING, "asyncio") as terminal:
        lines = terminal.end()
        assert terminal.status == 0, lines
    text = "\n".join(lines)
    assert all(f"child {number} TextIOWrapper" in text for number in range(6))
    assert text.count("logged by a child") == 6
    assert lines[-1].startswith("crawl")
    assert "6 of 6" in lines[-1]


def test_without_rich_there_are_lines_and_advice():
    with Terminal("-c", "import sys; sys.modules['rich'] = None" + WHOLE, "asyncio", columns=150) as terminal:
        lines = terminal.end()
        assert terminal.status == 0
    assert [line for line in lines if "pip install" in line] == [
        "glasspool: without rich there is no bar, only a line every few seconds: pip install 'glasspool[cli]'"
    ]
    assert re.search(r"^crawl: 40 of 40, 100%, [\d.]+/s, in \d\.\d s, 4 errors, 4 retries$", lines[-2])


HELD = (
    BEGIN
    + """
async def main():
    async with HybridExecutor("e", max_in_flight=4) as executor:
        held = progress(executor.as_completed(work, range(400)), "crawl")
        async for completed in held:
            break
        handler = logging.StreamHandler()  # made while there is a bar: it holds what stands for stderr
        logging.getLogger("made.later").addHandler(handler)
        globals().update(held=held, handler=handler)
        await executor.shutdown(grace=0)
run(main)
logging.getLogger("made.later").warning("goes above")
"""
)


def test_a_bar_that_is_still_held_at_the_end():
    with Terminal("-c", HELD, "asyncio") as terminal:
        lines = terminal.end()
        assert terminal.status == 0, lines
    assert lines[:2] == ["goes above", "log: goes above"]
    assert bars(lines) == [lines[-1]]
    assert "ended early" in lines[-1]
