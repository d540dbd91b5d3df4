"""How ``glasspool top`` ends on a terminal, and with what status; what it does with the keyboard and with colours."""

from __future__ import annotations

import re
import signal

import pytest

from tests.backends.support import free_port

from .support import OnTerminal, answers, busy, port_of, row_of
from .test_bad_input import ROW, live

RESET = (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1000l", b"\x1b[?1003l", b"\x1b[?2004l")
"""The alternate screen, the hidden cursor, the mouse and pasting are given up."""

COLOURS = re.compile(rb"[349][0-9]|10[0-7]")
"""Of text and background, the terminal's default ones among them."""


def one(name="mail"):
    return answers({"/live.json": (200, "application/json", live({**ROW, "name": name}))})


def kept(terminal):
    return [reset for reset in RESET if reset not in terminal.raw]


@pytest.mark.parametrize("opened", [b"", b"t", b"/"])
def test_ctrl_c_quits_as_q_does(opened):
    with one() as port, OnTerminal(f":{port}") as terminal:
        terminal.until(lambda lines: row_of(lines, "mail"))
        terminal.press(opened)
        if opened:
            terminal.until(lambda lines: any("oldest tasks" in line or "part of a name" in line for line in lines))
        terminal.press(b"\x03")
        terminal.end()
    assert kept(terminal) == []
    assert terminal.status == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_as_q_does(number):
    with one() as port, OnTerminal(f":{port}") as terminal:
        terminal.until(lambda lines: row_of(lines, "mail"))
        terminal.signal(number)
        terminal.end()
    assert kept(terminal) == []
    assert terminal.status == 0


def test_it_ends_when_its_window_is_closed():
    with one() as port, OnTerminal(f":{port}") as terminal:
        terminal.until(lambda lines: row_of(lines, "mail"))
        assert terminal.hang_up() == -signal.SIGHUP


@pytest.mark.parametrize("end", [b"q", b"\x03", signal.SIGTERM])
def test_the_status_is_1_if_an_address_has_shown_nothing(end):
    away = f"http://127.0.0.1:{free_port()}/metrics"
    with one() as port, OnTerminal(f":{port}", away) as terminal:
        terminal.until(lambda lines: row_of(lines, "mail") and any("be reached" in line for line in lines))
        if isinstance(end, bytes):
            terminal.press(end)
        else:
            terminal.signal(end)
        left = "".join(terminal.end())
    assert terminal.status == 1
    assert f"{away}: nothing can be reached there: Connection refused." in left
    assert f":{port}/" not in left


def test_the_status_is_0_if_it_showed_something_at_one_time():
    port = free_port()
    with OnTerminal(f":{port}") as terminal:
        with busy(port):
            terminal.until(lambda lines: row_of(lines, "mail"))
        terminal.until(lambda lines: any("nothing can be reached there" in line for line in lines))
        terminal.press(b"q")
        terminal.end()
    assert terminal.status == 0


@pytest.mark.parametrize("no_color", ["1", "yes"])
def test_no_color_means_no_colour_at_all(no_color):
    with busy() as program, OnTerminal(f":{port_of(program)}", NO_COLOR=no_color) as terminal:
        terminal.until(lambda lines: "4/4" in row_of(lines, "reports"))
        terminal.keep("reports", gone="mail")
        terminal.press(b"\r")
        terminal.until(lambda lines: any(" in read_pages" in line for line in lines))
        terminal.press(b"q")
        terminal.end()
    codes = {code for found in re.findall(rb"\x1b\[([\d;]*)m", terminal.raw) for code in found.split(b";")}
    assert [code for code in codes if COLOURS.fullmatch(code)] == []


def test_without_colours_the_cursor_is_still_seen():
    with busy() as program, OnTerminal(f":{port_of(program)}", NO_COLOR="1") as terminal:
        terminal.until(lambda lines: row_of(lines, "reports"))

        def marked() -> list[str]:
            return [line.split()[0] for number, line in enumerate(terminal.screen.display)
                    if line.split() and terminal.screen.buffer[number][2].reverse]  # fmt: skip

        terminal.until(lambda _: len(marked()) == 1)
        (first,) = marked()
        terminal.press(b"\x1b[B")
        terminal.until(lambda _: len(marked()) == 1 and marked() != [first])
        terminal.press(b"q")
        terminal.end()


def test_escape_closes_the_filter_box_and_clears_the_filter():
    with busy() as program, OnTerminal(f":{port_of(program)}") as terminal:
        terminal.until(lambda lines: row_of(lines, "mail"))
        for given in (b"reports", b""):
            terminal.press(b"/")
            terminal.until(lambda lines: any("part of a name" in line for line in lines))
            terminal.press(given)
            if given:
                terminal.until(lambda lines: not row_of(lines, "mail") and "filter" in lines[0])
            terminal.press(b"\x1b")
            terminal.until(lambda lines: row_of(lines, "mail") and "filter" not in lines[0])
            terminal.until(lambda lines: not any("part of a name" in line for line in lines))
        terminal.press(b"q")
        terminal.end()


def test_a_filter_that_was_entered_is_cleared_by_escape():
    with busy() as program, OnTerminal(f":{port_of(program)}") as terminal:
        terminal.until(lambda lines: row_of(lines, "mail"))
        terminal.press(b"/")
        terminal.until(lambda lines: any("part of a name" in line for line in lines))
        terminal.press(b"reports\r")
        terminal.until(lambda lines: not row_of(lines, "mail") and "1 executor  " in lines[0])
        terminal.press(b"\x1b")
        terminal.until(lambda lines: row_of(lines, "mail") and "4 executors  " in lines[0])
        terminal.press(b"q")
        terminal.end()


def test_one_executor_is_no_executors():
    with one() as port, OnTerminal(f":{port}") as terminal:
        terminal.until(lambda lines: row_of(lines, "mail") and "  1 executor  " in lines[0])
        terminal.press(b"q")
        terminal.end()
