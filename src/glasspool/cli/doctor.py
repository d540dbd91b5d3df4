"""``glasspool doctor``: what would lose telemetry, and the fix."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from glasspool._doctor import Finding, examine_command, examine_environment, examine_page

__all__ = ["doctor"]

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}
_NARROWEST = 40


def doctor(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[URL | -- COMMAND...]", help="A page of metrics, or a program to start.", show_default=False
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=3600.0, help="How long COMMAND runs before it is examined and ended.")
    ] = 5.0,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=600.0, help="Seconds for each attempt to reach something.")
    ] = 3.0,
    as_json: Annotated[bool, typer.Option("--json", help="Write a list of findings as JSON.")] = False,
) -> None:
    """Find settings and set-ups that lose telemetry, and say how to correct them.

    Without arguments it examines the variables and packages of this environment, and sends an empty export to the OTLP
    endpoint. With a URL it reads the /metrics of a running process. With `-- COMMAND` it starts the program, has its
    processes examine themselves after some seconds, and ends it.

    Exit status: 1 if there is a problem.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what gRPC writes itself is said by a finding
    given = what or []
    if not given:
        findings = examine_environment(timeout=timeout)
    elif len(given) == 1 and "--" not in sys.argv and _is_address(given[0]):
        findings = examine_page(given[0], timeout)
    elif "--" in sys.argv:
        findings = examine_command(given, seconds=seconds, timeout=timeout)
    else:
        raise typer.BadParameter("write a URL, such as http://localhost:9464, or -- before a command")
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(each) for each in findings], indent=2))
    else:
        _print(findings)
    raise typer.Exit(any(each.level == "problem" for each in findings))


def _is_address(text: str) -> bool:
    return "://" in text or text.rpartition(":")[2].partition("/")[0].isdecimal()


def _print(findings: Sequence[Finding]) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    # To a file or a pipe a finding is one line, for grep; a terminal wraps it.
    width = max(_NARROWEST, console.width) if console.is_terminal else None
    for finding in findings:
        console.print(finding.level, style=None if console.no_color else _STYLES[finding.level], end="")
        text = " ".join(filter(None, [f"{finding.check}: {finding.found}", finding.why, _fix(finding)]))
        first = len("problem") - len(finding.level) + 2
        if width is None:
            console.print(f"{' ' * first}{text}", soft_wrap=True)
            continue
        indent = " " * 9
        lines = textwrap.wrap(text, width - 10, break_on_hyphens=False)
        console.print(f"{' ' * first}{lines[0]}", soft_wrap=True)
        for line in lines[1:]:
            console.print(f"{indent}{line}", soft_wrap=True)
    count: Counter[str] = Counter(each.level for each in findings)
    named = (("problem", "problems"), ("warning", "warnings"), ("ok", "ok"))
    words = [f"{count[one]} {one if count[one] == 1 else many}" for one, many in named]
    console.print(", ".join(words), soft_wrap=True)


def _fix(finding: Finding) -> str:
    return f"Fix: {finding.fix}" if finding.fix else ""
