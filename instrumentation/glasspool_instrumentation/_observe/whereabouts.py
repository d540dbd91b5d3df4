"""Where the calls of an observed thread pool are now, found by looking through the stacks of all threads.

Nothing is noted when a call begins, so that calls cost what they cost without.
"""

from __future__ import annotations

from types import FrameType

from glasspool._foreign.frames import current_frames, locals_of
from glasspool.telemetry.recording.places import Place, Places
from glasspool.telemetry.recording.task_record import TaskRecord

from .batched_recorder import BatchedRecorder
from .thread_calls import Call

__all__ = ["places_of"]

_CALL = Call.__call__.__code__


def places_of(recorder: BatchedRecorder) -> Places:
    """The threads in which this pool's calls run. From any thread."""
    found: dict[TaskRecord, Place] = {}
    for thread, innermost in current_frames().items():
        frame: FrameType | None = innermost
        while frame is not None:
            if frame.f_code is _CALL:
                call = locals_of(frame, "self").get("self")  # of our own frame: the call's record, and no argument
                if isinstance(call, Call) and call.recorder is recorder:
                    found[call] = Place(None, thread)
            frame = frame.f_back
    return Places(found, [])
