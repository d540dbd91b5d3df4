"""The exceptions that an executor's block raises: a crash, the failures of tasks with ``on_error="escalate"``, those of
services."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterable
from typing import TypeVar, cast

from glasspool._foreign.guarded import leaves

from .backend import split_cancellation

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

__all__ = ["Failures"]

E = TypeVar("E", bound=BaseException)


class Failures:
    """The failures of one executor's tasks and services, until its block raises them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._crash: BaseException | None = None
        self._errors: list[BaseException] = []
        self._whose: dict[str, None] = {}  # whose they are: "tasks", "services"
        self._caused: weakref.WeakSet[BaseException] = weakref.WeakSet()  # errors that only report one of `_errors`

    def crashed(self, error: BaseException) -> None:
        """A task, an observer or a source raised KeyboardInterrupt or SystemExit; the first one counts."""
        if self._crash is None:
            self._crash = error

    def failed(self, error: BaseException, whose: str = "tasks") -> None:
        """Note an error that the block will raise: of one of the tasks, or of the services."""
        self._errors.append(error)
        self._whose[whose] = None

    def caused(self, error: E) -> E:
        """Note that this error of ours only reports a failure, so that the block does not raise both."""
        self._caused.add(error)
        return error

    def left_by(self, leaving: BaseException | None) -> BaseException | None:
        """The exception that leaves the block: a crash, the failures, or else ``leaving``.

        Called once, at the end of everything.
        """
        (crash, errors), self._crash, self._errors = (self._crash, self._errors), None, []
        try:
            if crash is not None or not errors:
                return crash or leaving
            message = f"{' and '.join(self._whose)} of executor {self._name!r} failed"
            return _escalated(message, errors, leaving, self._caused)
        finally:
            del leaving, crash, errors  # see Completed.unwrap


def _escalated(
    message: str, failures: list[BaseException], leaving: BaseException | None, caused: Iterable[BaseException]
) -> BaseException:
    """The group of the failures, together with ``leaving``, the exception that the block would raise without
    them.

    ``leaving`` is left out if it only reports the failures: an error that they ``caused``, or one that the body
    awaited.
    """
    known = set(map(id, (*failures, *caused)))
    rest = None if leaving is None else split_cancellation(leaving)[1]
    try:
        if rest is None or id(rest) in known or all(id(leaf) in known for leaf in leaves(rest)):
            return BaseExceptionGroup(message, failures)
        return BaseExceptionGroup(message, [cast("BaseException", leaving), *failures])
    finally:
        del leaving, rest, failures, caused  # see Completed.unwrap
