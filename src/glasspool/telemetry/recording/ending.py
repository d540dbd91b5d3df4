"""How a task ended, as one value: made once, at its end, and handed to the recorder and to the span."""

from __future__ import annotations

from typing import Final, NamedTuple

from .error_types import ends_iteration, error_type_of

__all__ = ["SUCCESS", "Ending"]


class Ending(NamedTuple):
    """The end of one task, native or wrapped. Made by one of the class methods, or ``SUCCESS``.

    ``outcome`` is one of the catalog's; ``error_type`` its ``error.type`` (empty for a success). ``error`` is the
    exception of a failed task, if there is one here. ``reason``, ``message`` and ``requested`` (the instant of the
    request) belong to cancellations. ``abandoned``: its thread goes on and keeps the slot. ``ran``: the running time in
    seconds, once it is known: at once if another process has measured it. ``waited``: seconds from acceptance to the
    start, or to the end of a task that never began, for the span.
    """

    outcome: str
    error_type: str = ""
    error: BaseException | None = None
    reason: str = ""
    message: str | None = None
    requested: float | None = None
    abandoned: bool = False
    ran: float | None = None
    waited: float | None = None

    @classmethod
    def failed(cls, error: BaseException | None, error_type: str = "", *, ran: float | None = None) -> Ending:
        """The task has failed.

        :param error: the exception; None where only its type has come this far.
        :param error_type: the type of an error that is not here.
        :param ran: the running time in seconds when it was measured elsewhere.
        """
        return cls("error", error_type if error is None else error_type_of(error), error, ran=ran)

    @classmethod
    def raised(cls, error: BaseException | None, error_type: str = "", *, ran: float | None = None) -> Ending:
        """A wrapped call has raised this or nothing. That an iterator has no more is no failure of who asked it.

        :param error: the exception, or None.
        :param error_type: the type of an error that is not here.
        :param ran: the running time in seconds when it was measured elsewhere.
        """
        if ends_iteration(error) if error is not None else not error_type:
            return SUCCESS if ran is None else cls("success", ran=ran)
        return cls.failed(error, error_type, ran=ran)

    @classmethod
    def cancelled(
        cls,
        reason: str,
        message: str | None = None,
        *,
        requested: float | None = None,
        abandoned: bool = False,
    ) -> Ending:
        """The task was cancelled.

        :param reason: one of the catalog's, or empty if it is not known.
        :param message: the text that was given to the cancellation.
        :param requested: the instant of the request, by the recorder's clock.
        :param abandoned: its thread goes on and keeps the slot.
        """
        return cls("cancelled", "cancelled", None, reason, message, requested, abandoned)

    @classmethod
    def timed_out(cls, *, abandoned: bool = False) -> Ending:
        """The task's time was out.

        :param abandoned: its thread goes on and keeps the slot.
        """
        return cls("timeout", "timeout", abandoned=abandoned)

    def timed(self, waited: float | None, ran: float | None) -> Ending:
        """The same with these times in seconds; None for those that there are not."""
        outcome, error_type, error, reason, message, requested, abandoned, _, _ = self
        return Ending(outcome, error_type, error, reason, message, requested, abandoned, ran, waited)

    def without_error(self) -> Ending:
        """The same without the exception, to be kept: an exception refers to the frames of its traceback."""
        return self if self.error is None else self._replace(error=None)


SUCCESS: Final = Ending("success")
"""A task that returned."""
