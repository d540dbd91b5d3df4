"""What the tasks of an executor make its block raise: a crash, or their failures with ``on_error="escalate"``."""

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
    """The failures of one executor's tasks, until its block raises them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._crash: BaseException | None = None
        self._errors: list[BaseException] = []
        self._caused: weakref.WeakSet[BaseException] = weakref.WeakSet()  # errors that only tell of one of `_errors`

    def crashed(self, error: BaseException) -> None:
        """KeyboardInterrupt or SystemExit came out of a task, an observer or a source; the first one counts."""
        if self._crash is None:
            self._crash = error

    def failed(self, error: BaseException) -> None:
        """A task's error that is to leave the block."""
        self._errors.append(error)

    def caused(self, error: E) -> E:
        """Note that this error of ours only tells of a failure, so that the block does not raise both."""
        self._caused.add(error)
        return error

    def left_by(self, leaving: BaseException | None) -> BaseException | None:
        """What leaves the block, where without the tasks ``leaving`` would: a crash, their failures, or it.

        Called once, at the end of everything.
        """
        (crash, errors), self._crash, self._errors = (self._crash, self._errors), None, []
        try:
            if crash is not None or not errors:
                return crash or leaving
            return _escalated(f"tasks of executor {self._name!r} failed", errors, leaving, self._caused)
        finally:
            del leaving, crash, errors  # see Completed.unwrap


def _escalated(
    message: str, failures: list[BaseException], leaving: BaseException | None, caused: Iterable[BaseException]
) -> BaseException:
    """The group of the tasks' failures, and of what the block would have been left by without them.

    Not if that tells of nothing but the failures: what they ``caused``, or one of them that the body awaited.
    """
    known = set(map(id, (*failures, *caused)))
    rest = None if leaving is None else split_cancellation(leaving)[1]
    try:
        if rest is None or id(rest) in known or all(id(leaf) in known for leaf in leaves(rest)):
            return BaseExceptionGroup(message, failures)
        return BaseExceptionGroup(message, [cast("BaseException", leaving), *failures])
    finally:
        del leaving, rest, failures, caused  # see Completed.unwrap
