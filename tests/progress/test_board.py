"""The display: which one there is, what breaks it, and who else writes."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from glasspool._progress import display as displays
from glasspool._progress.bar import Bar
from glasspool._progress.board import Board
from glasspool._progress.lines import Lines
from glasspool._progress.notebook import Notebook
from glasspool._progress.streams import Redirection, is_terminal
from glasspool._progress.turn import Turn
from tests.programs import BACKENDS, RUN
from tests.telemetry.support import LIMIT, clean_environment

from .test_figures import Tasks


class Seen:
    """A display that notes what it is told."""

    every = 0.01

    def __init__(self, breaks: str = "") -> None:
        self.told: list[str] = []
        self.drawn = threading.Event()
        self._breaks = breaks

    def _note(self, what: str) -> None:
        self.told.append(what)
        if what == self._breaks:
            raise LookupError(what)

    def begin(self, bars: Sequence[Bar]) -> None:
        self._note("begin")

    def draw(self, bars: Sequence[Bar]) -> None:
        self.drawn.set()
        if self._breaks == "draw":
            self._note("draw")

    def hide(self, bar: Bar, others: Sequence[Bar]) -> None:
        self._note("hide")

    def end(self, bar: Bar, others: Sequence[Bar]) -> None:
        self._note("end")

    def close(self) -> None:
        self._note("close")

    def abandon(self) -> None:
        self._note("abandon")


def bar() -> Bar:
    return Bar("it", Tasks("active"), None, growing=False)


def test_a_bar_is_drawn_until_it_ends():
    seen = Seen()
    board, shown = Board(lambda _turn: seen), bar()
    board.show(shown)
    board.show(shown)
    assert seen.drawn.wait(LIMIT)
    board.hide(shown)
    board.hide(shown)
    board.end(shown)  # what was hidden is shown once more
    board.end(shown)
    assert seen.told == ["begin", "hide", "close", "begin", "end", "close"]


def test_two_share_a_display_and_the_exit_ends_both():
    seen = Seen()
    board = Board(lambda _turn: seen)
    board.show(bar())
    board.show(bar())
    board.close()
    assert seen.told == ["begin", "begin", "end", "end", "close"]


@pytest.mark.parametrize("breaks", ["begin", "draw", "hide", "end", "close"])
def test_a_broken_display_is_dropped_and_said_once(breaks, caplog):
    seen = Seen(breaks)
    board, shown = Board(lambda _turn: seen), bar()
    board.show(shown)
    if breaks == "draw":
        assert seen.drawn.wait(LIMIT)
        deadline = time.monotonic() + LIMIT
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.01)
    elif breaks == "hide":
        board.hide(shown)
    elif breaks != "begin":
        board.end(shown)
    assert [record.message for record in caplog.records] == ["the display of progress failed and is not shown any more"]
    assert breaks in seen.told


def test_without_threads_there_is_a_bar_nevertheless(monkeypatch):
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    seen = Seen()
    board, shown = Board(lambda _turn: seen), bar()
    board.show(shown)
    board.end(shown)
    assert seen.told == ["begin", "end", "close"]


def test_a_child_process_forgets_the_bars():
    seen = Seen()
    board = Board(lambda _turn: seen)
    board.show(bar())
    board.forget()
    board.close()
    assert seen.told == ["begin", "abandon"]


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "expected"), [(None, False), (io.StringIO(), False), (Tty(), True), (object(), False)]
)
def test_what_is_a_terminal(stream, expected):
    assert is_terminal(stream) is expected
    closed = io.StringIO()
    closed.close()
    assert not is_terminal(closed)


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_that_can_do_nothing_gets_lines(term, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Tty())
    monkeypatch.setenv("TERM", term)
    assert isinstance(displays.chosen(Turn()), Lines)


class Places:
    """The standard streams, redirected."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.out, self.err = Tty(), Tty()
        self._monkeypatch = monkeypatch
        self.above: list[str] = []

    def begin(self) -> Redirection:
        self._monkeypatch.setattr(sys, "stdout", self.out)  # not in a fixture: pytest replaces them after that
        self._monkeypatch.setattr(sys, "stderr", self.err)
        return Redirection(Turn(), lambda stream, text: self.above.append(text))


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Places:
    return Places(monkeypatch)


def test_whole_lines_go_above_and_the_rest_when_it_is_flushed(places):
    redirection = places.begin()
    print("one", "line")
    print("half", end=" ")
    assert places.above == ["one line\n"]
    print("and half")
    print("prompt? ", end="", flush=True)
    sys.stderr.writelines(["a\n", "b\nc"])
    with pytest.raises(TypeError):
        sys.stdout.write(b"no")  # type: ignore[arg-type]  # as everywhere
    assert places.above == ["one line\n", "half and half\n", "prompt? ", "a\nb\n"]
    redirection.release()
    assert places.above[-1] == "c"
    assert (sys.stdout, sys.stderr) == (places.out, places.err)


def test_who_keeps_the_stand_in_writes_to_the_stream_later(places):
    redirection = places.begin()
    kept = sys.stdout
    redirection.release()
    print("later", file=kept, flush=True)
    assert kept.isatty()
    assert places.out.getvalue() == "later\n"
    assert places.above == []


def test_streams_that_others_have_replaced_meanwhile_stay(places):
    redirection = places.begin()
    own = io.StringIO()
    sys.stdout = own
    redirection.release()
    assert sys.stdout is own
    assert sys.stderr is places.err


def test_handlers_made_before_and_meanwhile(places):
    logger = logging.getLogger("tests.progress.below")
    before, elsewhere = logging.StreamHandler(places.err), logging.StreamHandler(io.StringIO())
    logger.addHandler(before)
    logger.addHandler(elsewhere)
    redirection = places.begin()
    meanwhile = logging.StreamHandler()
    logger.addHandler(meanwhile)
    try:
        logger.warning("said")
        assert places.above == ["said\n"] * 2
    finally:
        redirection.release()
        logger.handlers.clear()
    assert before.stream is meanwhile.stream is places.err
    assert elsewhere.stream is not places.err


# -- a notebook ----------------------------------------------------------------------------------------------------


class Shell:
    kernel = object()


def test_a_notebook_is_found_by_its_kernel(monkeypatch):
    class IPython:
        get_ipython: Callable[[], Any] = staticmethod(lambda: None)

    monkeypatch.setitem(sys.modules, "IPython", IPython)
    assert not isinstance(displays.chosen(Turn()), Notebook)
    IPython.get_ipython = staticmethod(Shell)
    assert isinstance(displays.chosen(Turn()), Notebook)


CELL = """
import anyio
from glasspool import HybridExecutor, progress

async def work(number):
    await anyio.sleep(0.05)
    return number

async with HybridExecutor("e", max_in_flight=4) as executor:
    async for completed in progress(executor.as_completed(work, range(60)), "<crawl>"):
        if completed.value == 30:
            print("printed")
"""


def test_a_real_notebook():
    nbformat: Any = pytest.importorskip("nbformat")
    nbclient: Any = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    updates: list[str] = []

    class Client(nbclient.NotebookClient):  # type: ignore[misc]  # an optional library
        def process_message(self, message: Any, *rest: Any) -> Any:
            if message["msg_type"] == "update_display_data":
                updates.append(message["content"]["data"]["text/html"])
            return super().process_message(message, *rest)

    Client(notebook, timeout=LIMIT, kernel_name="python3").execute()
    shown, printed = notebook.cells[0].outputs
    assert printed["text"] == "printed\n"
    assert shown["data"]["text/plain"].startswith("<crawl>: 60 of 60, 100%, ")
    assert shown["data"]["text/html"].startswith(
        '<div style="font-variant-numeric: tabular-nums"><b>&lt;crawl&gt;</b> <progress value="60" max="60"'
    )
    assert len(updates) >= 2
    assert "widget" not in str(notebook)


# -- no terminal ---------------------------------------------------------------------------------------------------

LINES = (
    RUN
    + """
from glasspool import HybridExecutor, progress
from glasspool._progress.lines import Lines
Lines.every = 0.3  # a test does not take a minute

async def main():
    async with HybridExecutor("e", max_in_flight=2) as executor:
        async for _ in progress(executor.as_completed(anyio.sleep, [0.1] * 20), "crawl"):
            print("out")
run(main)
"""
)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_line_now_and_then_where_there_is_no_terminal(backend, tmp_path):
    pytest.importorskip(backend)
    with (tmp_path / "err").open("w") as err:
        done = subprocess.run(
            [sys.executable, "-c", LINES, backend], stderr=err, stdout=subprocess.PIPE, text=True, check=True,
            env=clean_environment(FORCE_COLOR="1"), timeout=LIMIT,
        )  # fmt: skip
    assert done.stdout == "out\n" * 20
    lines = (tmp_path / "err").read_text().splitlines()
    assert len(lines) >= 3
    assert all(line.startswith("crawl: ") and line.isprintable() for line in lines)
    assert lines[-1].startswith("crawl: 20 of 20, 100%, ")


def test_a_reader_that_has_gone_does_not_matter():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", LINES, "asyncio"], stderr=writing, stdout=subprocess.PIPE, check=False, text=True,
        env=clean_environment(), timeout=LIMIT,
    )  # fmt: skip
    os.close(writing)
    assert done.stdout == "out\n" * 20
