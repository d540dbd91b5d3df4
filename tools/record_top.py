"""Record ``glasspool top`` for the documentation, as text, from a program that runs: ``python -m tools.record_top``.

Run it in a clone whose path may be read by everybody: stacks show where files are.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.progress.terminals import Terminal
from tests.top.support import COMMAND, busy, port_of, run

COLUMNS, ROWS = 120, 34


def main() -> None:
    """Print the overview, one executor, and what the other commands write."""
    with busy() as program, Terminal(*COMMAND, "top", f":{port_of(program)}", columns=COLUMNS, rows=ROWS) as terminal:
        for keys, seen in (
            (b"", lambda lines: "full for" in "".join(lines)),
            (b"\x1b[B\r", lambda lines: any("in read_pages" in line for line in lines)),
        ):
            show(terminal, keys, seen)
        url = f"127.0.0.1:{port_of(program)}"
        for arguments in (("top", "--once", url), ("tasks", url, "--executor", "reports", "--stacks")):
            print("$ glasspool", *arguments)
            print(run(*arguments).stdout)


def show(terminal: Terminal, keys: bytes, seen: Callable[[list[str]], bool]) -> None:
    """Press these keys, and print what is on the screen when this is to be seen."""
    terminal.press(keys)
    terminal.until(seen)
    before = None
    while before != (before := "".join(terminal.lines)):  # until it is drawn whole
        for _ in range(10):
            terminal.read()
    print("\n".join(line.rstrip() for line in terminal.screen.display).rstrip())
    print("-" * COLUMNS)


if __name__ == "__main__":
    main()
