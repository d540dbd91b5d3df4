"""``glasspool top`` and ``glasspool tasks``: the executors and tasks of running processes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from glasspool._top import Answer, Source, report

__all__ = ["tasks", "top"]

A = TypeVar("A", bound=Answer)

HERE = "localhost:9464"
"""Where a process is that was configured as the documentation shows it."""

Urls = Annotated[
    list[str] | None,
    typer.Argument(metavar="[URL]...", help=f"Pages of metrics, or live pages; default {HERE}.", show_default=False),
]
Timeout = Annotated[float, typer.Option(min=0.1, max=600.0, help="Seconds for each answer.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, once.")]


def top(
    urls: Urls = None,
    interval: Annotated[float, typer.Option(min=0.2, max=3600.0, help="Seconds between two looks.")] = 2.0,
    timeout: Timeout = 3.0,
    once: Annotated[bool, typer.Option("--once", help="Write one table, and what is wrong.")] = False,
    as_json: AsJson = False,
    seconds: Annotated[
        float,
        typer.Option(min=0.5, max=60.0, help="With --once and --json: what rates are of, if nothing is known yet."),
    ] = 1.0,
) -> None:
    """Show the executors of running processes: slots, queues, waits, rates, and what is wrong.

    It reads the live page of a process, or any page of its metrics. On a terminal it goes on; keys sort, filter, and
    open an executor with its tasks and their stacks.

    Exit status: 1 if a URL showed nothing.
    """
    sources = _sources(urls, timeout)
    if not once and not as_json:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise typer.BadParameter("this is no terminal: use --once or --json")
        from glasspool._top.screens import TopApp  # late: it takes long to import

        shown = TopApp(sources, interval)
        shown.run()
        _end(shown.unshown)
        raise typer.Exit(shown.return_code or 0)  # not 0 after an error of the screen itself
    looks = _of_all(sources, Source.look)
    if any(row.window is None for look in looks for row in look.rows):  # nobody has looked before, so no rate is known
        time.sleep(seconds)
        looks = _of_all(sources, Source.look)
    if as_json:
        typer.echo(json.dumps(report.look_json(looks), indent=2))
    elif any(not look.trouble for look in looks):
        _write(report.looked([look for look in looks if not look.trouble], _width()))
    _end(looks)


def tasks(
    urls: Urls = None,
    stacks: Annotated[bool, typer.Option("--stacks", help="Write where each task is.")] = False,
    older_than: Annotated[float, typer.Option(min=0.0, help="Only tasks of at least this age, in seconds.")] = 0.0,
    executor: Annotated[str | None, typer.Option(help="Only tasks of the executor of this name.")] = None,
    timeout: Timeout = 3.0,
    as_json: AsJson = False,
) -> None:
    """Write the oldest tasks of running processes, once: what runs, what waits, and where it is.

    Exit status: 1 if a URL showed nothing, or if no executor has the name that was given.
    """
    sources = _sources(urls, timeout)
    found = report.limited(_of_all(sources, partial(Source.tasks, executor=executor)), older_than)
    chosen = [task for task in report.by_age(found) if task.age >= older_than and executor in (None, task.executor)]
    missing = ""
    if executor is not None and not any(task.executor == executor for each in found for task in each.tasks):
        answering = [source for source, each in zip(sources, found, strict=True) if not each.trouble]
        missing = report.missing(executor, _of_all(answering, Source.look))
    if as_json:
        typer.echo(json.dumps(report.tasks_json(found, chosen), indent=2))
    elif not missing and any(not each.trouble for each in found):
        _write(report.stacks(chosen) if stacks else report.told(chosen, _width()))
    _end(found, missing)


def _sources(urls: list[str] | None, timeout: float) -> list[Source]:
    return [Source(url, timeout) for url in dict.fromkeys(urls or [HERE])]


def _of_all(sources: Sequence[Source], ask: Callable[[Source], A]) -> list[A]:
    with ThreadPoolExecutor(max(1, len(sources))) as pool:
        return list(pool.map(ask, sources))


def _width() -> int | None:
    return Console().width if sys.stdout.isatty() else None


def _write(lines: Sequence[str]) -> None:
    for line in lines:
        typer.echo(line)


def _end(found: Sequence[Answer], missing: str = "") -> None:
    for said in (*(each.said for each in found), missing):
        if said:
            typer.echo(said, err=True)
    if missing or any(each.trouble for each in found):
        raise typer.Exit(1)
