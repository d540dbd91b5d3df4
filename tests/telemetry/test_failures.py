"""The error type of groups: if all errors have one type it is that, whatever the group's class does."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from glasspool.telemetry.recording.error_types import error_text, error_type_of

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

HERE = __name__


class Lost(Exception):
    pass


class Mute(Exception):
    def __str__(self) -> str:
        raise LookupError("no words")


def group(*errors: BaseException) -> BaseException:
    return BaseExceptionGroup("several", errors)


def nested(error: BaseException, depth: int) -> BaseException:
    for _ in range(depth):
        error = group(error)
    return error


CASES: list[tuple[BaseException, str, str]] = [
    (ValueError("x"), "ValueError", "ValueError: x"),
    (Lost("x"), f"{HERE}.Lost", f"{HERE}.Lost: x"),
    (group(ValueError("x")), "ValueError", "ValueError: x"),
    (group(ValueError("x"), ValueError("y")), "ValueError", "ValueError: x (and 1 more)"),
    (group(Lost("x"), group(group(Lost("y")), Lost("z"))), f"{HERE}.Lost", f"{HERE}.Lost: x (and 2 more)"),
    (nested(KeyError("x"), 50), "KeyError", "KeyError: 'x'"),
    (group(ValueError("x"), KeyError("y")), "ExceptionGroup", "ExceptionGroup: several (2 sub-exceptions)"),
    # A subclass is another type.
    (
        group(ConnectionRefusedError(1, "x"), ConnectionError("y")),
        "ExceptionGroup",
        "ExceptionGroup: several (2 sub-exceptions)",
    ),
    # Those who were cancelled for it are not at fault.
    (group(asyncio.CancelledError(), ValueError("x")), "ValueError", "ValueError: x"),
    (group(SystemExit(3)), "SystemExit", "SystemExit: 3"),
    (group(Mute()), f"{HERE}.Mute", f"{HERE}.Mute: (no text)"),
]
GROUP = "exceptiongroup.ExceptionGroup" if sys.version_info < (3, 11) else "ExceptionGroup"


@pytest.mark.parametrize(("error", "name", "text"), CASES, ids=[text[:40] for _, _, text in CASES])
def test_type_and_text(error: BaseException, name: str, text: str) -> None:
    before = repr(error), getattr(error, "exceptions", None)
    assert error_type_of(error) == name.replace("ExceptionGroup", GROUP)
    assert error_text(error) == text.replace("ExceptionGroup:", f"{GROUP}:")
    assert (repr(error), getattr(error, "exceptions", None)) == before


def test_a_group_of_nothing_but_cancellations_goes_by_its_own_name() -> None:
    assert error_type_of(group(asyncio.CancelledError())).endswith("BaseExceptionGroup")


class Lying(ExceptionGroup[Any]):
    """Says that it is something else, and breaks when asked."""

    @property
    def exceptions(self) -> Any:
        return (self, 5)

    @property
    def __class__(self) -> Any:  # type: ignore[override]  # that is the point
        raise RuntimeError("do not ask")

    def __str__(self) -> str:
        raise RuntimeError("do not ask")

    def split(self, *_: Any) -> Any:
        raise RuntimeError("do not ask")

    def __len__(self) -> int:
        raise RuntimeError("do not ask")

    def __bool__(self) -> bool:
        raise RuntimeError("do not ask")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("do not ask")

    __hash__ = None  # type: ignore[assignment]  # as above


class Endless(Exception):
    """No group, whatever it looks like."""

    @property
    def exceptions(self) -> Any:
        return (Endless(),)


class Odd(type):
    @property
    def __module__(cls) -> Any:  # type: ignore[override]  # that is the point
        return 5


class Nowhere(Exception, metaclass=Odd):
    pass


def test_groups_that_lie_or_raise_break_nothing() -> None:
    lying = Lying("several", [ValueError("x")])
    assert error_type_of(lying) == "ValueError"
    assert error_text(lying)
    assert error_type_of(group(lying, ValueError("y"))) == "ValueError"
    assert error_type_of(Endless()) == f"{HERE}.Endless"
    assert error_text(group(Endless())) == f"{HERE}.Endless: "
    assert error_type_of(Nowhere()).endswith("Nowhere")


def test_a_text_has_its_bounds() -> None:
    assert len(error_text(ValueError("x" * 5000))) == 1024
    long = error_text(group(*[ValueError("x" * 5000)] * 3))
    assert (len(long), long[-13:]) == (1024, " (and 2 more)")
    many = group(*[ValueError(str(number)) for number in range(20_000)])
    assert error_type_of(many) in ("ValueError", GROUP)
