"""The functions that a Dask worker gets in place of the user's: sent by value, since it may not have glasspool."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

__all__ = ["launcher_of"]


def _launch(function: Any, topic: str, parts: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Runs on the worker."""
    try:
        from glasspool_instrumentation._process.worker import Errand  # sent by value: a relative import has no package
    except ImportError:
        return function(*args, **kwargs)
    return Errand.unpacked(function, topic, parts)(*args, **kwargs)


async def _launch_async(function: Any, topic: str, parts: Any, /, *args: Any, **kwargs: Any) -> Any:
    """The same for a coroutine function, which the worker runs on its event loop."""
    try:
        from glasspool_instrumentation._process.worker import Errand  # sent by value: a relative import has no package
    except ImportError:
        return await function(*args, **kwargs)
    return await Errand.unpacked(function, topic, parts).run_async(*args, **kwargs)


def _by_value(function: Any) -> Any:
    # cloudpickle sends functions of no module by value.
    made = types.FunctionType(function.__code__, {"__builtins__": __builtins__}, function.__name__)
    made.__module__ = None  # type: ignore[assignment]  # that is the point
    made.__qualname__ = function.__qualname__
    return made


_launcher: Callable[..., Any] = _by_value(_launch)
_async_launcher: Callable[..., Any] = _by_value(_launch_async)


def launcher_of(function: Any) -> Callable[..., Any]:
    """What runs ``function`` on a worker: called with it, the topic of its report, ``Away.parts()``, its arguments."""
    from distributed import utils

    is_async: Callable[[Any], bool] = utils.iscoroutinefunction  # which decides where the worker runs it
    return _async_launcher if is_async(function) else _launcher
