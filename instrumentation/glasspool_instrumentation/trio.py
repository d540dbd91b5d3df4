"""The instrumentor of trio: the tasks of nurseries, through trio's Instrument API, and ``to_thread`` with its
limiters."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Awaitable, Mapping
from typing import Any

from glasspool._foreign.trio_ import is_being_cancelled, is_system_nursery
from glasspool._recorded_calls import from_executor, recorded_above, submitting
from glasspool.telemetry.recording.call_names import coroutine_names
from glasspool.telemetry.recording.ending import Ending

from ._observe import loops
from ._observe.coroutines import ObservedCoroutine, cancellation_in, failure_text
from ._observe.limiter_calls import Limiters, run_in_thread
from ._observe.limiter_tokens import Claim
from ._observe.limiter_tokens import patches as token_patches
from ._observe.loop_tasks import LoopTasks
from ._observe.naming import Selection
from ._observe.task_name_limit import MAX_TASK_NAMES
from ._observe.wait_objectives import WaitObjectives
from ._patch.patching import Patch, Patches
from .instrumentor import Instrumentor

__all__ = ["TrioInstrumentor"]

logger = logging.getLogger("glasspool")

_REASONS = {
    "deadline": "deadline",
    "explicit": "explicit",
    "shutdown": "shutdown",
    "KeyboardInterrupt": "keyboard_interrupt",
}
"""trio's sources of cancellation, as the catalog's reasons. A source that is not listed here, such as an outer nursery,
is ``parent_scope``."""


_tasks = LoopTasks("trio", ("sibling_failure", "parent_scope", *_REASONS.values()), requests=True)
thread_limiters = Limiters("trio_limiter", ("parent_scope", *_REASONS.values()))


class TrioInstrumentor(Instrumentor):
    """Observes trio's nurseries and thread limiters in every run that begins while it is on.

    These are the options of ``instrument()``:

    * ``include``: patterns of the tasks to count; default all. They match the function's qualified name, with and
        without its module.
    * ``exclude``: patterns of tasks that are not counted; default none.
    * ``spans``: patterns of the tasks that get a span; default None, no task.
    * ``monitor``: whether an event-loop monitor watches each run; default True.
    * ``wait_objectives``: patterns of limiter names, each with the seconds that a call may wait before it is late,
        such as ``{"trio.to_thread": 0.5}``; the first pattern that matches counts. Default none.
    * ``max_task_names``: distinct task names that metrics show for each executor, default 25; 0 shows none.
    """

    libraries = ("trio",)
    requires = ("trio >= 0.22",)

    def _instrument(
        self,
        selection: Selection,
        *,
        wait_objectives: Mapping[str, float] | None = None,
        max_task_names: int = MAX_TASK_NAMES,
        **options: Any,
    ) -> None:
        objectives = WaitObjectives(wait_objectives)
        _tasks.begin((_patches, token_patches), selection, max_task_names=max_task_names, **options)
        thread_limiters.objectives, thread_limiters.max_task_names = objectives, max_task_names

    def _uninstrument(self) -> None:
        _tasks.cease((_patches, token_patches))
        thread_limiters.forget()


class _Instrument:
    """Wraps the coroutine of every task that is spawned in one run.

    A patch notices the end of a run: trio calls an instrument for every hook that it defines, so this one defines only
    those that it needs.
    """

    def task_spawned(self, task: Any) -> None:
        """trio's hook: called before the task's first step."""
        if _tasks.observed is None or submitting.inside or _is_system(task):
            return
        loops.watch()
        if from_executor(2):
            return
        coro = task.coro
        full, name = coroutine_names(coro)
        if full.startswith("trio._core"):  # the run's own plumbing
            return
        started = _tasks.start(full, name)
        if started is not None:
            task.coro = ObservedCoroutine(coro, *started, _Ending(task))


def _is_system(task: Any) -> bool:
    nursery = task.parent_nursery
    return nursery is None or is_system_nursery(nursery, task) or nursery.parent_task is None


_failures: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()  # nursery -> its first failed child


class _Ending:
    """Turns the error of a task into its ending: failed, or cancelled and for what reason."""

    __slots__ = ("task",)

    def __init__(self, task: Any) -> None:
        self.task = task

    def __call__(self, error: BaseException) -> Ending:
        nursery = self.task.parent_nursery
        cancellation = cancellation_in(error)
        if cancellation is None:
            _failures.setdefault(nursery, failure_text(self.task.name, error))
            return Ending.raised(error)
        failed = _failures.get(nursery)
        if failed is not None:
            return Ending.cancelled("sibling_failure", failed)
        # Since trio 0.31 a cancellation says where it came from.
        source, text = getattr(cancellation, "source", ""), getattr(cancellation, "reason", None)
        if source == "nursery" and nursery.cancel_scope.cancel_called and str(text).startswith("child task"):
            return Ending.cancelled("sibling_failure", f"{getattr(cancellation, 'source_task', '')}: {text}")
        return Ending.cancelled(_REASONS.get(source, "parent_scope"), text)

    def asked(self) -> bool:
        """Whether the task was asked to end: a scope around it is cancelled, and not one that it has opened itself."""
        return is_being_cancelled(self.task.parent_nursery)


def _setup_runner(patch: Patch, original: Any) -> Any:
    def setup_runner(*args: Any, **kwargs: Any) -> Any:
        runner = original(*args, **kwargs)
        if patch.active:
            runner.instruments.add_instrument(_Instrument())
        return runner

    return setup_runner


def _close(patch: Patch, original: Any) -> Any:
    def close(self: Any) -> None:
        try:
            original(self)
        finally:
            if patch.active and self.trio_token is not None:  # without a token nothing was kept for this run
                loops.ended(self.trio_token)

    return close


def _run_sync(patch: Patch, original: Any) -> Any:
    async def run_sync(sync_fn: Any, *args: Any, limiter: Any = None, **options: Any) -> Any:
        if not patch.active or recorded_above(awaits=True):
            return await original(sync_fn, *args, limiter=limiter, **options)
        # From the patched module, which may no longer be in sys.modules.
        default = patch.owner.current_default_thread_limiter()
        limiter = default if limiter is None else limiter
        observed = thread_limiters.find(limiter, "trio.to_thread" if limiter is default else None)
        if observed is None:
            return await original(sync_fn, *args, limiter=limiter, **options)

        def run(call: Any, claim: Claim) -> Awaitable[Any]:
            found: Awaitable[Any] = original(call, *args, limiter=claim, **options)  # it lends to its own object
            return found

        return await run_in_thread(observed, limiter, sync_fn, run, _why, args)

    return run_sync


def _why(error: BaseException) -> str:
    cancellation = cancellation_in(error)
    return "" if cancellation is None else _REASONS.get(getattr(cancellation, "source", ""), "parent_scope")


def _patches_of_run(module: Any) -> list[Patch]:
    runner = getattr(module, "Runner", None)
    if hasattr(module, "setup_runner") and hasattr(runner, "close") and hasattr(runner, "trio_token"):
        return [Patch(module, "setup_runner", _setup_runner), Patch(runner, "close", _close)]
    logger.warning("TrioInstrumentor: this trio is laid out differently; its tasks are not observed")
    return []


_patches = Patches(
    {
        "trio._core._run": _patches_of_run,
        "trio.to_thread": lambda module: [Patch(module, "run_sync", _run_sync)],
    }
)
