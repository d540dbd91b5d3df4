"""Decides which exception leaves a block that has one of our task groups around its body.

The body's own exception leaves unchanged, not in a group, even if everything is being cancelled meanwhile.
docs/semantics.md has the table.
"""

from __future__ import annotations

from anyio.abc import TaskGroup

from glasspool._foreign.guarded import interrupt_in, traceback_of

from .backend import Backend, cancellation_in, cancels_only, split_cancellation

__all__ = ["left_by", "reason_for"]


def reason_for(leaving: BaseException, backend: Backend) -> str:
    """Why everything is cancelled when a block is left by this exception."""
    if not cancels_only(leaving) or _cancellation(leaving, backend) is None:
        return "shutdown"
    return backend.cancellation_source(leaving) or "parent_scope"


async def left_by(group: TaskGroup, leaving: BaseException | None, backend: Backend) -> BaseException | None:
    """Leave the task group, whose body ended by ``leaving``. Returns the exception that leaves the block, or None."""
    # The group gets only the cancellation, which it may have to absorb, and only if that is meant for it. It would wrap
    # any other exception in a group, and trio would lose a foreign cancellation.
    shown = None if leaving is None else _cancellation(leaving, backend)
    raised: BaseException | None = None
    taken = False
    try:
        if shown is None:
            await group.__aexit__(None, None, None)
        else:
            taken = bool(await group.__aexit__(type(shown), shown, traceback_of(shown)))
    except BaseException as error:  # noqa: BLE001 - leaves, if nothing else does
        raised = error
    try:
        if raised is not None and not cancels_only(raised):
            return interrupt_in(raised) or raised
        if leaving is None:
            return raised
        if shown is not None and taken:
            return split_cancellation(leaving)[1]
        return raised if shown is not None and raised is not None and cancels_only(leaving) else leaving
    finally:
        del leaving, shown, raised  # see Completed.unwrap


def _cancellation(error: BaseException, backend: Backend) -> BaseException | None:
    """The cancellation in ``error``, if it is meant for the current task."""
    found = cancellation_in(error)
    return found if found is not None and backend.is_cancelled(found) else None
