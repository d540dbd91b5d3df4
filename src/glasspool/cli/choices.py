"""The common options of rules and dashboards, as command-line options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Annotated, Any

import typer

from glasspool._monitoring import OptionError, RuleOptions
from glasspool._monitoring.options import flag

__all__ = ["chosen", "takes_rule_options"]

_LISTS = {"wait_objectives": "NAME=SECONDS", "reject_reasons": "REASON"}


def takes_rule_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for each field of RuleOptions to a command, which gets them as keywords and passes them to
    `chosen`."""
    parameters = inspect.signature(command, eval_str=True).parameters.values()
    own = [each for each in parameters if each.kind is not each.VAR_KEYWORD]
    taken: list[inspect.Parameter] = []
    for field in fields(RuleOptions):
        default: Any = field.default
        if field.name in _LISTS:
            kind: Any = list[str]
            default = [] if field.name == "wait_objectives" else list(default)
        else:
            kind = default.__class__
        option = typer.Option(flag(field.name), help=field.metadata["help"], metavar=_LISTS.get(field.name))
        taken.append(
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
            )
        )
    # Typer reads both. Written out, they would duplicate RuleOptions and become stale.
    command.__signature__ = inspect.Signature([*own, *taken])  # type: ignore[attr-defined]  # read by inspect
    command.__annotations__ = {each.name: each.annotation for each in (*own, *taken)}
    return command


def chosen(given: dict[str, Any]) -> RuleOptions:
    """The options from the command line. Raises ``typer.BadParameter`` for an invalid value."""
    try:
        options: dict[str, Any] = {
            **given,
            "wait_objectives": tuple(map(_objective, given["wait_objectives"])),
            "reject_reasons": tuple(given["reject_reasons"]),
        }
        return RuleOptions(**options)
    except OptionError as error:
        raise typer.BadParameter(error.problem, param_hint=f"'{flag(error.option)}'") from None


def _objective(text: str) -> tuple[str, float]:
    name, equals, seconds = text.rpartition("=")
    try:
        if not equals:
            raise ValueError
        return name, float(seconds)
    except ValueError:
        problem = f"{text!r}: write NAME=SECONDS, such as 'web-.*=0.5'"
        raise OptionError("wait_objectives", problem) from None
