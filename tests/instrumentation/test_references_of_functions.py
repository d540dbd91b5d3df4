"""Functions under ``@instrumented`` keep no references to their calls."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable
from typing import Any

import pytest

import glasspool_instrumentation as gi

from . import keeping
from .keeping import FUNCTIONS, Boom, Compare, Run, Thing, step


def _bare(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def _compare(compare: Compare, scenario: Callable[[Callable[..., Any], Run], None]) -> None:
    compare(functools.partial(scenario, _bare), lambda: None, functools.partial(scenario, gi.instrumented))


@pytest.mark.parametrize("outcome", ["success", "failure"])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_calls(outcome: str, kind: str, compare: Compare) -> None:
    def scenario(decorate: Callable[..., Any], run: Run) -> None:
        sync, later = decorate(FUNCTIONS[outcome]), decorate(step)

        def call() -> Any:
            if kind == "sync":
                return sync(run.watch("bound", Thing()), run.watch("argument", Thing()))
            return asyncio.run(later(run.watch("argument", Thing()), outcome))

        def caught() -> BaseException | None:
            try:
                run.watch("result", call())
            except Boom as error:
                return error
            return None

        with run.carrying():
            error = caught()
        if error is not None:
            run.watch("error", error)
        run.check("ended")
        del error
        run.check("dropped")

    _compare(compare, scenario)


def test_coroutines_that_are_dropped(compare: Compare) -> None:
    def scenario(decorate: Callable[..., Any], run: Run) -> None:
        later = decorate(step)

        async def main() -> None:
            with run.carrying():
                coro = later(run.watch("argument", Thing()), "cancelled")
                coro.send(None)
            del coro
            await run.check_soon("dropped")

        contextvars.copy_context().run(asyncio.run, main())
        run.check("without its loop")

    _compare(compare, scenario)


def test_what_is_kept_is_found(compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "PATIENCE", 0.1)
    kept: list[Any] = []

    def scenario(decorate: Callable[..., Any], run: Run) -> None:
        decorate(FUNCTIONS["success"])(run.watch("bound", Thing()), run.watch("argument", Thing()))
        run.check("ended")

    def keeps(bound: Any, argument: Any) -> None:
        kept.append(argument)

    with pytest.raises(AssertionError, match=r"alive at 'ended', and not without us: \['argument'\]"):
        compare(functools.partial(scenario, _bare), lambda: None, functools.partial(scenario, lambda function: keeps))
