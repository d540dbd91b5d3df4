"""A function that is sent to another process together with the sender's trace context."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from glasspool._current import CARRIED, CurrentTask
from glasspool._foreign.guarded import drop_top_frame, traceback_of
from glasspool._recorded_calls import own_calls
from glasspool.telemetry.recording.error_types import error_text

from .propagation import extract, inject
from .spans import attach, detach

__all__ = ["Carried"]


class Carried:
    """Calls ``fn`` in the receiving process, in the trace context (span and baggage) in which this object was made.

    The context that is current in the receiver is not used: a forked worker starts with an unrelated trace. Picklable
    if ``fn`` is. ``task`` is what ``glasspool.current_task()`` returns there.
    """

    __slots__ = ("carrier", "fn", "over", "task")

    def __init__(
        self, fn: Callable[..., Any], carrier: dict[str, str] | None = None, task: CurrentTask | None = None
    ) -> None:
        self.fn = fn
        self.task = task
        self.carrier = inject() if carrier is None else carrier
        self.over = False  # see Running

    def __reduce__(self) -> Any:
        return Carried, (self.fn, self.carrier, self.task)

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """The user's function, from which the name is taken."""
        return self.fn

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        token, within = attach(extract(self.carrier)), CARRIED.set(self.task)
        try:
            with own_calls(self):
                return self.fn(*args, **kwargs)
        except BaseException as error:
            drop_top_frame(error)
            del args, kwargs  # the error leads to this frame also without that
            if not _travels(error):
                raise RuntimeError(
                    f"the function raised {error_text(error)}; it refuses to be changed, as a frozen dataclass does, "
                    f"so that no pool of processes can carry it: raise another one there"
                ) from None
            raise
        finally:
            self.over = True
            CARRIED.reset(within)
            detach(token)
            del self, token, within


def _travels(error: BaseException) -> bool:
    """Whether the pool can return the error. Every pool sets this attribute; if that fails, its worker dies."""
    try:
        error.__traceback__ = traceback_of(error)
    except Exception:  # noqa: BLE001 - the exception's own
        return False
    return True
