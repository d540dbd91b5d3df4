"""``glasspool top`` on a terminal."""

from __future__ import annotations

import pytest

from tests.backends.support import free_port

from .support import OnTerminal as top
from .support import busy, port_of, row_of


def test_it_shows_executors_opens_one_and_says_where_its_task_is():
    with busy() as program, top(f":{port_of(program)}") as terminal:
        lines = terminal.until(lambda lines: "8/8" in row_of(lines, "mail") and "finished/s" in "".join(lines))
        assert any(line.strip().startswith("event loop") for line in lines)
        terminal.keep("reports", gone="mail")
        terminal.press(b"\r")
        terminal.until(lambda lines: any("abandoned-threads.md" in line for line in lines))
        lines = terminal.until(lambda lines: any(" in read_pages" in line for line in lines))
        assert any("parse_report" in line and "busy_program.py" in line for line in lines)
        terminal.press(b"\x1b")
        terminal.until(lambda lines: "4/4" in row_of(lines, "reports"))
        terminal.press(b"q")
        terminal.end()
        assert terminal.status == 0


def test_all_tasks_and_the_way_through_them():
    with busy() as program, top(f":{port_of(program)}") as terminal:
        terminal.until(lambda lines: row_of(lines, "mail"))
        terminal.press(b"t")
        terminal.until(lambda lines: any("the oldest tasks of all executors" in line for line in lines))
        lines = terminal.until(lambda lines: any(line.lstrip().startswith("task ") for line in lines))
        first = next(line for line in lines if line.lstrip().startswith("task "))
        terminal.press(b"\x1b[B")
        terminal.until(lambda lines: any(line.lstrip().startswith("task ") and line.split()[1] != first.split()[1]
                                         for line in lines))  # fmt: skip
        terminal.press(b"q")
        terminal.end()
        assert terminal.status == 0


def test_it_sorts_by_another_column_and_the_other_way_round():
    with busy() as program, top(f":{port_of(program)}") as terminal:
        order = ["mail", "reports", "thumbnails"]

        def seen(lines: list[str]) -> list[str]:
            return [line.split()[0] for line in lines if line.split()[:1] and line.split()[0] in order]

        terminal.until(lambda lines: set(seen(lines)) == set(order))
        terminal.press(b"s")
        terminal.until(lambda lines: "by executor" in lines[0] and seen(lines) == order)
        terminal.press(b"r")
        terminal.until(lambda lines: seen(lines) == order[::-1])
        terminal.press(b"q")
        terminal.end()


def test_it_says_when_the_program_is_away_and_goes_on_when_it_is_back():
    port = free_port()
    with top(f":{port}") as terminal:
        terminal.until(lambda lines: any("nothing can be reached there" in line for line in lines))
        with busy(port):
            terminal.until(lambda lines: row_of(lines, "mail") and not any("be reached" in line for line in lines))
        terminal.until(lambda lines: any("nothing can be reached there" in line for line in lines))
        terminal.press(b"q")
        terminal.end()
        assert terminal.status == 0


def test_while_it_is_paused_nothing_is_asked():
    port = free_port()
    with busy(port) as program, top(f":{port}") as terminal:
        terminal.until(lambda lines: row_of(lines, "mail"))
        terminal.press(b"p")
        terminal.until(lambda lines: "paused" in lines[0])
        program.process.kill()
        program.process.wait()
        terminal.press(b"t")  # what is opened is asked for at once
        terminal.until(lambda lines: any("nothing can be reached there" in line for line in lines))
        terminal.press(b"\x1b")
        terminal.until(lambda lines: "paused" in lines[0])
        terminal.press(b"p")
        terminal.until(lambda lines: any("nothing can be reached there" in line for line in lines))
        terminal.press(b"q")
        terminal.end()


@pytest.mark.parametrize("colours", [True, False])
def test_forty_columns(colours):
    env = {} if colours else {"NO_COLOR": "1"}
    with busy() as program, top(f":{port_of(program)}", columns=40, rows=20, **env) as terminal:
        lines = terminal.until(lambda lines: "4/4" in row_of(lines, "reports"))
        assert all(len(line) <= 40 for line in lines)
        assert "wrong" in next(line for line in lines if "executor " in line)
        terminal.press(b"t")
        terminal.until(lambda lines: any(line.lstrip().startswith("task ") for line in lines))
        terminal.press(b"q")
        terminal.end()
        assert terminal.status == 0


def test_it_gives_the_terminal_back():
    with busy() as program, top(f":{port_of(program)}") as terminal:
        terminal.until(lambda lines: row_of(lines, "mail"))
        terminal.press(b"q")
        terminal.end()
        assert b"\x1b[?1049l" in terminal.raw
        assert b"\x1b[?25h" in terminal.raw


def test_two_processes_are_told_apart():
    with busy() as one, busy() as other:
        ports = [port_of(program) for program in (one, other)]
        with top(*(f":{port}" for port in ports), columns=160) as terminal:
            terminal.until(lambda lines: all(any(f":{port} " in line for line in lines) for port in ports))
            terminal.press(b"q")
            terminal.end()
